"""What a booster reads of a batch in one forward pass: logits, neurons, the last linear layer's input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cofire.activations.neurons import view_neurons
from cofire.boost.firing import DEFAULT_UNIT, UNITS
from cofire.errors import LayerError, NonFiniteError, OptionError
from cofire.network import ActivationLayer, Network, Selector, Unit, check_decides, writes_in_place

__all__ = ["LAST", "LAST_TWO", "Reader", "Reading", "chosen_layers", "hashes_of"]

LAST, LAST_TWO = "LL", "L2L"
"""P1 Table 4's selections: the last activation layer, and the last two."""


@dataclass(frozen=True)
class Reading:
    """One batch.

    Attributes:
        logits: (samples, classes), float32 or float64.
        layers: For each layer (samples, neurons).
        head: What goes into the last linear layer, (samples, features); where that is not known,
            the neurons of the last of the layers.
    """

    logits: Tensor
    layers: tuple[Tensor, ...]
    head: Tensor

    def part(self, chosen: Tensor) -> Reading:
        """Some of the samples, chosen by truth values on the CPU."""
        at = chosen.to(self.logits.device)
        return Reading(self.logits[at], tuple(layer[at] for layer in self.layers), self.head[at])


def chosen_layers(network: Network, layers: Selector = None) -> tuple[ActivationLayer, ...]:
    """The layers of a selection; "LL" and "L2L" are the last and the last two (P1 Table 4).

    Raises:
        LayerError: There is no such layer, or none at all.
    """
    everything = network.activation_layers
    if not everything:
        raise LayerError(
            "a network without activation layers",
            "at least one",
            "boost a network with hidden layers",
        )
    if isinstance(layers, str) and layers in (LAST, LAST_TWO):
        return everything[-1:] if layers == LAST else everything[-2:]
    return network.select(layers)


class Reader:
    """Reads batches of a network.

    Args:
        network: The classifier.
        layers: Which layers.
        unit: What a neuron is, one observation of it a sample.

    Raises:
        OptionError: `unit` is "channel", or unknown, or the network does not decide between
            classes.
    """

    def __init__(self, network: Network, layers: Sequence[ActivationLayer], unit: Unit) -> None:
        check_decides(network)
        if unit not in UNITS:
            raise OptionError(
                f"unit={unit!r}",
                "'channel-mean', 'channel-max' or 'element', of which a sample has one observation each",
                f"pass unit='{DEFAULT_UNIT}'",
            )
        if network.num_inputs != 1:
            raise OptionError(
                f"a network of {network.num_inputs} inputs",
                "a classifier of one input",
                "wrap the model in a module that takes one tensor",
            )
        self.network = network
        self.layers = tuple(layers)
        self.unit = unit
        self._overwrites = writes_in_place(network)

    @property
    def sizes(self) -> list[int]:
        """Neurons of each layer."""
        return [layer.neurons(self.unit) for layer in self.layers]

    def __call__(self, inputs: Tensor, *, head: bool = False, layers: bool = True) -> Reading:
        """Run the network once.

        Args:
            inputs: (samples, ...).
            head: Whether the last linear layer's input is wanted.
            layers: Whether the layers are; without them there is none to take the head's place.

        Raises:
            BatchError: The inputs do not fit the network.
            NonFiniteError: The network gives NaN or infinite logits.
        """
        found: dict[ActivationLayer, Tensor] = {}
        last: list[Tensor] = []

        def observe(layer: ActivationLayer, activation: Tensor) -> None:
            neurons = view_neurons(activation, layer, self.unit).values.flatten(1)
            own = neurons.data_ptr() != activation.data_ptr()
            found[layer] = neurons if own or not self._overwrites else neurons.clone()

        observed = observe if layers else None

        def observe_head(value: Tensor) -> None:
            last.append(value.clone() if self._overwrites else value)

        logits = self.network.run(inputs, observed, self.layers, observe_head if head else None)
        if not bool(torch.isfinite(logits).all()):
            raise NonFiniteError(
                "a NaN or infinite logit",
                "finite numbers",
                "find what makes the network overflow, or its inputs",
            )
        read = tuple(found[layer] for layer in self.layers) if layers else ()
        return Reading(
            _wide(logits), read, _wide(last[0]) if last else read[-1] if read else _wide(logits)
        )


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype in (torch.float32, torch.float64) else values.to(torch.float32)


def hashes_of(inputs: Tensor) -> Tensor:
    """A number for each sample that depends on its content alone, not on its place or batch.

    Args:
        inputs: (samples, ...).

    Returns:
        (samples,), int64, from 0 to 2⁶² - 1, as if drawn evenly.

    Example:
        >>> batch = torch.tensor([[0.5, 1.0], [1.0, 0.5]])
        >>> torch.equal(hashes_of(batch), hashes_of(batch.flip(0)).flip(0))
        True
    """
    flat = inputs.detach().cpu().reshape(len(inputs), -1).contiguous()
    if flat.is_floating_point():
        flat = flat.to(torch.float32).view(torch.int32)
    draw = torch.Generator().manual_seed(62)
    # Odd numbers of 62 bits, one for each place; whole numbers wrap, so that the order of the sum
    # does not matter.
    odd = torch.randint(1 << 61, (flat.shape[1],), generator=draw) * 2 + 1
    mixed = (flat.to(torch.int64) * odd).sum(dim=1)
    for shift, factor in ((32, -7046029254386353131), (29, -4417276706812531889)):
        mixed = (mixed ^ ((mixed >> shift) & ((1 << (64 - shift)) - 1))) * factor
    return (mixed ^ ((mixed >> 32) & 0xFFFFFFFF)) & ((1 << 62) - 1)
