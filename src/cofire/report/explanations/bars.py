"""Evidence on samples that are no images: their strongest features as rows with bars."""

from __future__ import annotations

from dataclasses import dataclass

from cofire.explain.drawing.captions import evidence_told, number
from cofire.report.explanations.facts import Example, Traced

SHOWN = 8
"""How many features of a sample are listed."""


@dataclass(frozen=True)
class FeatureRow:
    """One feature.

    Attributes:
        feature: Its number, from 0.
        value: What the sample has there.
        bars: For each explained class: length from 0 to 100, and the share of evidence in words.
    """

    feature: int
    value: str
    bars: list[tuple[float, str]]


@dataclass(frozen=True)
class Bars:
    """The strongest features of one sample.

    Attributes:
        rows: The strongest first; none where there is no evidence.
        more: How many further features have evidence.
    """

    rows: list[FeatureRow]
    more: int


def bars(example: Example) -> Bars:
    """The features of a vector that carry most evidence for either class."""
    classes = [example.predicted, *([example.true] if example.true is not None else [])]
    shares = [_shares(traced) for traced in classes]
    features = sorted(
        {f for share in shares for f in share},
        key=lambda f: (-max(s.get(f, 0.0) for s in shares), f),
    )
    most = max((max(share.values(), default=0.0) for share in shares), default=0.0)
    values = example.values or []
    rows = [
        FeatureRow(
            feature,
            number(values[feature]) if feature < len(values) else "–",
            [
                (100 * share.get(feature, 0.0) / most, evidence_told(share.get(feature, 0.0)))
                for share in shares
            ],
        )
        for feature in features[:SHOWN]
    ]
    return Bars(rows, max(0, len(features) - SHOWN))


def _shares(traced: Traced) -> dict[int, float]:
    return dict(zip(traced.points.x.tolist(), traced.points.score.tolist(), strict=True))
