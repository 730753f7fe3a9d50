"""What the rows of `boosts` say of one checkpoint: gains with their intervals, and an honest conclusion."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from cofire.boost.verdict import Verdict, verdict
from cofire.errors import ResultError

__all__ = ["Boost", "Conclusion", "Gain", "boost_at", "conclusion", "decimals"]

Conclusion = Literal["helps", "no more than a control", "less than a control", "no difference", "hurts"]


@dataclass(frozen=True)
class Gain:
    """A difference of two test accuracies, as a share from -1 to 1, with its 95 % interval.

    Attributes:
        value: The difference.
        low: Lower end of the interval, None where there is none.
        high: Upper end, None where there is none.
    """

    value: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, row: dict[str, Any], column: str) -> Gain | None:
        """The gain of a row, "gain" or "base_gain", or None where there is nothing to compare with."""
        value = row[column]
        return None if value is None else cls(value, row[f"{column}_low"], row[f"{column}_high"])

    @property
    def verdict(self) -> Verdict:
        """What the interval says; without one nothing can be said."""
        return "no difference" if self.low is None or self.high is None else verdict(self.low, self.high)


@dataclass(frozen=True)
class Boost:
    """The three rows of a checkpoint that are held against each other.

    Attributes:
        base: The row of the network as it is.
        control: The row of the best control.
        booster: The row of the booster.
    """

    base: dict[str, Any]
    control: dict[str, Any]
    booster: dict[str, Any]

    @property
    def over_base(self) -> Gain:
        """What the booster gains over the network as it is."""
        found = Gain.of(self.booster, "base_gain")
        return found or Gain(self.booster["test_accuracy"] - self.base["test_accuracy"])

    @property
    def over_control(self) -> Gain:
        """What the booster gains over the best control."""
        found = Gain.of(self.booster, "gain")
        return found or Gain(self.booster["test_accuracy"] - self.control["test_accuracy"])

    @property
    def of_control(self) -> Gain:
        """What the best control gains over the network as it is."""
        found = Gain.of(self.control, "base_gain")
        return found or Gain(self.control["test_accuracy"] - self.base["test_accuracy"])

    @property
    def conclusion(self) -> Conclusion:
        """Whether activation patterns help."""
        return conclusion(self.over_base.verdict, self.over_control.verdict)


def conclusion(over_base: Verdict, over_control: Verdict) -> Conclusion:
    """Whether activation patterns help: only what is better than the network and than the best control does.

    A gain over the network alone is no evidence for activation patterns if a control that sees none gains as much; one
    over the control alone is none either, as the control may have spoilt the network.

    Example:
        >>> conclusion("helps", "helps"), conclusion("helps", "no difference"), conclusion("helps", "hurts")
        ('helps', 'no more than a control', 'less than a control')
        >>> conclusion("no difference", "helps"), conclusion("hurts", "helps")
        ('no difference', 'hurts')
    """
    if over_base == "hurts":
        return "hurts"
    if over_control == "hurts":
        return "less than a control"
    if over_base == "no difference":
        return "no difference"
    return "helps" if over_control == "helps" else "no more than a control"


def decimals(*gains: Gain) -> int:
    """How many decimals of a percentage point intervals deserve: enough that an end beside zero does not read as zero.

    Example:
        >>> decimals(Gain(0.006, 0.004, 0.008)), decimals(Gain(0.0006, 0.0002, 0.001))
        (1, 2)
    """
    known = [(100 * g.low, 100 * g.high) for g in gains if g.low is not None and g.high is not None]
    for digits in (1, 2):
        unit = 10.0**-digits
        hidden = any(0 < abs(end) < unit / 2 for pair in known for end in pair)
        narrow = any(1e-9 < high - low < 2.5 * unit for low, high in known)
        if not (hidden or narrow):
            return digits
    return 3 if any(0 < abs(end) < 0.005 for pair in known for end in pair) else 2


def boost_at(boosts: pa.Table, checkpoint: int) -> Boost:
    """The rows of a checkpoint that are held against each other.

    Args:
        boosts: A table of `BOOSTS_SCHEMA`.
        checkpoint: Number of a checkpoint.

    Raises:
        ResultError: The checkpoint has not exactly one row of each role.
    """
    rows = boosts.filter(pc.field("checkpoint") == checkpoint).to_pylist()
    found = {role: [row for row in rows if row["role"] == role] for role in ("base", "best control", "booster")}
    if wrong := [f"{len(part)} rows of role '{role}'" for role, part in found.items() if len(part) != 1]:
        raise ResultError(
            f"a table 'boosts' with {' and '.join(wrong)} at checkpoint {checkpoint}",
            "exactly one row each of 'base', 'best control' and 'booster'",
            "make the table again with this version of cofire",
        )
    base, control, booster = (part[0] for part in found.values())
    if not all(math.isfinite(row["test_accuracy"]) for row in (base, control, booster)):
        raise ResultError(
            f"test accuracies that are no numbers at checkpoint {checkpoint}",
            "shares from 0 to 1",
            "make the table again from finite predictions",
        )
    return Boost(base, control, booster)
