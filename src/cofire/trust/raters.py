"""Simulated raters, and how many real ones a study needs: what is planned is held against what is simulated.

Simulated answers are for tests, for benchmarks, and to see what a report will look like
(`cofire trust report --simulated`); they are never written to a study's database.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from cofire.trust.answers import Answer, Person
from cofire.trust.design import Study

PEOPLE, IMAGES = 0.05, 0.10
"""How alike two votes are (correlation) of one person, and on one image, unless a pilot says otherwise."""
_POWER = float(norm.ppf(0.8))
MOST_PEOPLE = 10_000


def detectable(people: int, images: int) -> float:
    """The weakest preference that four of five such studies find: a share of votes from 0.5 to 1.

    A vote's variance is p (1 - p), of which `PEOPLE` is the person's, `IMAGES` the image's and the
    rest neither's; the interval is that of `cofire.statistics.crossed_interval`.

    Example:
        >>> round(detectable(12, 58), 3), round(detectable(100, 58), 3)
        (0.624, 0.569)
    """
    rest = (1 - PEOPLE - IMAGES) / (people * images)
    reach = float(t.ppf(0.975, min(people, images) - 1)) + _POWER
    errors = reach * math.sqrt(PEOPLE / people + IMAGES / images + rest)
    # So many standard errors from 0.5, where an error is the root of p (1 - p) times that.
    return 0.5 + errors / (2 * math.sqrt(1 + errors**2))


def people_needed(preference: float, images: int) -> int | None:
    """How many people find a preference in four of five studies.

    Args:
        preference: Share of votes, above 0.5.
        images: That each of them sees.

    Returns:
        None where no number of people would: then more images are needed.

    Example:
        >>> people_needed(0.65, 58), people_needed(0.52, 58)
        (9, None)
    """
    low, high = 2, MOST_PEOPLE
    if detectable(high, images) > preference:
        return None
    while low < high:
        middle = (low + high) // 2
        found = detectable(middle, images) <= preference
        low, high = (low, middle) if found else (middle + 1, high)
    return low


def votes(
    studies: int,
    people: int,
    images: int,
    preference: float,
    *,
    alike: tuple[float, float] = (PEOPLE, IMAGES),
    seed: int = 0,
) -> NDArray[np.bool_]:
    """Votes for the second network in simulated studies: (studies, people, images).

    A person votes for the second network where a normal number is positive: the sum of the
    preference, the person's taste, the image's and chance.

    Args:
        studies: How many.
        people: In each.
        images: That each of them sees.
        preference: The share of votes for the second network that a very large study would have.
        alike: Correlation of two votes of one person, and on one image, were there no preference.
        seed: Of all of it.

    Example:
        >>> votes(2, 3, 4, 0.5).shape
        (2, 3, 4)
    """
    random = np.random.default_rng(seed)
    # The correlation of signs of two normal numbers of correlation r is 2 / pi * asin(r).
    tastes = [math.sin(math.pi / 2 * one) for one in alike]
    rest = 1 - sum(tastes)
    found = (
        norm.ppf(preference)
        + math.sqrt(tastes[0]) * random.standard_normal((studies, people, 1))
        + math.sqrt(tastes[1]) * random.standard_normal((studies, 1, images))
        + math.sqrt(rest) * random.standard_normal((studies, people, images))
    )
    return np.asarray(found > 0)


def simulated(
    study: Study, people: int, preference: float, *, careless: Sequence[int] = (), seed: int = 0
) -> list[tuple[Person, Answer]]:
    """The answers of simulated raters to a study, as `cofire.trust.answers.Answers.all` gives real ones.

    Args:
        study: What they are shown.
        people: How many.
        preference: Share of their votes for the second network.
        careless: Numbers, from 0, of those who always choose the left map.
        seed: Of all they say.
    """
    random = np.random.default_rng(seed + 1)
    (for_second,) = votes(1, people, len(study.pairs), preference, seed=seed)
    at_image = {one.shown: at for at, one in enumerate(study.pairs)}
    found = []
    for number in range(people):
        person = Person(number=number + 1, id=f"simulated-{number + 1}", device="other")
        for place, shown in enumerate(study.trials(number), 1):
            second = shown.kind != "check" and for_second[number, at_image[shown.picture.shown]]
            left = number in careless or shown.first_left != second
            better = int(random.integers(3, 6))
            worse = max(1, better - int(random.integers(0, 2 if shown.kind != "check" else 4)))
            left_rating, right_rating = (better, worse) if left else (worse, better)
            found.append(
                (
                    person,
                    Answer(
                        person=number + 1,
                        place=place,
                        kind=shown.kind,
                        image=shown.picture.image,
                        method=study.methods[shown.method],
                        left="first" if shown.first_left else "second",
                        chosen="left" if left else "right",
                        left_rating=left_rating,
                        right_rating=right_rating,
                        seconds=float(random.integers(5, 40)),
                    ),
                )
            )
    return found
