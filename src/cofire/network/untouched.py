"""Looking at a user's model without leaving a trace: on it, on random numbers, on switches of the process."""

from __future__ import annotations

import functools
import threading
import types
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from cofire.errors import ExportError

_SWITCHES = threading.RLock()


"""Held while switches of the whole process are set."""


@contextmanager
def without_autocast() -> Iterator[None]:
    """Autocast off in this thread: numbers are the same whatever surrounds a call; a model's own autocast stays on."""
    with ExitStack() as stack:
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def plainly_computed(device: torch.device) -> Iterator[None]:
    """Without fused kernels, and without leaving random generators where a model has moved them.

    Args:
        device: Where the model computes.
    """
    with _SWITCHES, generators_kept(device):
        before = torch.backends.mha.get_fastpath_enabled()
        # The fused kernels of TransformerEncoderLayer would hide its activation function.
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(before)


def generator_states(device: torch.device) -> list[torch.Tensor]:
    """The states of torch's random generators that a model on a device draws from."""
    states = [torch.random.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return states


@contextmanager
def generators_kept(device: torch.device) -> Iterator[None]:
    """Afterwards the random generators are where they were, if what happens in between moves them."""
    before = generator_states(device)
    try:
        yield
    finally:
        after = generator_states(device)
        if not torch.equal(before[0], after[0]):
            torch.random.set_rng_state(before[0])
        if len(before) > 1 and not torch.equal(before[1], after[1]):
            torch.cuda.set_rng_state(before[1], device)


def alias_paths(model: nn.Module) -> dict[str, str]:
    """For each further path of a module that has several, the first one."""
    first: dict[int, str] = {}
    aliases: dict[str, str] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        path = plain_path(name)
        known = first.setdefault(id(module), path)
        if known != path:
            aliases[path] = known
    return aliases


def plain_path(name: str) -> str:
    """A module's path without the steps that `torch.compile` adds.

    Example:
        >>> plain_path("body._orig_mod.act")
        'body.act'
    """
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


_SHARDED = ("FSDPModule", "FullyShardedDataParallel")


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside `torch.compile`, `DataParallel` and `DistributedDataParallel`.

    Raises:
        ExportError: It is a TorchScript model, which hides its operators, or no module at all, its
            parameters are sharded, or a lazy layer of it has not seen a batch yet.
    """
    while True:
        if "_orig_mod" in getattr(model, "_modules", ()):
            model = model.get_submodule("_orig_mod")
        elif isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        else:
            break
    if not isinstance(model, nn.Module):
        raise ExportError(
            f"a model of type {type(model).__name__}", "a torch.nn.Module", "pass the module itself"
        )
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise ExportError(
            f"{type(model).__name__}, which is or contains a TorchScript module",
            "a model written in Python, whose operators can be read",
            "build the model from its Python class and load its weights with load_state_dict",
        )
    if any(kind.__name__ in _SHARDED for one in model.modules() for kind in type(one).__mro__):
        raise ExportError(
            f"{type(model).__name__}, whose parameters are sharded over processes",
            "a model that holds its whole weights",
            "load them into a plain copy of it: torch.distributed.checkpoint.state_dict.get_model_state_dict with "
            "full_state_dict=True gives them",
        )
    for path, module in model.named_modules():
        if any(map(is_lazy, (*module._parameters.values(), *module._buffers.values()))):
            raise ExportError(
                f"layer {path!r}, which is lazy and has no weights yet",
                "a model with weights",
                "call the model once with a batch, then read it",
            )
    return model


_NEW: Any = object.__new__


_PLAIN = (str, bytes, int, float, complex, type(None), Tensor, type, types.ModuleType)


def evaluation_twin(model: nn.Module) -> nn.Module:
    """A twin of a model in evaluation mode.

    Each module has a twin of its class with a copy of its attributes. Tensors are shared, so that
    the twin computes with the weights as they are now; dictionaries, lists and hooks are copied, so
    that what a forward pass keeps on a module lands on the twin. The model itself is only read:
    other threads may train it meanwhile. `model.eval()` is not called, because models override it
    with side effects such as merging weights.

    Args:
        model: The user's model.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).train()
        >>> twin = evaluation_twin(model)
        >>> twin.training, twin[1].training, model.training, twin[0].weight is model[0].weight
        (False, False, True, True)
    """
    twin: nn.Module = _Twins().of(model)
    return twin


class _Eager(nn.Module):
    """Stands for a module of `torch.compile`, under the same names of parameters, and runs what it compiles."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._modules["_orig_mod"](*args, **kwargs)  # type: ignore[misc]


class _Rounding(nn.Module):
    """Stands for a module of quantisation-aware training: rounds as it does now, and observes no ranges."""

    scale: Tensor
    zero_point: Tensor
    is_per_channel: bool
    ch_axis: int
    activation_post_process: Any
    _rounds: bool

    def forward(self, values: Tensor) -> Tensor:
        if not self._rounds:
            return values
        scale, zero, seen = self.scale, self.zero_point, self.activation_post_process
        if self.is_per_channel:
            return torch.fake_quantize_per_channel_affine(
                values, scale, zero, self.ch_axis, seen.quant_min, seen.quant_max
            )
        return torch.fake_quantize_per_tensor_affine(
            values, scale, zero, seen.quant_min, seen.quant_max
        )


def _rounds(module: nn.Module) -> bool:
    return any(kind.__name__ == "FakeQuantizeBase" for kind in type(module).__mro__)


class _Twins:
    def __init__(self) -> None:
        self._known: dict[int, Any] = {}
        # An identity stays unique only while its object lives.
        self._originals: list[Any] = []

    def of(self, value: Any) -> Any:
        """The twin of a module, or of what holds modules; anything else itself."""
        if isinstance(value, _PLAIN):
            return value
        known = self._known.get(id(value))
        if known is not None:
            return known
        kind = type(value)
        if isinstance(value, nn.Module):
            return self._module(value)
        if kind in (dict, OrderedDict, defaultdict):
            copied = self._note(value, value.copy())
            for key, entry in value.items():
                copied[key] = self.of(entry)
            return copied
        if kind is list:
            copied = self._note(value, [])
            copied.extend(self.of(entry) for entry in value)
            return copied
        if kind in (tuple, set):
            return self._note(value, kind(self.of(entry) for entry in value))
        if kind is types.MethodType:
            return types.MethodType(value.__func__, self.of(value.__self__))
        if kind is functools.partial:
            named = {name: self.of(entry) for name, entry in value.keywords.items()}
            return functools.partial(
                self.of(value.func), *(self.of(entry) for entry in value.args), **named
            )
        if kind is types.FunctionType:
            return self._function(value)
        if _holds_modules(value):
            copied = self._note(value, object.__new__(kind))
            copied.__dict__.update((name, self.of(entry)) for name, entry in vars(value).items())
            return copied
        return value

    def _note(self, value: Any, copied: Any) -> Any:
        self._originals.append(value)
        self._known[id(value)] = copied
        return copied

    def _module(self, module: nn.Module) -> nn.Module:
        compiled = "_orig_mod" in module._modules
        rounds = _rounds(module)
        kind = _Rounding if rounds else type(module)
        twin: nn.Module = self._note(module, _Eager() if compiled else object.__new__(kind))
        if compiled:
            twin._modules["_orig_mod"] = self.of(module._modules["_orig_mod"])
        else:
            # A copy, for another thread may set an attribute meanwhile.
            for name, value in dict(module.__dict__).items():
                twin.__dict__[name] = self.of(value)
            twin.__dict__["_compiled_call_impl"] = None
        if rounds:
            twin.__dict__["_rounds"] = bool(module.get_buffer("fake_quant_enabled")[0])
        twin.__dict__["training"] = False
        return twin

    def _function(self, function: types.FunctionType) -> Any:
        """A function that has modules in its closure, with their twins in it."""
        copied = self._note(function, function)
        cells = []
        for cell in function.__closure__ or ():
            try:
                held = cell.cell_contents
            except ValueError:  # Not set yet.
                held = None
            twin = self.of(held)
            same = twin is held or not _leads_to_module(held)
            cells.append(cell if same else self._known.setdefault(id(cell), types.CellType(twin)))
        if all(new is old for new, old in zip(cells, function.__closure__ or (), strict=True)):
            return copied
        copied = types.FunctionType(
            function.__code__,
            function.__globals__,
            function.__name__,
            function.__defaults__,
            tuple(cells),
        )
        copied.__kwdefaults__ = function.__kwdefaults__
        copied.__dict__.update(function.__dict__)
        return self._note(function, copied)


def _holds_modules(value: Any) -> bool:
    held = getattr(value, "__dict__", None)
    if not isinstance(held, dict) or getattr(type(value), "__new__", None) is not _NEW:
        return False
    return any(map(_leads_to_module, list(held.values())))


def _leads_to_module(value: Any) -> bool:
    """Whether a value is a module, or a function or plain collection that holds one."""
    if isinstance(value, nn.Module):
        return True
    if isinstance(value, (list, tuple, set)):
        return any(isinstance(entry, nn.Module) for entry in value)
    if isinstance(value, dict):
        return any(isinstance(entry, nn.Module) for entry in value.values())
    if isinstance(value, types.FunctionType):
        return any(isinstance(_content(cell), nn.Module) for cell in value.__closure__ or ())
    return isinstance(value, types.MethodType) and isinstance(value.__self__, nn.Module)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


class TensorSource(Protocol):
    """Where parameters and buffers come from at the time of a run."""

    def tensors(self, names: Sequence[str]) -> list[Tensor]:
        """The tensors of these names."""

    def overrides(self) -> Mapping[str, Tensor]:
        """The tensors that differ from those of the model itself."""


class LiveWeights:
    """The tensors that the user's model holds at the time, so that training shows.

    Moving a model to another device replaces its buffers, hence the look-up at every run.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._places: dict[str, tuple[nn.Module, str]] = {}

    def tensors(self, names: Sequence[str]) -> list[Tensor]:
        """The tensors of these names."""
        found = []
        for name in names:
            place = self._places.get(name)
            if place is None:
                owner, _, leaf = name.rpartition(".")
                place = self._places[name] = (self._model.get_submodule(owner), leaf)
            module, leaf = place
            value: Tensor | None = module._parameters.get(leaf)
            if value is None:
                value = module._buffers.get(leaf)
            # Some models hold a tensor under an alias only; getattr finds it or says what is
            # missing.
            found.append(value if value is not None else getattr(module, leaf))
        return found

    def overrides(self) -> Mapping[str, Tensor]:
        """Nothing: these are the model's own."""
        return {}


class FixedWeights:
    """Given tensors, and another source for the names that they lack."""

    def __init__(self, given: Mapping[str, Tensor], otherwise: TensorSource | None) -> None:
        self._given = given
        self._otherwise = otherwise

    def tensors(self, names: Sequence[str]) -> list[Tensor]:
        """The tensors of these names."""
        lacking = [name for name in names if name not in self._given]
        rest = (
            dict(zip(lacking, self._otherwise.tensors(lacking), strict=True))
            if self._otherwise
            else {}
        )
        return [self._given[name] if name in self._given else rest[name] for name in names]

    def overrides(self) -> Mapping[str, Tensor]:
        """The given tensors."""
        return self._given


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """The parameters and saved buffers by the names of a state dict, as the tensors themselves."""
    state: dict[str, Tensor] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        before = f"{path}." if path else ""
        held = {**module._parameters, **module._buffers}
        for leaf, value in held.items():
            if value is not None and leaf not in module._non_persistent_buffers_set:
                state[before + leaf] = value
    return state
