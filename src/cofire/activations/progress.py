"""A bar of how far a pass over data is, and lines beside it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

Advance = Callable[[int], None]


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} samples/s", style="progress.data.speed")


@contextmanager
def progress_over(title: str, samples: int | None, show: bool | None = None) -> Iterator[Advance]:
    """A bar for one pass over the data.

    Args:
        title: What is under way.
        samples: How many there are; None if not known, for a bar without an end.
        show: Whether to show it; None shows it where the error stream is a terminal.

    Yields:
        A function to call with the number of samples done since the last call.
    """
    if not _shown(show):
        yield lambda _: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %" if samples else "{task.completed:,.0f} samples"),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=samples)
        yield lambda done: bar.advance(task, done)


def announce(text: str, show: bool | None = None) -> None:
    """A line to the error stream, where progress bars are shown.

    Args:
        text: What to say.
        show: Whether to say it; None says it where the error stream is a terminal.
    """
    if _shown(show):
        sys.stderr.write(f"{text}\n")


def _shown(show: bool | None) -> bool:
    return sys.stderr.isatty() if show is None else show
