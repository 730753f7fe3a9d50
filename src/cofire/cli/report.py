"""`cofire report`: the page of finished results, written again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from cofire.cli.options import Output
from cofire.options import option
from cofire.reading import named
from cofire.report import write_figures, write_report
from cofire.study import Trajectory


class Report(Output):
    """What is written."""

    folder: Path = option(..., "Folder", "Of a study or a summary.")
    figures: bool = option(False, "Figures", "Also write each figure as PNG and SVG.")


def report(options: Report) -> dict[str, Any]:
    """Write the report of finished results again, and its figures as files."""
    trajectory = Trajectory.load(options.folder)
    page = write_report(trajectory, options.folder / "report.html")
    typer.echo(f"Report: {named(page)}")
    written = write_figures(trajectory, options.folder / "figures") if options.figures else []
    for path in written:
        typer.echo(f"Figure: {named(path)}")
    return {"report": page, "figures": list(written)}
