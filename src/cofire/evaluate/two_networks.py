"""Two networks on the same photos (P3 §4.2, §4.4): who is right, and what each looked at."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional

from cofire.arguments import validated
from cofire.atomic import write_text
from cofire.checksums import check_json, sealed_json
from cofire.errors import BatchError, DataError, LabelError, OptionError, ResultError, near_matches
from cofire.evaluate.localisation import area_overlap, share_inside
from cofire.evaluate.methods import explained, fitting
from cofire.evaluate.per_image import PerImage
from cofire.explain import Explanation
from cofire.explain.inputs import chances_of
from cofire.explain.result.regions import check_share
from cofire.marks import check_whole
from cofire.network import Network, classifier
from cofire.reading import read_json, reader
from cofire.statistics import Interval, mean_interval


@validated
@dataclass(frozen=True, eq=False)
class Side:
    """One of the two networks, and the photos as it sees them.

    Attributes:
        network: The classifier; a module is read with the inputs.
        inputs: (images, channels, height, width), prepared as this network wants them.
        pictures: The same to look at, (images, height, width, 3), uint8.
        name: What it is called on the page; short.
        boxes: For each image the ground-truth boxes (boxes, 4) in pixels of these inputs, (0, 4)
            for none.
    """

    network: Network
    inputs: Tensor
    pictures: Tensor
    name: str
    boxes: Sequence[Tensor] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "network", classifier(self.network, self.inputs))


@validated
def compare_networks(
    first: Side,
    second: Side,
    labels: Tensor,
    method: str = "discernible",
    names: Sequence[str] | None = None,
    *,
    files: Sequence[str] | None = None,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    area: float = 0.2,
    batch_size: int = 16,
    cases: int = 24,
    advance: Callable[[int], object] | None = None,
) -> TwoNetworks:
    """Explain the same photos through two networks.

    Each network explains the class it predicts and, where that is another, the true class. Told is
    how far both look at the same part of a photo, as the overlap of the areas where they have most
    evidence, and how much of each one's evidence lies in the ground-truth boxes. The two see the
    same part of each photo; where one takes other numbers of pixels, maps are brought to the first
    one's size before they are compared.

    Args:
        first: One network.
        second: The other, of the same classes.
        labels: The true classes, (images,).
        method: Of `cofire.evaluate.methods`.
        names: Names of all classes.
        files: The photos' names; numbers unless given.
        options: Of the method.
        seed: Of baselines that draw.
        area: Share of the image's area that counts as what a network looks at.
        batch_size: Images at a time.
        cases: How many photos are kept to look at: those that one of the two alone gets right,
            those with the least overlap first.
        advance: Called with the number of photos done, after each batch.

    Raises:
        BatchError: Images, pictures, labels, files or boxes of other numbers, or of a shape that
            does not fit.
        DataError: The networks have other numbers of classes.
        ExplanationError: The method does not fit a network.
        LabelError: A label is no class.
        NonFiniteError: A pixel or a logit is NaN or infinite.
        OptionError: The method or an option does not exist or is out of bounds.
    """
    batch_size, cases = check_whole("batch_size", batch_size), check_whole("cases", cases, least=0)
    check_share("area", area, above=0.0, below=1.0)
    sides = (first, second)
    count = len(labels)
    _check(sides, labels, files)
    told = [str(number) for number in range(count)] if files is None else list(files)
    rows: list[NetworkRow] = []
    shown: list[NetworkCase] = []
    for start in range(0, count, batch_size):
        part = slice(start, start + batch_size)
        truth = labels[part].detach().cpu().long()
        seen = [_seen(side, part, truth, method, options or {}, seed) for side in sides]
        found = _rows(sides, seen, part, truth, told[part], area)
        rows += found
        for at, row in enumerate(found):
            if row.kind in ("first", "second"):
                pairs = tuple((own[at], true[at]) for own, true, _ in seen)
                boxes = None if first.boxes is None else first.boxes[start + at]
                shown.append(NetworkCase(start + at, pairs, boxes))
        # Only so many are held at a time, however many photos there are.
        shown = sorted(shown, key=lambda case: (_overlap(rows[case.photo]), case.photo))[:cases]
        if advance is not None:
            advance(len(truth))
    occurring = sorted({number for row in rows for number in (row.label, *row.predicted)})
    return TwoNetworks(
        networks=(first.name, second.name)
        if first.name != second.name
        else (f"{first.name} (first)", f"{second.name} (second)"),
        method=method,
        rows=tuple(rows),
        classes={} if names is None else {number: names[number] for number in occurring},
        options={"area": area, "seed": seed, "method": dict(options or {})},
        cases=tuple(shown),
    )


def _check(sides: tuple[Side, Side], labels: Tensor, files: Sequence[str] | None) -> None:
    first, second = (side.network.num_classes for side in sides)
    if first != second:
        raise DataError(
            f"networks of {first} and {second} classes",
            "the same classes",
            "compare other networks",
        )
    if labels.ndim != 1 or not len(labels):
        raise BatchError(
            f"labels of shape {tuple(labels.shape)}",
            "(images,), one or more",
            "pass one for each image",
        )
    if bool(((labels < 0) | (labels >= first)).any()):
        raise LabelError(
            f"labels from {int(labels.min())} to {int(labels.max())}",
            f"0 to {first - 1}",
            "check the classes' order",
        )
    for side in sides:
        parts = {
            "inputs": side.inputs,
            "pictures": side.pictures,
            "boxes": side.boxes,
            "files": files,
        }
        for what, given in parts.items():
            if given is not None and len(given) != len(labels):
                raise BatchError(
                    f"{len(given)} {what} of '{side.name}' for {len(labels)} labels",
                    f"{len(labels)}",
                    "pass the same photos in the same order",
                )
        if len(side.network.input_shape) != 3:
            raise BatchError(
                f"a network on inputs of shape {side.network.input_shape}",
                "images (channels, height, width)",
                "compare networks that take images",
            )


def _seen(
    side: Side, part: slice, truth: Tensor, method: str, options: Mapping[str, Any], seed: int
) -> tuple[Explanation, Explanation, Tensor]:
    """The explanations of the predicted and of the true class, and the probabilities of all classes."""
    inputs, pictures = side.inputs[part], side.pictures[part]
    chances = chances_of(side.network.run(inputs)).cpu()
    predicted, options = chances.argmax(1), fitting(side.network, method, options)
    own = explained(
        side.network, inputs, predicted, method, pictures=pictures, seed=seed, options=options
    )
    if bool((predicted == truth).all()):
        return own, own, chances
    true = explained(
        side.network, inputs, truth, method, pictures=pictures, seed=seed, options=options
    )
    return own, true, chances


def _rows(
    sides: tuple[Side, Side],
    seen: Sequence[tuple[Explanation, Explanation, Tensor]],
    part: slice,
    truth: Tensor,
    files: Sequence[str],
    area: float,
) -> list[NetworkRow]:
    size = seen[0][0].size
    maps = [(own.heatmap(), true.heatmap()) for own, true, _ in seen]
    apart, of_truth = (
        area_overlap(maps[0][which], _at_size(maps[1][which], size), area) for which in (0, 1)
    )
    nothing = PerImage(torch.zeros(len(truth)), torch.zeros(len(truth), dtype=torch.bool))
    held = [
        [
            nothing if side.boxes is None else share_inside(heat, side.boxes[part])
            for heat in own_and_true
        ]
        for side, own_and_true in zip(sides, maps, strict=True)
    ]
    covered = [nothing if side.boxes is None else _covered(side, part) for side in sides]

    found = []
    for at, label in enumerate(truth.tolist()):
        one, other = (each[2][at] for each in seen)
        found.append(
            NetworkRow(
                file=files[at],
                label=label,
                predicted=(int(one.argmax()), int(other.argmax())),
                confidence=(float(one.max()), float(other.max())),
                probability=(float(one[label]), float(other[label])),
                overlap=_value(apart, at),
                overlap_of_truth=_value(of_truth, at),
                inside=(_value(held[0][0], at), _value(held[1][0], at)),
                inside_of_truth=(_value(held[0][1], at), _value(held[1][1], at)),
                covered=_value(covered[0], at),
            )
        )
    return found


def _covered(side: Side, part: slice) -> PerImage:
    """How much of the image its boxes cover: what a map that is the same everywhere would have inside."""
    assert side.boxes is not None
    boxes = side.boxes[part]
    return share_inside(torch.ones(len(boxes), *side.network.input_shape[1:]), boxes)


def _at_size(maps: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(maps.shape[1:]) == size:
        return maps
    return functional.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[
        :, 0
    ].clamp(min=0)


def _overlap(row: NetworkRow) -> float:
    """Photos whose maps cannot be compared come last."""
    return 2.0 if row.overlap is None else row.overlap


def _value(of: PerImage, at: int) -> float | None:
    return float(of.values[at]) if bool(of.counted[at]) else None


KINDS = ("both", "first", "second", "neither")
"""Which of the two networks is right about a photo."""

_FORMAT = 1


_PAIRS = ("predicted", "confidence", "probability", "inside", "inside_of_truth")


@dataclass(frozen=True)
class NetworkRow:
    """One photo. Pairs are of the first and the second network.

    Attributes:
        file: Its name.
        label: The true class.
        predicted: The predicted classes.
        confidence: Their probabilities.
        probability: Of the true class.
        overlap: Of the areas with most evidence for the predicted classes, see `area_overlap`; None
            where it does not count.
        overlap_of_truth: The same for the true class.
        inside: Shares of the evidence for the predicted class that lie in the ground-truth boxes;
            None without.
        inside_of_truth: The same for the true class.
        covered: Share of the image that the boxes cover: what evidence spread evenly would have
            inside.
    """

    file: str
    label: int
    predicted: tuple[int, int]
    confidence: tuple[float, float]
    probability: tuple[float, float]
    overlap: float | None
    overlap_of_truth: float | None
    inside: tuple[float | None, float | None]
    inside_of_truth: tuple[float | None, float | None]
    covered: float | None

    @property
    def kind(self) -> str:
        """Who is right, one of `KINDS`."""
        return {
            (True, True): "both",
            (True, False): "first",
            (False, True): "second",
            (False, False): "neither",
        }[(self.predicted[0] == self.label, self.predicted[1] == self.label)]


@dataclass(frozen=True, eq=False)
class NetworkCase:
    """One photo to look at.

    Attributes:
        photo: Which one, from 0.
        explanations: By each network: of its predicted class, and of the true class; each of one
            image.
        boxes: The ground-truth boxes, (boxes, 4), in pixels of the first network's input; None
            where not known.
    """

    photo: int
    explanations: tuple[tuple[Explanation, Explanation], ...]
    boxes: Tensor | None


@dataclass(frozen=True, eq=False)
class TwoNetworks:
    """What two networks made of the same photos.

    Attributes:
        networks: Their names.
        method: That explained both.
        rows: One for each photo.
        classes: Names of the classes that occur, by number; empty where there are no names.
        options: `area`, the seed, and those of the method.
        cases: Photos to look at that one of the two alone gets right; not kept in files.
    """

    networks: tuple[str, str]
    method: str
    rows: tuple[NetworkRow, ...]
    classes: Mapping[int, str]
    options: Mapping[str, Any]
    cases: tuple[NetworkCase, ...] = field(default=())

    def of_kind(self, kind: str) -> list[NetworkRow]:
        """The photos about which these are right.

        Args:
            kind: One of `KINDS`.

        Raises:
            OptionError: No such kind.
        """
        if kind not in KINDS:
            raise OptionError(
                f"kind={kind!r}", f"one of {', '.join(KINDS)}", f"try {near_matches(kind, KINDS)}"
            )
        return [row for row in self.rows if row.kind == kind]

    def correct(self, network: int) -> float:
        """The share of all photos that a network, 0 or 1, gets right."""
        return sum(row.predicted[network] == row.label for row in self.rows) / len(self.rows)

    def mean(
        self, kind: str | tuple[str, ...], measure: str, network: int | None = None
    ) -> Interval | None:
        """A mean over the photos of a kind, or of several, with its 95 % interval; None if no photo counts.

        Args:
            kind: One of `KINDS`, or some.
            measure: "overlap", "overlap_of_truth" or "covered"; "inside", "inside_of_truth",
                "confidence" or "probability" of a network.
            network: 0 or 1 for the latter. None gives the first's less the second's, over photos
                that count for both.

        Raises:
            OptionError: No such kind or measure.
        """
        rows = [
            row
            for each in ((kind,) if isinstance(kind, str) else kind)
            for row in self.of_kind(each)
        ]
        single = ("overlap", "overlap_of_truth", "covered")
        if measure not in (*single, *_PAIRS[1:]):
            raise OptionError(
                f"measure={measure!r}", f"one of {', '.join((*single, *_PAIRS[1:]))}", "choose one"
            )
        given = [getattr(row, measure) for row in rows]
        if measure in single:
            values = [value for value in given if value is not None]
        elif network is None:
            values = [one - other for one, other in given if one is not None and other is not None]
        else:
            values = [pair[network] for pair in given if pair[network] is not None]
        if not values:
            return None
        paired = measure not in single and network is None
        return mean_interval(values, differences=paired, left_out=len(rows) - len(values))

    def save(self, path: str | Path) -> Path:
        """Write all numbers to a JSON file, whole or not at all.

        Returns:
            The path.
        """
        whole = {
            "format": _FORMAT,
            "kind": "two networks",
            "networks": list(self.networks),
            "method": self.method,
            "options": dict(self.options),
            "classes": {str(number): name for number, name in self.classes.items()},
            "photos": [{**asdict(row), "right": row.kind} for row in self.rows],
        }
        write_text(
            path,
            json.dumps(sealed_json(whole), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        )
        return Path(path)

    @classmethod
    @reader(ResultError, "a file that TwoNetworks.save wrote", "make it again")
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote; without `cases`.

        Raises:
            ResultError: The file is missing, damaged, or holds something else.
        """
        try:
            whole = check_json(read_json(path))
            if (whole["format"], whole["kind"]) != (_FORMAT, "two networks"):
                raise ValueError(whole["format"])
            one, other = whole["networks"]
            return cls(
                networks=(one, other),
                method=whole["method"],
                rows=tuple(_row(photo) for photo in whole["photos"]),
                classes={int(number): name for number, name in whole["classes"].items()},
                options=whole["options"],
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ResultError(
                f"'{path}' cannot be read: {error}",
                "a file that TwoNetworks.save wrote",
                "make it again",
            ) from error

    def __repr__(self) -> str:
        counts = ", ".join(f"{kind} {len(self.of_kind(kind))}" for kind in KINDS)
        return f"TwoNetworks({len(self.rows)} photos, right: {counts})"


def _row(photo: dict[str, Any]) -> NetworkRow:
    parts: dict[str, Any] = {
        name: tuple(value) if name in _PAIRS else value for name, value in photo.items()
    }
    del parts["right"]
    return NetworkRow(**parts)
