"""How verbs that give a trajectory tell of it: a line at each checkpoint, and the page and the verdict at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from cofire.cli.terminal import command_line
from cofire.reading import named
from cofire.report import write_report
from cofire.study import Trajectory
from cofire.study.findings import digest


def line(so_far: Trajectory, checkpoints: int) -> None:
    """Say what the last of the checkpoints so far was like."""
    now = so_far.network().to_pylist()[-1]
    told = [f"checkpoint {now['checkpoint']:>3}/{checkpoints}", f"epoch {now['epoch']:g}"]
    told.append(f"entropy {now['entropy']:,.1f} nats")
    told += [
        f"{part} {now[f'{part}_accuracy']:.4f}"
        for part in ("train", "test")
        if now[f"{part}_accuracy"] is not None
    ]
    typer.echo("  ".join(told), err=True)


def reported(trajectory: Trajectory, folder: Path, *, where: bool = True) -> dict[str, Any]:
    """Write the page and say what it says first.

    Args:
        trajectory: Whole.
        folder: For the page.
        where: Whether to say where it is.

    Returns:
        What a verb gives of it.
    """
    page = write_report(trajectory, folder / "report.html", command=command_line())
    said = digest(trajectory)
    typer.echo("\n".join(said))
    if where:
        typer.echo(f"Report: {named(page)}")
    return {"report": page, "folder": folder, "digest": said}
