"""Looking at a user's model without leaving a trace: on it, on random numbers, on switches of the process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

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
        raise ExportError(
            f"a model of type {type(model).__name__}", "a torch.nn.Module", "pass the module itself"
        )
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise ExportError(
            f"{type(model).__name__}, which is or contains a TorchScript module",
            "a model written in Python, whose operators can be read",
            "build the model from its Python class and load its weights with load_state_dict",
        )
    return model
