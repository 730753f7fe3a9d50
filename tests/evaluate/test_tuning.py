"""Learning options: the right photos, the right rewards, nothing traced twice, and a file that can be trusted."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from cofire.errors import DataError, LabelError, OptionError, ResultError
from cofire.evaluate import rewards as rewards_file
from cofire.evaluate.localisation import iou, pointing_hits
from cofire.evaluate.tuned import alike, read_tuned, search_space
from cofire.evaluate.tuning import tune
from cofire.explain import explain
from cofire.images.collection import split_of
from cofire.images.reading import read_image
from cofire.network import Network

from .tuned_network import PREPARATION, collection_of, small_network

FEW = {
    "current": [0.25, 1.0],
    "preceding": [0.0, 0.5],
    "succeeding": [0.5, 1.0],
    "k": [1, 5],
    "k_linear": [],
    "min_share": [0.0, 0.2],
    "radius": [],
    "sigma": [0.02, 0.2],
}
POINTS = {"candidates": FEW, "start": {"contrast": None}}
LAYERS = {"contrast": [0.0, 0.7], "sigma": [0.02, 0.2], "threshold": [0.2, 0.5, 0.8]}


@pytest.fixture(scope="module")
def network():
    return small_network()


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    return collection_of(tmp_path_factory.mktemp("photos"), 20)


@pytest.fixture(scope="module")
def tuned(network, collection):
    return tune(network, collection, PREPARATION, **POINTS, least_iou=0.3, seed=1)


@pytest.fixture(scope="module")
def exact(network, collection):
    return tune(network, collection, PREPARATION, **POINTS, least_iou=0.3, seed=1, exact=True)


@pytest.fixture(scope="module")
def of_layers(network, collection):
    return tune(
        network, collection, PREPARATION, candidates=LAYERS, least_iou=0.3, seed=1, exact=True
    )


def iou_by_hand(network, photo, options):
    inputs = PREPARATION.inputs([PREPARATION.crop(read_image(photo.file), photo.name)])
    boxes = explain(network, inputs, photo.label, **options).boxes()
    return float(iou(boxes.corners, torch.tensor(photo.boxes)).max()) if bool(boxes.found) else 0.0


def pointing_by_hand(network, photo, options):
    inputs = PREPARATION.inputs([PREPARATION.crop(read_image(photo.file), photo.name)])
    heat = explain(network, inputs, photo.label, **options).heatmap()
    return float(pointing_hits(heat, [torch.tensor(photo.boxes)]).values[0])


def test_weights_come_first_and_each_by_itself(tuned):
    assert [one.name for one in tuned.learned] == [
        "current",
        "preceding",
        "succeeding",
        "k",
        "min_share",
        "sigma",
    ]
    assert [one.judged for one in tuned.learned] == ["iou"] * 5 + ["pointing"]
    assert tuned.learned[0].start == 1.0
    assert all(one.chosen in (*one.values, one.start) for one in tuned.learned)


def test_only_photos_for_tuning_are_seen(network, collection, monkeypatch):
    read = []
    real = rewards_file.read_batches
    monkeypatch.setattr(
        rewards_file, "read_batches", lambda photos, *a: read.extend(photos) or real(photos, *a)
    )
    found = tune(network, collection, PREPARATION, candidates=LAYERS, trials=3, samples=4)
    assert found.images == len(read) == 4
    assert {split_of(photo.name) for photo in read} == {"tuning"}


def test_rewards_are_what_each_photo_gives_by_itself(network, collection, exact):
    photos = collection.split("tuning").images
    assert exact.images == len(photos)
    order = torch.randperm(len(photos), generator=torch.Generator().manual_seed(1)).tolist()
    first = exact.learned[0]
    for arm, current in enumerate(first.values):
        own = {"alpha": (current, 1.0, 1.0), "contrast": None}
        expected = [float(iou_by_hand(network, photos[at], own) >= 0.3) for at in order]
        assert first.run.table[:, arm].tolist() == expected
    after = [iou_by_hand(network, photo, exact.explain_options) for photo in photos]
    assert exact.after.iou == pytest.approx(np.mean(after))
    before = [iou_by_hand(network, photo, {}) for photo in photos]
    assert exact.before.reached == pytest.approx(np.mean(np.array(before) >= 0.3))
    assert exact.gain.value == pytest.approx(exact.after.reached - exact.before.reached)


def test_of_layers_contrast_blur_and_box_are_learnt_as_each_photo_has_them(
    network, collection, of_layers, tmp_path
):
    assert [(one.name, one.judged) for one in of_layers.learned] == [
        ("contrast", "iou"),
        ("sigma", "pointing"),
        ("threshold", "iou"),
        ("connected", "iou"),
    ]
    photos = collection.split("tuning").images
    order = torch.randperm(len(photos), generator=torch.Generator().manual_seed(1)).tolist()
    contrast, sigma, threshold, connected = of_layers.learned
    options = {"contrast": contrast.chosen}
    assert contrast.run.table[:, 1].tolist() == [
        float(iou_by_hand(network, photos[at], {}) >= 0.3) for at in order
    ]
    for arm, value in enumerate(sigma.values):
        assert sigma.run.table[:, arm].tolist() == [
            pointing_by_hand(network, photos[at], {**options, "sigma": value}) for at in order
        ]
    options["sigma"] = sigma.chosen
    for arm, value in enumerate(threshold.values):
        own = {**options, "threshold": value}
        assert threshold.run.table[:, arm].tolist() == [
            float(iou_by_hand(network, photos[at], own) >= 0.3) for at in order
        ]
    options |= {"threshold": threshold.chosen, "connected": connected.chosen}
    after = [iou_by_hand(network, photo, options) for photo in photos]
    assert of_layers.after.iou == pytest.approx(np.mean(after))
    again = read_tuned(of_layers.save(tmp_path / "a.json"))
    assert again.described() == of_layers.described()
    assert again.kind == "layers"
    assert {name: again.explain_options[name] for name in options} == options
    assert (
        explain(network, torch.rand(1, 1, 16, 16), **again.explain_options).regions
        == of_layers.regions
    )


def test_without_layers_that_have_places_options_of_points_are_learnt(collection, of_layers):
    torch.manual_seed(0)
    plain = Network(
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 3)), torch.zeros(2, 1, 16, 16)
    )
    found = tune(plain, collection, PREPARATION, candidates={**FEW, "k": []}, trials=2)
    assert found.kind == "points"
    assert "min_share" in [one.name for one in found.learned]
    found.check(plain)
    with pytest.raises(OptionError, match="maps of layers"):
        of_layers.check(plain)
    with pytest.raises(OptionError, match="threshold"):
        tune(plain, collection, PREPARATION, candidates={"threshold": [0.2, 0.5]})


def test_a_weight_that_changes_nothing_is_left_as_it_is(tuned, exact):
    for found in (tuned, exact):
        one = found.learned[2]
        assert (one.name, one.alike, one.chosen) == ("succeeding", True, 1.0)
        assert one.run.regret.tolist() == [0.0] * len(one.run.pulled)
    assert alike("discernible", {"alpha": (1, 1, 1)}) == alike(
        "discernible", {"alpha": (0.5, 0.5, 9), "radius": 0.3}
    )
    assert alike("discernible", {"alpha": (1, 1, 1)}) != alike(
        "discernible", {"alpha": (1, 0.5, 1)}
    )


def test_the_same_seed_learns_the_same_and_batches_change_nothing(network, collection, exact):
    again = tune(
        network, collection, PREPARATION, **POINTS, least_iou=0.3, seed=1, exact=True, batch_size=3
    )
    assert json.dumps(again.described()) == json.dumps(exact.described())


def test_nothing_is_traced_twice_and_progress_ends_where_it_said(network, collection, monkeypatch):
    seen, done = [], []
    real = rewards_file.explain

    def counting(net, inputs, labels, method, **options):
        seen.extend((one.sum().item(), alike(method, options)) for one in inputs)
        return real(net, inputs, labels, method, **options)

    monkeypatch.setattr(rewards_file, "explain", counting)
    for exactly in (False, True):
        seen.clear()
        done.clear()
        tune(
            network,
            collection,
            PREPARATION,
            **POINTS,
            trials=15,
            exact=exactly,
            advance=lambda n, total: done.append((n, total)),
        )
        assert len(seen) == len(set(seen))
        assert sum(n for n, _ in done) == done[0][1]


def test_a_value_that_cannot_follow_from_what_was_learnt_is_not_tried(network, collection):
    found = tune(
        network,
        collection,
        PREPARATION,
        trials=4,
        start={"alpha": (1.0, 0.0, 1.0), "contrast": None},
        candidates={**FEW, "current": [0.0, 0.5, 1.0], "preceding": [], "k": [], "sigma": []},
    )
    assert found.learned[0].values == (0.5, 1.0)
    assert found.learned[0].alike
    assert found.options["alpha"] == [1.0, 0.0, 1.0]


def test_of_maps_the_box_is_learnt(network, collection, tmp_path):
    pytest.importorskip("captum")
    found = tune(
        network, collection, PREPARATION, "gradcam", candidates={"threshold": [0.2, 0.5, 0.8]}
    )
    assert [one.name for one in found.learned] == ["threshold", "connected"]
    again = read_tuned(found.save(tmp_path / "a.json"))
    assert (
        again.explain_options
        == found.explain_options
        == {"threshold": found.learned[0].chosen, "connected": found.learned[1].chosen}
    )


def test_learning_leaves_the_network_as_it_was(collection):
    network = small_network()
    before = network.digest()
    tune(network, collection, PREPARATION, candidates=LAYERS, trials=3)
    assert network.digest() == before


def test_what_was_learnt_comes_back_and_explains(network, collection, tuned, tmp_path):
    told = tuned.with_setup(model="small", command="cofire tune")
    again = read_tuned(told.save(tmp_path / "a.json"))
    assert again.described() == told.described()
    assert again.explain_options == tuned.explain_options
    noted = json.loads((tmp_path / "a.json").read_text())
    assert noted["split"] == "tuning"
    assert set(noted["box"]) == {"min_share", "radius", "weighted"}
    assert noted["sigma"] == tuned.regions.sigma
    found = explain(network, torch.rand(2, 1, 16, 16), **again.explain_options)
    assert found.regions == tuned.regions
    # A network without attention has no use for the way through it, and does not note it.
    unused = {"attention": "values", "guided": True, "rows": 48}
    assert {**unused, **found.options} == {**tuned.options, "n": 1}


def test_a_note_says_where_options_were_learnt(network, tuned):
    assert tuned.note(network) is None
    assert "other weights" in tuned.note(small_network(seed=1))
    assert "another network" in replace(tuned, architecture="x", network="x").note(network)


DAMAGE = [
    {"format": 1},
    {"format": 3},
    {"kind": "layers"},
    {"kind": "maps"},
    {"kind": []},
    {"method": "magic"},
    {"method": 3},
    {"options": []},
    {"options": {"alpha": [0, 0, 1]}},
    {"options": {"magic": 1}},
    {"options": {"n": 2}},
    {"sigma": None},
    {"sigma": -1},
    {"box": {"radius": 0}},
    {"box": {"threshold": 0.5}},
    {"box": {"threshold": 0.5, "connected": True}},
    {"method": "gradcam"},
    {"network": 3},
    {"photos": "many"},
    {"photos": True},
    {"least_iou": 2},
    {"before": {"iou": 0.5}},
    {"after": []},
    {"gain": [1]},
    {"gain": [float("nan"), 0, 0]},
    {"runs": {}},
    {"runs": [{}]},
    {"setup": 1},
    {"seed": None},
]


@pytest.mark.parametrize("change", DAMAGE)
def test_a_damaged_file_is_an_error(tuned, tmp_path, change):
    (tmp_path / "a.json").write_text(json.dumps(tuned.described() | change))
    with pytest.raises(ResultError):
        read_tuned(tmp_path / "a.json")


@pytest.mark.parametrize(
    "missing", ["method", "options", "runs", "network", "gain", "box", "sigma", "kind"]
)
def test_a_file_that_lacks_something_is_an_error(tuned, tmp_path, missing):
    whole = tuned.described()
    del whole[missing]
    (tmp_path / "a.json").write_text(json.dumps(whole))
    with pytest.raises(ResultError):
        read_tuned(tmp_path / "a.json")


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"null"])
def test_what_is_no_such_file_is_an_error(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ResultError):
        read_tuned(tmp_path / "a.json")
    with pytest.raises(ResultError):
        read_tuned(tmp_path)


@pytest.mark.parametrize(
    ("method", "candidates"),
    [
        ("discernible-p3", {"magic": [1, 2]}),
        ("discernible-p3", {"k": [1]}),
        ("discernible-p3", {"k": [1, 1]}),
        ("discernible-p3", {"k": [1, -2]}),
        ("discernible-p3", {"succeeding": [0.0, 1.0]}),
        ("discernible-p3", {"n": [1, 2]}),
        ("discernible-p3", {"alpha": [(1, 1, 1), (1, 0, 1)]}),
        ("discernible-p3", {"sigma": [0.1, float("nan")]}),
        ("discernible-p3", {"current": [1.0, float("inf")]}),
        ("discernible-p3", {"contrast": [0.0, 1.0]}),
        ("discernible-p3", {"threshold": [0.2, 0.5]}),
        ("discernible", {"k": [1, 2]}),
        ("discernible", {"contrast": [0.5, None]}),
        ("discernible", {"radius": [1, 2]}),
        ("discernible", {"contrast": [0.5, 2.0]}),
        ("discernible", {"connected": [0, 1]}),
        ("discernible", {"k": []}),
        ("gradcam", {"k": [1, 2]}),
        ("gradcam", {"threshold": [], "connected": []}),
        ("gradcam", {"threshold": [0.0, 0.5]}),
    ],
)
def test_values_that_cannot_be_are_errors(method, candidates):
    with pytest.raises(OptionError):
        search_space(method, candidates)


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "magic"},
        {"least_iou": 0},
        {"trials": 1},
        {"samples": 0},
        {"seed": -1},
        {"start": {"magic": 1}},
        {"start": {"alpha": (0, 0, 1)}},
        {"batch_size": 0},
    ],
)
def test_options_that_cannot_be_are_errors(network, collection, wrong):
    with pytest.raises(OptionError):
        tune(network, collection, PREPARATION, **{**POINTS, **wrong})


def test_photos_that_show_no_box_or_an_unknown_class_are_told(network, collection):
    bare = replace(collection, images=tuple(replace(photo, boxes=()) for photo in collection))
    with pytest.raises(DataError, match="none of"):
        tune(network, bare, PREPARATION, candidates=LAYERS)
    with pytest.raises(LabelError):
        tune(
            network,
            replace(collection, images=tuple(replace(p, label=3) for p in collection)),
            PREPARATION,
        )
    half = tuple(
        replace(p, boxes=() if at % 2 else p.boxes)
        for at, p in enumerate(collection.split("tuning"))
    )
    found = tune(
        network, replace(collection, images=half), PREPARATION, candidates=LAYERS, trials=3
    )
    assert (found.images, found.without_box) == (-(-len(half) // 2), len(half) // 2)


def test_what_learning_costs_is_said_before_it_and_changes_nothing(network, collection):
    lines = []
    options = {
        "candidates": {"sigma": [0.02, 0.2], "contrast": [0.0, 0.7], "threshold": []},
        "samples": 2,
    }
    told = tune(network, collection, PREPARATION, **options, tell=lines.append)
    assert lines == [
        "Cost: 3 options of discernible learnt on 2 images: 10 explanations judged at the most",
        "Time: less than a minute at the most on cpu, as the first image tells",
    ]
    silent = tune(network, collection, PREPARATION, **options)
    assert (told.options, told.regions, told.after) == (
        silent.options,
        silent.regions,
        silent.after,
    )


def test_a_collection_without_a_photo_for_tuning_is_told(network, collection):
    others = collection.split("evaluation")
    with pytest.raises(DataError, match=r"no image of the tuning half.*add images"):
        tune(network, others, PREPARATION, candidates=LAYERS)


def test_a_contrast_of_none_among_others_is_told_with_what_to_begin_with():
    with pytest.raises(OptionError, match=r"a contrast of none among.*to learn options of points"):
        search_space("discernible", {"contrast": [0.5, None]})
    assert "k" in [one.name for one in search_space("discernible", kind="points")]


def test_what_to_begin_with_is_an_option_of_the_method(network, collection):
    with pytest.raises(OptionError, match=r"start of discernible='sigmaa'.*pass 'sigma'"):
        tune(network, collection, PREPARATION, candidates=LAYERS, start={"sigmaa": 0.1})
