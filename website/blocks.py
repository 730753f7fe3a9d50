"""The code blocks of a page, in the order in which a reader runs them.

A block is a fence of `python` or `sh`, in prose, lists or admonitions. What a reader need not see, such as the loop
that makes a picture's data, stands in a comment `<!-- run` … `-->`, and runs at its place. A fence after the comment
`<!-- needs: what -->` asks for data that are not in the repository, and is only read: its Python compiles, its commands
and options exist.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"

_BLOCK = re.compile(
    r"^<!-- run\n(?P<hidden>.*?)^-->$"
    r"|^<!-- needs: (?P<needs>.+?) -->$"
    r"|^(?P<indent> *)```(?P<language>[\w-]*)[^\n]*\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """Code of a page.

    Attributes:
        language: "python" or "sh".
        code: Its text, without the indentation of the fence.
        line: Where it begins, from 1.
        needs: What it cannot run without; empty where it runs.
    """

    language: str
    code: str
    line: int
    needs: str = ""


def blocks(text: str) -> Iterator[Block]:
    r"""The blocks of a page, first to last.

    Args:
        text: The page in Markdown.

    Example:
        >>> [block.code for block in blocks("Two:\n\n```python\nx = 2\n```\n")]
        ['x = 2\n']
    """
    needs = ""
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start()) + 2
        if found["needs"]:
            needs = found["needs"]
        elif found["hidden"] is not None:
            yield Block("python", found["hidden"], line)
        else:
            if found["language"] in ("python", "sh"):
                yield Block(found["language"], textwrap.dedent(found["code"]), line, needs)
            needs = ""


def pages() -> list[Path]:
    """README and every page of `docs/`."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def title(page: Path) -> str:
    """The first heading of a page."""
    return re.search(r"^# (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)[1]  # type: ignore[index]
