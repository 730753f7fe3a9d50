"""The tables about boosting as plain rows of text, which the template only lays out."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from cofire.report.boost.facts import BoostFacts
from cofire.report.boost.wording import span
from cofire.report.notation import count, number, percent, signed
from cofire.statistics import Interval, Outcome
from cofire.study.boosts import decimals, gain_of

ALL_CLASSES = 20
"""Up to so many classes are all shown."""
MOST_CHANGED = 10
"""Of more classes than that, so many."""
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class MethodRow:
    """One way to improve the network at the last checkpoint.

    Attributes:
        title: Its name.
        role: "booster", "best control" or "".
        kind: "base", "control", "ablation" or "method".
        fitted_on: The data it was fitted on, or a dash.
        validation: Validation accuracy in percent.
        test: Test accuracy in percent.
        gains: Over the network, the best control and the values alone: points and interval.
        nll: Negative log-likelihood on test data.
        ece: Expected calibration error on test data.
        parameters: How many it adds.
    """

    title: str
    role: str
    kind: str
    fitted_on: str
    validation: str
    test: str
    gains: tuple[tuple[str, str], ...]
    nll: str
    ece: str
    parameters: str


@dataclass(frozen=True)
class CourseRow:
    """One checkpoint, as a row of the paper's Table 2.

    Attributes:
        checkpoint: Its number.
        train: Training accuracy of network and booster in percent.
        test: Test accuracy of network and booster in percent.
        control: Test accuracy of the best control in percent.
        control_title: Which one that is.
        gain: Of the booster over the best control: points and interval.
        patterns: Of the booster over the values alone: points and interval.
        verdict: What that says, held to 5 % for all checkpoints together.
    """

    checkpoint: str
    train: tuple[str, str]
    test: tuple[str, str]
    control: str
    control_title: str
    gain: tuple[str, str]
    patterns: tuple[str, str]
    verdict: Outcome


@dataclass(frozen=True)
class ClassRow:
    """Errors of one class on test data, of the network and of the booster.

    Attributes:
        name: Of the class.
        samples: Of it in the test data.
        false_positives: Before, after, and the difference.
        false_negatives: Before, after, and the difference.
    """

    name: str
    samples: str
    false_positives: tuple[str, str, str]
    false_negatives: tuple[str, str, str]


@dataclass(frozen=True)
class Flip:
    """A test sample whose predicted class changes.

    Attributes:
        index: Its number in the test data.
        image: A data URI, or "" where there is no picture.
        label: Name of its class.
        base: Class that the network predicts, and its confidence.
        boosted: Class that the booster predicts, and its confidence.
        base_right: Whether the network is right.
        boosted_right: Whether the booster is right.
    """

    index: str
    image: str
    label: str
    base: tuple[str, str]
    boosted: tuple[str, str]
    base_right: bool
    boosted_right: bool


def _pair(gain: Interval | None, digits: int) -> tuple[str, str]:
    return ("–", "") if gain is None else (signed(100 * gain.value, digits), span(gain, digits))


def _plain(share: float | None, digits: int = 2) -> str:
    return number(None if share is None else 100 * share, digits)


def method_rows(facts: BoostFacts) -> list[MethodRow]:
    """Everything that was tried at the last checkpoint: the network itself, the controls, the methods."""
    gains = [
        [gain_of(row, column) for column in ("base_gain", "gain", "values_gain")]
        for row in facts.last_rows
    ]
    digits = decimals(*(gain for held in gains for gain in held if gain is not None))
    return [
        MethodRow(
            row["title"],
            "" if row["role"] == "base" else row["role"],
            row["kind"],
            row["fitted_on"] or "–",
            _plain(row["validation_accuracy"]),
            _plain(row["test_accuracy"]),
            tuple(_pair(gain, digits) for gain in held),
            number(row["test_nll"], 3),
            number(row["test_ece"], 3),
            count(row["parameters"]) if row["parameters"] else "none",
        )
        for row, held in zip(facts.last_rows, gains, strict=True)
    ]


def course_rows(facts: BoostFacts) -> list[CourseRow]:
    """One row per checkpoint."""
    digits = decimals(*(boost.over_control for boost in facts.boosts))
    return [
        CourseRow(
            str(checkpoint),
            (_plain(boost.base["train_accuracy"]), _plain(boost.booster["train_accuracy"])),
            (_plain(boost.base["test_accuracy"]), _plain(boost.booster["test_accuracy"])),
            _plain(boost.control["test_accuracy"]),
            boost.control["title"],
            _pair(boost.over_control, digits),
            _pair(boost.of_patterns, digits),
            said,
        )
        for checkpoint, boost, said in zip(
            facts.checkpoints, facts.boosts, facts.verdicts, strict=True
        )
    ]


def mean_row(facts: BoostFacts) -> dict[str, str]:
    """Mean gains over the checkpoints, as the paper's last row has them: on training and test data, and the control's.

    Returns:
        "train" and "test" (booster over network), "control" (best control over network), "gain"
        (booster over best control) and "patterns" (booster over the values alone), in points.
    """

    def mean(values: list[float | None]) -> str:
        known = [value for value in values if value is not None]
        return signed(100 * sum(known) / len(known), 2) if len(known) == len(values) else "–"

    def trained(base: dict[str, Any], booster: dict[str, Any]) -> float | None:
        before, after = base["train_accuracy"], booster["train_accuracy"]
        return None if before is None or after is None else after - before

    return {
        "train": mean([trained(b.base, b.booster) for b in facts.boosts]),
        "test": mean([b.over_base.value for b in facts.boosts]),
        "control": mean([b.of_control.value for b in facts.boosts]),
        "gain": mean([b.over_control.value for b in facts.boosts]),
        "patterns": mean(
            [None if b.of_patterns is None else b.of_patterns.value for b in facts.boosts]
        ),
    }


def class_rows(facts: BoostFacts) -> list[ClassRow]:
    """The classes at the last checkpoint, those whose errors change most first; of many classes only those."""
    rows = facts.last_classes

    def change(row: dict[str, Any]) -> int:
        kinds = ("false_positives", "false_negatives")
        return sum(abs(int(row[f"boosted_{kind}"]) - int(row[f"base_{kind}"])) for kind in kinds)

    ordered = sorted(rows, key=lambda row: (-change(row), row["class"]))
    shown = ordered if len(ordered) <= ALL_CLASSES else ordered[:MOST_CHANGED]
    return [
        ClassRow(
            row["class_name"],
            count(row["samples"]),
            _moved(row["base_false_positives"], row["boosted_false_positives"]),
            _moved(row["base_false_negatives"], row["boosted_false_negatives"]),
        )
        for row in shown
    ]


def _moved(before: int, after: int) -> tuple[str, str, str]:
    return count(before), count(after), signed(after - before, 0)


def flips(facts: BoostFacts) -> tuple[list[Flip], list[Flip], list[Flip]]:
    """Examples at the last checkpoint: wrong to right, right to wrong, wrong to another wrong."""
    found: tuple[list[Flip], list[Flip], list[Flip]] = ([], [], [])
    for row in facts.last_flips:
        flip = _flip(row, facts)
        found[0 if flip.boosted_right else 1 if flip.base_right else 2].append(flip)
    return found


def _flip(row: dict[str, Any], facts: BoostFacts) -> Flip:
    image = row["image"]
    known = image is not None and image.startswith(_PNG)
    return Flip(
        count(row["index"]),
        f"data:image/png;base64,{base64.b64encode(image).decode('ascii')}" if known else "",
        facts.class_name(row["label"]),
        (facts.class_name(row["base_class"]), percent(row["base_confidence"], 0)),
        (facts.class_name(row["boosted_class"]), percent(row["boosted_confidence"], 0)),
        row["base_class"] == row["label"],
        row["boosted_class"] == row["label"],
    )
