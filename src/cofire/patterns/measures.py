"""Measures of neurons: the functions, and the registry that tables, correlations, report and help follow."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from cofire.arguments import validated
from cofire.errors import DataError, OptionError, near_matches

Taken = TypeVar("Taken", bound=Callable[..., Tensor])
OfLayer = Literal["sum", "mean", "median", "count"]
"""How one number of a layer is made of its neurons'."""

INPUTS = {
    "histogram": "non-zero activations in each bin, (neurons, bins)",
    "active": "observations in which each neuron is active, (neurons,)",
    "observations": "how many observations there are, ()",
    "probability": "share of the observations in which each neuron is active, (neurons,)",
    "mean": "mean activation, (neurons,)",
    "minimum": "smallest non-zero activation, (neurons,)",
    "maximum": "largest non-zero activation, (neurons,)",
    "class_active": "observations of each class in which each neuron is active, (classes, neurons)",
    "class_observations": "observations of each class, (classes,)",
    "class_probability": "activation probability of each class, (classes, neurons)",
    "class_mean": "mean activation of each class, (classes, neurons)",
    "class_values": "the means, or where these can be negative the probabilities, (classes, neurons)",
}
"""What the function of a measure may take, by the names of its parameters."""

_COLUMNS = {
    *("checkpoint", "epoch", "step", "layer_index", "layer", "kind", "unit", "neurons", "neuron"),
    *("class", "class_name", "samples", "train_accuracy", "test_accuracy", "preferred_class"),
    *("louvain", "scope", "name", "measure", "accuracy"),
}
"""What other columns of the tables are called."""

_SLICE = 1 << 20


def entropy_of_counts(counts: Tensor) -> Tensor:
    """Shannon entropy in nats of histograms, `E_j = -Σ_k h_k log h_k` with `h_k = H_k / Σ H` (P2 §5.2).

    P2 prints the sum with a second minus sign; every sign it reports needs the positive form used
    here.

    Args:
        counts: Histograms, (..., bins), whole numbers from 0 up.

    Returns:
        Entropies in nats, (...), float64, from 0 to log(bins). An empty histogram (a neuron that
        never fires) has entropy 0.

    Raises:
        DataError: A count is negative.

    Example:
        >>> entropy_of_counts(torch.tensor([[1, 1, 1, 1], [4, 0, 0, 0], [0, 0, 0, 0]]))
        tensor([1.3863, 0.0000, 0.0000], dtype=torch.float64)
    """
    if counts.numel() and bool((counts < 0).any()):
        raise DataError(
            "a histogram with negative counts", "counts from 0 up", "pass counts, not densities"
        )
    rows = counts.reshape(-1, counts.shape[-1])
    # In slices: shares of a whole state at once would take as much memory again, several times
    # over.
    slices = [_entropy(part) for part in torch.split(rows, max(1, _SLICE // rows.shape[1]))]
    return torch.cat(slices).reshape(counts.shape[:-1])


def _entropy(counts: Tensor) -> Tensor:
    total = counts.sum(dim=-1, dtype=torch.float64, keepdim=True).clamp(min=1.0)
    entropies: Tensor = torch.special.entr(counts / total).sum(dim=-1)
    return entropies + 0.0  # no negative zeros


def mutual_information(active: Tensor, observations: Tensor) -> Tensor:
    """Mutual information between "this neuron is active" and the class, in bits.

    `I = Σ_c Σ_a p(c, a) log2(p(c, a) / (p(c) p(a)))` over the classes c and the two states a
    (active, silent), with the shares of the observations as probabilities. 0: the neuron's activity
    says nothing about the class. It cannot exceed 1 bit, nor the entropy of the classes. Shares
    estimated from few samples give a little information even where there is none: see
    `information_floor`.

    Args:
        active: Observations of each class in which each neuron is active, (classes, neurons).
        observations: Observations of each class, (classes,).

    Returns:
        Information in bits, (neurons,), float64.

    Raises:
        DataError: The shapes do not fit, or a neuron is active more often than it was observed.

    Example:
        A neuron that fires for the first class alone, one that fires always, one that fires at
        random:

        >>> mutual_information(torch.tensor([[10, 10, 5], [0, 10, 5]]), torch.tensor([10, 10]))
        tensor([1., 0., 0.], dtype=torch.float64)
    """
    if active.ndim != 2 or observations.shape != active.shape[:1]:
        raise DataError(
            f"active counts of shape {tuple(active.shape)} and observations of shape {tuple(observations.shape)}",
            "(classes, neurons) and (classes,)",
            "pass one row per class in both",
        )
    seen = observations.to(torch.float64)[:, None]
    on = active.to(torch.float64)
    if bool(((on < 0) | (on > seen)).any()):
        raise DataError(
            "a neuron that is active more often than it was observed, or a negative count",
            "counts from 0 to the observations of the class",
            "pass counts, not means",
        )
    everything = seen.sum().clamp(min=1.0)
    joint = torch.stack([on, seen - on]) / everything  # (state, classes, neurons)
    entropy = torch.special.entr
    of_state = entropy(joint.sum(dim=1)).sum(dim=0)
    of_class = entropy(seen / everything).sum()
    both = entropy(joint).sum(dim=(0, 1))
    # The three entropies cancel to rounding noise where there is no information.
    information: Tensor = (of_state + of_class - both) / math.log(2)
    return information.clamp(min=0.0)


def information_floor(samples: int, classes: int) -> float:
    """The information in bits that a neuron without any shows on average, because samples are finite.

    The first term of Miller and Madow's bias for a table of `classes` × 2: `(classes - 1) / (2 n ln
    2)`.

    Args:
        samples: Number of independent samples.
        classes: Number of classes that occur.

    Returns:
        Bits.

    Example:
        >>> round(information_floor(1000, 10), 5)
        0.00649
    """
    if samples < 1 or classes < 1:
        raise DataError(
            f"{samples} samples of {classes} classes",
            "at least one of each",
            "pass counts from 1 up",
        )
    return (classes - 1) / (2 * samples * math.log(2))


def class_selectivity(class_values: Tensor) -> Tensor:
    """Class selectivity index `(μ_max - μ_rest) / (μ_max + μ_rest)` of every neuron (Morcos et al. 2018).

    `μ_max` is the neuron's largest class value, `μ_rest` the mean over the other classes. 0: the
    same for all classes; 1: only one class moves it.

    Args:
        class_values: Mean activation or activation probability of every class, (classes, neurons),
            not negative.

    Returns:
        Selectivity from 0 to 1, (neurons,), float64; 0 for a neuron that is silent for all classes.

    Raises:
        DataError: Fewer than two classes, negative or non-finite values, or not two dimensions.

    Example:
        >>> class_selectivity(torch.tensor([[3.0, 1.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 5.0]]))
        tensor([0.5000, 0.0000, 1.0000], dtype=torch.float64)
    """
    if class_values.ndim != 2 or class_values.shape[0] < 2:
        raise DataError(
            f"class values of shape {tuple(class_values.shape)}",
            "(classes, neurons) with at least two classes",
            "pass one row per class",
        )
    values = class_values.to(torch.float64)
    if not bool(torch.isfinite(values).all()) or bool((values < 0).any()):
        raise DataError(
            "class values that are negative, NaN or infinite",
            "values from 0 up, since the index divides by their sum",
            "use activation probabilities for activation functions that give negative values",
        )
    largest = values.amax(dim=0)
    rest = (values.sum(dim=0) - largest) / (values.shape[0] - 1)
    # Rounding can leave the mean of equal values a hair above their maximum.
    difference = (largest - rest).clamp(min=0.0)
    total = largest + rest
    return torch.where(
        total > 0, difference / total.clamp(min=torch.finfo(torch.float64).tiny), 0.0
    )


@dataclass(frozen=True)
class Measure:
    """A measure of neurons: a number for each, out of what a pass over the data counted.

    Attributes:
        name: Of its columns.
        title: What people call it.
        unit: Of its numbers; "" for none.
        digits: Decimals that are shown.
        bounds: Least and largest value that it can have; None where there is none.
        by_class: Whether it is also found on the samples of each class alone.
        meaning: What it says, in a sentence.
        of_layer: How numbers of a layer are made of its neurons': the first has the measure's name
            as its column, others `name_mean`, `name_median`. "count": how many neurons it holds
            for; such a measure is true or false.
        inputs: Which of `INPUTS` its function takes.
        function: Gives (neurons,); NaN where a neuron has none.
    """

    name: str
    title: str
    unit: str
    digits: int
    bounds: tuple[float | None, float | None]
    by_class: bool
    meaning: str
    of_layer: tuple[OfLayer, ...]
    inputs: tuple[str, ...]
    function: Callable[..., Tensor]

    @property
    def needs_classes(self) -> bool:
        """Whether it is known only where results are kept by class."""
        return any(name.startswith("class_") for name in self.inputs)

    @property
    def may_be_unknown(self) -> bool:
        """Whether its columns may be null: results may be from before it was registered."""
        return self.needs_classes or not self.function.__module__.startswith("cofire.")

    @property
    def columns(self) -> dict[str, OfLayer]:
        """Its columns of a layer, and how each is made."""
        first, *others = self.of_layer
        return {self.name: first, **{f"{self.name}_{how}": how for how in others}}

    def __call__(self, given: Callable[[str], Any]) -> Tensor:
        """The measure of every neuron.

        Args:
            given: Gives `INPUTS` by name.

        Raises:
            DataError: The function does not give one number for each neuron.
        """
        found = self.function(*map(given, self.inputs))
        neurons = len(given("active"))
        kind = "true or false" if "count" in self.of_layer else "a real number"
        if (
            not isinstance(found, Tensor)
            or found.shape != (neurons,)
            or found.is_complex()
            or ("count" in self.of_layer) != (found.dtype == torch.bool)
        ):
            shape = getattr(found, "shape", None)
            told = type(found).__name__ if shape is None else f"{tuple(shape)}, {found.dtype}"
            raise DataError(
                f"measure '{self.name}' gives {told} for {neurons} neurons",
                f"a tensor of shape ({neurons},), {kind} for each neuron",
                "correct the function that is registered",
            )
        return found if found.dtype == torch.bool else found.to(torch.float64)

    def over(self, values: Tensor, how: OfLayer) -> float | int | None:
        """A number of a layer: of those neurons that have one; None where none has."""
        if how == "count":
            return int(values.sum())
        known = values[~values.isnan()]
        if not len(known):
            return None
        if how == "median":
            return float(np.median(known.numpy()))
        return float(known.sum() if how == "sum" else known.mean())


MEASURES: dict[str, Measure] = {}
"""Every measure by its name, in the order of their columns."""


@validated
def register_measure(
    *,
    title: str,
    unit: str = "",
    digits: int = 2,
    bounds: tuple[float | None, float | None] = (None, None),
    by_class: bool = False,
    meaning: str,
    of_layer: OfLayer | Sequence[OfLayer] = "mean",
) -> Callable[[Taken], Taken]:
    """Make a function a measure: its columns in the tables of a study, its correlation with accuracy, report and help.

    The function is pure and takes what its parameters name: see `INPUTS` of this module, a
    neuron's `histogram`, its `probability` and so on. It gives a number for each neuron, NaN where
    there is none. Its name is that of the column.

    Args:
        title: What people call it.
        unit: Of its numbers, such as "nats".
        digits: Decimals that are shown.
        bounds: Least and largest value that it can have; None where there is none.
        by_class: Whether it is also found on the samples of each class alone.
        meaning: What it says, in a sentence.
        of_layer: How the number of a layer is made of its neurons': "sum", "mean", "median" or
            "count"; several for several columns.

    Returns:
        A decorator, which gives the function back as it is.

    Raises:
        OptionError: The name is taken, or the function takes something that is not in `INPUTS`.

    Example:
        >>> import cofire
        >>> @cofire.register_measure(title="Peak", meaning="The largest activation.", of_layer="median")
        ... def peak(maximum):
        ...     return maximum
        >>> MEASURES.pop("peak").columns
        {'peak': 'median'}
    """
    ways = (of_layer,) if isinstance(of_layer, str) else tuple(of_layer)

    def register(function: Taken) -> Taken:
        name = function.__name__
        inputs = tuple(inspect.signature(function).parameters)
        measure = Measure(
            name, title, unit, digits, bounds, by_class, meaning, ways, inputs, function
        )
        if wrong := [one for one in inputs if one not in INPUTS]:
            raise OptionError(
                f"measure '{name}' that takes '{wrong[0]}'",
                f"parameters among {', '.join(INPUTS)}",
                f"try {near_matches(wrong[0], list(INPUTS), 1)}",
            )
        if not inputs or (by_class and measure.needs_classes):
            raise OptionError(
                f"measure '{name}' of {', '.join(inputs) or 'nothing'}, by_class={by_class}",
                "one parameter at least, and none of classes where it is found class by class",
                "pass by_class=False, or take what is known of one class alone",
            )
        # Run again, as a cell of a notebook is, a function takes its own place.
        others = [
            old
            for old in MEASURES.values()
            if (old.name, old.function.__module__) != (name, function.__module__)
        ]
        taken = _COLUMNS.union(*(old.columns for old in others))
        if clash := sorted(taken & set(measure.columns)):
            raise OptionError(
                f"measure '{name}' with a column '{clash[0]}'",
                "names that no other column has",
                "give the function another name",
            )
        MEASURES[name] = measure
        return function

    return register


@register_measure(
    title="Entropy",
    unit="nats",
    bounds=(0, None),
    by_class=True,
    meaning="How unpredictable a neuron’s non-zero activations are (P2 §5.2).",
    of_layer=("sum", "mean", "median"),
)
def entropy(histogram: Tensor) -> Tensor:
    """Activation pattern entropy of each neuron."""
    return entropy_of_counts(histogram)


@register_measure(
    title="Dead",
    unit="neurons",
    digits=0,
    bounds=(0, None),
    meaning="Never active.",
    of_layer="count",
)
def dead(active: Tensor) -> Tensor:
    """Which neurons are never active."""
    return active == 0


@register_measure(
    title="Always active",
    unit="neurons",
    digits=0,
    bounds=(0, None),
    meaning="Active in every observation.",
    of_layer="count",
)
def always_active(active: Tensor, observations: Tensor) -> Tensor:
    """Which neurons are active in every observation."""
    return active == observations


@register_measure(
    title="Activity",
    unit="share of observations",
    bounds=(0, 1),
    meaning="Share of the observations in which a neuron is active.",
)
def activity(probability: Tensor) -> Tensor:
    """How often each neuron fires."""
    return probability


@register_measure(title="Mean activation", meaning="How strongly a neuron fires on average.")
def mean_activation(mean: Tensor) -> Tensor:
    """How strongly each neuron fires."""
    return mean


@register_measure(
    title="Selectivity",
    bounds=(0, 1),
    meaning="How much a neuron prefers one class (0: all alike, 1: one only).",
    of_layer="median",
)
def selectivity(class_values: Tensor) -> Tensor:
    """Class selectivity of each neuron."""
    return class_selectivity(class_values)


@register_measure(
    title="Information",
    unit="bits",
    digits=3,
    bounds=(0, None),
    meaning="What a neuron’s firing tells about the class.",
)
def information(class_active: Tensor, class_observations: Tensor) -> Tensor:
    """Information that each neuron's activity has about the class."""
    return mutual_information(class_active, class_observations)
