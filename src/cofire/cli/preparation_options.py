"""Options of commands that show images to a network: how these are prepared."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["Grey", "ImageSize", "Mean", "Resize", "Std", "Weights", "WeightsKey"]

_PANEL = "What is done to the images"

Weights = Annotated[
    str | None, typer.Option(help="file.safetensors or file.pt; the model's own trained ones unless given.")
]
WeightsKey = Annotated[
    str | None,
    typer.Option(metavar="KEY", help="Which copy, where that file holds the network twice: model, ema_model …"),
]
ImageSize = Annotated[int | None, typer.Option(help="Side of the centre crop.", rich_help_panel=_PANEL)]
Resize = Annotated[
    int | None, typer.Option(help="The shorter side before the crop; 0 leaves it as it is.", rich_help_panel=_PANEL)
]
Mean = Annotated[
    str | None,
    typer.Option(help="Subtracted from values of 0 to 1: 0.5 or 0.485,0.456,0.406.", rich_help_panel=_PANEL),
]
Std = Annotated[str | None, typer.Option(help="Divided by: 0.5 or 0.229,0.224,0.225.", rich_help_panel=_PANEL)]
Grey = Annotated[bool, typer.Option("--grey", help="The network takes one channel.", rich_help_panel=_PANEL)]
