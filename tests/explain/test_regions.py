"""Outliers, boxes and heat maps against a double loop, and where there is next to nothing."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cofire.errors import OptionError
from cofire.explain.result.regions import heat, hull, map_hull, staying

WHOLE = torch.int32


def by_loops(y, x, height, width, min_share, radius, weights):
    """Straight from the definition: distances of all pairs."""
    limit = radius * math.hypot(height, width)
    total = sum(weights)
    kept = []
    for a in range(len(y)):
        near = [
            w
            for b, w in enumerate(weights)
            if math.sqrt((y[a] - y[b]) ** 2 + (x[a] - x[b]) ** 2) < limit
        ]
        kept.append(sum(near) > min_share * total)
    return kept


@st.composite
def scattered(draw):
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    place = st.tuples(st.integers(0, height - 1), st.integers(0, width - 1))
    places = draw(st.lists(place, max_size=40))
    # Halves sum exactly in any order, so that a tie is a tie for both.
    scores = draw(st.lists(st.integers(1, 64), min_size=len(places), max_size=len(places)))
    share = draw(st.sampled_from([0.0, 0.05, 0.1, 0.25, 0.5, 0.9]))
    radius = draw(st.sampled_from([0.001, 0.05, 0.1, 0.2, 0.5, 1.0, 3.0]))
    return height, width, places, [s / 2 for s in scores], share, radius


@given(scattered())
def test_outliers_are_those_of_the_double_loop(case):
    height, width, places, scores, share, radius = case
    y, x = ([place[axis] for place in places] for axis in (0, 1))
    ys, xs = torch.tensor(y, dtype=WHOLE), torch.tensor(x, dtype=WHOLE)
    bounds = {"min_share": share, "radius": radius}
    found = staying(ys, xs, height, width, **bounds).tolist()
    assert found == by_loops(y, x, height, width, share, radius, [1] * len(y))
    found = staying(ys, xs, height, width, **bounds, score=torch.tensor(scores)).tolist()
    assert found == by_loops(y, x, height, width, share, radius, scores)


@pytest.mark.parametrize("sides", [(30, 40), (60, 80), (224, 224), (5, 12), (299, 299)])
def test_what_lies_exactly_on_the_circle_is_not_near(sides):
    height, width = sides
    y, x = torch.meshgrid(torch.arange(0, height, 3), torch.arange(0, width, 2), indexing="ij")
    y, x = y.flatten()[:300].tolist(), x.flatten()[:300].tolist()
    for radius in (0.05, 0.1, 0.2):
        found = staying(torch.tensor(y), torch.tensor(x), height, width, radius=radius).tolist()
        assert found == by_loops(y, x, height, width, 0.05, radius, [1] * len(y))


def test_large_images_are_looked_up_in_parts():
    generator = torch.Generator().manual_seed(1)
    y, x = (
        torch.randint(3000, (4000,), generator=generator),
        torch.randint(4000, (4000,), generator=generator),
    )
    found = staying(y, x, 3000, 4000, min_share=0.031)
    near = torch.cdist(torch.stack([y, x], 1).double(), torch.stack([y, x], 1).double()) < 500
    assert torch.equal(found, near.sum(dim=1) > 0.031 * 4000)
    assert 0 < int(found.sum()) < 4000


def test_a_few_points_all_stay_and_twenty_lonely_ones_do_not():
    assert staying(torch.zeros(0, dtype=WHOLE), torch.zeros(0, dtype=WHOLE), 9, 9).tolist() == []
    for count, stays in ((1, True), (5, True), (19, True), (20, False)):
        lonely = torch.arange(count) * 100
        assert staying(lonely, lonely, 2000, 2000, radius=0.01).tolist() == [stays] * count


def test_by_score_a_lonely_strong_point_stays_and_a_lonely_weak_one_goes():
    y, x = torch.tensor([0, 0, 90]), torch.tensor([0, 1, 90])
    assert staying(y, x, 100, 100, min_share=0.4).tolist() == [True, True, False]
    strong = torch.tensor([0.1, 0.1, 0.8])
    assert staying(y, x, 100, 100, min_share=0.4, score=strong).tolist() == [False, False, True]


def test_the_box_is_tight_with_exclusive_ends():
    assert hull(torch.tensor([3, 9]), torch.tensor([7, 2])).tolist() == [2, 3, 8, 10]
    assert hull(torch.zeros(0), torch.zeros(0)).tolist() == [0, 0, 0, 0]


def test_the_box_of_a_map_holds_what_reaches_the_threshold():
    values = torch.zeros(5, 6)
    values[1, 2], values[3, 4], values[4, 5] = 2.0, 1.0, 0.99
    assert map_hull(values).tolist() == [2, 1, 5, 4]
    assert map_hull(values, threshold=1.0).tolist() == [2, 1, 3, 2]
    assert map_hull(torch.zeros(5, 6)).tolist() == [0, 0, 0, 0]


def heat_by_loops(y, x, score, height, width, deviation):
    end = int(4 * deviation + 0.5)
    bell = [math.exp(-0.5 * (step / deviation) ** 2) for step in range(-end, end + 1)]
    bell = [value / sum(bell) for value in bell]
    found = torch.zeros(height, width, dtype=torch.float64)
    for row, column, weight in zip(y, x, score, strict=True):
        for dy in range(-end, end + 1):
            for dx in range(-end, end + 1):
                if 0 <= row + dy < height and 0 <= column + dx < width:
                    found[row + dy, column + dx] += weight * bell[dy + end] * bell[dx + end]
    return found


def test_the_heat_map_is_a_sum_of_gaussians_that_leaves_nothing_at_the_border():
    y, x, score = [0, 4, 4, 11], [0, 4, 5, 8], [0.5, 0.25, 0.125, 0.125]
    for sigma in (0.05, 0.1, 0.3):
        found = heat(torch.tensor(y), torch.tensor(x), torch.tensor(score), 12, 9, sigma=sigma)
        expected = heat_by_loops(y, x, score, 12, 9, sigma * 9)
        assert torch.allclose(found.double(), expected, atol=1e-8)
        assert float(found.sum()) <= 1 + 1e-6
    points = heat(torch.tensor(y), torch.tensor(x), torch.tensor(score), 12, 9, sigma=0)
    assert points[4, 4] == 0.25
    assert float(points.sum()) == 1


def test_without_points_the_heat_map_is_zero():
    none = torch.zeros(0, dtype=WHOLE)
    assert heat(none, none, torch.zeros(0), 7, 5).tolist() == torch.zeros(7, 5).tolist()


@pytest.mark.parametrize(
    "bounds",
    [
        {"min_share": 1.0},
        {"min_share": -0.1},
        {"radius": 0.0},
        {"radius": math.nan},
        {"radius": "far"},
    ],
)
def test_bad_numbers_are_refused_with_what_would_do(bounds):
    with pytest.raises(OptionError, match=rf"{next(iter(bounds))}=.*To fix it: pass"):
        staying(torch.tensor([1]), torch.tensor([1]), 9, 9, **bounds)


def test_other_bad_numbers_are_refused():
    with pytest.raises(OptionError, match="threshold"):
        map_hull(torch.ones(2, 2), 0.0)
    with pytest.raises(OptionError, match="sigma"):
        heat(torch.tensor([1]), torch.tensor([1]), torch.tensor([1.0]), 9, 9, sigma=-1.0)
