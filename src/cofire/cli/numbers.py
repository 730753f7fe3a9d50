"""Numbers on the command line."""

from __future__ import annotations

import typer


def numbers(text: str | None) -> list[float] | None:
    """The numbers of a text such as "0.5,0.5,0.5", None of None.

    Example:
        >>> numbers("0.5,1")
        [0.5, 1.0]
    """
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"'{text}' is no list of numbers such as 0.5,0.5,0.5") from error


def number_or_word(text: str) -> float | str:
    """The number that a text is, else the text.

    Example:
        >>> number_or_word("0.5"), number_or_word("mean")
        (0.5, 'mean')
    """
    try:
        return float(text)
    except ValueError:
        return text
