"""One image with everything that explains it: as numbers for programs, as an image, and the folder of both."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from cofire.atomic import atomic_path, unwritable, write_text
from cofire.errors import ResultError
from cofire.explain import Explanation, title_of
from cofire.explain.drawing import draw
from cofire.explain.drawing.captions import (
    NO_EVIDENCE,
    box_told,
    class_told,
    evidence_told,
    explained_told,
    heat_told,
    percent,
    plural,
)
from cofire.explain.drawing.paper import PixelPaper, shortened
from cofire.reading import named, read_json, reading
from cofire.renamed import in_words_of_now
from cofire.report.notation import joined
from cofire.report.pages.page import box_of

MARK, PAGE, IMAGES = "explanations.json", "explain.html", "images"
FORMAT = 1
STRONGEST = 10
"""Points of an explanation that are listed."""
_GAP, _TITLE, _ROW, _FOOT, _END = 26, 78, 46, 138, 60
_LARGE, _TEXT, _SMALL = 26, 22, 18
_LEAST_WIDE = 448


@dataclass(frozen=True, eq=False)
class Explained:
    """One image and its explanations.

    Attributes:
        file: As it was named.
        told: The same, without its folder where no other image has that name.
        name: Of the PNG file that is written, without its ending; no other image has it.
        size: Width and height of the upright image in its file.
        region: Left, top, right and bottom of what the network sees, in pixels of the upright
            image.
        rows: For each explained class one explanation by each method, each of one image and one
            class.
    """

    file: str
    told: str
    name: str
    size: tuple[int, int]
    region: tuple[float, float, float, float]
    rows: tuple[tuple[Explanation, ...], ...]

    @property
    def first(self) -> Explanation:
        """An explanation that says what all have in common: the image and the prediction."""
        return self.rows[0][0]


def alike(explanation: Explanation) -> bool:
    """Whether neurons were only chosen or not, each counting the same, so that there are no shares of evidence."""
    return explanation.options.get("carried") is False


def evidence_at_input(explanation: Explanation) -> float | None:
    """The share of a class's evidence that reached the pixels of a single image, 0 to 1; None where none is traced.

    Layers hand evidence on, so that 1 is all of it. What was cut off on the way, at neurons beyond
    the strongest or where nothing spoke for the class, is missing.
    """
    if explanation.maps is not None or alike(explanation):
        return None
    share = float(explanation.points(0).score.double().sum())
    # What single precision rounded off is not missing.
    return 1.0 if share > 1 - 1e-4 else share


def evidence_words(explanation: Explanation) -> str:
    """How much was found in a single image, in words."""
    if not bool(explanation.has_evidence[0]):
        return NO_EVIDENCE
    if explanation.maps is not None:
        layer = explanation.options.get("target_layer")
        return "map of the pixels" if layer is None else f"map of layer {layer}"
    points = plural(len(explanation.points(0)), "point")
    share = evidence_at_input(explanation)
    return f"{points}, {'each counts the same' if share is None else evidence_told(share) + ' arrived'}"


def box_words(explanation: Explanation) -> str:
    """The size of the box of a single image, or why there is none."""
    corners, evidence = box_of(explanation) or [0.0] * 4, bool(explanation.has_evidence[0])
    return box_told(corners, evidence, explanation.input_shape, explanation.boxed)


def record_of(explained: Explained, names: Sequence[str] | None) -> dict[str, Any]:
    """What `explanations.json` holds of one image.

    Places in "box" and "strongest" are pixels of the network's input, from its left and top edge;
    boxes end before their right and bottom number. `file` = `region` left + box × (region's width /
    the input's width) leads back to the file, as "box_in_file" does.

    ```
    {"file": "cat.jpg",                       as it was named
     "size": [500, 375],                      width and height of the upright image in pixels
     "region": [62.5, 0.0, 437.5, 375.0],     what the network saw of it: left, top, right, bottom
     "image": "images/cat.png",           in the same folder
     "predicted": {"class": 281, "name": "tabby", "probability": 0.61},
     "explanations": [
       {"method": "discernible",
        "options": {"alpha": [1.0, 0.0, 1.0], "k": 5, ...},
        "heat_map_of": "layers",              or "points", or "maps": those that the method gives
        "regions": {"sigma": 0.027, "threshold": 0.3, ...} ,        how heat maps and boxes are made
        "target_layer": null,                 of a class activation map
        "class": 281, "name": "tabby", "probability": 0.61,
        "evidence": true,                     false: nothing speaks for the class; the rest is empty
        "evidence_at_input": 0.031,           share that reached the pixels, 1 = all; null where none is traced
        "points": 315,                        null for maps
        "strongest": [{"x": 101, "y": 57, "score": 0.0009}, ...],   at most 10; empty for maps
        "box": [31.0, 22.0, 190.0, 204.0],    null for no box
        "box_in_file": [...]},
       ...]}
    ```

    Args:
        explained: The image.
        names: Names of all classes; "name" is null without.
    """
    first = explained.first

    def told(number: int, probability: float) -> dict[str, Any]:
        name = names[number] if names else None
        return {"class": number, "name": name, "probability": probability}

    return {
        "file": explained.file,
        "size": list(explained.size),
        "region": list(explained.region),
        "image": f"{IMAGES}/{explained.name}.png",
        "predicted": told(int(first.predicted[0]), float(first.confidence[0])),
        "explanations": [
            {
                "method": one.method,
                "options": dict(one.options),
                "heat_map_of": one.kind,
                "regions": one.regions.used(one.kind),
                "target_layer": one.options.get("target_layer"),
                **told(int(one.target[0, 0]), float(one.probability[0, 0])),
                "evidence": bool(one.has_evidence[0]),
                "evidence_at_input": evidence_at_input(one),
                **_points(one),
                "box": box_of(one),
                "box_in_file": _in_file(box_of(one), explained),
            }
            for row in explained.rows
            for one in row
        ],
    }


def _points(explanation: Explanation) -> dict[str, Any]:
    if explanation.maps is not None:
        return {"points": None, "strongest": []}
    points = explanation.points(0)
    order = points.score.argsort(descending=True, stable=True)[:STRONGEST].tolist()
    strongest = [
        {"x": int(points.x[at]), "y": int(points.y[at]), "score": float(points.score[at])}
        for at in order
    ]
    return {"points": len(points), "strongest": strongest}


def _in_file(box: Sequence[float] | None, explained: Explained) -> list[float] | None:
    if box is None:
        return None
    left, top, right, bottom = explained.region
    height, width = explained.first.size
    scales = (right - left) / width, (bottom - top) / height
    return [
        round(start + place * scale, 2)
        for place, start, scale in zip(box, (left, top) * 2, scales * 2, strict=True)
    ]


def write_records(
    path: str | Path, setup: Mapping[str, Any], records: Sequence[Mapping[str, Any]]
) -> None:
    """Write all images to one file: {"format": 1, "setup": {...}, "images": [...]}.

    Args:
        path: Where to; the file appears whole or not at all.
        setup: How it was made: model, weights, preparation, options.
        records: One of `record_of` for each image.
    """
    whole = {"format": FORMAT, "setup": dict(setup), "images": list(records)}
    write_text(path, json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def join_explained(
    staged: Path, parts: Sequence[tuple[Path, Sequence[range]]], files: Sequence[Path], size: int
) -> list[dict[str, Any]]:
    """Put what others have explained into one folder.

    Args:
        staged: The folder.
        parts: Folders of others, of each the batches that are its own.
        files: All images, in order.
        size: Images of a batch.

    Returns:
        The records of all images.

    Raises:
        ResultError: What a part holds is damaged, missing, or of other images.
    """
    found: list[dict[str, Any]] = []
    for part, blocks in parts:
        at = [at for block in blocks for at in range(block.start * size, block.stop * size)]
        with reading(part / MARK, ResultError, "what a shard of these images wrote"):
            records = read_json(part / MARK)["images"]
            if [one["file"] for one in records] != [named(files[i]) for i in at if i < len(files)]:
                raise ValueError("it does not hold its own images, each once")
            paths = [Path(one["image"]) for one in records]
            if odd := [p for p in paths if p.parent != Path(IMAGES) or p.suffix != ".png"]:
                raise ValueError(f"'{odd[0]}', which is no image of its own")
        for path in paths:
            with reading(part / path, ResultError, "what a shard of these images wrote"):
                content = (part / path).read_bytes()
            # What cannot be written is no fault of what was read.
            with atomic_path(staged / path) as partial:
                partial.write_bytes(content)
        found += records
    return found


def write_png(explained: Explained, path: str | Path, names: Sequence[str] | None) -> Path:
    """Write a PNG file: a row for each class, in it the image and a panel for each method with heat map and box.

    Args:
        explained: The image.
        path: Where to; the file appears whole or not at all.
        names: Names of all classes.

    Returns:
        The path.
    """
    first = explained.first
    width, height = draw.drawn_size(first.size)
    several = len(explained.rows) > 1 or int(first.target[0, 0]) != int(first.predicted[0])
    head = _ROW if several else 8
    wide, columns = max(width, _LEAST_WIDE), 1 + len(explained.rows[0])
    full = columns * (wide + _GAP) - _GAP
    tall = _TITLE + len(explained.rows) * (head + height + _FOOT) + _END
    paper = PixelPaper(full + 2 * _GAP, tall)
    predicted = class_told(int(first.predicted[0]), names)
    told = f"Predicted: {predicted} ({percent(float(first.confidence[0]))})"
    paper.text(_GAP, 32, shortened(told, _LARGE, full), _LARGE)
    paper.text(_GAP, 62, shortened(explained.told, _SMALL, full), _SMALL, muted=True)
    for number, row in enumerate(explained.rows):
        top = _TITLE + number * (head + height + _FOOT)
        if several:
            told = shortened(f"For {explained_told(row[0], 0, names)}", _TEXT, full)
            paper.text(_GAP, top + 24, told, _TEXT)
        image, below = Image.fromarray(row[0].images[0].numpy()), top + head + height
        smooth = draw.is_smooth(first.size)
        paper.pixels((_GAP, top + head, width, height), image, smooth=smooth)
        paper.text(_GAP, below + 24, "What the network sees", _TEXT)
        pixels = f"{first.size[1]} × {first.size[0]} pixels"
        paper.text(_GAP, below + 54, pixels, _SMALL, muted=True)
        for column, explanation in enumerate(row, start=1):
            left = _GAP + column * (wide + _GAP)
            _draw(paper, explanation, left, top + head, (width, height), wide)
    y = paper.image.height - _END + 22
    paper.frame(_GAP + 2, y - 8, _GAP + 30, y + 8)
    words = "box around the evidence     colours from 0 (the image shows) to the number at the end of each bar"
    if same := [title_of(one.method) for one in explained.rows[0] if alike(one)]:
        words += f"     {joined(same)}: points are counted, there are no shares"
    paper.text(_GAP + 42, y, shortened(words, _SMALL, full - 42), _SMALL, muted=True)
    with atomic_path(path) as partial, partial.open("wb") as file:
        paper.image.save(file, "PNG", optimize=True)
    return Path(path)


def _draw(
    paper: PixelPaper,
    explanation: Explanation,
    left: int,
    top: int,
    size: tuple[int, int],
    wide: int,
) -> None:
    (width, height), heat = size, draw.panel(explanation, 0, "heatmap")
    smooth = draw.is_smooth(explanation.size)
    paper.pixels((left, top, width, height), heat.base, smooth=smooth)
    if (box := box_of(explanation)) is not None:
        across, down = width / explanation.size[1], height / explanation.size[0]
        corners = [place * scale for place, scale in zip(box, (across, down) * 2, strict=True)]
        x, y, right, bottom = corners
        paper.frame(left + x, top + y, left + right, top + bottom)
    below = top + height
    paper.text(left, below + 24, title_of(explanation.method), _TEXT)
    _, largest = draw.heat_share(explanation.heatmap()[0])
    lines, start = [evidence_words(explanation)], 54
    if largest > 0:
        what, low, high = heat_told(explanation, largest)
        paper.pixels((left, below + 42, wide, 12), draw.bar(), smooth=True)
        paper.text(left, below + 68, low, _SMALL, muted=True)
        paper.text(left + wide, below + 68, high, _SMALL, muted=True, right=True)
        paper.text(left + 34, below + 68, what, _SMALL, muted=True)
        lines, start = [*lines, f"box: {box_words(explanation)}"], 94
    for at, line in enumerate(lines):
        paper.text(left, below + start + 24 * at, shortened(line, _SMALL, wide), _SMALL)


def settled(out: Path) -> Path:
    """The folder that is meant, links followed, once it is known that results can be written there.

    Raises:
        ResultError: They cannot.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp()).resolve()
        >>> settled(place / "new" / ".." / "out") == place / "out", list(place.iterdir())
        (True, [])
    """
    try:
        place = out.resolve()
        for file in (place / MARK, place / PAGE):
            if file.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))
        for folder in (place, (place / IMAGES).resolve()):
            nearest = _nearest(folder)
            # What the rights say is not all: the disk may be read-only, or not take a name.
            with tempfile.TemporaryDirectory(
                dir=nearest, prefix=_prefix(), suffix=".partial"
            ) as trial:
                Path(trial, folder.relative_to(nearest)).mkdir(parents=True, exist_ok=True)
    # Links in a circle are a RuntimeError to Python 3.12 and earlier.
    except (OSError, RuntimeError) as error:
        raise unwritable(out, error) from error
    return place


@contextmanager
def replaced(out: Path) -> Iterator[Path]:
    """A folder to write to, whose files go to `out` when the block ends well.

    Nothing is seen in `out` before that, nor if the block raises. Images of an earlier run that
    its `explanations.json` lists are removed; other files stay.

    Raises:
        ResultError: Results cannot be written there; before the block begins.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp()) / "out"
        >>> with replaced(place) as staged:
        ...     _ = (staged / MARK).write_text("{}")
        ...     early = place.exists()
        >>> early, [path.name for path in place.iterdir()], len(list(place.parent.iterdir()))
        (False, ['explanations.json'], 1)
    """
    place = settled(out)
    # The folder may be another file system than what it lies in, and files take their places by
    # being renamed.
    try:
        staged = Path(tempfile.mkdtemp(dir=_nearest(place), prefix=_prefix(), suffix=".partial"))
    except OSError as error:
        raise unwritable(place, error) from error
    try:
        yield staged
        written = sorted(path.relative_to(staged) for path in staged.rglob("*") if path.is_file())
        # What lists the others comes last.
        written.sort(key=lambda path: path.name == MARK)
        earlier = _listed(place / MARK)
        try:
            for path in written:
                folder = (place / path).parent.resolve()
                folder.mkdir(parents=True, exist_ok=True)
                _move(staged / path, folder / path.name)
            for path in earlier - set(written):
                (place / path).unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(place, error) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _prefix() -> str:
    # As `cofire.atomic` knows what has no name of its own once it is whole.
    return f"..{os.getpid()}-"


def _nearest(folder: Path) -> Path:
    """The folder, or what there is already of the way to it."""
    while not folder.exists():
        folder = folder.parent
    return folder


def _move(file: Path, target: Path) -> None:
    try:
        file.replace(target)
    except OSError as error:
        # The folder of images can be a mounted volume, or a link to one.
        if error.errno != errno.EXDEV:
            raise
        with atomic_path(target) as partial:
            shutil.copyfile(file, partial)


def _listed(record: Path) -> set[Path]:
    """The images that a record lists, those in its own folder of images only."""
    try:
        listed = in_words_of_now(read_json(record))
        found = {Path(image["image"]) for image in listed["images"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return set()
    own = (Path(IMAGES), Path("images"))
    return {path for path in found if path.parent in own and path.suffix == ".png"}
