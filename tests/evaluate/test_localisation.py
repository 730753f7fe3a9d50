"""Intersection over union against torchvision, and windows and threshold boxes against loops."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import box_iou

from cofire.errors import DataError, NonFiniteError, OptionError
from cofire.evaluate.localisation import best_iou, fixed_boxes, iou, threshold_boxes
from cofire.explain.result.regions import map_hull

NONE = torch.zeros(0, 4)


def drawn(count, generator):
    corner, size = torch.rand(2, count, 2, generator=generator, dtype=torch.float64)
    return torch.cat([corner * 20, corner * 20 + size * 10 + 0.1], dim=1)


def test_intersection_over_union_is_torchvisions():
    generator = torch.Generator().manual_seed(0)
    first, second = drawn(30, generator), drawn(40, generator)
    torch.testing.assert_close(iou(first, second), box_iou(first, second), rtol=1e-12, atol=0)
    assert iou(first, NONE).shape == (30, 0)


def test_boxes_that_touch_share_nothing_and_equal_boxes_all():
    one = torch.tensor([[0.0, 0, 1, 1]])
    assert iou(one, torch.tensor([[1.0, 0, 2, 1], [0, 0, 1, 1], [0, 0, 1, 2]])).tolist() == [
        [0.0, 1.0, 0.5]
    ]


def test_an_empty_box_has_no_intersection_over_union():
    with pytest.raises(DataError):
        iou(torch.zeros(1, 4), torch.zeros(1, 4))
    with pytest.raises(NonFiniteError):
        iou(torch.tensor([[0.0, 0, math.inf, 1]]), NONE)
    with pytest.raises(DataError):
        iou(torch.zeros(4), NONE)


def test_the_best_box_of_each_image_counts():
    generator = torch.Generator().manual_seed(1)
    truth = [drawn(count, generator) for count in (3, 0, 1, 5)]
    corners = drawn(4, generator)
    found = best_iou(corners, torch.tensor([True, True, False, True]), truth)
    assert found.counted.tolist() == [True, False, True, True]
    assert found.values[0].item() == pytest.approx(
        box_iou(corners[:1], truth[0]).max().item(), rel=1e-12
    )
    assert found.values[2].item() == 0
    assert found.values[3].item() == pytest.approx(
        box_iou(corners[3:], truth[3]).max().item(), rel=1e-12
    )
    assert len(best_iou(NONE, torch.zeros(0, dtype=torch.bool), [])) == 0


def maps_of(height, width, images=2, most=4):
    cells = st.lists(
        st.integers(0, most), min_size=images * height * width, max_size=images * height * width
    )
    return cells.map(
        lambda values: torch.tensor(values, dtype=torch.float32).reshape(images, height, width)
    )


sizes = st.tuples(st.integers(1, 6), st.integers(1, 6))


@given(
    sizes.flatmap(lambda size: maps_of(*size)), st.lists(st.integers(1, 20), min_size=1, max_size=3)
)
def test_threshold_boxes_are_those_found_one_by_one(maps, shares):
    thresholds = [share / 20 for share in shares]
    found = threshold_boxes(maps / 3, thresholds)
    expected = torch.stack(
        [torch.stack([map_hull(each / 3, t) for each in maps]) for t in thresholds]
    )
    assert torch.equal(found, expected)


@given(
    sizes.flatmap(lambda size: maps_of(*size)), st.lists(st.integers(1, 20), min_size=1, max_size=4)
)
def test_connected_boxes_are_those_found_one_by_one(maps, shares):
    thresholds = [share / 20 for share in shares]
    found = threshold_boxes(maps / 3, thresholds, connected=True)
    expected = [
        torch.stack([map_hull(each / 3, t, connected=True) for each in maps]) for t in thresholds
    ]
    assert torch.equal(found, torch.stack(expected))


def test_threshold_boxes_round_as_the_explanations_own_boxes_do():
    maps = torch.rand(40, 9, 9, generator=torch.Generator().manual_seed(0))
    thresholds = [step / 50 for step in range(1, 51)]
    expected = torch.stack([torch.stack([map_hull(each, t) for each in maps]) for t in thresholds])
    assert torch.equal(threshold_boxes(maps, thresholds), expected)


@pytest.mark.parametrize("threshold", [0.0, 1.1, math.nan, True])
def test_thresholds_out_of_bounds_are_refused(threshold):
    with pytest.raises(OptionError):
        threshold_boxes(torch.ones(1, 2, 2), [0.5, threshold])


def window_by_loops(grid, high, wide):
    """The heaviest window, nearest to the centre, then upper, then left, by adding up every one."""
    height, width = len(grid), len(grid[0])
    best = None
    for top in range(height - high + 1):
        for left in range(width - wide + 1):
            held = sum(grid[y][x] for y in range(top, top + high) for x in range(left, left + wide))
            away = (top + high / 2 - height / 2) ** 2 + (left + wide / 2 - width / 2) ** 2
            key = (-held, away, top, left)
            best = key if best is None or key < best else best
    return [best[3], best[2], best[3] + wide, best[2] + high]


@given(sizes.flatmap(lambda size: maps_of(*size)), st.sampled_from([0.1, 0.25, 0.5, 1.0]))
def test_fixed_boxes_are_the_heaviest_windows(maps, area):
    found = fixed_boxes(maps, area)
    for each, corners, there in zip(maps, found.corners, found.found.tolist(), strict=True):
        assert there == (each.min() != each.max()).item()
        if there:
            high, wide = int(corners[3] - corners[1]), int(corners[2] - corners[0])
            assert corners.tolist() == window_by_loops(each.tolist(), high, wide)


@pytest.mark.parametrize(
    ("size", "area", "window"),
    [
        ((224, 224), 0.25, (112, 112)),
        ((10, 40), 0.25, (10, 10)),
        ((10, 40), 0.5, (10, 20)),
        ((40, 10), 0.5, (20, 10)),
        ((1, 8), 0.25, (1, 2)),
        ((7, 9), 1.0, (7, 9)),
        ((5, 5), 0.001, (1, 1)),
    ],
)
def test_windows_are_as_square_as_the_image_allows(size, area, window):
    maps = torch.zeros(1, *size)
    maps[0, 0, 0] = 1.0
    left, top, right, bottom = fixed_boxes(maps, area).corners[0].tolist()
    assert (bottom - top, right - left) == window
    assert (left, top) == (0, 0)


def test_the_box_of_a_single_point_is_as_near_the_centre_as_it_can_be():
    maps = torch.zeros(1, 8, 8)
    maps[0, 3, 1] = 0.3
    assert fixed_boxes(maps).corners.tolist() == [[1.0, 2.0, 5.0, 6.0]]
    # Beside it what is too little to see decides nothing but ties.
    maps[0, 3, 0] = 1e-9
    assert fixed_boxes(maps).corners.tolist() == [[0.0, 2.0, 4.0, 6.0]]


def test_a_map_is_judged_alike_alone_and_in_a_batch():
    maps = torch.rand(5, 30, 20, generator=torch.Generator().manual_seed(3))
    together = fixed_boxes(maps).corners
    assert torch.equal(together, torch.cat([fixed_boxes(each[None]).corners for each in maps]))
    assert torch.equal(together, fixed_boxes(maps * 1e-30).corners)


@pytest.mark.parametrize("area", [0, -0.1, 1.5, math.nan, True, "0.25"])
def test_areas_out_of_bounds_are_refused(area):
    with pytest.raises(OptionError):
        fixed_boxes(torch.ones(1, 2, 2), area)
