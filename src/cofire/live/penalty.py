"""Activation pattern entropy that can be differentiated: a penalty, or a reward, for a loss (P1 §8)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from cofire.arguments import validated
from cofire.errors import DataError, LayerError
from cofire.live.watching import unhooked, watching
from cofire.marks import LATER
from cofire.network import ActivationLayer, Network, Selector
from cofire.network.untouched import unwrapped


@validated
def soft_entropy(
    values: Annotated[Tensor, LATER],
    bins: PositiveInt = 20,
    kernel: Annotated[float, Field(gt=0, le=1)] = 1.0,
) -> Tensor:
    """Entropy in nats of each neuron's histogram, of which a value near an edge belongs to both bins.

    As `cofire.functional.activation_entropy` of the non-zero values over each neuron's own range (P2 §5.2),
    but that a value goes from one bin to the next over `kernel` bin widths around their edge, in
    proportion. The share is what gradients come from; as the kernel narrows, the entropy becomes
    the exact one.

    Args:
        values: Activations, (observations, neurons), floating.
        bins: Bins of each histogram, two at least.
        kernel: Width of the passage in bins, above 0 to 1.

    Returns:
        (neurons,), 0 to log(bins); 0 for a neuron of less than two different values, NaN for one
        that has NaN or infinity.

    Raises:
        DataError: Not a matrix of floating numbers.

    Example:
        >>> values = torch.tensor([[0.0, 1.0], [1.0, 2.0], [2.0, 3.0], [4.0, 4.0]])
        >>> soft_entropy(values, bins=2, kernel=0.01)
        tensor([0.6365, 0.6931])
    """
    if values.ndim != 2 or not values.is_floating_point():
        raise DataError(
            f"activations of shape {tuple(values.shape)}, {values.dtype}",
            "(observations, neurons), floating",
            "bring each neuron to a column of its own",
        )
    if bins < 2 or not len(values):
        return values.sum(dim=0) * 0.0
    found: Tensor = _SoftEntropy.apply(values, bins, kernel)
    return found


class _SoftEntropy(torch.autograd.Function):
    """Entropies, and what each changes by with each value, found on the same way."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, bins: int, kernel: float) -> Tensor:
        some = values != 0
        low, first = values.masked_fill(~some, torch.inf).min(dim=0)
        high, last = values.masked_fill(~some, -torch.inf).max(dim=0)
        # Half precision overflows at times; an index made of infinity would end a process on a GPU.
        finite = (low > -torch.inf) & (high < torch.inf)
        counted = (low < high) & finite
        width = (high - low).where(counted, 1.0)
        place = (values - low.where(counted, 0.0)).mul_(bins / width)
        if not bool(finite.all()):
            place.nan_to_num_(0.0, 0.0, 0.0)
        edge = place.round().clamp_(1, bins - 1)
        share = ((place - edge) / kernel).add_(0.5)
        passing = some & (share >= 0) & (share <= 1)
        share.clamp_(0, 1).mul_(some)
        below = edge.sub_(1).to(torch.int64)
        counts = values.new_zeros(bins, values.shape[1])
        counts[1:].scatter_add_(0, below, share)
        counts[:-1].scatter_add_(0, below, some.to(share.dtype).sub_(share))
        observed = counts.sum(dim=0).clamp(min=1)
        shares = counts / observed
        if ctx.needs_input_grad[0]:
            # An empty bin's would be infinite.
            slope = -shares.clamp(min=torch.finfo(values.dtype).tiny).log() / (observed * kernel)
            change = slope.diff(dim=0).gather(0, below).mul_(passing)
            # Both ends of the range are values as well, by which all others' places go.
            ends = (change * place).sum(dim=0)
            starts = bins * change.sum(dim=0) - ends
            change.mul_(bins)
            change.scatter_add_(0, first[None], -starts[None])
            change.scatter_add_(0, last[None], -ends[None])
            ctx.save_for_backward(change.mul_(counted / width))
        entropy: Tensor = torch.special.entr(shares).sum(dim=0)
        return entropy.where(counted, 0.0).where(finite, torch.nan)

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor, None, None]:
        (change,) = ctx.saved_tensors
        return change * given, None, None


@validated
class EntropyPenalty:
    """A term for a loss: `weight` times the mean entropy of the chosen layers' neurons on the batch.

    A positive weight asks for neurons whose activations are predictable, a negative one for varied
    ones. The activations are those of the forward pass within `watch`, so that it costs no second
    one. Whether that helps is another matter: hold it against dropout and weight decay.

    Args:
        network: The classifier that is trained, read with its first batch.
        layers: Which activation layers; None takes all (see `Network.select`).
        bins: Bins of each histogram, two at least.
        weight: Of the mean entropy in nats, of either sign.
        kernel: Width of the passage from bin to bin (see `cofire.live.soft_entropy`).

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> inputs, labels = torch.rand(8, 2), torch.tensor([0, 1] * 4)
        >>> penalty = EntropyPenalty(model, weight=0.01)
        >>> with penalty.watch(inputs):
        ...     loss = nn.functional.cross_entropy(model(inputs), labels)
        >>> (loss + penalty()).backward()
    """

    def __init__(
        self,
        network: Annotated[nn.Module, LATER],
        layers: Selector = None,
        bins: Annotated[int, Field(ge=2)] = 20,
        weight: float = 0.01,
        *,
        kernel: Annotated[float, Field(gt=0, le=1)] = 1.0,
    ) -> None:
        self._model, self._asked = network, layers
        self._bins, self.weight, self._kernel = bins, weight, kernel
        self._layers: tuple[ActivationLayer, ...] | None = None
        self._found: dict[str, Tensor] = {}
        self._entropies: dict[str, Tensor] = {}

    @contextmanager
    def watch(self, inputs: Annotated[Tensor | tuple[Tensor, ...], LATER]) -> Iterator[None]:
        """Around the forward pass of a batch.

        Args:
            inputs: What goes into the model, with which it is read the first time.

        Raises:
            ExportError: The model cannot be read.
            LayerError: No such layer, one that no module computes, or one whose history of gradients
                the model hides.
        """
        if self._layers is None:
            self._layers = self._read(inputs)
        self._found, self._entropies = {}, {}
        learning = torch.is_grad_enabled()

        def keep(layer: ActivationLayer, activation: Tensor) -> None:
            if learning and not torch.is_grad_enabled():
                raise LayerError(
                    f"the layer '{layer.name}', which the model computes without gradients at first",
                    "activations that the penalty's gradient can go through",
                    "call torch.utils.checkpoint.checkpoint with use_reentrant=False, or choose other layers",
                )
            first = activation.movedim(1 + layer.channel_axis, -1)
            rows = first.reshape(-1, first.shape[-1])
            # What follows may work in place, such as dropout.
            shared = rows.data_ptr() == activation.data_ptr()
            self._found[layer.name] = rows.clone() if shared else rows

        with watching(unwrapped(self._model), self._layers, keep):
            yield

    def __call__(self) -> Tensor:
        """The penalty for the last watched forward pass, ().

        Raises:
            LayerError: There was none.
        """
        if not self._found and not self._entropies:
            raise LayerError(
                "no activations",
                "a forward pass of the model within `penalty.watch(inputs)`",
                "put the call of the model into that context",
            )
        entropies = [self.entropy(name) for name in (*self._entropies, *self._found)]
        return self.weight * torch.cat(entropies).mean()

    def entropy(self, layer: str) -> Tensor:
        """Entropy in nats of each neuron of a layer in the last watched forward pass, (neurons,).

        Args:
            layer: Its name.
        """
        found = self._entropies.get(layer)
        if found is None:
            values = self._found[layer].float()
            found = soft_entropy(values, self._bins, self._kernel)
            if found.requires_grad == values.requires_grad:
                # Activations are let go of: an evaluation that follows needs the memory.
                self._entropies[layer] = found
                del self._found[layer]
        return found

    def _read(self, inputs: Tensor | tuple[Tensor, ...]) -> tuple[ActivationLayer, ...]:
        some = tuple(one[:2] for one in inputs) if isinstance(inputs, tuple) else inputs[:2]
        network = Network(self._model, some)
        layers = network.select(self._asked)
        wrong = [one.name for one in unhooked(network, self._model, layers, some)]
        if wrong or not layers:
            raise LayerError(
                f"the layer '{wrong[0]}', which no module of its own computes"
                if wrong
                else "a model without activation layers",
                "activation functions that are modules, of a model that is not compiled",
                "write nn.ReLU() as a module in place of a function, or choose other layers",
            )
        return layers
