"""Options of commands that show images to a network: how these are prepared; and the line that tells it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cofire.cli.numbers import numbers
from cofire.cli.opening import without_commands
from cofire.images.preparation import Preparation
from cofire.reading import named

_PANEL = "What is done to the images"

Weights = Annotated[
    str | None,
    typer.Option(help="file.safetensors or file.pt; the model's own trained ones unless given."),
]
WeightsKey = Annotated[
    str | None,
    typer.Option(
        metavar="KEY",
        help="Which copy, where that file holds the network twice: model, ema_model …",
    ),
]
ImageSize = Annotated[
    int | None,
    typer.Option(
        help="Side of what the network sees; images of just this size stay as they are.",
        rich_help_panel=_PANEL,
    ),
]
Resize = Annotated[
    int | None,
    typer.Option(
        help="The shorter side before the crop, for images of any size; 0 resizes none.",
        rich_help_panel=_PANEL,
    ),
]
Crop = Annotated[
    int | None,
    typer.Option(
        help="Side of the centre crop; 0 squashes whole images to --image-size.",
        rich_help_panel=_PANEL,
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(
        help="Subtracted from values of 0 to 1: 0.5 or 0.485,0.456,0.406.", rich_help_panel=_PANEL
    ),
]
Std = Annotated[
    str | None, typer.Option(help="Divided by: 0.5 or 0.229,0.224,0.225.", rich_help_panel=_PANEL)
]
Grey = Annotated[
    bool, typer.Option("--grey", help="The network takes one channel.", rich_help_panel=_PANEL)
]
Transform = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:FUNCTION",
        help="In place of all these: called with an image, gives the input.",
        rich_help_panel=_PANEL,
    ),
]


def asked(
    image_size: int | None,
    resize: int | None,
    crop: int | None,
    mean: str | None,
    std: str | None,
    grey: bool,
    transform: str | None,
) -> dict[str, Any]:
    """What these options say, as `cofire.images.preparation.preparation_of` takes it."""
    return {
        "image_size": image_size,
        "resize": resize,
        "crop": crop,
        "mean": numbers(mean),
        "std": numbers(std),
        "grey": grey,
        "transform": transform,
    }


def tell(preparation: Preparation | None) -> None:
    """Say in one line what is done to images, before anything is computed; nothing where there are none."""
    if preparation is not None:
        typer.echo(f"Images: {without_commands(named(preparation.told))}", err=True)
