"""The pointing game against a double loop, and where there is next to nothing."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cofire.errors import DataError, OptionError
from cofire.evaluate.localisation import pointing_hits

NONE = torch.zeros(0, 4)


def by_loops(grid, boxes, tolerance):
    """Straight from the definition; None for an image without a box."""
    if not boxes:
        return None
    pixels = [(y, x) for y in range(len(grid)) for x in range(len(grid[0]))]
    highest = max(grid[y][x] for y, x in pixels)
    if highest == min(grid[y][x] for y, x in pixels):
        return 0.0
    tied = [(y, x) for y, x in pixels if grid[y][x] == highest]
    hits = 0
    for y, x in tied:
        near = False
        for left, top, right, bottom in boxes:
            if left <= x + 0.5 < right and top <= y + 0.5 < bottom:
                near = True
            if tolerance > 0:
                aside = max(left - x - 0.5, 0, x + 0.5 - right)
                above = max(top - y - 0.5, 0, y + 0.5 - bottom)
                near = near or aside**2 + above**2 <= tolerance**2
        hits += near
    return hits / len(tied)


@st.composite
def batches(draw):
    height, width = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    images = []
    for _ in range(draw(st.integers(1, 3))):
        cells = draw(st.lists(st.integers(0, 3), min_size=height * width, max_size=height * width))
        grid = [[cells[y * width + x] for x in range(width)] for y in range(height)]
        boxes = []
        for _ in range(draw(st.integers(0, 3))):
            # At least a pixel wide, so that each box holds a centre.
            left, top = (
                draw(st.integers(0, 2 * width - 2)) / 2,
                draw(st.integers(0, 2 * height - 2)) / 2,
            )
            boxes.append(
                (left, top, left + draw(st.integers(2, 6)) / 2, top + draw(st.integers(2, 6)) / 2)
            )
        images.append((grid, boxes))
    return images, draw(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.5, 15.0]))


@given(batches())
def test_hits_are_those_of_the_double_loop(case):
    images, tolerance = case
    maps = torch.tensor([grid for grid, _ in images], dtype=torch.float32)
    found = pointing_hits(
        maps, [torch.tensor(boxes).reshape(-1, 4) for _, boxes in images], tolerance
    )
    expected = [by_loops(grid, boxes, tolerance) for grid, boxes in images]
    assert found.counted.tolist() == [value is not None for value in expected]
    assert found.values.tolist() == [value or 0.0 for value in expected]


def at(*places, size=(6, 8)):
    maps = torch.zeros(1, *size)
    for y, x in places:
        maps[0, y, x] = 1.0
    return maps


def test_two_tied_maxima_one_in_and_one_out_are_half_a_hit():
    assert pointing_hits(at((1, 1), (5, 7)), [torch.tensor([[0.0, 0, 3, 3]])]).values.tolist() == [
        0.5
    ]


def test_a_constant_map_is_a_miss_even_where_the_box_is_the_whole_image():
    whole = [torch.tensor([[0.0, 0, 8, 6]])] * 2
    found = pointing_hits(torch.stack([torch.zeros(6, 8), torch.ones(6, 8)]), whole, tolerance=15)
    assert (found.values.tolist(), found.counted.tolist()) == ([0.0, 0.0], [True, True])


def test_an_image_without_a_box_is_not_counted():
    found = pointing_hits(at((1, 1)), [NONE])
    assert (found.counted.tolist(), found.left_out) == ([False], 1)
    assert len(pointing_hits(torch.zeros(0, 2, 2), [])) == 0


def test_a_box_of_one_pixel_holds_that_pixel_alone():
    box = [torch.tensor([[3.0, 2, 4, 3]])]
    assert pointing_hits(at((2, 3)), box).values.item() == 1
    for y, x in ((2, 2), (2, 4), (1, 3), (3, 3)):
        assert pointing_hits(at((y, x)), box).values.item() == 0
        assert pointing_hits(at((y, x)), box, tolerance=0.5).values.item() == 1


def test_a_box_too_thin_to_hold_a_centre_holds_the_pixel_of_its_middle():
    box = [torch.tensor([[3.1, 2.1, 3.2, 2.2]])]
    assert pointing_hits(at((2, 3)), box).values.item() == 1
    assert pointing_hits(at((2, 3)), box, tolerance=0.01).values.item() == 1
    assert pointing_hits(at((2, 2)), box).values.item() == 0


def test_the_tolerance_is_a_distance_and_not_a_square():
    box = [torch.tensor([[0.0, 0, 1, 1]])]
    maps = at((4, 5))
    away = math.hypot(4.5 - 1, 5.5 - 1)
    assert pointing_hits(maps, box, tolerance=away + 1e-9).values.item() == 1
    assert pointing_hits(maps, box, tolerance=away - 1e-9).values.item() == 0


def test_an_object_cut_by_the_border_still_counts():
    assert pointing_hits(at((0, 0)), [torch.tensor([[-5.0, -5, 1, 1]])]).values.item() == 1


def test_boxes_and_tolerances_that_cannot_be_are_refused():
    with pytest.raises(DataError, match="overlaps"):
        pointing_hits(at((0, 0)), [torch.tensor([[20.0, 20, 30, 30]])])
    with pytest.raises(DataError, match="2 boxes for 1 images"):
        pointing_hits(at((0, 0)), [NONE, NONE])
    with pytest.raises(OptionError):
        pointing_hits(at((0, 0)), [NONE], tolerance=-1)
