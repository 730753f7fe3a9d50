"""What neurons fire for: strips of pictures, in the report and on the page of a neuron."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Self

from cofire.images.pictures import Picture, address, encoded
from cofire.report.notation import joined, number, plural
from cofire.report.section import Results, Section
from cofire.study.pictures import left_out


@dataclass(frozen=True)
class Tile:
    """One picture.

    Attributes:
        address: Of the picture, "" where none is shown.
        about: The sample's class.
        activation: The neuron's activation.
        sample: Number of the sample.
        hard: Whether its pixels are to be seen one by one.
        whole: Address of the whole image, "" where the picture is that.
        hard_whole: Whether those of the whole image are.
        frame: Left, top, width and height of the picture on it, in percent.
    """

    address: str
    about: str
    activation: str
    sample: int
    hard: bool = False
    whole: str = ""
    hard_whole: bool = False
    frame: tuple[float, ...] = ()


@dataclass(frozen=True)
class Strip:
    """The pictures of one neuron.

    Attributes:
        name: What it is of, its heading.
        words: What is known of it.
        tiles: The highest activation first.
        value: By which strips are put in order.
    """

    name: str
    words: str
    tiles: Sequence[Tile]
    value: float = 0.0

    @property
    def number(self) -> str:
        """The neuron's."""
        return self.name.rpartition(" ")[2]


SELECTIVE, BROAD = 2, 1
"""So many of the most selective neurons are seen without unfolding, and of the least selective ones."""
_HARD = 32
"""Up to so many pixels, each is seen."""


def tile(picture: Picture, class_name: str, *, images: bool = True, whole: bool = False) -> Tile:
    """A picture as a page shows it.

    Args:
        picture: What is shown.
        class_name: Of its class.
        images: Whether the picture itself is shown, or its number alone.
        whole: Whether the image that it is cut from is shown as well.
    """
    shown = encoded(picture.crop) if images else b""
    left, top, right, bottom = picture.window
    width, height = picture.image.size
    around = images and whole and not picture.whole
    return Tile(
        address(shown),
        class_name,
        number(picture.activation, 2),
        picture.sample,
        max(picture.crop.size) <= _HARD,
        address(encoded(picture.image)) if around else "",
        max(picture.image.size) <= _HARD,
        (
            100 * left / width,
            100 * top / height,
            100 * (right - left) / width,
            100 * (bottom - top) / height,
        ),
    )


def _told(row: Mapping[str, Any], results: Results) -> Tile:
    """A row of the table of pictures."""
    return Tile(
        address(row["image"]),
        results.class_name(row["label"]),
        number(row["activation"], 2),
        row["sample"],
        max(row["shown"]) <= _HARD,
    )


class Strips(Section):
    """Strips of pictures, one for each neuron or class."""

    id, title = "pictures", "What do neurons fire for?"
    label = "In pictures"
    template = "sections/strips.html.j2"
    wide = True

    def __init__(
        self, answer: str, strips: Sequence[Strip], rest: Sequence[Strip] = (), more: str = ""
    ) -> None:
        self.answer, self.strips, self.rest, self.more = answer, strips, rest, more

    @classmethod
    def of(cls, results: Results) -> Self | None:
        found: dict[str, dict[str, list[Strip]]] = {}
        rows = [row for row in results.pictures if row["role"] != "graph"]
        last = results.checkpoints[-1] if results.checkpoints else 0
        reasons: dict[str, list[str]] = {}
        for layer, why in left_out(results.trajectory.pictures, last).items():
            reasons.setdefault(why, []).append(f"layer {layer}" if layer[0].isdigit() else layer)
        missing = " ".join(
            f"There are no pictures of {joined(names)}: {why}" for why, names in reasons.items()
        )
        for (layer, neuron, role), own in groupby(
            rows, key=lambda row: (row["layer"], row["neuron"], row["role"])
        ):
            tiles = list(own)
            first, roles = tiles[0], found.setdefault(layer, {"selective": [], "broad": []})
            named = f"{layer}, neuron {neuron}"
            words = f"selectivity {first['value']:.2f}"
            if role == "selective":
                words += f", for {results.class_name(first['class'])}"
            pictures = [_told(row, results) for row in tiles]
            roles[role].append(Strip(named, words, pictures, first["value"]))
        if not found:
            return cls(missing, ()) if missing else None
        layers = list(found)
        order = [
            sorted(found[layers[-1]][role], key=lambda one: -one.value)
            for role in found[layers[-1]]
        ]
        selective, broad = order
        others = [one for layer in layers[:-1] for part in found[layer].values() for one in part]
        answer = f"In {layers[-1]}"
        if selective:
            answer += (
                f" neuron {selective[0].number} is the most selective one: {selective[0].words}"
            )
        if broad:
            answer += f"; neuron {broad[-1].number} is the least: {broad[-1].words}"
        rest = [*selective[SELECTIVE:], *broad[:-BROAD], *others]
        shown = [*selective[:SELECTIVE], *broad[-BROAD:]]
        return cls(f"{answer}. {missing}".rstrip(), shown, rest, plural(len(rest), "more neuron"))

    def lead(self) -> str:
        return self.answer

    @property
    def shown(self) -> list[str]:
        """Addresses of all pictures on the page."""
        tiles = [tile for strip in (*self.strips, *self.rest) for tile in strip.tiles]
        return [one for tile in tiles for one in (tile.address, tile.whole) if one]

    @property
    def size(self) -> str:
        """How many pictures there are, and how many kB they take."""
        return f"{len(self.shown):,} pictures, {sum(map(len, self.shown)) / 1000:,.0f} kB"
