"""Record activations of a model that does not export, by intercepting its calls of torch functions."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from cofire.errors import ExportError, LayerError
from cofire.network.operations import UNKNOWN, Extent, Operation, bare_name, batches_probed
from cofire.network.outputs import choose_logits, leaves_of, names_of
from cofire.network.reading import first_line
from cofire.network.untouched import left_untouched, plain_path
from cofire.network.vocabulary import ACTIVATION_NAMES, kind_of

__all__ = ["CallKey", "CallReading", "read_calls", "run_watched"]

CallKey = tuple[str, str, int]
"""Module path, function name, and which such call it is within one forward pass."""


@dataclass(frozen=True)
class CallReading:
    """What the calls of a forward pass say about the model.

    Attributes:
        operations: The calls as operations.
        batch: The batch size at the two probed sizes.
        logits: The position of the logits among the output's tensors.
        classes: The number of classes.
        changed: Names of buffers that a forward pass changes in place.
        inputs_changed: Whether a forward pass changes its inputs in place.
    """

    operations: tuple[Operation, ...]
    batch: Extent
    logits: int
    classes: int
    changed: frozenset[str]
    inputs_changed: bool

    def known_calls(self) -> set[CallKey]:
        """The calls that the example pass made."""
        return {operation.key for operation in self.operations if operation.key is not None}


def read_calls(model: nn.Module, example: tuple[Tensor, ...]) -> CallReading:
    """Run a model on two batch sizes and note down every call; the model stays as it is.

    Args:
        model: The unwrapped model.
        example: Its inputs; their first sample is repeated.

    Raises:
        ExportError: The model fails on the example, or no output looks like logits.
    """
    tracers, leaves = [], []
    for size in batches_probed:
        inputs = tuple(value[:1].repeat(size, *(1 for _ in value.shape[1:])) for value in example)
        buffers = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
        tracer = _Tracer(model, buffers, inputs)
        try:
            with left_untouched(model), _module_paths(model) as paths, torch.no_grad():
                tracer.paths = paths
                with tracer:
                    output = torch.func.functional_call(model, buffers, inputs)
        except Exception as error:
            raise ExportError(
                f"{type(model).__name__} fails on the example input: {first_line(error)}",
                "an example input that the model accepts",
                "pass one sample as the model expects it, with the batch axis in front",
            ) from error
        tracers.append(tracer)
        names = names_of(output, Tensor)
        leaves.append(leaves_of(output, Tensor))
    small, large = tracers
    later = {operation.key: operation.sizes for operation in large.operations if operation.key is not None}
    for operation in small.operations:
        if operation.key is not None or operation.role == "input":
            other = later.get(operation.key) if operation.key is not None else None
            operation.sizes = _combined(operation, other)
    position = _logits_position(leaves, names)
    return CallReading(
        tuple(small.operations),
        Extent(*batches_probed),
        position,
        leaves[0][position].shape[1],
        frozenset(small.changed),
        small.inputs_changed,
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


def run_watched(
    model: nn.Module,
    overrides: Mapping[str, Tensor],
    inputs: tuple[Tensor, ...],
    reading: CallReading,
    wanted: Mapping[CallKey, int],
    observe: Callable[[int, Tensor], None],
) -> Tensor:
    """Run a model once and hand over the results of some of its calls.

    Args:
        model: The unwrapped model; it stays as it is.
        overrides: Tensors by name that take the place of the model's own.
        inputs: The inputs.
        reading: What the example pass showed.
        wanted: The calls to hand over, with the number under which the observer knows each.
        observe: Called with number and tensor the moment a wanted call has ended.

    Returns:
        The logits (batch, classes).

    Raises:
        LayerError: This pass took another way through the model, so that a wanted activation was not
            computed, or one that the example pass did not show was.
    """
    with left_untouched(model), torch.inference_mode():
        if not wanted:
            output = _called(model, overrides, inputs)
        else:
            with _module_paths(model) as paths:
                watcher = _Watcher(paths, wanted, reading.known_calls(), observe)
                with watcher:
                    output = _called(model, overrides, inputs)
            if watcher.left:
                path, name, call = next(iter(watcher.left))
                raise LayerError(
                    f"call {call} of {name} in {path or 'the top level'!r} was not made for this batch",
                    "the activation layers of the example pass",
                    "leave it out with layers=, or pass batches that take the same way through the model",
                )
    logits: Tensor = leaves_of(output, Tensor)[reading.logits]
    return logits


def _called(model: nn.Module, overrides: Mapping[str, Tensor], inputs: tuple[Tensor, ...]) -> Any:
    return torch.func.functional_call(model, dict(overrides), inputs) if overrides else model(*inputs)


@contextmanager
def _module_paths(model: nn.Module) -> Iterator[list[tuple[str, str]]]:
    """A stack whose last entry is the path and class of the module that is being called in this thread."""
    # A module with several names goes by its first.
    names = {id(module): (plain_path(name), _class_of(module)) for name, module in model.named_modules()}
    stack: list[tuple[str, str]] = [("", "")]
    thread = threading.get_ident()

    def enter(module: nn.Module, _: Any) -> None:
        if threading.get_ident() == thread and id(module) in names:
            stack.append(names[id(module)])

    def leave(module: nn.Module, _: Any, __: Any) -> None:
        if threading.get_ident() == thread and id(module) in names and len(stack) > 1:
            stack.pop()

    before = register_module_forward_pre_hook(enter)
    try:
        after = register_module_forward_hook(leave, always_call=True)
        try:
            yield stack
        finally:
            after.remove()
    finally:
        before.remove()


def _class_of(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


class _Names:
    """The bare name of a torch function, looked up once."""

    def __init__(self) -> None:
        self._known: dict[Any, str] = {}

    def __call__(self, function: Any) -> str:
        name = self._known.get(function)
        if name is None:
            written = str(getattr(function, "__name__", function))
            if written == "__get__":
                written = str(getattr(getattr(function, "__self__", None), "__name__", written))
            name = self._known[function] = bare_name(written)
        return name


class _Tracer(TorchFunctionMode):
    """Notes down every call of a torch function in one forward pass."""

    def __init__(self, model: nn.Module, buffers: Mapping[str, Tensor], inputs: tuple[Tensor, ...]) -> None:
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
        self._calls: Counter[tuple[str, str]] = Counter()
        self._name = _Names()
        roles = {"parameter": model.parameters(), "buffer": buffers.values(), "input": inputs}
        for role, values in roles.items():
            for value in values:
                self._register(value, role)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        taken = [value for value in pytree.tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        versions = [_version(value) for value in taken]
        result = func(*args, **kwargs)
        written = [value for value, version in zip(taken, versions, strict=True) if _version(value) != version]
        given = [value for value in pytree.tree_leaves(result) if isinstance(value, Tensor)]
        if given or written:
            self._note(self._name(func), args, kwargs, taken, written, result, given)
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
    ) -> None:
        path, module = self.paths[-1]
        call = self._calls[path, name]
        self._calls[path, name] += 1
        single = result if isinstance(result, Tensor) else None
        operation = Operation(
            name=name,
            args=tuple(self._with_operations(value) for value in args),
            kwargs={key: self._with_operations(value) for key, value in kwargs.items()},
            path=path,
            module=module,
            sizes=tuple(Extent(size, size) for size in single.shape) if single is not None else None,
            key=(path, name, call),
            floating=single is not None and single.is_floating_point(),
        )
        waits = {self._writers[place] for value in taken if (place := _memory(value)) in self._writers}
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


def _version(value: Tensor) -> int:
    # A forward pass may open torch.inference_mode itself, whose tensors count no versions.
    return 0 if value.is_inference() else int(value._version)


def _memory(value: Tensor) -> int:
    return value.untyped_storage().data_ptr() or id(value)


class _Watcher(TorchFunctionMode):
    """Hands over the results of the wanted calls of one forward pass."""

    def __init__(
        self,
        paths: list[tuple[str, str]],
        wanted: Mapping[CallKey, int],
        known: set[CallKey],
        observe: Callable[[int, Tensor], None],
    ) -> None:
        super().__init__()
        self.left = dict(wanted)
        self._paths = paths
        self._counted = ACTIVATION_NAMES | {name for _, name, _ in wanted}
        self._known = known
        self._observe = observe
        self._calls: Counter[tuple[str, str]] = Counter()
        self._name = _Names()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = self._name(func)
        if name in self._counted and isinstance(result, Tensor):
            path = self._paths[-1][0]
            key = (path, name, self._calls[path, name])
            self._calls[path, name] += 1
            position = self.left.pop(key, None)
            if position is not None:
                self._observe(position, result)
            elif key not in self._known:
                self._refuse_unknown(key, args, kwargs or {}, result)
        return result

    def _refuse_unknown(self, key: CallKey, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> None:
        path, name, call = key
        floating = result.is_floating_point()
        if kind_of(Operation(name, args, kwargs, path=path, floating=floating)) is not None:
            raise LayerError(
                f"call {call} of {name} in {path or 'the top level'!r}, which the example pass did not make",
                "the activation layers of the example pass",
                "build the network with an example that takes the same way through the model",
            )


def _logits_position(leaves: Sequence[Sequence[Tensor]], names: Sequence[str]) -> int:
    small, large = leaves
    fitting: list[int] = []
    for position, (one, two) in enumerate(zip(small, large, strict=False)):
        fits = (*one.shape[:1], *two.shape[:1]) == batches_probed
        same = any(one is small[other] for other in fitting)
        if (
            one.is_floating_point()
            and one.dim() == two.dim() == 2
            and fits
            and one.shape[1] == two.shape[1]
            and not same
        ):
            fitting.append(position)
    return choose_logits([str(tuple(value.shape)) for value in small], fitting, names)
