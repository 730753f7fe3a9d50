"""A twin of a user's model: the same code and tensors in evaluation mode, so that the model stays as it is."""

from __future__ import annotations

import functools
import types
from collections import OrderedDict, defaultdict
from typing import Any

from torch import Tensor, nn

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
        twin: nn.Module = self._note(module, _Eager() if compiled else object.__new__(type(module)))
        if compiled:
            twin._modules["_orig_mod"] = self.of(module._modules["_orig_mod"])
        else:
            # A copy, for another thread may set an attribute meanwhile.
            for name, value in dict(module.__dict__).items():
                twin.__dict__[name] = self.of(value)
            twin.__dict__["_compiled_call_impl"] = None
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
