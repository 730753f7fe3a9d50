"""What a model computes, from the calls of one forward pass: for models that do not export."""

from __future__ import annotations

import functools
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from cofire.errors import ExportError, LayerError
from cofire.network.export import first_line
from cofire.network.operations import (
    UNKNOWN,
    Extent,
    Operation,
    bare_name,
    batches_probed,
    is_users,
)
from cofire.network.operators import ACTIVATION_NAMES, kind_of
from cofire.network.outputs import (
    Chosen,
    Output,
    choose_logits,
    ending_of,
    leaves_of,
    names_of,
    two_logits,
)
from cofire.network.packing import packed_operations, unpacked_operations
from cofire.network.untouched import (
    evaluation_twin,
    generator_states,
    generators_kept,
    plain_path,
    plainly_computed,
)

_HERE = __file__
CallKey = tuple[str, str, int]
"""Module path, function name, and which such call it is within one forward pass."""


@dataclass(frozen=True)
class CallReading:
    """What the calls of a forward pass say about the model.

    Attributes:
        operations: The calls as operations.
        batch: The batch size at the two probed sizes.
        at: The position of the model's result among its output's tensors.
        result: The operation that gives the logits.
        output: What the model's own output is.
        ending: Where the model goes on from the logits to a softmax, that call.
        classes: The number of classes.
        changed: Names of buffers that a forward pass changes in place.
        inputs_changed: Whether a forward pass changes its inputs in place.
        draws: Whether a forward pass draws random numbers.
    """

    operations: tuple[Operation, ...]
    batch: Extent
    at: int
    result: Operation
    output: Output
    ending: CallKey | None
    classes: int
    changed: frozenset[str]
    inputs_changed: bool
    draws: bool

    def packed(self) -> dict[str, Any]:
        """The same as plain data."""
        given = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        result = self.operations.index(self.result)
        return {**given, "operations": packed_operations(self.operations), "result": result}

    @classmethod
    def unpacked(cls, packed: Mapping[str, Any]) -> CallReading:
        """The reading that `packed` made plain data of."""
        operations = tuple(unpacked_operations(packed["operations"]))
        return cls(**{**packed, "operations": operations, "result": operations[packed["result"]]})


def read_calls(model: nn.Module, example: tuple[Tensor, ...], chosen: Chosen = None) -> CallReading:
    """Run a model on two batch sizes and note down every call; the model stays as it is.

    Args:
        model: The unwrapped model.
        example: Its inputs; their first sample is repeated.
        chosen: Which of several outputs holds the logits.

    Raises:
        ExportError: The model fails on the example, or no output looks like logits.
    """
    tracers, leaves = [], []
    name, twin, device = type(model).__name__, evaluation_twin(model), example[0].device
    for size in batches_probed:
        inputs = tuple(value[:1].repeat(size, *(1 for _ in value.shape[1:])) for value in example)
        buffers = {name: buffer.detach().clone() for name, buffer in twin.named_buffers()}
        tracer = _Tracer(twin, buffers, inputs)
        before = generator_states(device)
        try:
            with plainly_computed(device), module_paths(twin, model) as paths, torch.no_grad():
                tracer.paths = paths
                with tracer:
                    output = torch.func.functional_call(twin, buffers, inputs)
                moved = not all(map(torch.equal, before, generator_states(device)))
        except ExportError:
            raise
        except Exception as error:
            raise ExportError(
                f"{name} fails on the example input: {first_line(error)}",
                "an example input that the model accepts",
                "pass one sample as the model expects it, with the batch axis in front",
            ) from error
        tracers.append(tracer)
        names = names_of(output, Tensor)
        leaves.append(leaves_of(output, Tensor))
    small, large = tracers
    later = {
        operation.key: operation for operation in large.operations if operation.key is not None
    }
    for operation in small.operations:
        if operation.key is not None or operation.role == "input":
            other = later.get(operation.key) if operation.key is not None else None
            operation.sizes = _combined(operation, other.sizes if other else None)
            if operation.values is not None:
                more = other.values if other else None
                operation.values = more and Extent(operation.values.small, more.large)
    at = _logits_position(leaves, names, chosen)
    result = small.made(leaves[0][at])
    kind, logits = ending_of(result)
    if logits.key is None:
        kind, logits = "logits", result
    return CallReading(
        tuple(small.operations),
        Extent(*batches_probed),
        at,
        logits,
        kind,
        logits.key if logits is not result else None,
        2 if kind == "one logit" else leaves[0][at].shape[1],
        frozenset(small.changed),
        small.inputs_changed,
        moved,
    )


def _combined(operation: Operation, later: tuple[Extent, ...] | None) -> tuple[Extent, ...] | None:
    sizes = operation.sizes
    if sizes is None:
        return None
    if operation.role == "input":
        return (Extent(*batches_probed), *sizes[1:])
    if later is None or len(later) != len(sizes):
        return tuple(UNKNOWN for _ in sizes)
    return tuple(Extent(one.small, two.small) for one, two in zip(sizes, later, strict=True))


class _Calls(TorchFunctionMode):
    """Sees every call of a torch function in one forward pass, and counts those of a name in a module."""

    paths: list[tuple[str, str]]

    def __init__(self) -> None:
        super().__init__()
        self._calls: Counter[tuple[str, str]] = Counter()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return self.called(func, args, kwargs or {})

    def called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function."""
        raise NotImplementedError

    def key(self, name: str) -> CallKey:
        """Of the call that is being made of a function of this name."""
        path, _ = self.paths[-1]
        self._calls[path, name] += 1
        return path, name, self._calls[path, name] - 1


class _Tracer(_Calls):
    """Notes down every call of a torch function in one forward pass."""

    def __init__(
        self, model: nn.Module, buffers: Mapping[str, Tensor], inputs: tuple[Tensor, ...]
    ) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.paths: list[tuple[str, str]] = [("", "")]
        self.changed: set[str] = set()
        self.inputs_changed = False
        self._buffers = {id(buffer): name for name, buffer in buffers.items()}
        self._inputs = {id(value) for value in inputs}
        self._made: dict[int, Operation] = {}
        self._writers: dict[int, Operation] = {}
        self._owners: dict[int, int] = {}
        # Identities stay unique only while the tensors live.
        self._kept: list[Tensor] = []
        self._device = inputs[0].device
        roles = {"parameter": model.parameters(), "buffer": buffers.values(), "input": inputs}
        for role, values in roles.items():
            for value in values:
                self._register(value, role)

    def called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function and note it down."""
        taken = [value for value in pytree.tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        versions = [_version(value) for value in taken]
        before = generator_states(self._device)
        result = func(*args, **kwargs)
        draws = kwargs.get("generator") is not None or not all(
            map(torch.equal, before, generator_states(self._device))
        )
        written = [
            value
            for value, version in zip(taken, versions, strict=True)
            if _version(value) != version
        ]
        given = [value for value in pytree.tree_leaves(result) if isinstance(value, Tensor)]
        if given or written:
            self._note(_name_of(func), args, kwargs, taken, written, result, given).draws = draws
        return result

    def _note(
        self,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        taken: Sequence[Tensor],
        written: Sequence[Tensor],
        result: Any,
        given: Sequence[Tensor],
    ) -> Operation:
        path, module = self.paths[-1]
        single = result if isinstance(result, Tensor) else None
        most = max((value.numel() for value in given), default=0)
        operation = Operation(
            name=name,
            args=tuple(self._with_operations(value) for value in args),
            kwargs={key: self._with_operations(value) for key, value in kwargs.items()},
            path=path,
            module=module,
            sizes=None if single is None else tuple(Extent(size, size) for size in single.shape),
            values=None if single is not None or not given else Extent(most, most),
            key=self.key(name),
            floating=single is not None and single.is_floating_point(),
            place=_users_line(),
        )
        waits = {
            self._writers[place] for value in taken if (place := _memory(value)) in self._writers
        }
        operation.waits = tuple(waits - set(operation.operands()))
        self.operations.append(operation)
        for value in written:
            place = _memory(value)
            self._writers[place] = operation
            owner = self._owners.get(place)
            if owner in self._buffers:
                self.changed.add(self._buffers[owner])
            self.inputs_changed = self.inputs_changed or owner in self._inputs
        for value in (*given, *written):
            self._made[id(value)] = operation
            self._kept.append(value)
        return operation

    def made(self, value: Tensor) -> Operation:
        """The operation that gave a tensor."""
        return self._made[id(value)]

    def _register(self, value: Tensor, role: Any) -> Operation:
        operation = Operation(
            name=role,
            role=role,
            sizes=tuple(Extent(size, size) for size in value.shape),
            floating=value.is_floating_point(),
        )
        self._made[id(value)] = operation
        self._owners.setdefault(_memory(value), id(value))
        self._kept.append(value)
        self.operations.append(operation)
        return operation

    def _with_operations(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            known = self._made.get(id(value))
            return known if known is not None else self._register(value, "constant")
        if isinstance(value, (tuple, list)):
            return tuple(self._with_operations(entry) for entry in value)
        return value


def _users_line() -> tuple[str, int] | None:
    """The innermost line of the model's own code that is being executed."""
    frame = sys._getframe(1)
    left = False
    while frame is not None:
        here = frame.f_code.co_filename == _HERE
        if here and left:
            return None
        left = left or not here
        if left and is_users(frame.f_code.co_filename):
            return frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back  # type: ignore[assignment]
    return None


def _version(value: Tensor) -> int:
    # A forward pass may open torch.inference_mode itself, whose tensors count no versions.
    return 0 if value.is_inference() else int(value._version)


def _memory(value: Tensor) -> int:
    return value.untyped_storage().data_ptr() or id(value)


def _logits_position(
    leaves: Sequence[Sequence[Tensor]], names: Sequence[str], chosen: Chosen
) -> int:
    small, large = leaves
    fitting: dict[int, int] = {}
    for position, (one, two) in enumerate(zip(small, large, strict=False)):
        fits = (*one.shape[:1], *two.shape[:1]) == batches_probed
        same = any(one is small[other] for other in fitting)
        if (
            one.is_floating_point()
            and one.dim() == two.dim()
            and one.dim() in (1, 2)
            and fits
            and one.shape[1:] == two.shape[1:]
            and not same
        ):
            fitting[position] = one.dim()
    shapes = [str(tuple(value.shape)) for value in small]
    return choose_logits(shapes, fitting, names, chosen)


def run_watched(
    model: nn.Module,
    reading: CallReading,
    overrides: Mapping[str, Tensor],
    inputs: tuple[Tensor, ...],
    wanted: Mapping[CallKey, Callable[[Tensor], None]],
    known: Set[CallKey],
) -> Tensor:
    """Run a model once and hand over the results of some of its calls.

    Args:
        model: The unwrapped model; it stays as it is.
        reading: Of its calls.
        overrides: Tensors by name that take the place of the model's own.
        inputs: The inputs.
        wanted: The calls to hand over, with what is called with the tensor the moment one has
            ended.
        known: The calls that the example pass made.

    Returns:
        The logits (batch, classes).

    Raises:
        LayerError: This pass took another way through the model, so that a wanted activation was
            not computed, or one that the example pass did not show was.
    """
    twin = evaluation_twin(model)
    kept: list[Tensor] = []
    asked = dict(wanted) if reading.ending is None else {**wanted, reading.ending: kept.append}
    with ExitStack() as stack:
        if reading.draws:
            stack.enter_context(generators_kept(inputs[0].device))
        stack.enter_context(torch.inference_mode())
        paths = stack.enter_context(module_paths(twin, model))
        watcher = stack.enter_context(_Watcher(paths, asked, known if wanted else None))
        output = (
            torch.func.functional_call(twin, dict(overrides), inputs)
            if overrides
            else twin(*inputs)
        )
    if watcher.left:
        path, name, call = next(iter(watcher.left))
        raise LayerError(
            f"call {call} of {name} in {path or 'the top level'!r} was not made for this batch",
            "the activation layers of the example pass",
            "leave it out with layers=, or pass batches that take the same way through the model",
        )
    with torch.inference_mode():
        logits: Tensor = kept[0] if kept else leaves_of(output, Tensor)[reading.at]
        return two_logits(logits.flatten()[:, None]) if reading.output == "one logit" else logits


@contextmanager
def module_paths(twin: nn.Module, model: nn.Module) -> Iterator[list[tuple[str, str]]]:
    """A stack whose last entry is the path and class of the module that is being called in this thread."""
    # A module with several names goes by its first.
    names = {
        id(module): (plain_path(name), f"{type(module).__module__}.{type(module).__qualname__}")
        for name, module in twin.named_modules()
    }
    originals = {id(module): name for name, module in model.named_modules()}
    stack: list[tuple[str, str]] = [("", "")]
    thread = threading.get_ident()

    def enter(module: nn.Module, _: Any) -> None:
        if threading.get_ident() != thread:
            return
        if id(module) in originals:
            raise ExportError(
                f"module {originals[id(module)]!r}, which the model calls through an object that hides it",
                "modules that are attributes of modules, or of functions and plain objects on them",
                "call the module as an attribute of its parent, as in self.layer(x)",
            )
        if id(module) in names:
            stack.append(names[id(module)])

    def leave(module: nn.Module, _: Any, __: Any) -> None:
        if threading.get_ident() == thread and id(module) in names and len(stack) > 1:
            stack.pop()

    # As contexts both remove themselves.
    with (
        register_module_forward_pre_hook(enter),
        register_module_forward_hook(leave, always_call=True),
    ):
        yield stack


@functools.cache
def _name_of(function: Any) -> str:
    """The bare name of a torch function, as operations have it."""
    written = str(getattr(function, "__name__", function))
    if written == "__get__":
        written = str(getattr(getattr(function, "__self__", None), "__name__", written))
    return bare_name(written)


class _Watcher(_Calls):
    """Hands over the results of the wanted calls of one forward pass."""

    def __init__(
        self,
        paths: list[tuple[str, str]],
        wanted: Mapping[CallKey, Callable[[Tensor], Any]],
        known: Set[CallKey] | None,
    ) -> None:
        super().__init__()
        self.left = dict(wanted)
        self.paths = paths
        self._counted = ACTIVATION_NAMES | {name for _, name, _ in wanted}
        self._known = known

    def called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function and hand its result over, where it is wanted."""
        result = func(*args, **kwargs)
        name = _name_of(func)
        if name in self._counted and isinstance(result, Tensor):
            key = self.key(name)
            observe = self.left.pop(key, None)
            if observe is not None:
                observe(result)
            elif self._known is not None and key not in self._known:
                self._refuse_unknown(key, args, kwargs, result)
        return result

    def _refuse_unknown(
        self, key: CallKey, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor
    ) -> None:
        path, name, call = key
        floating = result.is_floating_point()
        if kind_of(Operation(name, args, kwargs, path=path, floating=floating)) is not None:
            raise LayerError(
                f"call {call} of {name} in {path or 'the top level'!r}, which the example pass did not make",
                "the activation layers of the example pass",
                "build the network with an example that takes the same way through the model",
            )
