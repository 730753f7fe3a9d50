"""Folders as data sets are handed out: where images, boxes and the numbers of classes lie in them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cofire.errors import DataError, ImageError, LabelError
from cofire.images.annotations import Annotation, BoxList
from cofire.images.boxes import read_boxes
from cofire.images.classes import ClassTable, is_wnid, read_synsets
from cofire.images.collection import AnnotatedImage, Collection
from cofire.images.files import files_below, listed, refuse_all
from cofire.images.reading import ENDINGS
from cofire.marks import choice
from cofire.reading import named, reading

_KAGGLE_IMAGES = "Data/CLS-LOC/val"
_KAGGLE_BOXES = "Annotations/CLS-LOC/val"
_KAGGLE_SYNSETS = "LOC_synset_mapping.txt"


@dataclass(frozen=True)
class Layout:
    """Where the parts of a data set lie.

    Attributes:
        images: The folder of images.
        boxes: The file or folder of boxes; None if there is none.
        synsets: The file of WordNet numbers; None if there is none.
    """

    images: Path
    boxes: Path | None = None
    synsets: Path | None = None


def find_layout(
    images: str | Path, boxes: str | Path | None = None, synsets: str | Path | None = None
) -> Layout:
    """The parts of a data set, of which those that are not given are found in ImageNet's folders as Kaggle has them.

    That is `ILSVRC/Data/CLS-LOC/val`, `ILSVRC/Annotations/CLS-LOC/val` and
    `LOC_synset_mapping.txt`, below a folder that is given for `images`; it may be `ILSVRC` itself
    as well. Every other folder is taken as it is.

    Args:
        images: The folder of images, or the root of ImageNet.
        boxes: A file or folder of boxes.
        synsets: A file of WordNet numbers.

    Raises:
        DataError: The root of ImageNet has images and no boxes, or several such roots.
    """
    root = Path(images)
    given = Layout(
        root, None if boxes is None else Path(boxes), None if synsets is None else Path(synsets)
    )
    inner = [place for place in (root, root / "ILSVRC") if (place / _KAGGLE_IMAGES).is_dir()]
    if not inner:
        return given
    if len(inner) > 1:
        raise DataError(
            f"'{root}' holds ImageNet twice: {inner[0]} and {inner[1]}",
            "one of the two",
            "name one",
        )
    base = inner[0]
    found_boxes = given.boxes or base / _KAGGLE_BOXES
    if not found_boxes.exists():
        raise DataError(
            f"images in '{base / _KAGGLE_IMAGES}' and no '{base / _KAGGLE_BOXES}'",
            "the boxes of the images",
            "unpack them too, or name them",
        )
    mappings = [
        place / _KAGGLE_SYNSETS
        for place in (base, base.parent)
        if (place / _KAGGLE_SYNSETS).is_file()
    ]
    return Layout(
        base / _KAGGLE_IMAGES, found_boxes, given.synsets or (mappings[0] if mappings else None)
    )


def open_collection(
    images: str | Path,
    boxes: str | Path | None = None,
    *,
    names: Sequence[str] | None = None,
    synsets: str | Path | Sequence[str] | None = None,
    num_classes: int | None = None,
    allow_unmatched: bool = False,
    several: str = "refuse",
    **how: Any,
) -> Collection:
    """Images with classes and boxes from where they lie; they are not read yet.

    Args:
        images: As `find_layout` takes it.
        boxes: The same; images in a folder for each class need none.
        names: Of all classes, in the order of the network's outputs.
        synsets: A file as `read_synsets` takes it, or the WordNet numbers themselves.
        num_classes: How many classes the network has.
        allow_unmatched: As `cofire.images.layouts.match` takes it.
        several: The same.
        how: Options of `cofire.images.boxes.read_boxes`.

    Raises:
        DataError: As these say; its kinds `ImageError` and `LabelError` too.
        OptionError: As these say.
    """
    with reading(images, DataError, "a folder of images"):
        file = synsets if isinstance(synsets, str | Path) else None
        layout = find_layout(images, boxes, file)
        wnids = None if synsets is None or isinstance(synsets, str | Path) else list(synsets)
        if wnids is None and layout.synsets is not None:
            wnids = read_synsets(layout.synsets, num_classes)
        if wnids is None and layout.boxes is not None and layout.boxes.is_dir():
            wnids = _by_folders(layout.images, num_classes)
        found = None
        if layout.boxes is not None:
            found = read_boxes(layout.boxes, names, wnids, num_classes=num_classes, **how)
        return match(
            layout.images,
            found,
            names=names,
            synsets=wnids,
            num_classes=num_classes,
            allow_unmatched=allow_unmatched,
            several=several,
        )


def _by_folders(images: Path, num_classes: int | None) -> list[str] | None:
    """The WordNet numbers of class folders, if there is one for each class: files of boxes may name classes by them."""
    if num_classes is None or not images.is_dir():
        return None
    wnids = sorted(
        place.name for place in images.iterdir() if place.is_dir() and is_wnid(place.name)
    )
    return wnids if len(wnids) == num_classes else None


SEVERAL = ("refuse", "largest", "skip")
"""What is done with images that show several classes, none of which is said to be theirs."""


def images_below(folder: str | Path) -> dict[str, Path]:
    """All image files of a folder and of the folders in it, by their paths below it.

    Returns:
        Names with "/" between folders, sorted, with the files; of names that are no UTF-8 the bytes
        are shown.

    Raises:
        ImageError: There is no such folder, or no image in it, or names that cannot be told apart.
        DataError: A folder cannot be entered, or a link leads back.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ImageError(
            f"no folder '{root}'",
            "a folder of images, or of a folder for each class",
            "check the path",
        )
    found = files_below(root, ENDINGS)
    if not found:
        raise ImageError(
            f"no image in the folder '{root}' or below it",
            f"files that end with {', '.join(ENDINGS)}",
            "name the folder that holds the images",
        )
    files: dict[str, Path] = {}
    for name, file in sorted(found):
        # Records and pages are text: what is no UTF-8 is told by its bytes, in a list of boxes as
        # well.
        if files.setdefault(named(name), file) != file:
            raise ImageError(
                f"two images in '{named(root)}' that are both told as '{named(name)}'",
                "names that can be told apart",
                "give one of them another name",
            )
    return dict(sorted(files.items()))


def match(
    images: str | Path,
    boxes: BoxList | None,
    *,
    names: Sequence[str] | None = None,
    synsets: Sequence[str] | None = None,
    num_classes: int | None = None,
    allow_unmatched: bool = False,
    several: str = "refuse",
) -> Collection:
    """Images from a folder of images and a list of boxes.

    An entry belongs to the image whose path ends as it does: "a.jpg" to "cats/a.jpg", but
        "dogs/a.jpg" to no
    "cats/a.jpg". Entries without an ending, as those of XML files, are held against names without
    theirs.

    An image's class is the one that its entry gives it; else that of the folder it lies in; else the
    one that all its boxes are of. Folders are classes where their names are: `names`, `synsets`,
    or, with neither, as many as `num_classes`, which are numbered in the order of their names. A
    image keeps the boxes of its own class alone.

    Args:
        images: The folder of images; those in folders below it count as well.
        boxes: As `cofire.images.boxes.read_boxes` reads them; None for images without boxes in a
            folder for each class.
        names: Of all classes, in the order of the network's outputs.
        synsets: WordNet numbers of all classes, in the same order.
        num_classes: How many classes the network has.
        allow_unmatched: Leave out images without an entry and entries without an image, rather than
            refuse them.
        several: An image with boxes of several classes and nothing that says which is its own:
            "refuse", take that whose boxes cover the "largest" area when added up, or "skip", which
            leaves out images without any class as well.

    Raises:
        ImageError: The folder is missing or holds no image.
        DataError: Images and entries do not match; the message names all.
        LabelError: An image has no class or several, or its folder and its boxes do not agree.
        OptionError: `several` is none of the three, or the numbers of classes do not agree.
    """
    choice(SEVERAL).of("several", several)
    table, source = ClassTable(names, synsets, num_classes), Path(images)
    files = images_below(source)
    no_entry: list[str] = []
    no_image: list[str] = []
    if boxes is None:
        paired = {name: Annotation(name, None, (), (), None) for name in files}
    else:
        paired, no_image = _paired(files, boxes)
        no_entry = [name for name in files if name not in paired]
        if not allow_unmatched:
            _refuse_unmatched(no_entry, no_image, source, boxes.source)
    folders = _folder_classes(files, table)
    found, classless, wrong = [], [], []
    for name in sorted(paired):
        entry, folder = paired[name], PurePosixPath(name).parent.name
        label = _label_of(entry, folders.get(folder), several)
        if isinstance(label, str):
            near = (
                f" (its folder is {table.fault(folder)})"
                if folder and table.knows_names and not entry.boxes
                else ""
            )
            classless.append((name, f"{name} {label}{near}"))
        elif entry.label is not None and folders.get(folder, entry.label) != entry.label:
            wrong.append(
                f"{name} is of class {entry.label} in the list, {folders[folder]} by its folder '{folder}'"
            )
        elif not table.holds(label):
            wrong.append(f"{name} is of class {label} of {table.num_classes:,}")
        else:
            own = tuple(
                box for box, of in zip(entry.boxes, entry.labels, strict=True) if of == label
            )
            found.append(
                AnnotatedImage(
                    files[name], name, label, own, entry.size, len(entry.boxes) - len(own)
                )
            )
    refuse_all(
        wrong,
        "images whose class cannot be right",
        "one class of the network, the same in list and folder",
        "mend the list of boxes, or the list of classes",
        LabelError,
    )
    if several != "skip" or not found:
        _refuse_classless([fault for _, fault in classless], several, paired, source)
    collection = Collection(
        tuple(found), source, boxes_left_out="" if boxes is None else boxes.left_out
    )
    return collection.leaving_out(
        unmatched_images=no_entry,
        unmatched_boxes=no_image,
        classless=[name for name, _ in classless],
        odd=() if boxes is None else boxes.odd_boxes,
        unknown=() if boxes is None else boxes.unknown_classes,
    )


def _paired(files: Mapping[str, Path], boxes: BoxList) -> tuple[dict[str, Annotation], list[str]]:
    """The entry of each image that has one, and the names of entries without an image."""
    by_name: dict[str, list[str]] = {}
    by_stem: dict[str, list[str]] = {}
    for name in files:
        by_name.setdefault(PurePosixPath(name).name, []).append(name)
        by_stem.setdefault(PurePosixPath(name).stem, []).append(name)
    paired: dict[str, Annotation] = {}
    no_image: list[str] = []
    unclear: list[str] = []
    for entry in boxes.entries:
        path = PurePosixPath(named(entry.name))
        near = by_name.get(path.name, [])
        if not near and path.suffix.lower() not in ENDINGS:
            near = by_stem.get(path.name, [])
        fitting = [name for name in near if _ends_alike(PurePosixPath(name), path)]
        if len(fitting) > 1:
            # Of several that end alike the one in the very folder is meant: "a.jpg" is not
            # "cats/a.jpg" then.
            exact = [name for name in fitting if PurePosixPath(name).parent == path.parent]
            fitting = exact if len(exact) == 1 else fitting
        if not fitting:
            no_image.append(named(entry.name))
        elif len(fitting) > 1:
            unclear.append(
                f"{named(entry.name)} could be {', '.join(fitting[:3])}{' …' if len(fitting) > 3 else ''}"
            )
        elif fitting[0] in paired:
            unclear.append(
                f"{named(paired[fitting[0]].name)} and {named(entry.name)} are both {fitting[0]}"
            )
        else:
            paired[fitting[0]] = entry
    refuse_all(
        unclear,
        f"entries of '{boxes.source}' that belong to no one image",
        "one entry for each image",
        "write their folders and endings too, or leave one out",
    )
    return paired, no_image


def _ends_alike(image: PurePosixPath, entry: PurePosixPath) -> bool:
    """Whether of the folders of both the shorter path's are the last of the longer one's."""
    pairs = zip(reversed(image.parent.parts), reversed(entry.parent.parts), strict=False)
    return all(one == other for one, other in pairs)


def _refuse_unmatched(
    no_entry: Sequence[str], no_image: Sequence[str], images: Path, boxes: Path
) -> None:
    told = [
        f"{what} ({len(names):,}): {listed(names)}"
        for what, names in (
            (f"images in '{images}' without an entry in '{boxes}'", no_entry),
            ("entries without an image", no_image),
        )
        if names
    ]
    if told:
        raise DataError(
            ". ".join(told),
            "an entry for each image and an image for each entry, named alike",
            "name the folder and the boxes of the same images, or leave out what has no partner: allow_unmatched=True "
            "(--skip-unmatched)",
        )


def _folder_classes(files: Iterable[str], table: ClassTable) -> dict[str, int]:
    """The classes of folders, as far as their names, or their order, tell.

    Order tells only what nobody could mean otherwise: WordNet numbers, as many as there are
        classes, are ImageNet's,
    and with no names at all it is what torchvision's `ImageFolder` takes.
    """
    parents = {PurePosixPath(name).parent.name for name in files}
    folders = sorted(parents - {""})
    known = {folder: number for folder in folders if (number := table.find(folder)) is not None}
    by_order = (all(map(is_wnid, folders)) and not table.synsets) or not table.knows_names
    if not known and by_order and "" not in parents and len(folders) == table.num_classes:
        return {folder: number for number, folder in enumerate(folders)}
    return known


def _label_of(entry: Annotation, folder: int | None, several: str) -> int | str:
    """The class of an image, or why it has none."""
    if entry.label is not None:
        return entry.label
    if folder is not None:
        return folder
    areas: defaultdict[int, float] = defaultdict(float)
    for (left, top, right, bottom), label in zip(entry.boxes, entry.labels, strict=True):
        areas[label] += (right - left) * (bottom - top)
    if not areas:
        return "has neither a box nor a class"
    if len(areas) == 1 or several == "largest":
        return max(areas, key=lambda label: (areas[label], -label))
    return f"has boxes of classes {', '.join(map(str, sorted(areas)))}"


def _refuse_classless(faults: Sequence[str], several: str, paired: Sized, source: Path) -> None:
    if not paired:
        raise DataError(
            f"no image in '{source}' has an entry",
            "entries named as the images are",
            "name the folder and the boxes of the same images",
        )
    largest = (
        ""
        if several == "largest"
        else "take the class of the largest boxes: several='largest' (--several largest), "
    )
    refuse_all(
        faults,
        "images without one class",
        "boxes of one class, a class for each image, or a folder for each class",
        f"{largest}name the classes of folders: names or synsets (--classes or --synsets), or leave the images out: "
        "several='skip' (--several skip)",
        LabelError,
    )
