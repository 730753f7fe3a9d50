"""Figures as files for a paper or a talk, drawn by a headless browser."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import shutil
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import plotly
import plotly.graph_objects as go

from cofire.arguments import validated
from cofire.atomic import atomic_path
from cofire.errors import MissingExtraError
from cofire.marks import choice
from cofire.report.page import figures
from cofire.study.trajectory import Trajectory

FORMATS = ("png", "svg", "pdf", "jpg", "webp")
WIDTH = 900
SCALE = 3
"""900 px are 3 inches at the 300 dpi that journals ask for; three times that fills a page's width."""
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@validated
def browser() -> str | None:
    """Path of a Chrome or Chromium: the environment's COFIRE_CHROMIUM, or the first one found."""
    named = os.environ.get("COFIRE_CHROMIUM")
    return named or next((found for name in _BROWSERS if (found := shutil.which(name))), None)


@validated
def write_figures(
    trajectory: Trajectory, folder: str | Path, *, formats: Iterable[str] = ("png", "svg")
) -> list[Path]:
    """Write every figure of the report as image files: light theme, white ground.

    Args:
        trajectory: One checkpoint or more.
        folder: Where to write; each file appears whole or not at all and is called after its
            figure.
        formats: Any of "png", "svg", "pdf", "jpg" and "webp". Raster images are 2,700 pixels wide.

    Returns:
        The files written, figure by figure.

    Raises:
        OptionError: An unknown format.
        MissingExtraError: Kaleido, or the browser that it draws with, is absent.
        ResultError: The trajectory has no checkpoint.
    """
    wanted = _wanted(formats)
    return write_images(figures(trajectory), folder, formats=wanted)


def write_images(
    drawn: Mapping[str, go.Figure], folder: str | Path, *, formats: Iterable[str]
) -> list[Path]:
    """Write figures as image files: light theme, white ground.

    Args:
        drawn: By name, in the light theme.
        folder: Where to write; each file appears whole or not at all and is called after its
            figure.
        formats: As `write_figures` takes them.

    Returns:
        The files written, figure by figure.

    Raises:
        OptionError: An unknown format.
        MissingExtraError: Kaleido, or the browser that it draws with, is absent.
    """
    wanted = _wanted(formats)
    if importlib.util.find_spec("kaleido") is None:
        raise MissingExtraError(
            "figures as image files without kaleido",
            "the extra 'figures'",
            'pip install "cofire[figures]"',
        )
    executable = browser()
    if executable is None or shutil.which(executable) is None:
        raise MissingExtraError(
            f"figures as image files with no browser{f' at {executable}' if executable else ''}",
            "kaleido (the extra 'figures') and Chrome or Chromium, which draws them",
            'pip install "cofire[figures]", and install Chrome or Chromium or name one in COFIRE_CHROMIUM',
        )
    # In a thread of its own: a notebook's running loop cannot run another inside.
    with ThreadPoolExecutor(1) as thread:
        work = _write(drawn, Path(folder), wanted, executable)
        return thread.submit(asyncio.run, work).result()


def _wanted(formats: Iterable[str]) -> tuple[str, ...]:
    wanted = (formats,) if isinstance(formats, str) else tuple(formats)
    return tuple(choice(FORMATS).of("formats", one) for one in wanted)


async def _write(
    drawn: Mapping[str, go.Figure], folder: Path, wanted: tuple[str, ...], executable: str
) -> list[Path]:
    kaleido = importlib.import_module("kaleido")
    script = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    written: list[Path] = []
    # MathJax would come from the network, and no label needs it.
    async with kaleido.Kaleido(path=executable, plotlyjs=script, mathjax=False) as painter:
        for name, figure in drawn.items():
            sheet = go.Figure(figure).update_layout(
                paper_bgcolor="white", plot_bgcolor="white", width=WIDTH
            )
            for kind in wanted:
                size = {"width": WIDTH, "height": sheet.layout.height}
                size["scale"] = 1 if kind in ("svg", "pdf") else SCALE
                image = await painter.calc_fig(sheet, opts={"format": kind, **size})
                written.append(folder / f"{name}.{kind}")
                with atomic_path(written[-1]) as partial:
                    partial.write_bytes(image)
    return written
