"""Strongest areas, what they share, and what lies in boxes, against sets of pixels."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cofire.errors import DataError, OptionError
from cofire.evaluate.localisation import area_overlap, chance_overlap, share_inside, strongest_area

SHADES = st.lists(st.integers(0, 4), min_size=12, max_size=12)


def strongest(values, many):
    """The largest set of strongest values above 0, whole levels, of at most so many pixels, or the first level."""
    chosen = set()
    for level in sorted({value for value in values if value > 0}, reverse=True):
        wider = {at for at, value in enumerate(values) if value >= level}
        if len(wider) > many and chosen:
            break
        chosen = wider
        if len(wider) >= many:
            break
    return chosen


@settings(deadline=None)
@given(SHADES, SHADES, st.sampled_from([0.1, 0.25, 0.5, 0.9]))
def test_overlap_is_that_of_sets_of_pixels(first, second, area):
    here, there = (torch.tensor(values).float().reshape(1, 3, 4) for values in (first, second))
    many = max(1, round(area * 12))
    one, other = strongest(first, many), strongest(second, many)
    mask = strongest_area(here, area).flatten().nonzero().flatten().tolist()
    assert set(mask) == one
    found = area_overlap(here, there, area)
    counted = len(set(first)) > 1 and len(set(second)) > 1
    assert found.counted.tolist() == [counted]
    if counted:
        assert float(found.values[0]) == pytest.approx(len(one & other) / len(one | other))


def test_ties_are_in_or_out_together():
    assert strongest_area(torch.tensor([[[3.0, 1.0, 1.0, 1.0]]]), area=0.5).tolist() == [
        [[True, False, False, False]]
    ]
    assert strongest_area(torch.tensor([[[3.0, 3.0, 3.0, 1.0]]]), area=0.5).tolist() == [
        [[True, True, True, False]]
    ]
    assert not bool(strongest_area(torch.zeros(2, 3, 3)).any())
    assert strongest_area(torch.zeros(0, 3, 3)).shape == (0, 3, 3)


def test_chance_is_what_shuffled_maps_share():
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.rand(60, 20, 20, generator=generator) for _ in range(2))
    assert area_overlap(first, second, 0.3).mean() == pytest.approx(chance_overlap(0.3), abs=0.01)


def test_the_share_inside_counts_every_pixel_once():
    maps = torch.zeros(4, 4, 4)
    maps[:3, 1, 1], maps[:3, 3, 3] = 3.0, 1.0
    twice = torch.tensor([[0.0, 0, 2, 2], [1.0, 1, 3, 3]])
    found = share_inside(maps, [twice, torch.tensor([[3.0, 3, 9, 9]]), torch.zeros(0, 4), twice])
    assert found.values.tolist() == [0.75, 0.25, 0.0, 0.0]
    assert found.counted.tolist() == [True, True, False, False]


def test_what_cannot_be_is_refused():
    maps = torch.rand(1, 2, 2)
    with pytest.raises(OptionError):
        strongest_area(maps, 0.0)
    with pytest.raises(OptionError):
        chance_overlap(1.0)
    with pytest.raises(DataError):
        area_overlap(maps, torch.rand(1, 2, 3))
    with pytest.raises(DataError):
        share_inside(maps, [])
    with pytest.raises(DataError):
        strongest_area(-maps)
