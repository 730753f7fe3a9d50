"""Export a model with `torch.export`, quietly, and say in a line why where it fails."""

from __future__ import annotations

import inspect
import linecache
import logging
import os
import re
import sys
import sysconfig
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from cofire.errors import ExportError
from cofire.network.untouched import evaluation_twin, plainly_computed

_TORCH = str(Path(torch.__file__).parent)
_HERE = str(Path(__file__).parent)


@contextmanager
def _quietly() -> Iterator[None]:
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


_CALLS = 'pass capture="calls", which records activations without reading the graph'


_STDLIB = sysconfig.get_path("stdlib")


def exported(model: nn.Module, example: tuple[Tensor, ...]) -> ExportedProgram:
    """Export a model in evaluation mode with a dynamic batch axis; the model stays as it is.

    Args:
        model: The unwrapped model.
        example: Its inputs, each with a batch of two or more.

    Raises:
        ExportError: It cannot be exported, or only for one fixed batch size.
    """
    reason: Exception | None = None
    name, model = type(model).__name__, evaluation_twin(model)
    with plainly_computed(example[0].device):
        for dimension in (Dim("batch"), Dim.AUTO):
            shapes: tuple[Any, ...] = tuple({0: dimension} for _ in example)
            if _takes_any_number(model):
                shapes = (shapes,)
            try:
                with _quietly():
                    program = torch.export.export(
                        model, example, dynamic_shapes=shapes, strict=False
                    )
            except Exception as error:
                reason = reason or error
                continue
            if _has_dynamic_batch(program):
                return program
        failure = _failure_of_model(model, example)
    if failure is not None:
        raise ExportError(
            f"{name} fails on the example input: {first_line(failure)}{_where(failure)}",
            "an example input that the model accepts",
            "pass one sample as the model expects it, with the batch axis in front",
        ) from failure
    if reason is not None:
        raise ExportError(
            f"{name} does not export: {first_line(reason)}{_where(reason)}",
            "a forward pass that torch.export can trace for any batch size",
            _CALLS,
        ) from reason
    raise ExportError(
        f"{name} fixes the batch size to {example[0].shape[0]}",
        "a forward pass that works for any batch size",
        f"take sizes from the input's shape instead of writing them down, or {_CALLS}",
    )


def _has_dynamic_batch(program: ExportedProgram) -> bool:
    names = set(program.graph_signature.user_inputs)
    values = [
        node.meta.get("val")
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in names
    ]
    return all(
        is_symbolic(value.shape[0]) for value in values if isinstance(value, Tensor) and value.dim()
    )


def _takes_any_number(model: nn.Module) -> bool:
    kinds = [parameter.kind for parameter in inspect.signature(model.forward).parameters.values()]
    return bool(kinds) and kinds[0] is inspect.Parameter.VAR_POSITIONAL


def _failure_of_model(model: nn.Module, example: tuple[Tensor, ...]) -> Exception | None:
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        with torch.no_grad():
            torch.func.functional_call(model, buffers, tuple(value.clone() for value in example))
    except Exception as error:
        return error
    return None


def first_line(error: BaseException) -> str:
    """The line of an exception's message that says what went wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.endswith(":")]
    text = (said or lines or [""])[0]
    return f"{type(error).__name__}: {text}".rstrip(". :")


def _where(error: BaseException) -> str:
    """The line of the user's code that an exception passed through last, as " (file, line n: code)"."""
    frames = [
        (frame.filename, frame.lineno or 0)
        for cause in _causes(error)
        for frame in traceback.extract_tb(cause.__traceback__)
    ]
    frames += [
        (name, int(line)) for name, line in re.findall(r'File "([^"<>]+)", line (\d+)', str(error))
    ]
    for filename, line in reversed(frames):
        if is_users(filename):
            code = linecache.getline(filename, line).strip()
            return f" ({filename}, line {line}: {code})"
    return ""


def is_users(filename: str) -> bool:
    """Whether a file holds code of the user, not of PyTorch, of Python or of this package."""
    if filename.startswith((_TORCH, _HERE, "<")) or not Path(filename).exists():
        return False
    return not filename.startswith(_STDLIB) or "site-packages" in filename


def _causes(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in chain:
        chain.append(following)
        following = following.__cause__ or following.__context__
    return chain


def is_symbolic(size: Any) -> bool:
    """Whether a size depends on the batch."""
    return isinstance(size, torch.SymInt) and not size.node.expr.is_Integer
