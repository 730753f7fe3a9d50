"""Colours for classes and communities: a dozen that are told apart, or a wheel of hues where there are more."""

from __future__ import annotations

import math

DOZEN = {
    "light": (
        "#0072b2",
        "#d95f02",
        "#008a64",
        "#c2407f",
        "#9a7400",
        "#2b8fc4",
        "#3b3b98",
        "#a61b29",
        "#5e8c1a",
        "#7a4b2a",
        "#8557c9",
        "#0b7f86",
    ),
    "dark": (
        "#4aa8e0",
        "#f08c4a",
        "#2fc297",
        "#f07ab0",
        "#e3c02c",
        "#a9dcff",
        "#8c8cf5",
        "#ef6a6a",
        "#a5d14f",
        "#c79a72",
        "#c49bf2",
        "#4fd0d6",
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
    if count <= len(DOZEN[theme]):
        return list(DOZEN[theme][:count])
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
