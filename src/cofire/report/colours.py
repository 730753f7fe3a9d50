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


def _hexes(words: str) -> tuple[str, ...]:
    return tuple(f"#{word}" for word in words.split())


LIGHT = Theme(
    ink="#1c2430",
    muted="#5a6473",
    grid="#e3e6ea",
    surface="#ffffff",
    series=_hexes("0072b2 c85200 008a64 b0578f 8a6d00 2b8fc4 5a6473 3b3b98"),
    # ColorBrewer's RdBu, which stays distinct under the common colour-vision deficiencies.
    diverging=_hexes("8f0f26 c2362f e58268 f8cdb7 f7f7f7 c9e0ee 7fb8d8 3079b6 0b4a8a"),
    sequential=_hexes("f7f7f7 c9e0ee 7fb8d8 3079b6 0b3a70"),
)


DARK = Theme(
    ink="#e8eaee",
    muted="#a3adba",
    grid="#333b46",
    surface="#171b21",
    series=_hexes("56b4e9 f08c4a 2fc297 e39bc4 e3c02c 8fd0f5 aab4c0 9f9ff5"),
    diverging=_hexes("f0574a c03d37 8f3a38 553033 2b313a 2a4058 2a5b8a 357cc0 56a5ee"),
    sequential=_hexes("2b313a 2a4058 2a5b8a 357cc0 7cc0ff"),
)


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def fade(colour: str, opacity: float) -> str:
    """A hex colour made transparent.

    Example:
        >>> fade("#0072b2", 0.25)
        'rgba(0,114,178,0.25)'
    """
    red, green, blue = _channels(colour)
    return f"rgba({red},{green},{blue},{opacity})"


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


CLASS_COLOURS = {
    "light": _hexes(
        "0072b2 d95f02 008a64 c2407f 9a7400 2b8fc4 3b3b98 a61b29 5e8c1a 7a4b2a 8557c9 0b7f86"
    ),
    "dark": _hexes(
        "4aa8e0 f08c4a 2fc297 f07ab0 e3c02c a9dcff 8c8cf5 ef6a6a a5d14f c79a72 c49bf2 4fd0d6"
    ),
}
"""Twelve colours for each theme, at least 3:1 against its surface."""
_LIGHTNESS = {"light": (0.5, 0.61), "dark": (0.72, 0.82)}
_GOLDEN = 137.508


def palette(count: int, theme: str) -> list[str]:
    """Colours for so many classes.

    Args:
        count: How many.
        theme: "light" or "dark".

    Returns:
        The first of the dozen; beyond twelve, hues a golden angle apart, so that neighbours in
        number differ. No eye tells a hundred colours apart: the page names what it shows in words
        as well.

    Example:
        >>> palette(2, "light"), len(set(palette(100, "dark")))
        (['#0072b2', '#d95f02'], 100)
    """
    if count <= len(CLASS_COLOURS[theme]):
        return list(CLASS_COLOURS[theme][:count])
    light = _LIGHTNESS[theme]
    return [_hex(light[i % 2], 0.115, _GOLDEN * i + 240) for i in range(count)]


def _hex(lightness: float, chroma: float, hue: float) -> str:
    """A colour of Björn Ottosson's OKLab, in which equal lightness looks equally light."""
    a, b = (chroma * turn(math.radians(hue)) for turn in (math.cos, math.sin))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
    )
    held = (min(1.0, max(0.0, c)) for c in linear)
    values = (12.92 * c if c <= 0.0031308 else 1.055 * c ** (1 / 2.4) - 0.055 for c in held)
    return "#" + "".join(f"{round(255 * v):02x}" for v in values)
