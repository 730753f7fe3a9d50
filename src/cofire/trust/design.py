"""A study of human trust: which pairs of maps there are, and in which order and on which sides a person sees them.

Sides, methods and orders follow from a person's number by Latin squares. Person p sees image i in
condition (p + i) mod 2m, which is a method and a side: among 2m people in turn every image is seen
once in each condition, and each person sees all conditions equally often. The order is a row of
Williams' square, in which every image stands once in every place and follows every other equally
often.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import gcd
from pathlib import Path
from typing import Any, Literal, Self

from cofire.errors import ResultError
from cofire.stored import Stored

FILE, PICTURES, INVITES = "trust.json", "pictures", "invites.txt"
SECONDS = 25
"""Of one pair, for what people are told of how long it takes."""
_GOLDEN = 0.618

Kind = Literal["pair", "repeat", "check"]
"""A pair that counts, the same once more with sides changed, or one with an obviously wrong map."""
Maps = tuple[str, str]


@dataclass(frozen=True)
class Picture:
    """An image and its maps, as files named by a hash of their content, which tells nobody whose they are.

    Attributes:
        image: What the image is called where it came from.
        object: The name of its class.
        shown: The file of the image.
        maps: For each method the files of the maps of the first network and of the second; of an
            attention check the right one and the wrong one.
    """

    image: str
    object: str
    shown: str
    maps: tuple[Maps, ...]


@dataclass(frozen=True)
class Trial:
    """What one person is shown on one page.

    Attributes:
        kind: What it is for.
        picture: The image.
        method: Number of the method.
        first_left: Whether the first of the two maps is on the left.
    """

    kind: Kind
    picture: Picture
    method: int
    first_left: bool

    @property
    def files(self) -> Maps:
        """The maps from left to right."""
        first, second = self.picture.maps[self.method]
        return (first, second) if self.first_left else (second, first)


@dataclass(frozen=True)
class Study(Stored):
    """A study as it lies in its folder.

    Attributes:
        title: What people read at the top of the first page.
        networks: Names of the two networks, which nobody is shown.
        methods: That drew the maps.
        pairs: Images that both networks classify rightly.
        checks: Images with a right map and an obviously wrong one.
        example: Such an image for the instructions.
        size: Width and height of all pictures.
        repeats: How many pairs each person sees once more.
        seed: Of the choice of images.
        consent: What people agree to, in paragraphs.
        contact: Whom they can ask.
        options: How it was made.
    """

    title: str
    networks: tuple[str, str]
    methods: tuple[str, ...]
    pairs: tuple[Picture, ...]
    checks: tuple[Picture, ...]
    example: Picture
    size: tuple[int, int]
    repeats: int
    seed: int
    consent: tuple[str, ...]
    contact: str
    options: dict[str, Any] = field(default_factory=dict)
    stored_as = "trust study"

    def __post_init__(self) -> None:
        if not 0 <= 2 * self.repeats <= len(self.pairs):
            raise ValueError(f"{self.repeats} repeats of {len(self.pairs)} pairs")
        for pictures, count in ((self.pairs, len(self.methods)), (self.checks, 1)):
            for one in pictures:
                if len(one.maps) != count:
                    raise ValueError(f"{len(one.maps)} pairs of maps of {one.image!r:.80}")

    def __len__(self) -> int:
        """How many pages with questions a person sees."""
        return len(self.pairs) + len(self.checks) + self.repeats

    @property
    def minutes(self) -> int:
        """About how long it takes."""
        return max(1, round(len(self) * SECONDS / 60))

    @property
    def files(self) -> set[str]:
        """All pictures."""
        every = (*self.pairs, *self.checks, self.example)
        return {one.shown for one in every} | {
            file for one in every for both in one.maps for file in both
        }

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The study of a folder.

        Raises:
            ResultError: There is none, or one of another version, or it is damaged.
        """
        study = cls.load(folder / FILE)
        pictures = folder / PICTURES
        # A study that came from elsewhere opens no file beside its pictures.
        held = {file.name for file in pictures.iterdir()} if pictures.is_dir() else set()
        missing = sorted(study.files - held)
        if missing:
            raise ResultError(
                f"'{folder}' without {len(missing)} of its pictures, {missing[0]} first",
                "the folder as cofire trust make wrote it",
                "copy all of it, or make it again",
            )
        return study

    def trials(self, person: int) -> list[Trial]:
        """What a person is shown, in order.

        Args:
            person: Number, from 0 in the order of coming.
        """
        conditions = 2 * len(self.methods)
        shown = []
        for at in order(len(self.pairs), person):
            method, side = divmod((person + at) % conditions, 2)
            shown.append(Trial("pair", self.pairs[at], method, side == 0))
        half = len(shown) // 2
        again = [
            Trial("repeat", one.picture, one.method, not one.first_left)
            for one in _spread(shown[:half], self.repeats)
        ]
        checks = [
            Trial("check", one, 0, (person + at) % 2 == 0) for at, one in enumerate(self.checks)
        ]
        # Repeats far from what they repeat, checks all along.
        later = _woven(shown[half:], again)
        return _woven([*shown[:half], *later], checks)


def order(count: int, person: int) -> list[int]:
    """The order in which a person sees the images: a row of Williams' Latin square.

    Neighbouring people get rows far from each other, so that few people already spread the places.
    An odd number of images takes the rows once forwards and once backwards.

    Example:
        >>> [order(4, person) for person in range(4)]
        [[0, 3, 1, 2], [3, 2, 0, 1], [2, 1, 3, 0], [1, 0, 2, 3]]
    """
    zigzag = [-(at + 1) // 2 if at % 2 else at // 2 for at in range(count)]
    row = (person % count) * _stride(count)
    found = [(one + row) % count for one in zigzag]
    return found[::-1] if count % 2 and person // count % 2 else found


def _stride(count: int) -> int:
    """A step near the golden section that meets all of so many rows."""
    near = round(_GOLDEN * count)
    return next((step for step in range(max(1, near), count) if gcd(step, count) == 1), 1)


def _spread(trials: list[Trial], count: int) -> list[Trial]:
    """So many of them, evenly spaced."""
    return [trials[(2 * at + 1) * len(trials) // (2 * count)] for at in range(count)]


def _woven(trials: list[Trial], more: list[Trial]) -> list[Trial]:
    """Trials with others evenly spaced among them, none first."""
    found = list(trials)
    for at, one in reversed(list(enumerate(more, 1))):
        found.insert(at * len(trials) // (len(more) + 1) or 1, one)
    return found
