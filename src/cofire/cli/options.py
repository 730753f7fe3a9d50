"""Options that several verbs share, said and shown alike everywhere, and what they open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import typer
from torch.utils.data import DataLoader, Dataset

from cofire.cli.terminal import without_commands
from cofire.errors import DataError, ExportError, OptionError
from cofire.explain import BASELINES
from cofire.explain.views import views_told
from cofire.images.classes import known_names, read_names
from cofire.images.collection import Collection
from cofire.images.layouts import open_collection
from cofire.images.preparation import Preparation, PreparationOptions, preparation_of
from cofire.network import Network
from cofire.options import Options, option
from cofire.reading import named
from cofire.remote import local
from cofire.study.data import open_data
from cofire.study.options import DATA_NAME
from cofire.study.samples import Samples
from cofire.study.sources import DEVICE, WEIGHTS_KEY, WORKERS, first_inputs, open_network

_FILES = "file.safetensors or file.pt; the model's own trained ones unless given."
DATA = DATA_NAME.expected
DATA_ROOT: Path | None = option(
    None, "Data", "Where data sets lie; COFIRE_DATA or ./data unless given.", panel="Data"
)


class Output(Options):
    """What a verb says, and where."""

    panel: ClassVar[str] = "Output"

    quiet: bool = option(False, "Quiet", "Results and errors alone: no notes, no progress.")
    verbose: bool = option(False, "Verbose", "How long it took, and where an error came from.")
    as_json: bool = option(False, "JSON", "Print the results as one JSON object.")


class NetworkOptions(Output):
    """The network, and where it runs."""

    panel: ClassVar[str] = "Network"

    model: str = option(
        ..., "Network", "torchvision:resnet50 | timm:NAME | package.module:function | file.pt2"
    )
    weights: str | None = option(None, "Weights", _FILES)
    weights_key: str | None = WEIGHTS_KEY
    num_classes: int | None = option(
        None, "Outputs", "Of a torchvision or timm model, if not its own."
    )
    batch_size: int = option(16, "Batch size", "Samples at a time.", ge=1)
    device: str = DEVICE

    def open(self, example: torch.Tensor, **more: Any) -> Network:
        """The network; what is not given in `more` is as the options say."""
        given = ("model", "weights", "weights_key", "num_classes", "device", "capture")
        told = {name: getattr(self, name) for name in given if hasattr(self, name)} | more
        return open_network(told.pop("model"), example, **told)

    @property
    def own_weights(self) -> str:
        """For pages."""
        return named(self.weights or "the model's own")


class ImageOptions(PreparationOptions, NetworkOptions):
    """The network, and what is done to images before it sees them."""

    @property
    def asked(self) -> dict[str, Any]:
        """What is said of the preparation, as `preparation_of` takes it."""
        return {name: getattr(self, name) for name in PreparationOptions.model_fields}

    def opened(self, **other: Any) -> tuple[Network, Preparation]:
        """The network, and how images are prepared for it; an exported program says itself how large they are.

        Args:
            other: Options in which another network differs: model, weights, mean …
        """
        asked = self.asked | {name: other.pop(name) for name in ("mean", "std") if name in other}
        model = other.get("model", self.model)
        if model.endswith(".pt2"):
            network = self.open(torch.zeros(0), **other)
            return network, preparation_of(model, network.input_shape, **asked)
        preparation = preparation_of(model, None, **asked)
        return self.open(torch.zeros(2, *preparation.shape), **other), preparation


def tell(preparation: Preparation | None) -> None:
    """Say in one line what is done to images, before anything is computed; nothing where there are none."""
    if preparation is not None:
        typer.echo(f"Images: {without_commands(named(preparation.told))}", err=True)


class LabelledDataOptions(ImageOptions):
    """Where labelled data lies, and how it is read."""

    panel: ClassVar[str] = "Data"

    batch_size: int = option(
        64,
        "Batch size",
        "Samples read at a time. How many the network runs at once follows from its size alone: so no result "
        "depends on it.",
        ge=1,
    )
    capture: Literal["export", "calls"] = option(
        "export",
        "Capture",
        "How to read the model; calls where it does not export.",
        panel="Network",
    )
    data_root: Path | None = DATA_ROOT
    workers: int = WORKERS

    def opened_with(
        self, *parts: tuple[str, str | Sequence[str]], split: str | None = None
    ) -> tuple[Network, list[Any], Preparation | None]:
        """The network and data sets, of which an exported program says itself how large inputs are.

        Args:
            parts: The data sets' names, each with the part that is meant where it has several, or
                several of which the first that it has is meant.
            split: The part that is asked for.
        """
        network = self.open(torch.zeros(0)) if self.model.endswith(".pt2") else None
        found = [
            open_data(
                name,
                root=self.data_root,
                split=split,
                part=part,
                model=self.model,
                shape=None if network is None else network.input_shape,
                own_weights=self.weights is not None,
                **self.asked,
            )
            for name, part in parts
        ]
        preparation = getattr(found[0], "preparation", None)
        tell(preparation)
        return network or self._opened_on(first_inputs(found[0]), preparation), found, preparation

    def _opened_on(self, example: torch.Tensor, preparation: Preparation | None) -> Network:
        """The network, or why it does not take images of this size."""
        try:
            return self.open(example)
        except ExportError as error:
            if preparation is None or "fails on the example" not in error.given:
                raise
            raise ExportError(
                f"{error.given}, images of shape {tuple(example.shape[1:])}",
                "images that the model accepts",
                "prepare images otherwise: a larger --image-size, say, or without --grey",
            ) from error

    def loader(self, data: Any) -> Any:
        """A data set in batches; what comes in batches already, or makes them itself, as it is."""
        if isinstance(data, Dataset) and not isinstance(data, DataLoader | Samples):
            return DataLoader(data, batch_size=self.batch_size, num_workers=self.workers)
        return data

    def prepared(self, preparation: Preparation | None) -> dict[str, Any]:
        """What results tell of the images' preparation."""
        if preparation is None:
            return {}
        return {"prepared": preparation.told, "preparation": preparation.record}


_OTHER = ("weights", "weights_key", "mean", "std")


class ViewOptions(ImageOptions):
    """In how many views of each image it is explained."""

    views: Literal["mirror", "scale", "both"] | None = option(
        None,
        "Views",
        "Mean map of views: mirrored, at a second scale, or both; 2, 2 or 4 times the time.",
    )

    def with_views(self, called: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """What methods are called with, in the views that are asked for, whose price is told."""
        if self.views is None:
            return called
        typer.echo(views_told(self.views), err=True)
        return {
            name: own if name in BASELINES else {**own, "views": self.views}
            for name, own in called.items()
        }


class RivalOptions(ImageOptions):
    """Another network that sees the same images."""

    panel: ClassVar[str] = "The other network"

    against: str | None = option(
        None, "Against", "Another network on the same images, named as --model."
    )
    against_weights: str | None = option(None, "Its weights", "Its weights.")
    against_weights_key: str | None = option(
        None, "Its copy of weights", "Which copy in that file."
    )
    against_mean: tuple[float, ...] | None = option(
        None, "Its mean", "Its mean, where it is not the usual one."
    )
    against_std: tuple[float, ...] | None = option(None, "Its deviation", "Its standard deviation.")

    @property
    def rival(self) -> dict[str, Any]:
        """What is said of the other network, as `opened` takes it.

        Raises:
            OptionError: Something is, and there is none.
        """
        other = {name: getattr(self, f"against_{name}") for name in _OTHER}
        given = [f"--against-{name.replace('_', '-')}" for name, value in other.items() if value]
        if self.against is None and given:
            raise OptionError(
                f"{' and '.join(given)} without --against",
                "the other network",
                "pass --against MODEL as well",
            )
        return other | {"model": self.against}

    def opened_rival(self, network: Network) -> tuple[Network, Preparation] | None:
        """The other network, and how images are prepared for it; None where none is asked for.

        Raises:
            DataError: It has another number of classes.
        """
        other = self.rival
        if self.against is None:
            return None
        rival = self.opened(**other)
        if network.num_classes != rival[0].num_classes:
            raise DataError(
                f"--against {self.against}, a network of {rival[0].num_classes:,} classes",
                f"{network.num_classes:,}, as --model has",
                "name another network with --against, or its own trained weights with --against-weights",
            )
        return rival

    def names_of_both(self) -> tuple[str, str]:
        """What the two are called: a model's own name is enough, unless both have the same."""
        both = (named(self.model), named(self.against or ""))
        short = tuple(name.split(":")[-1] for name in both)
        first, second = short if short[0] != short[1] else both
        return (first, second) if first != second else (f"{first} (first)", f"{second} (second)")


class BoxedImagesOptions(ImageOptions):
    """Images whose objects have boxes: which, what is left out rather than refused, what classes are called."""

    panel: ClassVar[str] = "Which images and boxes"

    data: str = option(
        ..., "Images", "Folder of images, folders in it too; or ImageNet's, as Kaggle has it."
    )
    boxes: Path | None = option(
        None, "Boxes", "Of the images: boxes.json, COCO JSON, or a folder of VOC or ILSVRC XML."
    )
    classes: Path | None = option(
        None, "Classes", "Names of all classes: one a line, or a JSON list."
    )
    synsets: Path | None = option(None, "Synsets", "WordNet ids of all classes, one a line.")
    several: Literal["refuse", "largest", "skip"] = option(
        "refuse", "Several classes", "An image with boxes of several classes and none of its own."
    )
    difficult: bool = option(False, "Difficult", "Take boxes noted as difficult too.")
    first_pixel: int | None = option(
        None,
        "First pixel",
        "Its number in XML files: 1 for VOC, 0 for ILSVRC unless given.",
        ge=0,
        le=1,
    )
    box_unit: Literal["pixel", "fraction"] = option(
        "pixel", "Box unit", "Of corners: fractions go from 0 to 1 of an image's sides."
    )
    skip_unmatched: bool = option(
        False, "Skip unmatched", "Leave out images or boxes without their other half."
    )
    skip_unreadable: bool = option(
        False, "Skip unreadable", "Leave out images that cannot be read, boxes that do not fit."
    )
    skip_unknown: bool = option(
        False, "Skip unknown", "Leave out boxes of classes that the network has not."
    )

    @property
    def folder(self) -> Path:
        """Where the images lie."""
        return local(self.data.removeprefix("imagefolder:"))

    def collection(self, network: Network) -> tuple[Collection, list[str] | None]:
        """The images with their boxes, and the names of all classes where they are known."""
        count = network.num_classes
        names = read_names(self.classes, count) if self.classes else known_names(self.model, count)
        found = open_collection(
            self.folder,
            self.boxes,
            names=names,
            synsets=self.synsets,
            num_classes=count,
            allow_unmatched=self.skip_unmatched,
            several=self.several,
            difficult=self.difficult,
            first_pixel=self.first_pixel,
            skip_unknown=self.skip_unknown,
            skip_faulty=self.skip_unreadable,
            unit=self.box_unit,
        )
        return found, names
