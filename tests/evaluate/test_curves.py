"""Deletion and insertion against a plain loop over pixels."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cofire.errors import DataError, LabelError, NonFiniteError, OptionError
from cofire.evaluate.faithfulness import Fill, area_under, deletion, filled, insertion

WEIGHTS = torch.randn(3 * 4 * 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def predict(inputs):
    return (inputs.double().flatten(1) @ WEIGHTS[: inputs[0].numel()]).softmax(1)


def by_loop(image, grid, label, steps, fill, way):
    """One image, one pixel at a time."""
    background = filled(image[None], fill)[0]
    start, end = (image, background) if way is deletion else (background, image)
    height, width = grid.shape
    pixels = [(y, x) for y in range(height) for x in range(width)]
    pixels.sort(key=lambda place: -grid[place].item())  # Python's sort keeps the order of ties
    now = start.clone()
    curve = [predict(now[None])[0, label].item()]
    done = 0
    for step in range(1, steps + 1):
        while done < step * len(pixels) // steps:
            y, x = pixels[done]
            now[:, y, x] = end[:, y, x]
            done += 1
        curve.append(predict(now[None])[0, label].item())
    area = sum((a + b) / 2 for a, b in itertools.pairwise(curve)) / steps
    return curve, area


@given(
    st.integers(0, 1000),
    st.integers(1, 20),
    st.integers(1, 50),
    st.sampled_from([deletion, insertion]),
)
def test_curves_are_those_of_the_plain_loop(seed, steps, at_once, way):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(2, 3, 4, 5, generator=generator)
    maps = torch.randint(0, 4, (2, 4, 5), generator=generator).float()
    maps[:, 0, 0] = 5.0  # never constant
    classes = torch.randint(0, 6, (2,), generator=generator)
    fill = Fill("blur", sigma=0.3) if seed % 2 else Fill("black", torch.tensor([-1.0, 0.0, 2.0]))
    curve = way(predict, images, maps, classes, steps=steps, fill=fill, at_once=at_once)
    for at in range(2):
        expected, area = by_loop(images[at], maps[at], classes[at], steps, fill, way)
        assert curve.probability[at].tolist() == pytest.approx(expected, abs=1e-12)
        assert curve.area.values[at].item() == pytest.approx(area, abs=1e-12)


def test_insertion_begins_blurred_and_deletion_ends_in_the_mean_colour():
    images = torch.rand(1, 3, 4, 5)
    maps = torch.rand(1, 4, 5)
    label = torch.tensor([2])
    first = insertion(predict, images, maps, label, steps=4)
    assert first.probability[0, 0] == predict(filled(images, Fill("blur")))[0, 2]
    assert first.probability[0, -1] == predict(images)[0, 2]
    last = deletion(predict, images, maps, label, steps=4)
    assert last.probability[0, 0] == predict(images)[0, 2]
    assert last.probability[0, -1] == predict(filled(images, Fill("mean")))[0, 2]


def test_a_constant_map_orders_nothing_and_is_not_counted():
    curve = deletion(
        predict, torch.rand(2, 3, 4, 5), torch.ones(2, 4, 5), torch.tensor([0, 1]), steps=2
    )
    assert curve.area.counted.tolist() == [False, False]


def test_the_pixel_that_decides_goes_first_for_a_good_map_and_last_for_a_bad_one():
    def first_pixel(inputs):
        return torch.stack([inputs[:, 0], 1 - inputs[:, 0]], dim=1)

    images, black, label = (
        torch.tensor([[1.0, 0, 0, 0]]),
        Fill("black", torch.zeros(1)),
        torch.tensor([0]),
    )
    good, bad = torch.tensor([[[3.0, 2, 1, 0]]]), torch.tensor([[[0.0, 1, 2, 3]]])
    areas = [
        way(first_pixel, images, maps, label, steps=4, fill=black).area.values.item()
        for way in (deletion, insertion)
        for maps in (good, bad)
    ]
    assert areas == [0.125, 0.875, 0.875, 0.125]


def test_what_does_not_fit_is_refused():
    images, maps, label = torch.rand(1, 3, 4, 5), torch.rand(1, 4, 5), torch.tensor([0])
    for options in ({"steps": 0}, {"steps": 21}, {"at_once": 0}, {"steps": 2.5}):
        with pytest.raises(OptionError):
            deletion(predict, images, maps, label, **options)
    with pytest.raises(DataError):
        deletion(predict, images, maps[:, :3], label)
    with pytest.raises(LabelError):
        insertion(predict, images, maps, torch.tensor([6]), steps=2)
    with pytest.raises(LabelError):
        insertion(predict, images, maps, torch.tensor([0, 1]), steps=2)
    with pytest.raises(DataError, match="softmax"):
        deletion(lambda inputs: torch.full((len(inputs), 6), 0.9), images, maps, label, steps=2)


def test_areas_need_two_points_and_probabilities():
    with pytest.raises(DataError):
        area_under(torch.zeros(2, 1))
    with pytest.raises(DataError):
        area_under(torch.tensor([[0.0, 2.0]]))
    with pytest.raises(NonFiniteError):
        area_under(torch.tensor([[0.0, math.nan]]))
