"""The palette: series that colour-blind readers tell apart, and a red-blue scale with readable text on it."""

from __future__ import annotations

import math
from dataclasses import dataclass

STEPS = 10
"""Shades per side of the red-blue scale; a shade is 0.1 of a correlation."""


@dataclass(frozen=True)
class Theme:
    """The colours of one theme, as hex strings.

    Attributes:
        ink: Text.
        muted: Text that steps back.
        grid: Lines in figures.
        surface: What figures and tables lie on.
        series: Okabe and Ito's palette, tuned to at least 3:1 against the surface.
        diverging: The red-blue scale from -1 to 1, evenly spaced anchors.
        sequential: A one-colour scale from nothing to much.
    """

    ink: str
    muted: str
    grid: str
    surface: str
    series: tuple[str, ...]
    diverging: tuple[str, ...]
    sequential: tuple[str, ...]

    def scale(self, name: str) -> list[list[float | str]]:
        """A scale by name in the form that plotly takes: pairs of position and colour."""
        anchors: tuple[str, ...] = getattr(self, name)
        return [[i / (len(anchors) - 1), colour] for i, colour in enumerate(anchors)]


LIGHT = Theme(
    ink="#1c2430",
    muted="#5a6473",
    grid="#e3e6ea",
    surface="#ffffff",
    series=("#0072b2", "#c85200", "#008a64", "#b0578f", "#8a6d00", "#2b8fc4", "#5a6473", "#3b3b98"),
    # ColorBrewer's RdBu, which stays distinct under the common colour-vision deficiencies.
    diverging=(
        "#8f0f26",
        "#c2362f",
        "#e58268",
        "#f8cdb7",
        "#f7f7f7",
        "#c9e0ee",
        "#7fb8d8",
        "#3079b6",
        "#0b4a8a",
    ),
    sequential=("#f7f7f7", "#c9e0ee", "#7fb8d8", "#3079b6", "#0b3a70"),
)
DARK = Theme(
    ink="#e8eaee",
    muted="#a3adba",
    grid="#333b46",
    surface="#171b21",
    series=("#56b4e9", "#f08c4a", "#2fc297", "#e39bc4", "#e3c02c", "#8fd0f5", "#aab4c0", "#9f9ff5"),
    diverging=(
        "#f0574a",
        "#c03d37",
        "#8f3a38",
        "#553033",
        "#2b313a",
        "#2a4058",
        "#2a5b8a",
        "#357cc0",
        "#56a5ee",
    ),
    sequential=("#2b313a", "#2a4058", "#2a5b8a", "#357cc0", "#7cc0ff"),
)


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def mix(anchors: tuple[str, ...], position: float) -> str:
    """The colour at a position from 0 to 1 on a scale of evenly spaced anchors.

    Example:
        >>> mix(("#000000", "#ffffff"), 0.5)
        '#808080'
    """
    place = min(max(position, 0.0), 1.0) * (len(anchors) - 1)
    low = min(int(place), len(anchors) - 2)
    pairs = zip(_channels(anchors[low]), _channels(anchors[low + 1]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * (place - low)):02x}" for a, b in pairs)


def _luminance(colour: str) -> float:
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (v / 255 for v in _channels(colour))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    """The contrast ratio of two colours as WCAG 2 defines it, from 1 to 21.

    Example:
        >>> contrast("#ffffff", "#000000")
        21.0
    """
    light, dark = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def text_on(background: str) -> str:
    """Near-black or white, whichever reads better on a background."""
    return max(("#10151c", "#ffffff"), key=lambda ink: contrast(ink, background))


def correlation_class(value: float | None) -> str:
    """The style class of a cell that holds a correlation: red below zero, blue above, stronger further out.

    Example:
        >>> correlation_class(-0.87), correlation_class(0.04), correlation_class(1.0), correlation_class(None)
        ('r-n9', 'r-0', 'r-p10', 'r-none')
    """
    if value is None or not math.isfinite(value):
        return "r-none"
    step = round(STEPS * value)
    return "r-0" if step == 0 else f"r-{'n' if step < 0 else 'p'}{abs(step)}"


def correlation_styles(theme: Theme) -> list[tuple[str, str, str]]:
    """Style class, background and text colour of every shade of a theme's red-blue scale."""
    shades = []
    for step in range(-STEPS, STEPS + 1):
        background = mix(theme.diverging, (step / STEPS + 1) / 2)
        shades.append((correlation_class(step / STEPS), background, text_on(background)))
    return shades
