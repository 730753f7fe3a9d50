"""A network that takes photos, and what is done to them before it sees them; names from the file system as text."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any

import torch

from cofire.images.preparation import Preparation
from cofire.network import Network
from cofire.study.sources import open_network


def opened(
    model: str,
    weights: str | None,
    num_classes: int | None,
    device: str,
    prepared_for: Callable[[tuple[int, ...] | None], Preparation],
    weights_key: str | None = None,
) -> tuple[Network, Preparation]:
    """The network, and how photos are prepared for it; an exported program says itself how large they are.

    Args:
        model: As `cofire.study.sources.open_network` takes it.
        weights: A file, None for the model's own.
        num_classes: None for the model's own.
        device: Where it runs.
        prepared_for: Gives the preparation for the shape of an input, or for None where that is not
            known before.
        weights_key: Which copy of the network, where the file of weights holds it several times.
    """
    options: dict[str, Any] = {
        "weights": weights,
        "weights_key": weights_key,
        "num_classes": num_classes,
        "device": device,
    }
    if model.endswith(".pt2"):
        network = open_network(model, torch.zeros(0), **options)
        return network, prepared_for(network.input_shape)
    preparation = prepared_for(None)
    example = torch.zeros(2, *preparation.shape)
    network = open_network(model, example, **options)
    return network, preparation


def without_commands(words: str) -> str:
    """Words with what would command a terminal, or no file could hold, written out."""
    return "".join(
        sign.encode("unicode_escape").decode()
        if unicodedata.category(sign) in ("Cc", "Cs")
        else sign
        for sign in words
    )
