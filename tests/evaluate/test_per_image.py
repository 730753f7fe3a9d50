"""Numbers per image, and what is refused before anything is measured."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cofire.errors import DataError, NonFiniteError
from cofire.evaluate.per_image import (
    PerImage,
    check_corners,
    check_maps,
    constant,
    pixels_of,
    truth,
)

YES = torch.tensor([True])


def test_what_is_not_counted_is_zero_and_enters_no_mean():
    found = PerImage(torch.tensor([0.25, math.nan, 0.75]), torch.tensor([True, False, True]))
    assert found.values.tolist() == [0.25, 0.0, 0.75]
    assert (found.mean(), found.left_out, len(found)) == (0.5, 1, 3)
    assert PerImage.of_all(torch.ones(2)).left_out == 0


def test_a_mean_over_nothing_is_refused():
    nothing = PerImage(torch.zeros(2), torch.zeros(2, dtype=torch.bool))
    assert repr(nothing) == "PerImage(0 of 2 images)"
    with pytest.raises(DataError, match="none of 2"):
        nothing.mean()


@pytest.mark.parametrize(
    ("values", "counted", "error"),
    [
        (torch.zeros(2, 1), torch.ones(2, 1, dtype=torch.bool), DataError),
        (torch.zeros(2), torch.ones(3, dtype=torch.bool), DataError),
        (torch.zeros(2), torch.ones(2), DataError),
        (torch.tensor([math.inf]), YES, NonFiniteError),
    ],
)
def test_values_and_flags_must_fit(values, counted, error):
    with pytest.raises(error):
        PerImage(values, counted)


@pytest.mark.parametrize(
    ("maps", "error"),
    [
        (torch.zeros(2, 2), DataError),
        (torch.zeros(1, 0, 2), DataError),
        (torch.zeros(1, 2, 2, dtype=torch.int64), DataError),
        (torch.full((1, 2, 2), -1.0), DataError),
        (torch.tensor([[[0.0, math.nan, 1.0]]]), NonFiniteError),
        (torch.tensor([[[0.0, -math.inf]]]), NonFiniteError),
        ([[[0.0]]], DataError),
    ],
)
def test_what_is_no_map_is_refused(maps, error):
    with pytest.raises(error):
        check_maps(maps)


def test_maps_of_half_precision_and_none_at_all_are_maps():
    assert check_maps(torch.ones(1, 2, 2).half()).dtype == torch.float32
    assert check_maps(torch.ones(1, 2, 2).double()).dtype == torch.float64
    assert len(check_maps(torch.zeros(0, 2, 2))) == 0
    assert constant(torch.zeros(0, 2, 2)).tolist() == []
    assert constant(torch.tensor([[[0.0]], [[3.0]]])).tolist() == [True, True]


@pytest.mark.parametrize(
    ("boxes", "error"),
    [
        ([], DataError),
        ([torch.zeros(4)], DataError),
        ([[[0, 0, 1, 1]]], DataError),
        ([torch.tensor([[2.0, 0, 2, 1]])], DataError),
        ([torch.tensor([[0.0, 3, 2, 1]])], DataError),
        ([torch.tensor([[0.0, 0, math.nan, 1]])], NonFiniteError),
    ],
)
def test_what_is_no_box_is_refused(boxes, error):
    with pytest.raises(error):
        truth(boxes, 1)


def test_ground_truth_is_laid_out_image_by_image():
    found = truth(
        [
            torch.tensor([[0, 0, 1, 1], [0, 0, 2, 2]]),
            torch.zeros(0, 4),
            torch.tensor([[0, 0, 3, 3]]),
        ],
        3,
    )
    assert (found.image.tolist(), found.first.tolist(), found.count.tolist()) == (
        [0, 0, 2],
        [0, 2, 2],
        [2, 0, 1],
    )
    assert found.corners[:, 2].tolist() == [1, 2, 3]
    assert truth([], 0).corners.shape == (0, 4)


def test_corners_of_explanations_count_only_where_there_is_a_box():
    corners, found = check_corners(
        torch.tensor([[0.0, 0, 1, 1], [9, 9, 1, 1]]), torch.tensor([True, False]), 2
    )
    assert corners.tolist() == [[0, 0, 1, 1], [0, 0, 0, 0]]
    assert found.tolist() == [True, False]
    with pytest.raises(DataError, match="image 1"):
        check_corners(torch.tensor([[0.0, 0, 1, 1], [9, 9, 1, 1]]), torch.tensor([True, True]), 2)
    with pytest.raises(DataError):
        check_corners(torch.zeros(2, 4), torch.ones(2), 2)


@given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.tuples(*[st.integers(-12, 48)] * 4).map(lambda corners: [c / 8 for c in corners]),
)
def test_pixels_of_a_box_are_those_whose_centre_it_holds(height, width, box):
    left, top, right, bottom = box
    if not (
        left < right and top < bottom and right > 0 and bottom > 0 and left < width and top < height
    ):
        return
    expected = []
    for low, high, size in ((left, right, width), (top, bottom, height)):
        held = [p for p in range(size) if low <= p + 0.5 < high]
        middle = (max(low, 0) + min(high, size)) / 2
        expected.append(held or [min(math.floor(middle), size - 1)])
    x, y, after_x, after_y = pixels_of(torch.tensor([box]), torch.tensor([0]), height, width)[
        0
    ].tolist()
    assert [list(range(x, after_x)), list(range(y, after_y))] == expected


def test_a_box_outside_its_image_is_refused():
    for box in ([4.0, 0, 5, 1], [-2.0, 0, 0, 1], [0.0, -3, 1, 0], [0.0, 3, 1, 4]):
        with pytest.raises(DataError, match="image 7"):
            pixels_of(torch.tensor([box]), torch.tensor([7]), 3, 4)
