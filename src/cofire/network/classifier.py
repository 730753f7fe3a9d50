"""What a public function is asked about: a network, or a module to read; it has to decide between classes."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import torch
from torch import Tensor, nn

from cofire.errors import CofireError, OptionError
from cofire.network.network import Network
from cofire.network.trace import Engine

_CLOSE = 1e-3
"""How far the sum of probabilities may be from one: bfloat16 over a thousand classes stays within."""

_known: weakref.WeakSet[Engine] = weakref.WeakSet()
"""Of what does not sum to one, and will not with other weights: asked once, as it takes a forward pass."""


def classifier(model: Network | nn.Module, example: Tensor | Callable[[], Tensor]) -> Network:
    """The network that a public function was given, or that it reads from a module, checked by `check_decides`.

    Args:
        model: Either of the two.
        example: A batch as the model takes it, or what gives one, to read a module with.

    Raises:
        ExportError: The module cannot be read.
        OptionError: It does not decide between classes.

    Example:
        >>> classifier(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), torch.zeros(1, 4))
        Network(Sequential: 1 activation layers, 3 channels, input (4,), 2 classes)
    """
    if not isinstance(model, Network):
        model = Network(model, example() if callable(example) else example)
    check_decides(model)
    return model


def check_decides(network: Network) -> None:
    """Refuse a network whose outputs are no logits of classes of which a sample has one (see `Network.output`).

    Raises:
        OptionError: It has sigmoids, or probabilities that come out of no softmax.
    """
    output = network.output
    if output == "logits" and _sum_to_one(network):
        raise OptionError(
            "a network whose outputs are probabilities, though it does not end with a softmax",
            "logits, or a softmax or log-softmax over the classes at the end",
            "wrap the model in a module whose forward returns torch.log of them",
        )
    if output == "sigmoids":
        raise OptionError(
            "a network whose outputs are sigmoids, each a probability by itself",
            "logits or probabilities of classes of which a sample has exactly one",
            "wrap the model in a module whose forward returns torch.cat([-z, z], dim=1) / 2, where z is "
            "torch.logit(output)[:, c:c + 1]: class c against all else; or leave the sigmoid out, if classes exclude "
            "each other",
        )


def _sum_to_one(network: Network) -> bool:
    """Whether outputs are probabilities all the same, such as the mean of several networks' or written out by hand."""
    if network._engine in _known:
        return False
    draw = torch.Generator().manual_seed(0)
    inputs = tuple(
        torch.rand(2, *shape, generator=draw)
        if floating
        else torch.arange(2).view(2, *(1 for _ in shape)).expand(2, *shape).contiguous()
        for shape, floating in network.input_kinds
    )
    try:
        given = network.run(inputs).double()
    except (CofireError, RuntimeError, IndexError, ValueError, TypeError):
        # What such inputs break, the user's own may not; other places say what is wrong with them.
        return False
    if given.device.type == "meta":
        return False
    sums = given.sum(1)
    # Outputs that are the same for whatever goes in tell nothing: logits can be 0, 1, 0.
    if bool((given == given[:1]).all()):
        return False
    found = bool((given >= 0).all() and ((sums - 1).abs() < _CLOSE).all())
    # What is refused is asked again: other weights may give logits.
    if not found:
        _known.add(network._engine)
    return found
