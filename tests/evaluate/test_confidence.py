"""What is kept of images, with which fill, and what becomes of the confidence."""

import math

import pytest
import torch
from scipy.ndimage import gaussian_filter

from cofire.errors import DataError, LabelError, NonFiniteError, OptionError
from cofire.evaluate.faithfulness import (
    Fill,
    confidence_change,
    filled,
    kept,
    probability_of,
    soft_map,
)

IMAGES = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).reshape(2, 3, 4, 5)
BOX = torch.tensor([[1.0, 0, 3, 2], [0, 0, 5, 4]])
BOTH = torch.tensor([True, True])


def test_a_box_is_kept_and_the_rest_is_filled():
    found = kept(IMAGES, BOX, BOTH, Fill("mean", torch.tensor([-1.0, -2.0, -3.0])))
    for channel in range(3):
        for y in range(4):
            for x in range(5):
                inside = 1 <= x < 3 and y < 2
                assert found[0, channel, y, x] == (
                    IMAGES[0, channel, y, x] if inside else -1.0 - channel
                )
    assert torch.equal(found[1], IMAGES[1])


def test_without_a_box_nothing_is_kept():
    found = kept(IMAGES, torch.zeros(2, 4), torch.tensor([False, False]))
    assert torch.equal(found, IMAGES.mean(dim=(2, 3), keepdim=True).expand_as(IMAGES))


def test_vectors_are_one_row_of_pixels():
    found = kept(torch.tensor([[1.0, 2, 3]]), torch.tensor([[1.0, 0, 2, 1]]), torch.tensor([True]))
    assert found.tolist() == [[2.0, 2.0, 2.0]]
    found = kept(torch.tensor([[1.0, 2, 6]]), torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([True]))
    assert found.tolist() == [[1.0, 3.0, 3.0]]


@pytest.mark.parametrize("sigma", [0.05, 0.3, 1.0])
def test_the_blur_is_scipys(sigma):
    images = torch.rand(
        1, 2, 13, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    found = filled(images, Fill("blur", sigma=sigma))
    for channel in range(2):
        plane = images[0, channel].numpy()
        expected = gaussian_filter(
            plane, sigma * 9, mode="nearest", radius=math.ceil(4 * sigma * 9)
        )
        assert abs(found[0, channel].numpy() - expected).max() < 1e-12


def test_a_blurred_plane_stays_one():
    assert torch.allclose(filled(torch.full((1, 1, 3, 3), 7.0), Fill("blur")), torch.tensor(7.0))


def test_a_soft_map_mixes_image_and_fill():
    maps = torch.zeros(2, 4, 5)
    maps[0, 0, 0], maps[0, 1, 1] = 4.0, 1.0
    maps[1] = 3.0
    found = soft_map(IMAGES, maps, Fill("black", torch.zeros(3)))
    assert torch.equal(found[0, :, 0, 0], IMAGES[0, :, 0, 0])
    assert torch.equal(found[0, :, 1, 1], IMAGES[0, :, 1, 1] / 4)
    assert not found[0, :, 2].any()
    assert not found[1].any()  # a constant map explains nothing


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "white"},
        {"kind": "black"},
        {"kind": "blur", "colour": torch.zeros(3)},
        {"kind": "mean", "colour": torch.zeros(1, 3)},
        {"kind": "mean", "colour": torch.zeros(3, dtype=torch.int64)},
        {"kind": "blur", "sigma": 0.0},
        {"kind": "blur", "sigma": 1.5},
    ],
)
def test_fills_that_cannot_be_are_refused(options):
    with pytest.raises(OptionError):
        Fill(**options)


def test_what_does_not_fit_is_refused():
    with pytest.raises(NonFiniteError):
        Fill("mean", torch.tensor([math.nan]))
    with pytest.raises(DataError, match="2 channels"):
        filled(IMAGES, Fill("mean", torch.zeros(2)))
    with pytest.raises(DataError, match="overlaps"):
        kept(IMAGES, BOX + 10, BOTH)
    with pytest.raises(DataError):
        kept(IMAGES[0], BOX, BOTH)
    with pytest.raises(DataError):
        kept(IMAGES.long(), BOX, BOTH)
    with pytest.raises(NonFiniteError):
        filled(IMAGES / 0)
    with pytest.raises(DataError, match="as the images"):
        soft_map(IMAGES, torch.zeros(2, 5, 4))


def test_the_change_is_computed_by_hand():
    change = confidence_change(
        torch.tensor([0.5, 0.5, 0.5, 0.0]), torch.tensor([0.6, 0.5, 0.1, 0.2])
    )
    assert change.increase.values.tolist() == [1, 0, 0, 1]
    assert change.increase.left_out == 0
    assert change.drop.values.tolist() == pytest.approx([0, 0, 0.8, 0])
    assert change.drop.counted.tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("before", "after", "error"),
    [
        (torch.zeros(2), torch.zeros(3), DataError),
        (torch.tensor([2.0]), torch.tensor([0.5]), DataError),
        (torch.tensor([-0.1]), torch.tensor([0.5]), DataError),
        (torch.tensor([math.nan]), torch.tensor([0.5]), NonFiniteError),
    ],
)
def test_what_is_no_probability_is_refused(before, after, error):
    with pytest.raises(error):
        confidence_change(before, after)


def test_probabilities_are_those_of_the_classes():
    inputs = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    found = probability_of(lambda given: given.softmax(1), inputs, torch.tensor([3, 0, 1]))
    assert torch.equal(found, inputs.softmax(1).double()[torch.arange(3), torch.tensor([3, 0, 1])])


@pytest.mark.parametrize(
    ("predict", "classes", "error"),
    [
        (lambda given: given, [0, 1], DataError),  # logits
        (lambda given: given.softmax(1)[:1], [0, 1], DataError),
        (lambda given: None, [0, 1], DataError),
        (lambda given: given.softmax(1) * math.nan, [0, 1], NonFiniteError),
        (lambda given: given.softmax(1), [0, 4], LabelError),
        (lambda given: given.softmax(1), [0, -1], LabelError),
        (lambda given: given.softmax(1), [0.0, 1.0], LabelError),
        (lambda given: given.softmax(1), [0], LabelError),
    ],
)
def test_predictions_and_classes_that_do_not_fit_are_refused(predict, classes, error):
    with pytest.raises(error):
        probability_of(predict, torch.full((2, 4), 0.9), torch.tensor(classes))
