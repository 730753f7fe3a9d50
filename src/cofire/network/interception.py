"""Run a model that does not export, and intercept its calls of torch functions."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from cofire.errors import ExportError, LayerError
from cofire.network.operations import Operation, bare_name
from cofire.network.outputs import leaves_of
from cofire.network.twin import evaluation_twin
from cofire.network.untouched import generators_kept, plain_path
from cofire.network.vocabulary import ACTIVATION_NAMES, kind_of

CallKey = tuple[str, str, int]
"""Module path, function name, and which such call it is within one forward pass."""

_LOGITS = -1


def run_watched(
    model: nn.Module,
    overrides: Mapping[str, Tensor],
    inputs: tuple[Tensor, ...],
    wanted: Mapping[CallKey, int],
    observe: Callable[[int, Tensor], None],
    *,
    known: Set[CallKey],
    at: int,
    ending: CallKey | None,
    draws: bool,
) -> Tensor:
    """Run a model once and hand over the results of some of its calls.

    Args:
        model: The unwrapped model; it stays as it is.
        overrides: Tensors by name that take the place of the model's own.
        inputs: The inputs.
        wanted: The calls to hand over, with the number under which the observer knows each.
        observe: Called with number and tensor the moment a wanted call has ended.
        known: The calls that the example pass made.
        at: The position of the model's result among its output's tensors.
        ending: The call that gives the logits, where the model goes on from them to a softmax.
        draws: Whether a pass draws random numbers.

    Returns:
        The logits (batch, classes).

    Raises:
        LayerError: This pass took another way through the model, so that a wanted activation was
            not computed, or one that the example pass did not show was.
    """
    twin = evaluation_twin(model)
    kept: list[Tensor] = []

    def hand_over(number: int, value: Tensor) -> None:
        if number == _LOGITS:
            kept.append(value)
        else:
            observe(number, value)

    asked = dict(wanted) if ending is None else {**wanted, ending: _LOGITS}
    with ExitStack() as stack:
        if draws:
            stack.enter_context(generators_kept(inputs[0].device))
        stack.enter_context(torch.inference_mode())
        paths = stack.enter_context(module_paths(twin, model))
        watcher = stack.enter_context(_Watcher(paths, asked, known if wanted else None, hand_over))
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
    if kept:
        return kept[0]
    logits: Tensor = leaves_of(output, Tensor)[at]
    return logits


@contextmanager
def module_paths(twin: nn.Module, model: nn.Module) -> Iterator[list[tuple[str, str]]]:
    """A stack whose last entry is the path and class of the module that is being called in this thread."""
    # A module with several names goes by its first.
    names = {
        id(module): (plain_path(name), _class_of(module)) for name, module in twin.named_modules()
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


class Names:
    """The bare name of a torch function, looked up once."""

    def __init__(self) -> None:
        self._known: dict[Any, str] = {}

    def __call__(self, function: Any) -> str:
        """The name of a function as operations have it."""
        name = self._known.get(function)
        if name is None:
            written = str(getattr(function, "__name__", function))
            if written == "__get__":
                written = str(getattr(getattr(function, "__self__", None), "__name__", written))
            name = self._known[function] = bare_name(written)
        return name


class _Watcher(TorchFunctionMode):
    """Hands over the results of the wanted calls of one forward pass."""

    def __init__(
        self,
        paths: list[tuple[str, str]],
        wanted: Mapping[CallKey, int],
        known: Set[CallKey] | None,
        observe: Callable[[int, Tensor], None],
    ) -> None:
        super().__init__()
        self.left = dict(wanted)
        self._paths = paths
        self._counted = ACTIVATION_NAMES | {name for _, name, _ in wanted}
        self._known = known
        self._observe = observe
        self._calls: Counter[tuple[str, str]] = Counter()
        self._name = Names()

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
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
            elif self._known is not None and key not in self._known:
                self._refuse_unknown(key, args, kwargs or {}, result)
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
