"""What an interval of a gain says, in a word and in a sentence."""

from __future__ import annotations

from typing import Literal

__all__ = ["Verdict", "verdict"]

Verdict = Literal["helps", "no difference", "hurts"]


def verdict(low: float, high: float) -> Verdict:
    """What a 95 % interval of a difference says: only an interval that leaves out 0 says something.

    Args:
        low: The lower end.
        high: The upper end.

    Example:
        >>> verdict(0.001, 0.004), verdict(-0.001, 0.004), verdict(-0.004, -0.001)
        ('helps', 'no difference', 'hurts')
    """
    if low > 0:
        return "helps"
    return "hurts" if high < 0 else "no difference"
