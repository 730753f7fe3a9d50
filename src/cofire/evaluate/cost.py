"""What a run costs, said before it: how many explanations, and how long they take as the first few of them tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from cofire.images.collection import Collection, sample
from cofire.marks import check_whole

MOST_TUNING = 500
"""Photos that the rules of boxes around heat are learned on, unless so many are not even judged."""

Tell = Callable[[str], object]
"""Called with a line for the user."""


def tuning_part(tuning: Collection, asked: int | None, judged: int | None, seed: int) -> Collection:
    """The photos that boxes are learned on: no more than are judged, where somebody wanted few of them judged.

    Args:
        tuning: All photos of the tuning half.
        asked: How many at the most; None for `MOST_TUNING`, or fewer.
        judged: How many photos somebody wants judged; None where it is all of them.
        seed: Of the draw.

    Raises:
        OptionError: `asked` is no number of photos.
    """
    most = (
        check_whole("tuning_photos", asked)
        if asked is not None
        else min(MOST_TUNING, judged or MOST_TUNING)
    )
    return sample(tuning, most, seed) if len(tuning) > most else tuning


def cost_told(
    photos: int, methods: Sequence[str], tuning: int = 0, heated: Sequence[str] = ()
) -> str:
    """How many explanations a run makes, in words.

    Args:
        photos: That are judged.
        methods: By which each is explained.
        tuning: Photos that the rules of boxes are learned on.
        heated: The methods that have such rules.

    Example:
        >>> cost_told(12, ["discernible", "centre"], 10, ["discernible"])
        '12 photos explained by 2 methods, and 10 to learn the boxes of 1 of them: 34 explanations'
    """
    learned = tuning if heated else 0
    total = photos * len(methods) + learned * len(heated)
    more = f", and {learned:,} to learn the boxes of {len(heated)} of them" if learned else ""
    return (
        f"{photos:,} {'photo' if photos == 1 else 'photos'} explained by {len(methods)} "
        f"{'method' if len(methods) == 1 else 'methods'}{more}: {total:,} explanations"
    )


def seconds_of(call: Callable[[], object]) -> float:
    """How long a call takes, after one that may load or compile what it needs."""
    call()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def duration_told(seconds: float) -> str:
    """About how long, in words.

    Example:
        >>> duration_told(3), duration_told(500), duration_told(9000)
        ('less than a minute', 'about 8 minutes', 'about 2.5 hours')
    """
    if seconds < 60:
        return "less than a minute"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"about {minutes} {'minute' if minutes == 1 else 'minutes'}"
    return f"about {seconds / 3600:.1f} hours"
