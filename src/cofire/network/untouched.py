"""Looking at a user's model without leaving a trace on it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from cofire.errors import ExportError

__all__ = ["MODEL_LOCK", "alias_paths", "left_untouched", "plain_path", "unwrapped"]

MODEL_LOCK = threading.RLock()
"""Held while a user's model is in evaluation mode on our behalf, or while process-wide switches are set."""

_CONTAINERS = (dict, list, set)


@contextmanager
def left_untouched(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, and afterwards as it was, whatever happens in between.

    Attributes, parameters, buffers, modules and hooks are put back as the same objects; a tensor that the
    forward pass caches on a module is removed again. `model.eval()` is not called, because models override
    it with side effects such as merging weights.

    Args:
        model: The user's model.
    """
    with MODEL_LOCK, ExitStack() as stack:
        modules = list(model.modules())
        before = [(module.__dict__, dict(module.__dict__)) for module in modules]
        held = [(value, _copied(value)) for _, kept in before for value in kept.values() if _is_container(value)]
        stack.callback(_put_back, before, held)
        # The fused kernels of TransformerEncoderLayer would hide its activation function.
        stack.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)
        if any(_is_compiled(module) for module in modules):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        for module in modules:
            module.__dict__["training"] = False
        yield


def _is_container(value: Any) -> bool:
    return isinstance(value, _CONTAINERS) and not isinstance(value, nn.Module)


def _copied(value: Any) -> list[Any]:
    return list(value.items()) if isinstance(value, dict) else list(value)


def _put_back(before: list[tuple[dict[str, Any], dict[str, Any]]], held: list[tuple[Any, list[Any]]]) -> None:
    for container, content in held:
        if not _same(_copied(container), content):
            container.clear()
            container.extend(content) if isinstance(container, list) else container.update(content)
    for now, then in before:
        if not _same(list(now.items()), list(then.items())):
            now.clear()
            now.update(then)


def _same(now: list[Any], then: list[Any]) -> bool:
    def one(a: Any, b: Any) -> bool:
        return a is b or (
            type(a) is tuple and type(b) is tuple and len(a) == len(b) == 2 and a[1] is b[1] and a[0] == b[0]
        )

    return len(now) == len(then) and all(one(a, b) for a, b in zip(now, then, strict=True))


def _is_compiled(module: nn.Module) -> bool:
    return getattr(module, "_compiled_call_impl", None) is not None or "_orig_mod" in module._modules


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


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside `torch.compile`, `DataParallel` and `DistributedDataParallel`.

    Raises:
        ExportError: It is a TorchScript model, which hides its operators, or no module at all.
    """
    while True:
        if "_orig_mod" in getattr(model, "_modules", ()):
            model = model.get_submodule("_orig_mod")
        elif isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        else:
            break
    if not isinstance(model, nn.Module):
        raise ExportError(f"a model of type {type(model).__name__}", "a torch.nn.Module", "pass the module itself")
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise ExportError(
            f"{type(model).__name__}, which is or contains a TorchScript module",
            "a model written in Python, whose operators can be read",
            "build the model from its Python class and load its weights with load_state_dict",
        )
    return model
