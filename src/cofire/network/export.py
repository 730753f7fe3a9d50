"""Export a model with `torch.export`, quietly, say in a line why where it fails, and leave writes in place out."""

from __future__ import annotations

import inspect
import linecache
import logging
import os
import re
import sys
import threading
import traceback
import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, distributed, fx, nn
from torch.export import Dim, ExportedProgram

from cofire.errors import ExportError, RuleError
from cofire.network.operations import _TORCH, is_symbolic, is_users
from cofire.network.operators import named
from cofire.network.reading import GraphReading, aliasing, name_of, operator_of, source_of
from cofire.network.untouched import evaluation_twin, plainly_computed

if distributed.is_available():
    # Its functions take the group of processes of their import as a default. Exporting imports it: where
    # there is a group by then, its threads outlive its end, and may abort a process that ends.
    import torch.distributed.nn.functional


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


# Of these PyTorch does not know the shape, so that it does not export them.
_ROUNDING = (
    "fake_quantize_per_tensor_affine_cachemask",
    "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams",
    "fake_quantize_per_channel_affine_cachemask",
)


@contextmanager
def _shapes_of_rounding() -> Iterator[None]:
    def shapes(values: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
        return torch.empty_like(values), torch.empty_like(values, dtype=torch.bool)

    with torch.library._scoped_library("aten", "IMPL") as library:
        for name in _ROUNDING:
            library.impl(name, shapes, "Meta")
        yield


# What these give has the shape of their operand and nothing else of it.
_FILLED = named("filled")
_CALLS = 'pass capture="calls", which records activations without reading the graph'


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
                with _quietly(), _shapes_of_rounding():
                    program = torch.export.export(
                        model, example, dynamic_shapes=shapes, strict=False
                    )
            except Exception as error:
                reason = reason or error
                continue
            if _has_dynamic_batch(program):
                return program
            # Nothing else is in the way.
            reason = None
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


def _causes(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in chain:
        chain.append(following)
        following = following.__cause__ or following.__context__
    return chain


def functionalize(reading: GraphReading) -> tuple[GraphReading, RuleError | None]:
    """The same computation without writes in place, and an error that names the first write that had to stay.

    Each node keeps its name and what is noted on it. A write stays where a value is changed through
    a view of it and read through another one afterwards, and where the operator has no counterpart
    that does not write. Writes into what comes of no input, such as a mask that is filled region by
    region, may stay: it is the same for all samples.

    Args:
        reading: What an exported program says about the model.
    """
    order = {node: number for number, node in enumerate(reading.graph.nodes)}
    groups: dict[fx.Node, list[fx.Node]] = defaultdict(list)
    for node in reading.graph.nodes:
        if node.op != "output":
            groups[_memory(node)].append(node)
    fed = _fed_memory(reading)
    graph = fx.Graph()
    now: dict[fx.Node, fx.Node] = {}
    changed: set[str] = set()
    refusal: RuleError | None = None
    for node in reading.graph.nodes:
        if node.op == "output":
            continue
        written = aliasing(node)[1] if node.op == "call_function" else []
        now[node] = copied = graph.node_copy(node, now.__getitem__)
        if not written:
            continue
        if not any(_memory(one) in fed for one in written):
            changed.update(_memory(one).name for one in written)
            continue
        plain = _without_writing(node.target)
        # Only the changed value itself may be read afterwards, not other views of the same memory.
        views = [
            other
            for other in groups[_memory(written[0])]
            if other is not written[0]
            and order[other] < order[node]
            and written[0] not in aliasing(other)[1]
            and any(order[user] > order[node] for user in other.users)
        ]
        if views or plain is None or len(written) > 1:
            what = (
                "writes in place"
                if not views
                else "changes a value that is read through another view afterwards"
            )
            refusal = refusal or RuleError(
                f"{name_of(node)} at {source_of(node)} {what}",
                "operators whose results stay as they are computed",
                "write a new tensor there instead of changing one in place",
            )
            continue
        copied.target = plain
        now[node] = now[written[0]] = _cast(graph, copied, node, written[0])
    graph.output(now[reading.logits])
    # Without the operations, which hold nodes of the graph that this one is made from.
    left = reading.changed & changed if refusal is None else reading.changed
    return replace(
        reading, graph=graph, logits=now[reading.logits], operations=(), changed=left
    ), refusal


def _fed_memory(reading: GraphReading) -> set[fx.Node]:
    """The nodes in whose memory something lies, at one time or another, that comes of an input."""
    fed: set[fx.Node] = set()
    for node in reading.graph.nodes:
        takes = any(_memory(one) in fed for one in node.all_input_nodes)
        if node.name in reading.inputs or (takes and operator_of(node) not in _FILLED):
            fed.add(_memory(node))
    return fed


def _cast(graph: fx.Graph, result: fx.Node, node: fx.Node, written: fx.Node) -> fx.Node:
    """The result in the type of what was written to, which in place it keeps."""
    kinds = {value.meta["val"].dtype for value in node.all_input_nodes if _floating(value)}
    if not _floating(written) or len(kinds) < 2:
        return result
    cast = graph.call_function(torch.ops.aten.to.dtype, (result, written.meta["val"].dtype))
    cast.meta = dict(node.meta)
    return cast


def _floating(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_floating_point()


def _memory(node: fx.Node) -> fx.Node:
    """The node whose memory a value lies in."""
    while (shared := aliasing(node)[0]) is not None:
        node = shared
    return node


def _without_writing(target: Any) -> Any:
    """The overload of the same arguments that gives its result back only, such as `relu` for `relu_`."""
    if not isinstance(target, torch._ops.OpOverload):
        return None
    packet = getattr(torch.ops.aten, target.overloadpacket.__name__.removesuffix("_"), None)
    other = getattr(packet, target._overloadname, None)
    if other is None or other is target:
        return None
    # What is written to comes first, and is `input` to one of them and `self` to the other in dropout.
    names = [[argument.name for argument in one._schema.arguments[1:]] for one in (target, other)]
    return other if names[0] == names[1] else None
