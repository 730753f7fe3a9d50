"""Options of commands that take photos with boxes: what is taken, and what is left out rather than refused."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from cofire.images.layouts import SEVERAL

_PANEL = "Which photos and boxes"

SkipUnmatched = Annotated[
    bool,
    typer.Option(
        "--skip-unmatched",
        help="Leave out photos or boxes without their other half.",
        rich_help_panel=_PANEL,
    ),
]
SkipUnreadable = Annotated[
    bool,
    typer.Option(
        "--skip-unreadable",
        help="Leave out photos that cannot be read, boxes that do not fit.",
        rich_help_panel=_PANEL,
    ),
]
SkipUnknown = Annotated[
    bool,
    typer.Option(
        "--skip-unknown",
        help="Leave out boxes of classes that the network has not.",
        rich_help_panel=_PANEL,
    ),
]
Several = Annotated[
    str,
    typer.Option(
        help=f"A photo with boxes of several classes and none of its own: {', '.join(SEVERAL)}.",
        rich_help_panel=_PANEL,
    ),
]
Difficult = Annotated[
    bool,
    typer.Option("--difficult", help="Take boxes noted as difficult too.", rich_help_panel=_PANEL),
]
BoxUnit = Annotated[
    Literal["pixel", "fraction"],
    typer.Option(
        help="Of the corners of boxes: fractions go from 0 to 1 of an image's sides.",
        rich_help_panel=_PANEL,
    ),
]
FirstPixel = Annotated[
    int | None,
    typer.Option(
        help="Number of the first pixel in XML files, 0 or 1; 1 for VOC, 0 for ILSVRC unless given.",
        rich_help_panel=_PANEL,
    ),
]
