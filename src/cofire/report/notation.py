"""How numbers are written, the same everywhere on the page."""

from __future__ import annotations

import math
from collections.abc import Sequence

MINUS = "\N{MINUS SIGN}"


def number(value: float | None, digits: int = 2) -> str:
    """A number with a true minus sign and thousands separators, or a dash where there is none.

    Example:
        >>> number(-1234.567, 1), number(None), number(-0.001)
        ('−1,234.6', '–', '0.00')
    """
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:,.{digits}f}"
    if not text.strip("-0.,"):
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def signed(value: float | None, digits: int = 2) -> str:
    """A number that always shows its sign; what rounds to zero has none.

    Example:
        >>> signed(0.5), signed(-0.874), signed(0.001), signed(-0.9996)
        ('+0.50', '−0.87', '0.00', '−1.00')
    """
    text = number(value, digits)
    return f"+{text}" if value is not None and value > 0 and text.strip("0.,–") else text


def interval(low: float | None, high: float | None) -> str:
    """An interval in words, with signs.

    Example:
        >>> interval(-0.95, -0.7)
        '−0.95 to −0.70'
    """
    return f"{signed(low)} to {signed(high)}"


def percent(share: float | None, digits: int = 1) -> str:
    r"""A share from 0 to 1 in percent.

    Example:
        >>> percent(0.98765), percent(None)
        ('98.8\xa0%', '–')
    """
    text = number(None if share is None else 100 * share, digits)
    return text if text == "–" else f"{text}\N{NO-BREAK SPACE}%"


def count(value: int) -> str:
    """A whole number with thousands separators.

    Example:
        >>> count(60000)
        '60,000'
    """
    return f"{value:,}"


def plural(value: int, singular: str, several: str | None = None) -> str:
    """A count with its noun.

    Example:
        >>> plural(1, "class", "classes"), plural(1200, "neuron")
        ('1 class', '1,200 neurons')
    """
    return f"{count(value)} {singular if value == 1 else several or singular + 's'}"


def joined(parts: Sequence[str]) -> str:
    """A list in words.

    Example:
        >>> joined(["a"]), joined(["a", "b", "c"])
        ('a', 'a, b and c')
    """
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def short(text: str, most: int) -> str:
    """A name cut in its middle: layers differ in their ends more often than in their starts.

    Example:
        >>> short("features.denseblock4.relu2", 14)
        'featur…4.relu2'
    """
    if len(text) <= most:
        return text
    tail = most // 2
    return f"{text[: most - tail - 1]}…{text[-tail:]}"
