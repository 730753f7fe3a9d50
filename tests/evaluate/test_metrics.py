"""Measures fed batch by batch: merged in any order they are what one batch gives."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cofire.errors import DataError, MergeError, OptionError, ResultError
from cofire.evaluate.faithfulness import Curve
from cofire.evaluate.metrics import (
    ChangeInConfidence,
    ClassSensitivity,
    DeletionInsertion,
    ExplanationShift,
    Localisation,
    Measure,
    PointingGame,
    SoftChange,
)
from cofire.evaluate.per_image import PerImage
from cofire.explain.result.regions import Points
from cofire.statistics import Interval, paired_bootstrap
from tests.explain.explanations import toy

NONE = torch.zeros(0, 4)
GENERATOR = torch.Generator().manual_seed(0)
MAPS = torch.rand(12, 5, 6, generator=GENERATOR)
BOXES = [NONE if number % 5 == 4 else torch.tensor([[1.0, 1, 4, 4]]) for number in range(12)]


def same(first, second):
    one, other = first.state(), second.state()
    return torch.equal(one.pop("values"), other.pop("values")) and one == other


def game(*numbers):
    found = PointingGame(tolerance=0.5)
    for number in numbers:
        found.update(MAPS[number : number + 1], [BOXES[number]])
    return found


@settings(max_examples=20)
@given(st.permutations(range(12)), st.integers(0, 12), st.integers(0, 12))
def test_merging_is_associative_and_commutative_to_the_last_bit(order, one, two):
    low, high = sorted((one, two))
    first, second, third = game(*order[:low]), game(*order[low:high]), game(*order[high:])
    whole = PointingGame(tolerance=0.5)
    whole.update(MAPS, BOXES)
    assert same(first.merge(second).merge(third), whole)
    assert same(third.merge(first.merge(second)), whole)
    assert (whole.left_out, len(whole.values)) == (2, 10)


def test_merging_leaves_both_as_they_were():
    first, second = game(0, 1), game(2)
    first.merge(second).update(MAPS[:1], [BOXES[0]])
    assert (len(first.values), len(second.values)) == (2, 1)
    first.values.fill_(9.0)
    assert float(first.values.max()) <= 1


def test_the_interval_is_that_of_all_images_whatever_their_order():
    found = ChangeInConfidence("drop")
    before, after = torch.rand(2, 40, generator=torch.Generator().manual_seed(1))
    found.update(before[:25], after[:25])
    found.update(before[25:], after[25:])
    drops = (before - after).double().clamp(min=0) / before
    expected = paired_bootstrap(drops.sort().values)
    result = found.result()
    assert (result.images, result.left_out) == (40, 0)
    assert (result.mean, result.low, result.high) == pytest.approx(
        (expected.value, expected.low, expected.high)
    )
    other = ChangeInConfidence("drop")
    other.update(before.flip(0), after.flip(0))
    assert other.result() == result


def test_nothing_to_measure_is_an_error_and_not_a_number():
    empty = Localisation()
    empty.update(torch.zeros(1, 4), torch.tensor([False]), [NONE])
    assert repr(empty) == "Localisation(at=None, 0 images, 1 left out)"
    with pytest.raises(DataError, match="1 left out"):
        empty.result()


def test_a_batch_that_is_refused_leaves_the_measure_as_it_was():
    found = game(0)
    with pytest.raises(DataError):
        found.update(MAPS[:2], [BOXES[0]])
    assert same(found, game(0))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (PointingGame(), PointingGame(15)),
        (Localisation(), Localisation(at=0.5)),
        (ChangeInConfidence(), SoftChange()),
        (DeletionInsertion("deletion"), DeletionInsertion("insertion")),
        (PointingGame(), Localisation()),
    ],
)
def test_measures_of_other_kinds_or_options_do_not_merge(first, second):
    with pytest.raises(MergeError):
        first.merge(second)
    with pytest.raises(MergeError):
        second.merge(first)


def test_states_make_the_measure_again():
    for measure in (
        game(0, 1, 4),
        Localisation(at=0.5),
        SoftChange("drop"),
        ExplanationShift("box_iou", sigma=0.2),
    ):
        again = Measure.from_state(measure.state())
        assert type(again) is type(measure)
        assert same(again, measure)
        assert same(again.merge(measure), measure.merge(measure))


@pytest.mark.parametrize(
    "changed",
    [
        {"measure": "Nothing"},
        {"measure": "Localisation"},
        {"values": [1.0]},
        {"values": torch.zeros(1)},
        {"values": torch.tensor([math.nan], dtype=torch.float64)},
        {"left_out": -1},
        {"left_out": None},
        {"options": {"reach": 1}},
        {"options": None},
    ],
)
def test_states_that_are_none_are_refused(changed):
    with pytest.raises(ResultError):
        PointingGame.from_state({**game(0).state(), **changed})


@pytest.mark.parametrize(
    "make",
    [
        lambda: PointingGame(-1),
        lambda: Localisation(at=0.0),
        lambda: ChangeInConfidence("rise"),
        lambda: DeletionInsertion("both"),
        lambda: ClassSensitivity("boxes"),
        lambda: ExplanationShift("map"),
        lambda: ExplanationShift(sigma=-1.0),
    ],
)
def test_options_that_cannot_be_are_refused(make):
    with pytest.raises(OptionError):
        make()


def test_localisation_as_a_mean_and_as_a_share():
    corners, found = torch.tensor([[0.0, 0, 2, 2], [0, 0, 1, 4]]), torch.tensor([True, True])
    truth = [torch.tensor([[0.0, 0, 2, 4]]), torch.tensor([[0.0, 0, 4, 4]])]
    results = []
    for at in (None, 0.5, 0.51):
        measure = Localisation(at)
        measure.update(corners, found, truth)
        results.append(measure.result().mean)
    assert results == [0.375, 0.5, 0.0]


def test_curves_points_maps_and_shifts_are_measures_too():
    areas = DeletionInsertion("insertion")
    areas.update(
        Curve(torch.zeros(2, 3), PerImage(torch.tensor([0.25, 0.5]), torch.tensor([True, False])))
    )
    assert areas.result() == Interval(0.25, 0.25, 0.25, 1, 1)

    at = [Points(torch.tensor([0]), torch.tensor([x]), torch.ones(1)) for x in (0, 1)]
    points = ClassSensitivity("points")
    points.update([at[0], at[0]], [at[0], at[1]])
    assert points.result().mean == 0.5
    for wrong in (MAPS, [1, 2]):
        with pytest.raises(DataError, match="no points"):
            points.update(wrong, wrong)

    moved = ExplanationShift("rank_correlation")
    moved.update(toy(), toy())
    assert moved.result().mean == pytest.approx(1)


def test_a_blur_that_changes_nothing_is_refused():
    for part in ("centroid", "box_iou"):
        with pytest.raises(OptionError, match="sigma"):
            ExplanationShift(part, sigma=0.2).update(toy(), toy())
    ExplanationShift("rank_correlation", sigma=0.2).update(toy(), toy())
