"""Text as it is compared: numbers, paths and spaces say nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import groupby
from pathlib import Path

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_FRAMES = re.compile(r"[\u2500-\u257f]+")
_NUMBERS = re.compile(r"(?<![\w.])[-+−]?\d+(?:[.,]\d+)*(?:e[-+]?\d+)?|\d+")
_UNSEEN = {"script", "style", "template", "noscript", "svg", "head"}
_INLINE = {
    "a",
    "abbr",
    "b",
    "button",
    "code",
    "em",
    "i",
    "kbd",
    "label",
    "mark",
    "math",
    "mi",
    "mn",
    "mo",
    "mrow",
    "msub",
    "msup",
    "q",
    "s",
    "small",
    "span",
    "strong",
    "sub",
    "sup",
    "time",
    "u",
    "var",
}
_EMPTY = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}


def message_of(text: str, folder: Path) -> str:
    """What was said, on one line, without colours, frames and the path of the folder."""
    plain = _FRAMES.sub(" ", _COLOURS.sub("", text)).replace(str(folder), "FOLDER")
    return " ".join(plain.split())


def lines_of(text: str, folder: Path) -> list[str]:
    """Lines with numbers as #; those that are the same are counted."""
    return _counted([message_of(line, folder) for line in text.splitlines()])


def visible_lines(page: str, folder: Path) -> list[str]:
    """What a page says: a line for each block, cells of tables with | between them."""
    reader = _Visible()
    reader.feed(page)
    reader.close()
    return lines_of("".join(reader.parts), folder)


def _counted(lines: list[str]) -> list[str]:
    normal = [_NUMBERS.sub("#", line).strip(" |") for line in lines]
    runs = [(line, len(list(same))) for line, same in groupby(line for line in normal if line)]
    return [line if count == 1 else f"{line} (× {count})" for line, count in runs]


class _Visible(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in _UNSEEN:
            self._unseen += 1
        self._space(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNSEEN:
            self._unseen -= 1
        elif tag not in _EMPTY:
            self._space(tag)

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.parts.append(" ".join(data.split()) if data.strip() else " ")
            if data[-1:].isspace():
                self.parts.append(" ")

    def _space(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.parts.append(" | ")
        elif tag not in _INLINE:
            self.parts.append("\n")
