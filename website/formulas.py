"""Formulas as MathML, which browsers draw by themselves: no script, no font, no network."""

from __future__ import annotations

from typing import Any

from latex2mathml.converter import convert


def formula(source: str, *_: Any, **__: Any) -> str:
    """The HTML of a fence of `math`: LaTeX, one formula a line.

    Args:
        source: The text of the fence.
    """
    rows = [convert(line, display="block") for line in source.splitlines() if line.strip()]
    return f'<div class="formula">{"".join(rows)}</div>'
