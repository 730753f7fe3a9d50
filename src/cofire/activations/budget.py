"""What a summary will cost, known before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cofire.activations.cofiring import adapted_top
from cofire.errors import BudgetError
from cofire.network import ActivationLayer, Unit

ByClass = Literal[False, True, "statistics"]
"""What is kept per class: nothing, statistics and histograms, or statistics alone."""

_STATISTICS = 5 * 8
_RANGE = 2 * 8
_COUNT = 8


@dataclass(frozen=True)
class Cost:
    """What a summary will hold.

    Attributes:
        neurons: Neurons over all layers.
        bytes: Bytes of state: statistics, ranges and histograms.
    """

    neurons: int
    bytes: int

    def __str__(self) -> str:
        return f"{self.neurons:,} neurons, {in_units(self.bytes)} of state"


def in_units(size: int) -> str:
    """Bytes as people read them.

    Example:
        >>> in_units(18_176_000), in_units(512)
        ('18.2 MB', '512 B')
    """
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def cost_of(
    layers: Sequence[ActivationLayer],
    *,
    unit: Unit,
    bins: int,
    by_class: ByClass = False,
    num_classes: int = 1,
    pairs: Literal["class", "union"] | None = None,
    top: int = 50,
    null_graphs: int = 0,
) -> Cost:
    """Neurons and bytes of state that a summary of these layers will hold.

    Args:
        layers: The layers.
        unit: What a neuron is.
        bins: Bins of each histogram.
        by_class: What is kept per class.
        num_classes: Number of classes that occur.
        pairs: Which pairs of neurons are counted, None for none.
        top: Representative neurons per class at the most.
        null_graphs: How many graphs with random labels.

    Returns:
        The cost.
    """
    sizes = [layer.neurons(unit) for layer in layers]
    neurons = sum(sizes)
    classes = num_classes if by_class else 1
    histograms = 1 + (num_classes if by_class is True else 0)
    state = neurons * (_STATISTICS * classes + (_RANGE + _COUNT * bins) * histograms)
    if pairs is not None:
        state += sum((1 + null_graphs) * _cofiring(size, num_classes, pairs, top) for size in sizes)
        state += null_graphs * num_classes * neurons * _COUNT
    return Cost(neurons, state)


def _cofiring(neurons: int, classes: int, pairs: str, top: int) -> int:
    """Bytes of a layer's co-firing counts, at most: pairs, and two numbers for each neuron of each class."""
    top = adapted_top(top, neurons, classes)
    if pairs == "class":
        return _COUNT * classes * (top * top + 4 * top)
    union = min(neurons, classes * top)
    return _COUNT * (union * union + 2 * classes * (union + top))


def check_budget(
    cost: Cost,
    cap: int,
    *,
    unit: Unit,
    bins: int,
    by_class: ByClass,
    graph: bool = False,
    null_graphs: int = 0,
) -> None:
    """Refuse a summary whose state exceeds the cap.

    Raises:
        BudgetError: It does; the message names what would make it smaller.
    """
    if cost.bytes <= cap:
        return
    remedies = ["choose fewer layers"]
    if unit == "element":
        remedies.append("unit='channel'")
    if by_class is True:
        remedies.append("by_class='statistics'")
    if null_graphs:
        remedies.append("fewer null_graphs")
    if graph:
        remedies.append("a smaller top")
    if bins > 100:
        remedies.append("fewer bins")
    raise BudgetError(
        f"{cost} with unit='{unit}', bins={bins}, by_class={by_class!r}",
        f"at most {in_units(cap)} (max_bytes={cap})",
        f"{', '.join(remedies)}, or raise max_bytes if this machine has the memory",
    )
