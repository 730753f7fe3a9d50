"""What a booster reads of a batch in one forward pass: logits, neurons, the last linear layer's input."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
)

from cofire.activations.neurons import view_neurons
from cofire.activations.together import Watch
from cofire.boost.measures import check_finite
from cofire.errors import DataError, LayerError, OptionError
from cofire.network import ActivationLayer, Network, Selector, Unit, check_decides

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
        self._overwrites = network.writes_in_place

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
        read: list[Reading] = []
        watch = self.watch(read.append, head=head, layers=layers)
        logits = self.network.run(
            inputs, watch.observe if layers else None, watch.layers, watch.head
        )
        watch.finish(logits)
        return read[0]

    def watch(
        self, take: Callable[[Reading], None], *, head: bool = False, layers: bool = True
    ) -> Watch:
        """What reads one batch, and hands over what was read once that was run.

        Args:
            take: Called with it.
            head: As above.
            layers: As above.
        """
        found: dict[ActivationLayer, Tensor] = {}
        last: list[Tensor] = []

        def observe(layer: ActivationLayer, activation: Tensor) -> None:
            neurons = view_neurons(activation, layer, self.unit).values.flatten(1)
            own = neurons.data_ptr() != activation.data_ptr()
            found[layer] = neurons if own or not self._overwrites else neurons.clone()

        def observe_head(value: Tensor) -> None:
            last.append(value.clone() if self._overwrites else value)

        def finish(logits: Tensor) -> None:
            check_finite(logits, "a NaN or infinite logit")
            read = tuple(found[layer] for layer in self.layers) if layers else ()
            own = read[-1] if read else _wide(logits)
            take(Reading(_wide(logits), read, _wide(last[0]) if last else own))

        return Watch(finish, self.layers if layers else (), observe, observe_head if head else None)


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


class Inputs:
    """The inputs of a batch, of which most are known by their hashes alone.

    Args:
        values: (samples, ...).
    """

    def __init__(self, values: Tensor) -> None:
        self._values = values

    def hashes(self) -> Tensor:
        """A number for each sample, (samples,) (see `hashes_of`)."""
        return hashes_of(self._values)

    def __getitem__(self, at: int) -> Tensor:
        """One of them."""
        return self._values[at]


MEAN: Literal["mean"] = "mean"


"""Each neuron's own threshold: its mean over the training data."""


Threshold = float | Literal["mean"]


BoosterUnit = Literal["channel-mean", "channel-max", "element"]


DEFAULT_UNIT: BoosterUnit = "channel-mean"


"""What a booster reads of a feature map unless told: on held-out data no other was shown to be better (see
docs/replication.md)."""


UNITS: tuple[BoosterUnit, ...] = ("channel-mean", "channel-max", "element")


"""Of which a sample has one observation each."""


ALWAYS = 0.99


"""A neuron that is active for a larger share of a class's samples is always active for that class."""


MOST = 0.8


"""Where a larger share of a layer's neurons is always active, its pattern tells nothing."""


def always_active_shares(probability: Tensor, sizes: Sequence[int]) -> list[float]:
    """For each layer the share of P (Eq. 14), over classes and neurons, that lies above 0.99.

    Args:
        probability: P, (classes, neurons of all layers).
        sizes: Neurons of each layer.

    Example:
        >>> always_active_shares(torch.tensor([[1.0, 1.0, 0.5], [1.0, 0.2, 0.0]]), [2, 1])
        [0.75, 0.0]
    """
    return [
        float((part > ALWAYS).double().mean())
        for part in torch.split(probability, list(sizes), dim=1)
    ]


def count_always_active(shares: Mapping[str, float]) -> int:
    """In how many layers almost every neuron is always active.

    Args:
        shares: For each layer the share of P above 0.99, 0 to 1.

    Example:
        >>> count_always_active({"relu1": 0.93, "relu2": 0.86, "relu3": 0.1})
        2
    """
    return sum(share > MOST for share in shares.values())


def told_of_always_active(layers: int, full: int) -> str:
    """In how many layers who fires tells nothing, in a sentence; "" for none.

    Args:
        layers: That are read.
        full: Those in which almost every neuron is always active.

    Example:
        >>> told_of_always_active(4, 3)
        'In 3 of 4 layers almost every neuron is always active (over 80 % of P lies above 0.99): who fires tells \
nothing there.'
        >>> told_of_always_active(4, 0)
        ''
    """
    if not full:
        return ""
    where = "the one layer that is read" if layers == 1 else f"{full} of {layers} layers"
    return (
        f"In {where} almost every neuron is always active (over {100 * MOST:.0f} % of P lies above {ALWAYS}): who "
        "fires tells nothing there."
    )


SHARED = 0.05
"""Data sets hold some images twice; that much of the held-out data may lie in the training data as well."""


def check_apart_by_index(
    training: Any, held_out: Any, what: str = "held-out data", other: str = "the training data"
) -> None:
    """Refuse two loaders that draw a sample of one data set twice, where their indices are known.

    Args:
        training: What `Batches` takes.
        held_out: What `Batches` takes.
        what: The second, for the message.
        other: The first.

    Raises:
        DataError: They do.

    Example:
        >>> data = torch.utils.data.TensorDataset(torch.zeros(9, 2), torch.zeros(9))
        >>> check_apart_by_index(Subset(data, range(6)), Subset(data, range(6, 9)))
    """
    first, second = _indices(training), _indices(held_out)
    if first is None or second is None or first[0] is not second[0]:
        return
    both = np.intersect1d(first[1], second[1])
    if len(both):
        raise DataError(
            f"{what} that share {len(both):,} of {len(second[1]):,} samples with {other}, index "
            f"{int(both[0])} the first",
            f"samples that {other} does not have",
            "split the data set once, with torch.utils.data.random_split, and pass one part as each",
        )


def check_apart_by_content(
    training: Tensor,
    held_out: Tensor,
    what: str = "held-out data",
    other: str = "the training data",
) -> None:
    """Refuse held-out data much of which is in the training data.

    Args:
        training: Hashes of the training samples, (samples,), int64.
        held_out: Those of the others.
        what: The second, for the message.
        other: The first.

    Raises:
        DataError: More than a twentieth of them are.
    """
    shared = int(torch.isin(held_out, training).sum())
    if shared > SHARED * len(held_out):
        raise DataError(
            f"{what} of which {shared:,} of {len(held_out):,} samples are in {other} as well",
            f"samples that {other} does not have",
            "split the data set once, with torch.utils.data.random_split, and pass one part as each",
        )


def _indices(data: Any) -> tuple[object, npt.NDArray[np.int64]] | None:
    """The innermost data set and the indices drawn of it, None where they are not known."""
    chosen: npt.NDArray[np.int64] | None = None
    if isinstance(data, DataLoader):
        sampler = data.sampler
        if (
            type(data.batch_sampler) is not BatchSampler
            or data.batch_sampler.sampler is not sampler
        ):
            return None
        if isinstance(sampler, SubsetRandomSampler):
            chosen = np.asarray(list(sampler.indices), dtype=np.int64)
        elif not isinstance(sampler, SequentialSampler | RandomSampler):
            return None
        data = data.dataset
    if not isinstance(data, Dataset) or not hasattr(data, "__len__"):
        return None
    if chosen is None:
        chosen = np.arange(len(data))
    while isinstance(data, Subset):
        chosen = np.asarray(list(data.indices), dtype=np.int64)[chosen]
        data = data.dataset
    return data, chosen
