"""The result object: numbers known from hand-made tables, batches that split, files that come back whole."""

import pickle

import pytest
import torch

from cofire.errors import ExplanationError, LayerError, OptionError, ResultError
from cofire.explain.result.explanation import Explanation
from cofire.explain.result.neurons import NEURON_COLUMNS, Site
from cofire.explain.result.regions import SIGMA, heat
from cofire.storage import load_result, save_result

from .explanations import TOY_SITES, camera, explanation, photos, pixels, table, toy, vectors


def same(a, b):
    assert (a.method, a.options, a.input_shape, a.sites) == (
        b.method,
        b.options,
        b.input_shape,
        b.sites,
    )
    for name in ("target", "probability", "predicted", "confidence", "maps", "images"):
        one, other = getattr(a, name), getattr(b, name)
        assert (one is None and other is None) or torch.equal(one, other), name
    assert (a.neurons is None) == (b.neurons is None)
    for name in NEURON_COLUMNS if a.neurons is not None else ():
        assert torch.equal(getattr(a.neurons, name), getattr(b.neurons, name)), name


@pytest.fixture(scope="module")
def random():
    return photos(torch.zeros(3, 224, 224, 3, dtype=torch.uint8))


def test_points_are_pixels_with_the_scores_of_their_channels():
    points = toy().points(0)
    assert (points.y.tolist(), points.x.tolist()) == ([0, 1, 3], [0, 1, 5])
    assert points.score.tolist() == [0.5, 0.375, 0.125]
    assert toy().points(-1).score.tolist() == [1.0]
    assert repr(points) == "Points(3, score 1.0000)"


def test_features_are_pixels_of_one_row():
    found = vectors()
    assert found.size == (1, 6)
    assert (found.points(0).y.tolist(), found.points(0).x.tolist()) == ([0, 0], [2, 5])
    assert found.boxes().corners.tolist() == [[2, 0, 6, 1]]
    assert [len(step) for step in found.path(0, 0, 5).steps] == [1, 1, 1]
    assert found.heatmap().shape == (1, 1, 6)


def test_flattened_images_are_ordinary_images():
    sites = (Site("input", "input", (1, 8, 8), 0), Site("classes", "classes", (10,), 0))
    found = explanation(
        table([(1, 0, 1, 0, 0, 1.0), (0, 0, 0, 3, 4, 1.0)], [(1, 0, 1.0)]), sites, grey(1, 8, 8)
    )
    assert (found.points(0).y.tolist(), found.points(0).x.tolist()) == ([3], [4])


def grey(images, height, width):
    return torch.full((images, height, width, 3), 90, dtype=torch.uint8)


def test_the_heat_map_is_that_of_the_points():
    found = toy()
    maps = found.heatmap(sigma=0.25)
    for image in range(2):
        points = found.points(image)
        assert torch.equal(maps[image], heat(points.y, points.x, points.score, 4, 6, sigma=0.25))
    assert found.heatmap(sigma=0)[0, 3, 5] == 0.125
    assert (maps.dtype, maps.shape) == (torch.float32, (2, 4, 6))


def test_maps_are_given_as_they_are():
    found = camera()
    assert torch.equal(found.heatmap(), found.maps)
    assert torch.equal(found.heatmap(sigma=SIGMA), found.maps)
    with pytest.raises(OptionError, match="maps are given as they are"):
        found.heatmap(sigma=0.2)
    found.heatmap()[:] = -1
    assert bool((found.maps >= 0).all())


def test_boxes_of_maps_hold_half_the_maximum_and_more():
    boxes = camera().boxes()
    assert boxes.corners.tolist() == [[14, 10, 25, 20], [0, 0, 0, 0]]
    assert boxes.found.tolist() == [True, False]
    assert camera().boxes(threshold=0.51).corners[0].tolist() == [15, 10, 25, 20]
    assert camera().boxes(threshold=0.01).corners[0].tolist() == [5, 10, 25, 20]
    assert repr(boxes) == "Boxes(1 of 2 images)"


@pytest.mark.parametrize(
    ("places", "corners"),
    [
        ((), [0, 0, 0, 0]),
        (((7, 3),), [3, 7, 4, 8]),
        (((0, 0), (39, 29), (5, 5), (6, 5), (5, 6)), [0, 0, 30, 40]),
    ],
)
def test_no_one_and_five_points(places, corners):
    found = pixels(*places)
    assert found.has_evidence.tolist() == [bool(places)]
    assert found.boxes().corners.tolist() == [corners]
    assert found.boxes().found.tolist() == [bool(places)]
    assert bool(torch.isfinite(found.heatmap()).all())
    assert bool(found.heatmap().any()) == bool(places)
    assert len(found.points(0)) == len(places)


def test_a_lonely_point_among_many_is_left_out_of_the_box():
    block = [(y, x) for y in range(5, 11) for x in range(5, 11)]
    assert pixels(*block, (39, 29)).boxes().corners.tolist() == [[5, 5, 11, 11]]
    lonely = pixels(*[(y, x) for y in range(0, 40, 8) for x in range(0, 30, 7)], size=(40, 30))
    assert lonely.boxes(radius=0.01).found.tolist() == [False]


def test_by_score_the_box_follows_the_evidence():
    places = [
        (1, 0, 1, 0, 0, 1.0),
        *[(0, 0, 0, 5, x, 0.01) for x in range(10)],
        (0, 0, 0, 35, 25, 0.9),
    ]
    sites = (Site("input", "input", (1, 40, 30), 0), Site("classes", "classes", (5,), 0))
    found = explanation(table(places), sites, grey(1, 40, 30))
    assert found.boxes(min_share=0.3).corners.tolist() == [[0, 5, 10, 6]]
    assert found.boxes(min_share=0.3, weighted=True).corners.tolist() == [[25, 35, 26, 36]]


def test_layers_are_found_by_name_and_place():
    found = toy().layer("conv.relu")
    assert found.channel.tolist() == [0, 2, 1]
    assert found.image.tolist() == [0, 0, 1]
    assert found.score.tolist() == [0.75, 0.25, 1.0]
    assert repr(found) == "LayerNeurons('conv.relu', activation, 3 neurons)"
    assert len(toy().layer(0)) == 5
    assert toy().layer(-1).site.kind == "classes"


def test_a_wrong_name_brings_near_ones():
    with pytest.raises(LayerError, match=r"try 'conv\.relu'"):
        toy().layer("conv.rel")
    with pytest.raises(LayerError, match="0 to 2"):
        toy().layer(3)


def test_a_path_gives_each_neuron_its_part_of_the_pixel():
    path = toy().path(0, 1, 1)
    assert path.score == 0.375
    flows = [
        dict(zip(step.channel.tolist(), step.flow.tolist(), strict=True)) for step in path.steps
    ]
    assert flows == [{0: 0.375}, {0: 0.25, 2: 0.125}, {1: 0.375}]
    assert [step.site for step in path.steps] == list(TOY_SITES)
    both = toy().path(0, 0, 0)
    assert [step.flow.tolist() for step in both.steps] == [[0.375, 0.125], [0.5], [0.5]]
    assert "Step('conv.relu', 2 neurons, flow 0.3750)" in repr(path)


def test_paths_of_a_batch_are_those_of_its_images():
    assert toy().path(1, 2, 2).image == 1
    assert [step.flow.tolist() for step in toy().path(-1, 2, 2).steps] == [[1.0]] * 3


def test_no_evidence_is_lost_on_any_path(random):
    for image in range(len(random)):
        points = random.points(image)
        through = {}
        for y, x, score in zip(
            points.y.tolist(), points.x.tolist(), points.score.tolist(), strict=True
        ):
            for step in random.path(image, y, x).steps:
                assert float(step.flow.sum()) == pytest.approx(score, rel=1e-5)
                for c, row, column, flow in zip(
                    step.channel, step.y, step.x, step.flow, strict=True
                ):
                    key = (step.site.name, int(c), int(row), int(column))
                    through[key] = through.get(key, 0.0) + float(flow)
        # Over all pixels the paths through a neuron carry all the evidence that passed it on.
        mine = random.neurons.image == image
        for site, c, y, x, score in zip(
            *(
                getattr(random.neurons, n)[mine].tolist()
                for n in ("site", "channel", "y", "x", "score")
            ),
            strict=True,
        ):
            handed = through.get((random.sites[site].name, c, y, x))
            assert handed is None or handed <= score + 1e-5


def test_evidence_that_goes_past_a_layer_is_not_lost():
    rows = [(2, 0, 1, 0, 0, 1.0), (1, 0, 0, 0, 0, 0.25), (0, 0, 0, 1, 1, 1.0)]
    found = explanation(
        table(rows, [(1, 0, 0.25), (2, 0, 0.75), (2, 1, 0.25)]), TOY_SITES, grey(1, 4, 6)
    )
    assert [step.flow.tolist() for step in found.path(0, 1, 1).steps] == [[1.0], [0.25], [1.0]]
    past = explanation(table([rows[0], rows[2]], [(1, 0, 1.0)]), TOY_SITES, grey(1, 4, 6))
    assert [len(step) for step in past.path(0, 1, 1).steps] == [1, 0, 1]


def test_a_pixel_without_a_point_brings_the_nearest():
    with pytest.raises(ExplanationError, match="try y=3, x=5"):
        toy().path(0, 3, 4)
    with pytest.raises(ExplanationError, match="no evidence in image 0"):
        pixels().path(0, 1, 1)


def test_maps_have_no_points_layers_or_paths():
    for ask in (lambda e: e.points(0), lambda e: e.layer(0), lambda e: e.path(0, 1, 1)):
        with pytest.raises(ExplanationError, match="which is made of maps"):
            ask(camera())


def test_an_image_by_itself_has_its_own_rows_and_links():
    second = toy()[1]
    assert second.neurons.image.tolist() == [0, 0, 0]
    assert second.neurons.child.tolist() == [1, 2]
    assert second.neurons.parent.tolist() == [0, 1]
    assert second.points(0).score.tolist() == [1.0]
    assert torch.equal(second.images, toy().images[1:])
    assert len(camera()[1:]) == 1


@pytest.mark.parametrize(
    "part", [slice(None), slice(1, 3), slice(None, None, -1), slice(0, 0), slice(2, None, -2)]
)
def test_parts_of_a_batch_explain_as_the_whole_does(random, part):
    some = random[part]
    chosen = list(range(3))[part]
    assert len(some) == len(chosen)
    assert some.has_evidence.tolist() == [True] * len(chosen)
    assert torch.equal(some.heatmap(), random.heatmap()[chosen])
    assert torch.equal(some.boxes().corners, random.boxes().corners[chosen])
    for at, image in enumerate(chosen):
        points = random.points(image)
        y, x = int(points.y[0]), int(points.x[0])
        one, other = some.path(at, y, x), random.path(image, y, x)
        assert [s.flow.tolist() for s in one.steps] == [s.flow.tolist() for s in other.steps]


def test_a_batch_can_be_gone_through():
    assert [one.points(0).score.sum().item() for one in toy()] == [1.0, 1.0]
    assert toy()[-1].points(0).y.tolist() == [2]
    with pytest.raises(ExplanationError, match="one of its"):
        toy()[2]
    with pytest.raises(ExplanationError, match="choose from 0 to 1"):
        toy().points(2)


@pytest.mark.parametrize("make", [toy, camera, vectors, pixels], ids=lambda make: make.__name__)
def test_what_is_saved_comes_back_exactly(make, tmp_path):
    found = make()
    assert found.save(tmp_path / "e.safetensors") == tmp_path / "e.safetensors"
    same(Explanation.load(tmp_path / "e.safetensors"), found)
    same(pickle.loads(pickle.dumps(found)), found)


def test_parts_that_share_memory_are_saved(tmp_path, random):
    random[:0].save(tmp_path / "none")
    assert len(Explanation.load(tmp_path / "none")) == 0
    score = torch.full((1,), 0.75)
    found = pixels((1, 1), confidence=score, probability=score[:, None])
    found.save(tmp_path / "one")
    same(Explanation.load(tmp_path / "one"), found)


def test_damaged_files_are_refused(tmp_path):
    toy().save(tmp_path / "e")
    whole = (tmp_path / "e").read_bytes()
    for content in (whole[:-20], b"", whole.replace(b"cofire.explanation", b"cofire.exploration")):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(ResultError):
            Explanation.load(tmp_path / "bad")
    (tmp_path / "bad").write_bytes(
        whole.replace(b"[2, 4, 6]", b"[2, 4, 5]").replace(b"[3, 2, 3]", b"[3, 2, 3]")
    )
    with pytest.raises(ResultError):
        Explanation.load(tmp_path / "bad")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *(
            (("sites", 1, "shape", 0), value)
            for value in (None, {}, [], "3", 3.0, True, 0, -3, 2**63, 10**40)
        ),
        *(
            (("sites", 1, "shape"), value)
            for value in (None, {}, [], "abc", 3, [2**32, 2**32, 2], [[3, 2, 3]])
        ),
        *((("sites", 1, "channel_axis"), value) for value in (None, 3, -4, 0.0, False, [], 2**70)),
        *((("sites", 1, name), value) for name in ("name", "kind") for value in (None, 1, [], {})),
        *((("sites", 1), value) for value in (None, [], "site", 1)),
        *((("sites",), value) for value in (None, {}, [], "sites", [None])),
        *((("method",), value) for value in (None, [], {}, 1, True)),
        *((("options",), value) for value in (None, [], [["k", 1]], "k", 1, {"k": float("nan")})),
        *(
            (("input_shape",), value)
            for value in (None, [], {}, "246", [2, 4, None], [2.0, 4, 6], [2, 4, 10**40])
        ),
        *((("format",), value) for value in (None, [], 2)),
    ],
    ids=str,
)
def test_notes_with_parts_of_another_type_are_refused(tmp_path, place, value):
    note, tensors = load_result(toy().save(tmp_path / "e"), "explanation", lambda *read: read)
    *way, last = place
    at = note
    for step in way:
        at = at[step]
    at[last] = value
    save_result(tmp_path / "bad", "explanation", note, tensors)
    with pytest.raises(ResultError, match="is no explanation of this version"):
        Explanation.load(tmp_path / "bad")


@pytest.mark.parametrize("method", [None, [], {}, 1])
def test_a_method_has_a_name(method):
    with pytest.raises(ExplanationError, match="method="):
        pixels((1, 1), method=method)


def test_options_are_kept_as_json_has_them():
    assert pixels((1, 1), options={"alpha": (1, 2)}).options == {"alpha": [1, 2]}
    with pytest.raises(OptionError, match="what JSON can hold"):
        pixels((1, 1), options={"alpha": torch.ones(1)})


INPUT = (0, 0, 0, 1, 1, 1.0)
TOP = (2, 0, 1, 0, 0, 1.0)


@pytest.mark.parametrize(
    ("rows", "links", "said"),
    [
        ([TOP, (0, 0, 0, 4, 1, 1.0)], [], r"neurons\.y from 0 to 4"),
        ([TOP, (0, 0, 2, 1, 1, 1.0)], [], r"neurons\.channel"),
        ([TOP, (0, 1, 0, 1, 1, 1.0)], [], r"neurons\.image"),
        ([TOP, (3, 0, 0, 1, 1, 1.0)], [], r"neurons\.site"),
        ([TOP, (0, 0, 0, 1, 1, 0.0)], [], "not above 0"),
        ([TOP, (0, 0, 0, 1, 1, float("nan"))], [], "not above 0 or not finite"),
        ([INPUT, TOP], [], "in another order"),
        ([TOP, INPUT], [(0, 1, 1.0)], "not nearer to the input"),
        ([TOP, INPUT], [(2, 0, 1.0)], r"neurons\.child"),
        ([TOP, INPUT], [(1, 0, -1.0)], "neurons.share"),
    ],
)
def test_tables_that_cannot_be_are_refused(rows, links, said):
    with pytest.raises(ExplanationError, match=said):
        explanation(table(rows, links), TOY_SITES, grey(1, 4, 6))


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"predicted": torch.zeros(1)}, "predicted of torch.float32"),
        ({"target": torch.zeros(3, 1, dtype=torch.int64)}, "target of"),
        ({"probability": torch.full((1, 1), 1.5)}, "probability outside"),
        ({"maps": torch.zeros(1, 40, 30)}, "together, or neither"),
        ({"images": grey(1, 30, 40)}, "images of"),
        ({"input_shape": (40, 30)}, "input_shape"),
        ({"input_shape": (2, 40, 30)}, "an input site"),
        ({"sites": ()}, "sites from the input"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts, said):
    with pytest.raises(ExplanationError, match=said):
        Explanation(**{**vars(pixels((1, 1))), **parts})


def test_maps_below_zero_or_without_numbers_are_refused():
    for value in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ExplanationError, match="maps with values"):
            Explanation(**{**vars(camera()), "maps": camera().maps + value})


def test_what_it_is_can_be_read():
    assert repr(toy()) == (
        "Explanation('discernible', 2 images of 4 × 6 pixels, 10 neurons at 3 sites, evidence in 2 of 2)"
    )
    assert repr(camera()).endswith("maps, evidence in 1 of 2)")


def test_images_are_chosen_as_from_a_list():
    found = toy()
    with pytest.raises(ExplanationError, match=r"slice.*choose images as from a list"):
        found["first":]
    assert len(found[0:1]) == 1
