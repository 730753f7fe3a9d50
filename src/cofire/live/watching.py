"""Activations of the forward pass that training makes anyway, through hooks for as long as a step lasts."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from cofire.network import ActivationLayer, Network
from cofire.network.outputs import leaves_of
from cofire.network.untouched import (
    evaluation_twin,
    generators_kept,
    unwrapped,
    without_autocast,
)

Seen = Callable[[ActivationLayer, Tensor], None]


@contextmanager
def watching(
    model: nn.Module,
    layers: Sequence[ActivationLayer],
    observe: Seen,
    logits: Callable[[Tensor], None] | None = None,
) -> Iterator[None]:
    """Hooks on the modules that compute activation layers; afterwards the model has none of them.

    The first forward pass alone is seen: with checkpointed activations modules are called once
    more on the way back.

    Args:
        model: Unwrapped, as it is trained.
        layers: None of those of `unhooked`.
        observe: Called with a layer and its activations, with their history of gradients.
        logits: Called with the first output (batch, classes) of the model itself, detached.
    """
    thread = threading.get_ident()
    calls: Counter[nn.Module] = Counter()
    wanted = {(model.get_submodule(layer.path), layer.call): layer for layer in layers}

    def after(module: nn.Module, _: Any, output: Any) -> None:
        if threading.get_ident() != thread:
            return
        layer = wanted.get((module, calls[module]))
        calls[module] += 1
        if layer is not None and isinstance(output, Tensor):
            observe(layer, output)

    def ended(module: nn.Module, _: Any, output: Any) -> None:
        calls["output"] += 1  # type: ignore[index]
        if logits is not None and calls["output"] == 1:  # type: ignore[index]
            found = [leaf for leaf in leaves_of(output, Tensor) if leaf.ndim == 2]
            for leaf in found[:1]:
                logits(leaf.detach())

    with ExitStack() as stack:
        for module in dict.fromkeys(module for module, _ in wanted):
            stack.callback(module.register_forward_hook(after).remove)
        stack.callback(model.register_forward_hook(ended).remove)
        yield


def unhooked(
    network: Network,
    model: nn.Module,
    layers: Sequence[ActivationLayer],
    inputs: Tensor | tuple[Tensor, ...],
) -> list[ActivationLayer]:
    """Layers whose activations are no module's output: held against the network's own on a batch.

    They are not where an activation is a function call within a module's forward, where a compiled
    model calls no hooks, or where copies of a model in several threads share them.

    Args:
        network: What was read of the model.
        model: The model, wrapped or not.
        layers: Which layers.
        inputs: A batch.
    """
    inner = unwrapped(model)
    modules = dict(inner.named_modules())
    compiled = inner is not model and not isinstance(model, nn.parallel.DistributedDataParallel)
    compiled |= any(
        "_orig_mod" in module._modules or module._compiled_call_impl is not None
        for module in modules.values()
    )
    missing = [layer for layer in layers if compiled or layer.path not in modules]
    layers = [layer for layer in layers if layer not in missing]
    if not layers:
        return missing
    prepared = network.prepared(inputs)
    twin = evaluation_twin(inner)
    hooked: dict[ActivationLayer, Tensor] = {}
    with without_autocast(), generators_kept(network.device), torch.no_grad():
        with watching(twin, layers, lambda layer, x: hooked.update({layer: x.clone()})):
            twin(*prepared)

        def compare(layer: ActivationLayer, x: Tensor) -> None:
            found = hooked.pop(layer, None)
            if (
                found is None
                or found.shape != x.shape
                or not torch.allclose(found, x, rtol=1e-3, atol=1e-5, equal_nan=True)
            ):
                missing.append(layer)

        network.run(inputs, compare, layers)
    return missing
