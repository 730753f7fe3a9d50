"""How explanations are judged, as nested loops: slow, obvious, and without a look at the package.

Maps are rows of numbers, boxes `(left, top, right, bottom)` in pixels, right and bottom exclusive.
A figure that an image does not have is None: it enters no mean.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np


def pixels(height, width):
    return list(itertools.product(range(height), range(width)))


def in_box(y, x, box, height, width):
    """A pixel lies in a box when its centre does; one that holds no centre holds the pixel its middle falls in.

    Of a box that reaches beyond the image only what lies on it is meant.
    """
    left, top, right, bottom = (Fraction(float(value)) for value in box)
    half = Fraction(1, 2)

    def along(place, start, end, size):
        start, end = max(start, 0), min(end, size)
        centres = range(math.ceil(start - half), math.ceil(end - half))
        return place in centres if len(centres) else place == math.floor((start + end) / 2)

    return along(x, left, right, width) and along(y, top, bottom, height)


def distance(y, x, box):
    """Square of the distance from a pixel's centre to the nearest point of the box."""
    left, top, right, bottom = (Fraction(float(value)) for value in box)
    across, down = Fraction(2 * x + 1, 2), Fraction(2 * y + 1, 2)
    return max(left - across, 0, across - right) ** 2 + max(top - down, 0, down - bottom) ** 2


def pointing(heat, boxes, tolerance=0):
    """P3 eq. 6 for one image: the share of the tied maxima that hit."""
    if len(boxes) == 0:
        return None
    heat = np.asarray(heat)
    if heat.max() == heat.min():
        return 0.0
    tied = [place for place in pixels(*heat.shape) if heat[place] == heat.max()]
    reach = Fraction(tolerance) ** 2

    def hit(place):
        return any(
            in_box(*place, box, *heat.shape) or (tolerance > 0 and distance(*place, box) <= reach)
            for box in boxes
        )

    return float(Fraction(sum(hit(place) for place in tied), len(tied)))


def iou(first, second):
    a, b = ([Fraction(float(value)) for value in box] for box in (first, second))
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    both = width * height
    either = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return float(both / either) if either else 0.0


def best_iou(box, boxes):
    """`box` is None where the explanation has none."""
    if len(boxes) == 0:
        return None
    return 0.0 if box is None else max(iou(box, truth) for truth in boxes)


def hull(places):
    """The smallest box around pixels, or None around nothing."""
    if not places:
        return None
    rows, columns = zip(*places, strict=True)
    return (min(columns), min(rows), max(columns) + 1, max(rows) + 1)


def threshold_box(heat, share):
    """Around every pixel that reaches this share of the maximum, compared in exact numbers; none of a map of zeros."""
    heat = np.asarray(heat)
    least = Fraction(share) * Fraction(float(heat.max()))
    return hull(
        [place for place in pixels(*heat.shape) if least and Fraction(float(heat[place])) >= least]
    )


def connected_box(heat, share):
    """The same, of pixels that a path of such pixels, side by side, leads to from the first of the maxima."""
    heat = np.asarray(heat)
    least = Fraction(share) * Fraction(float(heat.max()))
    if not least:
        return None
    reached, before = {order(heat)[0]}, set()
    while reached != before:
        before = set(reached)
        for y, x in before:
            for place in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if place in pixels(*heat.shape) and Fraction(float(heat[place])) >= least:
                    reached.add(place)
    return hull(list(reached))


def window_sums(heat, height, width):
    """Exact sum of every window of this size, by its top left pixel."""
    values = [[Fraction(float(value)) for value in row] for row in np.asarray(heat)]
    return {
        (top, left): sum(
            sum(row[left : left + width], Fraction(0)) for row in values[top : top + height]
        )
        for top in range(len(values) - height + 1)
        for left in range(len(values[0]) - width + 1)
    }


def fullest_windows(heat, height, width):
    """Top left pixels of the windows that hold most, nearest the middle of the image first."""
    sums = window_sums(heat, height, width)
    most = max(sums.values())
    rows, columns = np.asarray(heat).shape

    def off(place):
        return (2 * place[0] + height - rows) ** 2 + (2 * place[1] + width - columns) ** 2

    held = [place for place, value in sums.items() if value == most]
    nearest = min(off(place) for place in held)
    return [place for place in held if off(place) == nearest]


def kept(image, box, colour):
    """P3 Fig. 4: the box stays, every other pixel takes the colour. Without a box nothing stays."""
    image = np.asarray(image)
    found = np.array(image)
    for channel in range(image.shape[0]):
        for y, x in pixels(*image.shape[1:]):
            if box is None or not in_box(y, x, box, *image.shape[1:]):
                found[channel, y, x] = colour[channel]
    return found


def own_mean(image):
    return [math.fsum(map(float, channel.ravel())) / channel.size for channel in np.asarray(image)]


def change(before, after):
    """Whether the confidence rises, and how much of it is lost."""
    return float(after > before), max(0.0, float(before) - float(after)) / float(before)


def soft(image, heat, colour):
    """The image seen through the map between its least and its highest value."""
    image, heat = np.asarray(image), np.asarray(heat)
    low, high = float(heat.min()), float(heat.max())
    found = np.zeros(image.shape)
    for channel in range(image.shape[0]):
        for y, x in pixels(*heat.shape):
            part = (float(heat[y, x]) - low) / (high - low) if high > low else 0.0
            found[channel, y, x] = part * float(image[channel, y, x]) + (1 - part) * float(
                colour[channel]
            )
    return found


def order(heat):
    """Pixels by falling heat, ties as they are read."""
    heat = np.asarray(heat)
    return sorted(pixels(*heat.shape), key=lambda place: -heat[place])


def curve(image, ground, heat, steps, predict, *, inserting, cuts=None):
    """Confidence after each of the portions: pixels go to the ground (deletion), or come from it (insertion)."""
    places = order(heat)
    if cuts is None:
        assert len(places) % steps == 0
        cuts = [len(places) * step // steps for step in range(steps + 1)]
    found = []
    for cut in cuts:
        seen = np.array(ground if inserting else image, dtype=float)
        source = image if inserting else ground
        for place in places[:cut]:
            seen[(slice(None), *place)] = source[(slice(None), *place)]
        found.append(float(predict(seen)))
    return found


def area(heights):
    """Trapezoids of equal width over [0, 1]."""
    pieces = [(first + second) / 2 for first, second in itertools.pairwise(heights)]
    return math.fsum(pieces) / len(pieces)


def jaccard(first, second):
    first, second = (set(map(tuple, points)) for points in (first, second))
    return len(first & second) / len(first | second) if first | second else None


def ranks(values):
    """Ranks from 1, tied values share the mean of theirs."""
    return [
        Fraction(
            sum(other < value for other in values) * 2
            + sum(other == value for other in values)
            + 1,
            2,
        )
        for value in values
    ]


def spearman(first, second):
    a, b = (ranks(np.asarray(values).ravel().tolist()) for values in (first, second))
    middle = Fraction(len(a) + 1, 2)
    a, b = ([value - middle for value in values] for values in (a, b))
    spread = sum(value * value for value in a) * sum(value * value for value in b)
    if spread == 0:
        return None
    return float(sum(x * y for x, y in zip(a, b, strict=True))) / math.sqrt(spread)


def ucb1(table):
    """Auer et al. 2002 on known rewards (trials, arms): each arm once, then the highest `mean + √(2 ln t / n)`."""
    arms = len(table[0])
    pulled, rewards = [], []
    for trial, row in enumerate(table):
        if trial < arms:
            arm = trial
        else:
            heights = []
            for candidate in range(arms):
                own = [reward for a, reward in zip(pulled, rewards, strict=True) if a == candidate]
                heights.append(
                    math.fsum(own) / len(own) + math.sqrt(2 * math.log(trial) / len(own))
                )
            arm = heights.index(max(heights))
        pulled.append(arm)
        rewards.append(row[arm])
    return pulled, rewards


def hindsight_regret(table, rewards):
    """What the arm that was best over all trials would have won by each trial, less what was won."""
    best = max(range(len(table[0])), key=lambda arm: math.fsum(row[arm] for row in table))
    return [
        math.fsum(row[best] for row in table[: t + 1]) - math.fsum(rewards[: t + 1])
        for t in range(len(table))
    ]


def deepfool_linear(weight, bias, image):
    """The nearest point where another class ties with the predicted one, of `scores = weight · image + bias`."""
    weight, image = np.asarray(weight, float), np.asarray(image, float)
    scores = [math.fsum(row * image) + b for row, b in zip(weight, bias, strict=True)]
    own = scores.index(max(scores))
    best = None
    for other in range(len(scores)):
        if other == own:
            continue
        slope = weight[other] - weight[own]
        gap = scores[own] - scores[other]
        length = gap / math.sqrt(math.fsum(slope * slope))
        if best is None or length < best[0]:
            best = (length, other, gap / math.fsum(slope * slope) * slope)
    return best


def resampled_differences(first, second):
    """Mean paired difference over every one of the nⁿ draws of pairs, sorted; pairs with a None do not count."""
    means = []
    for draw in itertools.product(list(zip(first, second, strict=True)), repeat=len(first)):
        found = [a - b for a, b in draw if a is not None and b is not None]
        if found:
            means.append(math.fsum(found) / len(found))
    return sorted(means)


def quantile(ordered, share):
    """Linear between the neighbours."""
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def sign_flip(differences):
    """Two-sided p: the share of all 2ⁿ choices of signs whose mean is at least as far from 0. Takes fractions."""
    values = [Fraction(value) for value in differences]
    seen = abs(sum(values))
    flips = list(itertools.product((1, -1), repeat=len(values)))
    return sum(
        abs(sum(s * v for s, v in zip(signs, values, strict=True))) >= seen for signs in flips
    ) / len(flips)


def holm(p):
    """Holm 1979, stepping down, in the order given."""
    ordered = sorted(range(len(p)), key=lambda i: p[i])
    found, highest = [0.0] * len(p), 0.0
    for place, i in enumerate(ordered):
        highest = max(highest, min(1.0, (len(p) - place) * p[i]))
        found[i] = highest
    return found
