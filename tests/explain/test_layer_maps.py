"""Layers brought together, against resizing, filtering and a mean of logarithms; and their way through files."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

from cofire.errors import ExplanationError, OptionError, ResultError
from cofire.explain import Explanation
from cofire.explain.result.layer_maps import LayerMaps, joined_maps
from cofire.explain.result.regions import LAYER_SIGMA
from cofire.storage import load_result, save_result
from tests.explain.explanations import camera, toy


def slowly(maps, size, sigma):
    """The formula, one image and one layer after the other."""
    floor = 0.005 / (size[0] * size[1])
    found = []
    for image in range(len(maps[0])):
        logs = []
        for values in maps:
            large = F.interpolate(values[image].double()[None, None], size=size, mode="bilinear")[
                0, 0
            ].numpy()
            if sigma:
                large = gaussian_filter(large, sigma * min(size), mode="constant", truncate=4.0)
            if large.sum() > 0:
                logs.append(np.log(large / large.sum() + floor))
        if not logs:
            found.append(np.zeros(size))
            continue
        agreed = np.maximum(np.exp(np.mean(logs, axis=0)) - floor, 0)
        found.append(agreed / agreed.sum() if agreed.sum() > 0 else agreed)
    return torch.from_numpy(np.stack(found))


def rows(values, *, height=1):
    return torch.tensor([[values] * height], dtype=torch.float32)


@settings(max_examples=25)
@given(
    st.integers(0, 2**32),
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=3),
    st.tuples(st.integers(2, 20), st.integers(2, 20)),
    st.sampled_from([0.0, 0.02, LAYER_SIGMA, 0.3]),
)
def test_together_is_the_formula(seed, grids, size, sigma):
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.rand(3, *grid, generator=generator) for grid in grids]
    maps[0][1] = 0
    maps[-1][2] *= torch.rand(grids[-1], generator=generator) < 0.5
    found = LayerMaps([str(number) for number in range(len(maps))], maps).together(size, sigma)
    assert found.dtype == torch.float32
    assert found.shape == (3, *size)
    assert torch.allclose(found.double(), slowly(maps, size, sigma), rtol=1e-4, atol=1e-9)


def test_by_hand_the_mean_is_geometric_and_one_layer_cannot_forbid_a_place():
    first, second = rows([0.2, 0.8, 0.0]), rows([0.5, 0.5, 0.0])
    found = LayerMaps(("a", "b"), (first, second)).together((1, 3), sigma=0)[0, 0].tolist()
    floor = 0.005 / 3
    plain = [
        math.sqrt((a + floor) * (b + floor)) - floor for a, b in ((0.2, 0.5), (0.8, 0.5), (0, 0))
    ]
    assert found == pytest.approx([value / sum(plain) for value in plain], abs=1e-7)
    vetoed = LayerMaps(("a", "b"), (first, rows([1.0, 0.0, 0.0]))).together((1, 3), sigma=0)[0, 0]
    assert vetoed[0] > vetoed[1] > 0
    assert vetoed[2] == 0


def test_one_layer_is_itself_as_shares():
    values = torch.rand(2, 5, 7)
    found = LayerMaps(("a",), (values,)).together((5, 7), sigma=0)
    assert torch.allclose(found, values / values.sum((1, 2), keepdim=True), atol=1e-6)


def test_the_scale_of_a_layer_says_nothing():
    first, second = torch.rand(1, 4, 6), torch.rand(1, 2, 3)
    plain = LayerMaps(("a", "b"), (first, second)).together((8, 12))
    assert torch.allclose(
        plain, LayerMaps(("a", "b"), (first * 1e-30, second * 1e30)).together((8, 12)), atol=1e-6
    )


def test_an_image_without_evidence_is_zero_and_changes_no_other():
    values = torch.rand(2, 4, 6)
    values[0] = 0
    found = LayerMaps(("a", "b"), (values, values)).together((8, 12))
    assert torch.equal(found[0], torch.zeros(8, 12))
    assert torch.allclose(found.sum((1, 2)), torch.tensor([0.0, 1.0]))
    alone = LayerMaps(("a", "b"), (values[1:], values[1:])).together((8, 12))
    assert torch.equal(alone[0], found[1])
    assert LayerMaps(("a",), (values[:0],)).together((8, 12)).shape == (0, 8, 12)


def test_a_layer_without_evidence_for_an_image_is_left_out():
    values = torch.rand(1, 4, 6)
    one = LayerMaps(("a",), (values,)).together((4, 6))
    assert torch.allclose(
        LayerMaps(("a", "b"), (values, torch.zeros(1, 2, 2))).together((4, 6)), one, atol=1e-6
    )


@pytest.mark.parametrize(
    "mode", [torch.inference_mode, lambda: torch.autocast("cpu", dtype=torch.bfloat16)]
)
def test_the_context_changes_nothing(mode):
    layers = LayerMaps(("a",), (torch.rand(1, 3, 3),))
    with mode():
        found = layers.together((11, 13))
    assert torch.equal(found, layers.together((11, 13)))


@pytest.mark.parametrize("sigma", [-0.1, float("nan"), float("inf"), True, "wide"])
def test_widths_that_are_none(sigma):
    with pytest.raises(OptionError):
        LayerMaps(("a",), (torch.rand(1, 3, 3),)).together((4, 4), sigma)


@pytest.mark.parametrize(
    ("names", "maps"),
    [
        ((), ()),
        (("a", "b"), (torch.ones(1, 2, 2),)),
        ((1,), (torch.ones(1, 2, 2),)),
        (("a",), (torch.ones(2, 2),)),
        (("a",), (torch.tensor(1.0),)),
        (("a",), (torch.ones(1, 0, 2),)),
        (("a", "b"), (torch.ones(1, 2, 2), torch.ones(2, 2, 2))),
        (("a",), (-torch.ones(1, 2, 2),)),
        (("a",), (torch.full((1, 2, 2), torch.nan),)),
        (("a",), (torch.full((1, 2, 2), torch.inf),)),
    ],
)
def test_what_does_not_fit_together(names, maps):
    with pytest.raises(ExplanationError):
        LayerMaps(names, maps)


def test_batches_are_joined():
    one, two = (LayerMaps(("a", "b"), (torch.rand(n, 2, 3), torch.rand(n, 1, 1))) for n in (2, 1))
    both = joined_maps([one, two])
    assert len(both) == 3
    for number in range(2):
        assert torch.equal(both.maps[number], torch.cat([one.maps[number], two.maps[number]]))
    assert joined_maps([None, None]) is joined_maps([]) is joined_maps([one, None]) is None


@pytest.fixture
def found():
    """The toy of two images of 4 × 6 pixels, with two layers."""
    traced = toy()
    layers = LayerMaps(("fine", "coarse"), (torch.rand(2, 4, 6), torch.rand(2, 2, 3)))
    parts = {name: getattr(traced, name) for name in traced.__dataclass_fields__}
    return Explanation(**{**parts, "layer_maps": layers})


def test_files_and_slices_keep_layers(found, tmp_path):
    again = Explanation.load(found.save(tmp_path / "a.safetensors"))
    assert again.layer_maps.names == ("fine", "coarse")
    assert torch.equal(again.heatmap(), found.heatmap())
    assert torch.equal(found[1].heatmap()[0], found.heatmap()[1])
    assert torch.equal(found[::-1].heatmap(), found.heatmap().flip(0))
    assert len(found[:0].heatmap()) == 0
    assert (found.kind, toy().kind, camera().kind) == ("layers", "points", "maps")
    assert not torch.equal(found.heatmap(), toy().heatmap())


def test_damaged_files_are_refused(found, tmp_path):
    place = tmp_path / "a.safetensors"
    note, tensors = load_result(
        found.save(place), "explanation", lambda note, tensors: (note, tensors)
    )
    fewer = {name: values for name, values in tensors.items() if name != "layer_maps.1"}
    damaged = [
        (note, fewer),
        (note | {"layer_maps": "fine"}, tensors),
        (note | {"layer_maps": [1, 2]}, tensors),
        (note | {"layer_maps": []}, tensors),
        (note, tensors | {"layer_maps.1": -tensors["layer_maps.1"]}),
        (note, tensors | {"layer_maps.1": torch.tensor(1.0)}),
        (note, tensors | {"layer_maps.1": tensors["layer_maps.1"][:1]}),
        (note, tensors | {f"layer_maps.{number}": torch.ones(3, 2, 2) for number in range(2)}),
    ]
    for words, parts in damaged:
        save_result(place, "explanation", words, parts)
        with pytest.raises(ResultError):
            Explanation.load(place)
    del note["layer_maps"]
    save_result(place, "explanation", note, tensors)
    assert Explanation.load(place).kind == "points"


def test_maps_have_no_layers():
    parts = {name: getattr(camera(), name) for name in camera().__dataclass_fields__}
    with pytest.raises(ExplanationError, match="layers"):
        Explanation(**{**parts, "layer_maps": LayerMaps(("a",), (torch.ones(2, 2, 2),))})
