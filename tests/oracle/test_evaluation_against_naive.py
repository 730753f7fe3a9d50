"""Measures of explanations against equations written as loops (`naive_evaluation.py`), random and degenerate."""

from __future__ import annotations

import itertools
import json
import math
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from cofire.errors import CofireError, NonFiniteError
from cofire.evaluate.bandit import ucb1
from cofire.evaluate.deepfool import deepfool
from cofire.evaluate.evaluation import Evaluation
from cofire.evaluate.faithfulness import (
    Fill,
    area_under,
    confidence_change,
    deletion,
    filled,
    insertion,
    kept,
    soft_map,
)
from cofire.evaluate.judging import GRID
from cofire.evaluate.localisation import best_iou, fixed_boxes, iou, pointing_hits, threshold_boxes
from cofire.evaluate.measures import GROUPS, records_schema
from cofire.evaluate.methods import explained
from cofire.evaluate.running import run_evaluation
from cofire.evaluate.sensitivity import jaccard, rank_correlation
from cofire.explain.result.regions import Points, map_hull
from cofire.network import Network
from cofire.statistics import holm, mean_intervals, paired_bootstrap, sign_flip
from tests.evaluate.judged import (
    PREPARATION,
    tiny_collection,
    tiny_model,
    tiny_network,
    write_photos,
)

from . import naive_evaluation as naive

often = settings(deadline=None, database=None)
seldom = settings(deadline=None, max_examples=20, database=None)

KINDS = ("ties", "random", "constant", "zeros", "one point", "tiny", "scaled")


def generators():
    return st.integers(0, 2**32 - 1).map(np.random.default_rng)


def heat(generator, height, width, kind=None, dtype=None):
    """A map from 0 up of one of `KINDS`."""
    kind = kind or generator.choice(KINDS)
    found = {
        "ties": lambda: generator.integers(0, 3, (height, width)) / 10,
        "random": lambda: generator.random((height, width)),
        "constant": lambda: np.full((height, width), generator.choice([0.1, 1 / 3, 7.0])),
        "zeros": lambda: np.zeros((height, width)),
        "one point": lambda: (
            (np.arange(height * width) == generator.integers(height * width)).reshape(height, width)
            * 0.3
        ),
        "tiny": lambda: generator.integers(0, 3, (height, width)) * 1e-30,
        "scaled": lambda: (
            generator.integers(1, 4, (height, width)) * 10.0 ** float(generator.integers(-9, 9))
        ),
    }[kind]()
    return found.astype(dtype or generator.choice([np.float32, np.float64]))


def box(generator, height, width):
    """Whole, half and odd pixels; at borders, beyond them, of one pixel, thinner than one; never outside."""

    def side(size):
        kind = generator.integers(5)
        if kind == 0:
            start = int(generator.integers(size))
            return start, start + 1
        if kind == 1:
            start = generator.random() * (size - 0.25)
            return start, start + 0.2
        if kind == 2:
            return -2.5, generator.integers(1, size + 1) - 0.5
        if kind == 3:
            return generator.integers(size) + 0.5, size + 3.0
        first, second = sorted(generator.choice(2 * size + 1, 2, replace=False) / 2)
        return first, second

    (left, right), (top, bottom) = side(width), side(height)
    return np.array([left, top, right, bottom], np.float32)


def boxes(generator, height, width, most=3):
    return [box(generator, height, width) for _ in range(generator.integers(0, most + 1))]


def tensors(rows):
    """Ground truth as the package takes it."""
    return [torch.from_numpy(np.array(found, np.float32).reshape(-1, 4)) for found in rows]


def batch(maps, dtype=np.float64):
    return torch.from_numpy(np.stack([np.asarray(heat, dtype) for heat in maps]))


def same(found, expected, tolerance=1e-12):
    """A `PerImage` against values of which those that are None do not count."""
    assert found.counted.tolist() == [value is not None for value in expected]
    wanted = [0.0 if value is None else value for value in expected]
    np.testing.assert_allclose(found.values.numpy(), wanted, rtol=tolerance, atol=tolerance)


@often
@given(generators(), st.sampled_from([0, 0.25, 0.5, 1, 1.5, 2, 15]))
def test_pointing_game(generator, tolerance):
    height, width, dtype = *generator.integers(1, 9, 2), generator.choice([np.float32, np.float64])
    maps = [heat(generator, height, width, dtype=dtype) for _ in range(5)]
    truth = [boxes(generator, height, width) for _ in maps]
    found = pointing_hits(batch(maps, dtype), tensors(truth), tolerance=tolerance)
    same(found, [naive.pointing(a, b, tolerance) for a, b in zip(maps, truth, strict=True)])


def test_every_pixel_at_every_edge_of_boxes():
    """One hot pixel at each place of 4 × 5, for boxes on quarters of pixels."""
    places = list(itertools.product(range(4), range(5)))
    maps = np.zeros((len(places), 4, 5))
    for image, place in enumerate(places):
        maps[(image, *place)] = 1.0
    for left, right in itertools.combinations((0, 0.5, 1, 1.25, 1.5, 2, 2.5, 5), 2):
        truth = np.array([left, 1.5, right, 2.5], np.float32)
        for tolerance in (0.0, 0.25, 1.0):
            found = pointing_hits(
                torch.from_numpy(maps), tensors([[truth]] * len(places)), tolerance=tolerance
            )
            same(found, [naive.pointing(heat, [truth], tolerance) for heat in maps])


@often
@given(generators())
def test_intersection_over_union(generator):
    first, second = ([box(generator, 6, 7) for _ in range(4)] for _ in range(2))
    expected = [[naive.iou(a, b) for b in second] for a in first]
    np.testing.assert_allclose(
        iou(*(torch.from_numpy(np.stack(rows)) for rows in (first, second))), expected, 1e-12
    )
    truth = [boxes(generator, 6, 7) for _ in first]
    has = generator.random(4) < 0.7
    found = best_iou(torch.from_numpy(np.stack(first)), torch.from_numpy(has), tensors(truth))
    own = [a if there else None for a, there in zip(first, has, strict=True)]
    same(found, [naive.best_iou(a, b) for a, b in zip(own, truth, strict=True)])


def test_boxes_that_touch_or_lie_within():
    pairs = [
        ([0, 0, 1, 1], [1, 0, 2, 1]),
        ([0, 0, 4, 4], [1, 1, 2, 2]),
        ([0, 0, 1e6, 1e6], [0, 0, 1e6, 1e6]),
        ([1e6, 1e6, 1e6 + 1, 1e6 + 1], [1e6, 1e6, 1e6 + 2, 1e6 + 1]),
    ]
    for first, second in pairs:
        found = iou(*(torch.tensor([corners], dtype=torch.float32) for corners in (first, second)))
        assert found.item() == naive.iou(first, second)


@often
@given(generators())
def test_boxes_at_thresholds(generator):
    height, width, dtype = *generator.integers(1, 9, 2), generator.choice([np.float32, np.float64])
    maps = [heat(generator, height, width, dtype=dtype) for _ in range(4)]
    thresholds = [1 / 64, 0.25, 0.5, 0.75, 1.0]  # shares that no rounding moves
    found = threshold_boxes(batch(maps, dtype), thresholds)
    expected = [
        [naive.threshold_box(heat, share) or (0, 0, 0, 0) for heat in maps] for share in thresholds
    ]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))
    found = threshold_boxes(batch(maps, dtype), thresholds, connected=True)
    expected = [
        [naive.connected_box(heat, share) or (0, 0, 0, 0) for heat in maps] for share in thresholds
    ]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))
    one_by_one = [[map_hull(torch.from_numpy(map_), share) for map_ in maps] for share in GRID]
    np.testing.assert_array_equal(threshold_boxes(batch(maps, dtype), GRID), np.array(one_by_one))


@often
@given(
    generators(),
    st.sampled_from([(4, 0.25), (6, 0.25), (8, 0.25), (6, 4 / 9), (3, 1 / 9), (5, 1.0)]),
)
def test_the_fullest_window_of_square_images(generator, given_):
    size, share = given_
    side = round(size * math.sqrt(share))
    dtype = generator.choice([np.float32, np.float64])
    maps = [heat(generator, size, size, kind, dtype) for kind in KINDS]
    found = fixed_boxes(batch(maps, dtype), share)
    for image, map_ in enumerate(maps):
        assert bool(found.found[image]) == bool(map_.max() > map_.min())
        if found.found[image]:
            top, left = min(naive.fullest_windows(map_, side, side))
            assert found.corners[image].tolist() == [left, top, left + side, top + side], (
                KINDS[image],
                map_,
            )


@seldom
@given(generators())
def test_the_fullest_window_of_other_images(generator):
    """Of the size that the package finds nearest to the area; that size is held to what `as square as` can mean."""
    height, width = (int(size) for size in generator.integers(1, 10, 2))
    share = float(generator.choice([0.05, 0.25, 0.3, 0.5, 0.9, 1.0]))
    map_ = heat(generator, height, width, "random")
    map_[0, 0] = map_.max() + 0.5 if map_.size > 1 else map_[0, 0]
    found = fixed_boxes(torch.from_numpy(map_)[None], share)
    if map_.size == 1:
        assert not found.found[0]
        return
    left, top, right, bottom = (int(corner) for corner in found.corners[0])
    across, down, wanted = right - left, bottom - top, share * height * width
    assert abs(across * down - wanted) <= max(across, down) + 0.25  # each side to the nearest pixel
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert abs(across - down) <= 1 or (min(across, down) == min(height, width)), (
        height,
        width,
        share,
    )
    assert (top, left) == min(naive.fullest_windows(map_, down, across))


@pytest.mark.parametrize("unit", [1.0, 1e8, 2.0**-40])
def test_windows_of_count_images_are_tied(unit):
    """Sums of whole numbers are exact, whatever the largest of them is."""
    generator = np.random.default_rng(1)
    maps = generator.integers(1, 4, (40, 6, 6)) * unit
    found = fixed_boxes(torch.from_numpy(maps)).corners[:, :2].tolist()
    assert [(top, left) for left, top in found] == [
        min(naive.fullest_windows(map_, 3, 3)) for map_ in maps
    ]


def test_windows_that_hold_the_whole_blob_are_tied():
    """What rounding adds to equal sums must not move the window from the one nearest the middle."""
    generator = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        for _ in range(8):
            map_ = np.zeros((16, 16), dtype)
            top, left = generator.integers(0, 13, 2)
            map_[top : top + 3, left : left + 3] = generator.random(
                (3, 3)
            ) * 10.0 ** generator.integers(-6, 3, (3, 3))
            found = fixed_boxes(torch.from_numpy(map_)[None]).corners[0].tolist()
            expected = min(naive.fullest_windows(map_, 8, 8))
            assert (found[1], found[0]) == expected, (dtype, top, left)


@often
@given(generators())
def test_a_box_is_kept(generator):
    height, width = generator.integers(1, 8, 2)
    images = generator.normal(size=(4, 2, height, width)).astype(np.float32)
    corners = [box(generator, height, width) for _ in images]
    has = generator.random(4) < 0.8
    colour = np.array([-2.0, 0.5], np.float32)
    for fill, colours in (
        (Fill("black", torch.from_numpy(colour)), [colour] * 4),
        (Fill(), [naive.own_mean(image) for image in images]),
    ):
        found = kept(
            torch.from_numpy(images),
            torch.from_numpy(np.stack(corners)),
            torch.from_numpy(has),
            fill,
        )
        for image in range(4):
            own = corners[image] if has[image] else None
            np.testing.assert_allclose(
                found[image], naive.kept(images[image], own, colours[image]), 1e-5, 1e-6
            )


@often
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6))
def test_change_in_confidence(pairs):
    before, after = (
        torch.tensor(column, dtype=torch.float64) for column in zip(*pairs, strict=True)
    )
    found = confidence_change(before, after)
    same(found.increase, [float(b > a) for a, b in pairs])
    same(found.drop, [naive.change(a, b)[1] if a > 0 else None for a, b in pairs])


@often
@given(generators())
def test_an_image_seen_through_a_map(generator):
    height, width = generator.integers(1, 7, 2)
    images = generator.normal(size=(5, 3, height, width)).astype(np.float32)
    maps = [heat(generator, height, width, dtype=np.float32) for _ in images]
    colour = np.array([0.0, -1.0, 2.0], np.float32)
    found = soft_map(
        torch.from_numpy(images), batch(maps, np.float32), Fill("black", torch.from_numpy(colour))
    )
    for image, map_ in enumerate(maps):
        np.testing.assert_allclose(
            found[image], naive.soft(images[image], map_, colour), 1e-5, 2e-6
        )


def weighing(weights):
    """A network of two classes that looks at a weighted sum, for batches and for one image."""

    def predict(inputs):
        first = torch.sigmoid((inputs.double() * torch.from_numpy(weights)).flatten(1).sum(1))
        return torch.stack([first, 1 - first], dim=1)

    return predict, lambda image: 1 / (1 + math.exp(-float((image * weights).sum())))


@seldom
@given(generators(), st.sampled_from([1, 2, 3, 4, 6, 12]))
def test_deletion_and_insertion(generator, steps):
    images = generator.normal(size=(3, 2, 3, 4)).astype(np.float32)
    maps = [heat(generator, 3, 4, dtype=np.float64) for _ in images]
    predict, of_one = weighing(generator.normal(size=(2, 3, 4)))
    colour = np.array([0.5, -0.5], np.float32)
    ground = np.broadcast_to(colour[:, None, None], (2, 3, 4))
    fill, classes = Fill("black", torch.from_numpy(colour)), torch.zeros(3, dtype=torch.int64)
    for way, inserting in ((deletion, False), (insertion, True)):
        found = way(
            predict,
            torch.from_numpy(images),
            batch(maps),
            classes,
            steps=steps,
            fill=fill,
            at_once=2,
        )
        expected = [
            naive.curve(image, ground, map_, steps, of_one, inserting=inserting)
            for image, map_ in zip(images, maps, strict=True)
        ]
        np.testing.assert_allclose(found.probability, expected, 1e-6)
        flat = [map_.max() == map_.min() for map_ in maps]
        areas = [
            None if none else naive.area(row) for none, row in zip(flat, expected, strict=True)
        ]
        same(found.area, areas, 1e-6)


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 7, 10, 11])
def test_portions_are_equal_to_a_pixel(steps):
    image = torch.ones(1, 1, 11, 1)

    def share_left(inputs):
        left = inputs.flatten(1).double().mean(1)
        return torch.stack([left, 1 - left], dim=1)

    map_ = torch.arange(11.0).reshape(1, 11, 1)
    found = deletion(
        share_left, image, map_, torch.tensor([0]), steps=steps, fill=Fill("black", torch.zeros(1))
    )
    gone = 11 - 11 * found.probability[0]
    assert gone[0] == 0
    assert abs(gone[-1] - 11) < 1e-9
    portions = gone.diff()
    assert portions.max() - portions.min() < 1 + 1e-9
    assert all(
        abs(value - 11 * step / steps) < 1 + 1e-9 for step, value in enumerate(gone.tolist())
    )


@often
@given(st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_area_under_a_curve(heights):
    assert math.isclose(
        area_under(torch.tensor([heights], dtype=torch.float64)).item(),
        naive.area(heights),
        rel_tol=1e-12,
        abs_tol=1e-15,
    )


@often
@given(generators())
def test_jaccard(generator):
    def some():
        return [
            tuple(map(int, divmod(place, 5)))
            for place in generator.permutation(20)[: generator.integers(0, 6)]
        ]

    def points(places):
        y, x = torch.tensor(places, dtype=torch.int32).reshape(-1, 2).T
        return Points(y, x, torch.rand(len(places)))

    first, second = ([some() for _ in range(6)] for _ in range(2))
    second[0], second[1] = first[0], []
    found = jaccard([points(places) for places in first], [points(places) for places in second])
    same(found, [naive.jaccard(a, b) for a, b in zip(first, second, strict=True)])


@often
@given(generators())
def test_rank_correlation(generator):
    height, width, dtype = *generator.integers(1, 6, 2), generator.choice([np.float32, np.float64])
    first, second = (
        [heat(generator, height, width, dtype=dtype) for _ in range(5)] for _ in range(2)
    )
    second[0] = first[0] * 2
    expected = [naive.spearman(a, b) for a, b in zip(first, second, strict=True)]
    same(rank_correlation(batch(first, dtype), batch(second, dtype)), expected)


@often
@given(generators(), st.integers(1, 5), st.sampled_from(["ties", "bernoulli", "zeros", "random"]))
def test_ucb1(generator, arms, kind):
    trials = int(generator.integers(arms, 60))
    table = {
        "ties": lambda: np.full((trials, arms), 0.5),
        "bernoulli": lambda: (generator.random((trials, arms)) < generator.random(arms)).astype(
            float
        ),
        "zeros": lambda: np.zeros((trials, arms)),
        "random": lambda: generator.random((trials, arms)),
    }[kind]()
    pulled, rewards = naive.ucb1(table.tolist())
    found = ucb1(arms, table)
    assert found.pulled.tolist() == pulled
    assert found.rewards.tolist() == rewards
    np.testing.assert_allclose(
        found.regret, naive.hindsight_regret(table.tolist(), rewards), atol=1e-12
    )
    blind = ucb1(arms, lambda arm, trial: float(table[trial, arm]), trials)
    assert blind.pulled.tolist() == pulled
    own = [[r for a, r in zip(pulled, rewards, strict=True) if a == arm] for arm in range(arms)]
    np.testing.assert_allclose(blind.means, [math.fsum(row) / len(row) for row in own], rtol=1e-12)
    lost = [max(blind.means) - blind.means[arm] for arm in pulled]
    np.testing.assert_allclose(blind.regret, np.cumsum(lost), atol=1e-12)


@pytest.mark.parametrize(("classes", "features"), [(2, 1), (3, 4), (6, 3)])
def test_deepfool_on_linear_networks(classes, features):
    generator = np.random.default_rng(classes)
    weight = generator.normal(size=(classes, features)).astype(np.float32)
    bias = generator.normal(size=classes).astype(np.float32)
    model = nn.Linear(features, classes)
    model.weight.data.copy_(torch.from_numpy(weight))
    model.bias.data.copy_(torch.from_numpy(bias))
    images = generator.normal(size=(20, features)).astype(np.float32)
    network = Network(model, torch.zeros(1, features))
    exact = deepfool(network, torch.from_numpy(images), classes=classes, overshoot=0.0, steps=1)
    beyond = deepfool(network, torch.from_numpy(images), classes=classes, overshoot=0.02)
    for image in range(len(images)):
        length, other, way = naive.deepfool_linear(weight, bias, images[image])
        np.testing.assert_allclose(exact.norm[image], length, 1e-4, 1e-6)
        np.testing.assert_allclose(exact.images[image].numpy() - images[image], way, 1e-3, 1e-5)
        assert beyond.fooled[image]
        assert (beyond.after[image], beyond.steps[image]) == (other, 1)
        np.testing.assert_allclose(beyond.norm[image], 1.02 * length, 1e-3, 1e-5)


def between(value, ordered, share, reach=0.0125):
    """A percentile of 2000 draws lies, but for one draw of seeds in thousands, within `reach` of the exact one."""
    low, high = (naive.quantile(ordered, min(max(share + side, 0), 1)) for side in (-reach, reach))
    return low - 1e-12 <= value <= high + 1e-12


@pytest.mark.parametrize("seed", range(6))
def test_paired_bootstrap(seed):
    generator = np.random.default_rng(seed)
    first, second = generator.random(5), np.round(generator.random(5))
    means = naive.resampled_differences(first.tolist(), second.tolist())
    found = paired_bootstrap(torch.from_numpy(first - second), seed=seed)
    assert math.isclose(found.value, math.fsum(first - second) / 5)
    assert between(found.low, means, 0.025)
    assert between(found.high, means, 0.975)
    (column,) = mean_intervals((first - second)[:, None], differences=True, seed=seed)
    assert between(column.low, means, 0.025)
    assert between(column.high, means, 0.975)


@pytest.mark.parametrize("seed", range(4))
def test_bootstrap_of_what_counts(seed):
    """A draw's mean is over what counts in it; draws in which nothing does have none."""
    generator = np.random.default_rng(seed)
    values, counted = (
        generator.random((5, 2)),
        np.array([[1, 1], [0, 1], [1, 0], [0, 0], [1, 1]], bool),
    )
    found = mean_intervals(np.where(counted, values, np.nan), counted, draws=4000, seed=seed)
    for column in range(2):
        own = [
            value if there else None
            for value, there in zip(values[:, column], counted[:, column], strict=True)
        ]
        means = naive.resampled_differences(own, [0.0] * 5)
        assert found[column].counted == 3
        assert found[column].value == pytest.approx(values[counted[:, column], column].mean())
        assert between(found[column].low, means, 0.025)
        assert between(found[column].high, means, 0.975)


def test_bootstrap_of_alike_single_and_none():
    found = mean_intervals([[0.3, 1.0, 0.0]] * 4, [[True, True, False]] * 4)
    np.testing.assert_allclose([found[0].value, found[0].low, found[0].high], 0.3)
    assert [one and one.counted for one in found] == [4, 4, None]
    # Four that all are 1 are a share: of a width.
    assert (found[1].value, found[1].high) == (1, 1)
    assert found[1].low == pytest.approx(4 / (4 + 1.959964**2))
    (single,) = mean_intervals([[0.25]])
    assert (single.value, single.low, single.high) == (0.25, 0.25, 0.25)


@often
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=7), st.sampled_from([1, 10, 3]))
def test_sign_flips_of_few_photos(tenths, unit):
    """Tenths and thirds, so that sums that are equal in numbers differ in rounding."""
    exact = [Fraction(tenth, unit) for tenth in tenths]
    found = sign_flip(np.array([[float(value)] for value in exact]))
    assert found[0] == pytest.approx(naive.sign_flip(exact), abs=1e-12)


def test_sign_flips_of_many_photos_are_near_all_of_them():
    generator = np.random.default_rng(3)
    values = generator.normal(0.4, 1, 14)
    exact = naive.sign_flip(values.tolist())
    found = sign_flip(values[:, None], flips=9999)[0]
    assert abs(found - exact) < 5 * math.sqrt(exact * (1 - exact) / 9999)
    assert sign_flip(np.full((40, 1), 0.1))[0] == pytest.approx(1e-4)
    assert sign_flip(np.zeros((40, 1)))[0] == 1.0


def test_sign_flips_of_many_photos_count_ties():
    """15 photos of ±0.1: as far from 0 is decided by numbers, not by the order of additions."""
    tenths = [1] * 11 + [-1] * 4
    exact = naive.holm([2 * sum(math.comb(15, k) for k in range(5)) / 2**15])[0]
    found = sign_flip(np.array(tenths)[:, None] / 10, flips=9999)[0]
    assert abs(found - exact) < 5 * math.sqrt(exact * (1 - exact) / 9999)


@often
@given(st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.01, 0.05, 1.0])), max_size=7))
def test_holm(p):
    np.testing.assert_allclose(holm(p), naive.holm(p), rtol=1e-12)


def record(photo, method, pointing, drop):
    return dict.fromkeys(records_schema().names) | {
        "file": f"{photo}.png",
        "label": 1,
        "predicted": 1,
        "correct": True,
        "probability": 0.9,
        "confidence": 0.9,
        "boxes": int(pointing is not None),
        "split": "evaluation",
        "draws": [0],
        "evidence": True,
        "seconds": 0.1,
        "method": method,
        "pointing": pointing,
        "soft_drop": drop,
        "soft_increase": drop == 0,
    }


def test_differences_of_a_run():
    """Paired over photos that count for both, p by sign flips, held by Holm over the rivals of each measure."""
    generator, methods = np.random.default_rng(5), ["gradcam", "centre", "edges", "random"]
    drops = {method: generator.integers(0, 5, 6) / 4 * (method != "gradcam") for method in methods}
    hits = {
        method: [None if photo == 2 else float(generator.integers(2)) for photo in range(6)]
        for method in methods
    }
    rows = [
        record(photo, method, hits[method][photo], float(drops[method][photo]))
        for photo in range(6)
        for method in methods
    ]
    found = Evaluation(
        pa.Table.from_pylist(rows, schema=records_schema()),
        {"methods": methods, "measures": ["localisation", "soft"]},
    )
    measured = {
        "soft_drop": {method: values.tolist() for method, values in drops.items()},
        "pointing": hits,
    }
    differences, table = found.differences(), found.table()
    for measure, values in measured.items():
        own, p = values["gradcam"], []
        for rival in methods[1:]:
            pairs = [(a, b) for a, b in zip(own, values[rival], strict=True) if a is not None]
            p.append(naive.sign_flip([a - b for a, b in pairs]))
            change = differences[rival][measure]
            assert change.images == len(pairs)
            assert change.value == pytest.approx(math.fsum(a - b for a, b in pairs) / len(pairs))
            assert change.p == pytest.approx(p[-1])
            means = naive.resampled_differences(own, values[rival])
            if measure == "pointing":  # -1, 0 or 1: no shorter than few photos that differ allow
                assert change.low <= naive.quantile(sorted(means), 0.025 + 0.0125) + 1e-12
                assert change.high >= naive.quantile(sorted(means), 0.975 - 0.0125) - 1e-12
                continue
            assert between(change.low, means, 0.025)
            assert between(change.high, means, 0.975)
        assert [differences[rival][measure].p_holm for rival in methods[1:]] == pytest.approx(
            naive.holm(p)
        )
        for method in methods:
            counted = [value for value in values[method] if value is not None]
            estimate = table[method][measure]
            assert (estimate.images, estimate.left_out) == (len(counted), 6 - len(counted))
            assert estimate.mean == pytest.approx(math.fsum(counted) / len(counted))


WHOLE = {
    "discernible": {"threshold": 0.5},
    "discernible-p3": {},
    "gradcam": {"threshold": 0.5},
    "centre": {"threshold": 0.4},
}
"""Rules of boxes are given, so that none is learned."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Tiny photos, judged by every measure; and the same photos as this page reads them."""
    folder = write_photos(tmp_path_factory.mktemp("photos"), 8)
    network = tiny_network()
    found = run_evaluation(
        network,
        tiny_collection(folder),
        PREPARATION,
        list(WHOLE),
        folder / "out",
        options=WHOLE,
        measures=tuple(GROUPS),
        split="all",
        steps=4,
        batch_size=3,
        progress=False,
    )
    entries = json.loads((folder / "boxes.json").read_text())
    shown = np.stack(
        [np.asarray(Image.open(folder / "photos" / entry["file"])) for entry in entries]
    )
    return network, found.records.to_pylist(), entries, shown


@pytest.mark.parametrize("method", WHOLE)
def test_every_measure_of_a_whole_run(run, method):
    """The photo's class for localisation, the predicted one for faithfulness, the next one for sensitivity."""
    network, records, entries, shown = run
    rows = {row["file"]: row for row in records if row["method"] == method}
    model = tiny_model()

    def of(image, target):
        return explained(
            network, torch.from_numpy(image)[None], target, method, options=WHOLE[method]
        )

    def corners(explanation):
        boxes = explanation.boxes()
        return boxes.corners[0].tolist() if boxes.found[0] else None

    def answers(image):
        with torch.no_grad():
            return (
                model(torch.from_numpy(np.asarray(image, np.float32))[None])
                .double()
                .softmax(1)[0]
                .tolist()
            )

    for entry, one in zip(entries, shown, strict=True):
        row, truth = rows[entry["file"]], entry["boxes"]
        image = ((one / 255 - 0.5) / 0.25).transpose(2, 0, 1).astype(np.float32)
        scores = answers(image)
        first, other = sorted(range(3), key=lambda label: -scores[label])[:2]

        def seen(image, label=first):
            return answers(image)[label]

        def area(ground, inserting):
            return naive.area(naive.curve(image, ground, heats[1], 4, seen, inserting=inserting))  # noqa: B023

        own, decided, next_ = (of(image, target) for target in (entry["label"], first, other))
        heats = [explanation.heatmap()[0].numpy() for explanation in (own, decided, next_)]
        at = corners(decided)
        window = None
        if heats[1].max() > heats[1].min():
            top, left = min(naive.fullest_windows(heats[1], 8, 8))
            window = (left, top, left + 8, top + 8)
        blurred = filled(torch.from_numpy(image)[None], Fill("blur"))[0].numpy()
        expected = {
            "pointing": naive.pointing(heats[0], truth),
            "pointing_15": naive.pointing(heats[0], truth, 15),
            "iou": naive.best_iou(corners(own), truth),
            "kept_area": 0.0 if at is None else (at[2] - at[0]) * (at[3] - at[1]) / 256,
            "deletion": area(0 * image, inserting=False),
            "insertion": area(blurred, inserting=True),
            "rank_correlation": naive.spearman(heats[1], heats[2]),
        }
        if method.startswith("discernible"):
            places = [
                list(zip(e.points(0).y.tolist(), e.points(0).x.tolist(), strict=True))
                for e in (decided, next_)
            ]
            expected["jaccard"] = naive.jaccard(*places)
        kept_images = {
            "": naive.kept(image, at, [0, 0, 0]),
            "equal_": naive.kept(image, window, [0, 0, 0]),
            "soft_": naive.soft(image, heats[1], [0, 0, 0]),
        }
        for name, left_over in kept_images.items():
            rises, falls = naive.change(scores[first], seen(left_over))
            expected[f"{name}drop"] = falls
            if abs(rises - falls) == 1 or falls > 1e-6:  # where rounding does not decide
                expected[f"{name}increase"] = rises
        assert (row["predicted"], row["correct"]) == (first, first == entry["label"])
        for name, value in expected.items():
            near = (
                1e-3 if name == "rank_correlation" else 1e-5
            )  # batches round, and ranks turn on the last bit
            wanted = value if value is None else pytest.approx(value, rel=1e-4, abs=near)
            assert row[name] == wanted, (entry["file"], name)


def ones(*shape):
    return torch.ones(shape)


BAD = torch.tensor([[[0.0, math.nan], [1.0, 0.5]]])
BOX = [torch.tensor([[0.0, 0.0, 1.0, 1.0]])]
ODD = [torch.tensor([[0.0, 0.0, math.nan, 1.0]])]
THERE = torch.tensor([True])
REFUSED = {
    "pointing map": lambda: pointing_hits(BAD, BOX),
    "pointing box": lambda: pointing_hits(ones(1, 2, 2), ODD),
    "iou": lambda: iou(ODD[0], BOX[0]),
    "best_iou": lambda: best_iou(ODD[0], THERE, BOX),
    "best_iou truth": lambda: best_iou(BOX[0], THERE, ODD),
    "threshold_boxes": lambda: threshold_boxes(BAD, [0.5]),
    "fixed_boxes": lambda: fixed_boxes(BAD),
    "kept image": lambda: kept(BAD[None], BOX[0], THERE),
    "kept box": lambda: kept(ones(1, 1, 2, 2), ODD[0], THERE),
    "filled": lambda: filled(BAD[None]),
    "soft_map image": lambda: soft_map(BAD[None], ones(1, 2, 2)),
    "soft_map map": lambda: soft_map(ones(1, 1, 2, 2), BAD),
    "confidence before": lambda: confidence_change(torch.tensor([math.nan]), torch.tensor([0.5])),
    "confidence after": lambda: confidence_change(torch.tensor([0.5]), torch.tensor([math.nan])),
    "deletion": lambda: deletion(
        weighing(np.ones((1, 2, 2)))[0], ones(1, 1, 2, 2), BAD, torch.tensor([0]), steps=2
    ),
    "deletion image": lambda: deletion(
        weighing(np.ones((1, 2, 2)))[0], BAD[None], ones(1, 2, 2), torch.tensor([0]), steps=2
    ),
    "insertion": lambda: insertion(
        lambda inputs: torch.full((len(inputs), 2), math.nan),
        ones(1, 1, 2, 2),
        ones(1, 2, 2),
        torch.tensor([0]),
        steps=2,
    ),
    "area_under": lambda: area_under(torch.tensor([[0.5, math.nan]])),
    "rank_correlation": lambda: rank_correlation(BAD, ones(1, 2, 2)),
    "ucb1 table": lambda: ucb1(1, np.array([[math.nan]])),
    "ucb1 pull": lambda: ucb1(1, lambda arm, trial: math.nan, 1),
    "deepfool": lambda: deepfool(
        Network(nn.Linear(2, 2), torch.zeros(1, 2)), torch.tensor([[math.nan, 0.0]])
    ),
    "paired_bootstrap": lambda: paired_bootstrap(torch.tensor([math.nan])),
    "mean_intervals": lambda: mean_intervals([[math.nan]]),
    "sign_flip": lambda: sign_flip([[math.nan]]),
}


@pytest.mark.parametrize("what", REFUSED)
def test_nan_is_refused(what):
    with pytest.raises(NonFiniteError):
        REFUSED[what]()


@pytest.mark.parametrize("p", [math.nan, -0.1, 1.5])
def test_holm_refuses_what_is_no_probability(p):
    with pytest.raises(CofireError):
        holm([0.01, p])


def test_boxes_outside_the_image_are_refused():
    outside = torch.tensor([[2.0, 0.0, 3.0, 1.0]])
    for measure in (
        lambda: pointing_hits(ones(1, 2, 2), [outside]),
        lambda: kept(ones(1, 1, 2, 2), outside, THERE),
    ):
        with pytest.raises(CofireError):
            measure()


@pytest.mark.parametrize("corners", [[0.0, 0, 0, 1], [1.0, 0, 0, 1], [0.0, 0, 1, 0]])
def test_empty_boxes_are_refused(corners):
    empty = torch.tensor([corners])
    for measure in (
        lambda: pointing_hits(ones(1, 2, 2), [empty]),
        lambda: iou(empty, BOX[0]),
        lambda: best_iou(empty, THERE, BOX),
        lambda: best_iou(BOX[0], THERE, [empty]),
        lambda: kept(ones(1, 1, 2, 2), empty, THERE),
    ):
        with pytest.raises(CofireError):
            measure()
