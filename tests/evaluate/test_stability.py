"""How far explanations lie apart: of points and of maps, by hand."""

import math

import pytest
import torch

from cofire.errors import BatchError, DataError, OptionError
from cofire.evaluate.sensitivity import blurred_parts, centroids, shift, stability
from cofire.explain.result.layer_maps import LayerMaps
from cofire.explain.result.regions import Regions
from tests.explain.explanations import explanation, pixels, toy


def of_maps(maps):
    images, height, width = maps.shape
    shown = torch.zeros(images, height, width, 3, dtype=torch.uint8)
    return explanation(None, (), shown, input_shape=(1, height, width), maps=maps, method="gradcam")


def one(*places, size=(6, 8)):
    maps = torch.zeros(1, *size)
    for y, x in places:
        maps[0, y, x] = 1.0
    return of_maps(maps)


def test_the_centroid_of_points_is_weighted_by_their_scores():
    # Image 0: 0.5 at (0, 0), 0.375 at (1, 1), 0.125 at (3, 5), as (y, x); image 1: all at (2, 2).
    places, found = centroids(toy())
    assert found.tolist() == [True, True]
    assert places[0].tolist() == pytest.approx([0.375 + 5 * 0.125 + 0.5, 0.375 + 3 * 0.125 + 0.5])
    assert places[1].tolist() == [2.5, 2.5]


def test_the_centroid_of_a_map_is_that_of_a_loop():
    maps = torch.rand(2, 4, 5, generator=torch.Generator().manual_seed(0))
    places, _ = centroids(of_maps(maps))
    for at in range(2):
        weight = [(maps[at, y, x].item(), y, x) for y in range(4) for x in range(5)]
        total = sum(value for value, _, _ in weight)
        expected = [
            sum(v * (x + 0.5) for v, _, x in weight) / total,
            sum(v * (y + 0.5) for v, y, _ in weight) / total,
        ]
        assert places[at].tolist() == pytest.approx(expected, rel=1e-12)


def test_an_explanation_does_not_lie_apart_from_itself():
    for each in (toy(), one((1, 2), (3, 3))):
        found = shift(each, each)
        assert found.centroid.mean() == 0
        assert found.box_iou.mean() == 1
        assert found.rank_correlation.mean() == pytest.approx(1)
        assert len(found) == len(each)


def test_a_map_of_one_point_that_moves():
    found = shift(one((0, 0)), one((3, 4)))
    assert found.centroid.values.item() == pytest.approx(5 / 10)
    assert found.box_iou.values.item() == 0
    # 47 pixels at rank 24 and one at 48, twice: the covariance is that of one value in 48 that is
    # elsewhere.
    assert found.rank_correlation.values.item() == pytest.approx(-1 / 47)


def test_where_one_explanation_has_no_evidence():
    found = shift(one((0, 0)), one())
    assert not found.centroid.counted.any()
    assert (found.box_iou.values.item(), found.box_iou.counted.item()) == (0, True)
    assert not found.rank_correlation.counted.any()
    assert not shift(one(), one()).box_iou.counted.any()


def test_boxes_are_made_with_the_options_given():
    first = of_maps(torch.tensor([[[1.0, 0.6, 0.2]]]))
    second = of_maps(torch.tensor([[[1.0, 0.2, 0.0]]]))
    assert shift(first, second).box_iou.values.item() == 0.5
    assert shift(first, second, box={"threshold": 0.9}).box_iou.values.item() == 1
    with pytest.raises(OptionError):
        shift(first, second, box={"threshold": 2.0})


def of_layers(place, regions):
    """One image of 8 × 8 pixels whose evidence one layer puts into one cell of 4 × 4."""
    maps = torch.zeros(1, 4, 4)
    maps[0, place, place] = 1.0
    return pixels(
        (2 * place, 2 * place),
        size=(8, 8),
        layer_maps=LayerMaps(("conv",), (maps,)),
        regions=regions,
    )


def test_the_blur_of_layers_is_that_of_their_centroid_and_box_too():
    own, wide = Regions(sigma=0.0, around="heat"), Regions(sigma=0.5, around="heat")
    found = shift(of_layers(0, own), of_layers(3, own), sigma=0.5)
    expected, narrow = (
        shift(of_layers(0, wide), of_layers(3, wide)),
        shift(of_layers(0, own), of_layers(3, own)),
    )
    for part in ("centroid", "box_iou", "rank_correlation"):
        assert torch.equal(getattr(found, part).values, getattr(expected, part).values)
        assert not torch.equal(getattr(found, part).values, getattr(narrow, part).values)


def test_which_parts_a_blur_changes():
    assert blurred_parts(of_layers(0, Regions(around="heat"))) == (
        "centroid",
        "box_iou",
        "rank_correlation",
    )
    assert blurred_parts(of_layers(0, Regions())) == ("centroid", "rank_correlation")
    assert blurred_parts(toy()) == ("rank_correlation",)
    with pytest.raises(OptionError, match="maps"):
        shift(one((0, 0)), one((0, 0)), sigma=0.2)


def test_explanations_of_other_images_are_refused():
    with pytest.raises(DataError):
        shift(one((0, 0)), one((0, 0), size=(6, 7)))
    with pytest.raises(DataError):
        shift(toy(), toy()[0])


def test_stability_is_the_mean_over_the_perturbations_that_count():
    images = torch.zeros(1, 1, 6, 8)
    seen = {0.0: one((0, 0)), 1.0: one((3, 4)), 2.0: one(), 3.0: one((0, 0))}
    found = stability(
        lambda batch: seen[batch.max().item()], images, [images + level for level in (1, 2, 3)]
    )
    assert len(found.shifts) == 3
    assert found.centroid.values.item() == pytest.approx((0.5 + 0) / 2)
    assert found.box_iou.values.item() == pytest.approx(1 / 3)
    assert found.rank_correlation.values.item() == pytest.approx((1 - 1 / 47) / 2)
    assert math.isclose(found.centroid.mean(), 0.25)


def test_batches_of_another_shape_are_refused():
    images = torch.zeros(1, 1, 6, 8)
    for perturbed in ([], [images[..., :7]]):
        with pytest.raises(BatchError):
            stability(lambda batch: one((0, 0)), images, perturbed)
