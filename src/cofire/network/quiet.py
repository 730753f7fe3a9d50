"""What torch says of an export that fails, kept out of the way of the error that says it in a line."""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

_TORCH = str(Path(torch.__file__).parent)


@contextmanager
def quiet_export() -> Iterator[None]:
    """Without what torch logs, prints and warns of in this thread; with TORCH_LOGS set, whoever asks hears it all.

    Loggers, warning filters and the standard error stream are as before afterwards.
    """
    if os.environ.get("TORCH_LOGS"):
        with _without_warnings():
            yield
        return
    thread = threading.get_ident()

    def others(record: logging.LogRecord) -> bool:
        return record.thread != thread

    named = list(logging.root.manager.loggerDict.items())
    loggers = [
        one
        for name, one in named
        if name.split(".")[0] == "torch" and isinstance(one, logging.Logger)
    ]
    for logger in loggers:
        logger.addFilter(others)
    stream = sys.stderr
    sys.stderr = _WithoutTorch(stream, thread)
    try:
        with _without_warnings():
            yield
    finally:
        sys.stderr = stream
        for logger in loggers:
            logger.removeFilter(others)


@contextmanager
def _without_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        # torch's own exporter calls interfaces that torch deprecates, version by version.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torch\..*|copyreg")
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\..*|copyreg")
        # What the model keeps on itself lands on its twin.
        warnings.filterwarnings("ignore", message="The tensor attributes? ", category=UserWarning)
        yield


class _WithoutTorch:
    """A stream that leaves out what torch itself prints in one thread; what a model prints goes through."""

    def __init__(self, stream: Any, thread: int) -> None:
        self._stream = stream
        self._thread = thread

    def write(self, text: str) -> int:
        """Hand text on, unless it is torch's."""
        mine = threading.get_ident() == self._thread
        if mine and sys._getframe(1).f_code.co_filename.startswith(_TORCH):
            return len(text)
        written: int = self._stream.write(text)
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
