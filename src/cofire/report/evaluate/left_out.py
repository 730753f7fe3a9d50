"""What was left out of a run, by name: the first of each kind, and how many there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cofire.images.files import listed


def left_out_told(options: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The reason with the number, and the first names, of what a run's options say was left out.

    Args:
        options: With "left_out", as `cofire.images.collection.Collection.left_out` gives it, or
            without.

    Example:
        >>> left_out_told({"left_out": {"images without an entry": ["a.jpg", "b.jpg"]}})
        [('images without an entry (2)', 'a.jpg; b.jpg')]
    """
    return [
        (f"{reason} ({len(names):,})", listed(names))
        for reason, names in options.get("left_out", {}).items()
    ]
