"""Scores that tell from logits whether a prediction can be trusted: what activation patterns have to be better than."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any, Self

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, fx

from cofire.activations.batches import Batches
from cofire.arguments import validated
from cofire.boost.confidence import not_fitted
from cofire.boost.measures import check_finite
from cofire.errors import DataError, LayerError
from cofire.network import Network, check_decides
from cofire.network.operators import named
from cofire.network.reading import operator_of

_aten = torch.ops.aten
_BETWEEN = named("dropout", "identity", "reshape", "squeeze", "mean", "average_pool")
"""What may lie between the last activation layer and the linear layer: it passes numbers on, or averages positions."""


class _OfLogits(ABC):
    """A score of the logits alone."""

    network: Network

    def fit(self, loader: Any = None) -> Self:
        """Nothing to learn."""
        return self

    def predict(self, images: Tensor) -> Tensor:
        """Outlier scores, (batch,), float64.

        Args:
            images: (batch, *input_shape).

        Raises:
            BatchError: The images do not fit the network.
            NonFiniteError: A logit is NaN or infinite.
        """
        return self._scores(self.network.run(images))

    def _scores(self, logits: Tensor) -> Tensor:
        check_finite(logits, "a NaN or infinite logit")
        return self._score(logits.to(torch.float64, copy=True))

    @abstractmethod
    def _score(self, logits: Tensor) -> Tensor: ...


@validated
class MaxSoftmax(_OfLogits):
    """Minus the highest class probability, from -1 up (Hendrycks & Gimpel 2017).

    Args:
        network: The classifier.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 4))
        >>> _ = model[2].weight.data.zero_(), model[2].bias.data.zero_()
        >>> MaxSoftmax(Network(model, torch.zeros(1, 2))).predict(torch.ones(2, 2))
        tensor([-0.2500, -0.2500], dtype=torch.float64)
    """

    def __init__(self, network: Network) -> None:
        check_decides(network)
        self.network = network

    def _score(self, logits: Tensor) -> Tensor:
        return -logits.softmax(dim=1).amax(dim=1)


@validated
class Energy(_OfLogits):
    """The free energy `-T log Σ_c exp(z_c / T)` of the logits z (Liu et al. 2020).

    Args:
        network: The classifier.
        temperature: T.

    Raises:
        OptionError: The temperature is not above 0.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 4))
        >>> _ = model[2].weight.data.zero_(), model[2].bias.data.zero_()
        >>> Energy(Network(model, torch.zeros(1, 2))).predict(torch.ones(2, 2))
        tensor([-1.3863, -1.3863], dtype=torch.float64)
    """

    def __init__(self, network: Network, temperature: PositiveFloat = 1.0) -> None:
        check_decides(network)
        self.network = network
        self.temperature = temperature

    def _score(self, logits: Tensor) -> Tensor:
        return -self.temperature * (logits / self.temperature).logsumexp(dim=1)


@validated
class ReAct(Energy):
    """The energy after the features of the last activation layer are clipped from above (Sun et al. 2021).

    Features are what goes into the network's final linear layer: the last activation layer, or its
    mean over positions, as in the paper. They are clipped at a percentile of all features of all
    training samples together, and the linear layer is computed from them. Where fewer features are
    active than lie above the percentile, the limit is 0 and every sample scores the same: see
    `limit`, and choose a higher percentile.

    Args:
        network: The classifier, with an operator graph.
        percentile: At which it clips.
        temperature: Of the energy.

    Raises:
        ExportError: The network has no operator graph.
        LayerError: The logits do not come from a linear layer on the last activation layer or its
            mean.
        OptionError: The percentile is not from 0 to 100, or the temperature not above 0.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.ReLU(), torch.nn.Linear(1, 2))
        >>> for layer in (model[0], model[2]):
        ...     _ = layer.weight.data.fill_(1.0), layer.bias.data.zero_()
        >>> train = torch.arange(1.0, 11.0)[:, None], torch.tensor([0, 1] * 5)
        >>> detector = ReAct(Network(model, train[0])).fit(train)
        >>> detector.limit, detector.predict(torch.tensor([[5.0], [100.0]]))  # minus (feature + log 2)
        (9.0, tensor([-5.6931, -9.6931], dtype=torch.float64))
    """

    def __init__(
        self,
        network: Network,
        percentile: Annotated[float, Field(ge=0, le=100)] = 90.0,
        temperature: PositiveFloat = 1.0,
    ) -> None:
        super().__init__(network, temperature)
        self.percentile = float(percentile)
        self._names = _head_tensors(network)
        self._limit: float | None = None

    @property
    def limit(self) -> float:
        """Where features are clipped.

        The smallest feature that at least `percentile` per cent of the features do not exceed, its
        mantissa cut to 11 bits: at most 0.05 % nearer to zero, and exact for networks in half
        precision.

        Raises:
            DataError: Nothing was fitted yet.
        """
        if self._limit is None:
            raise not_fitted(self)
        return self._limit

    def fit(self, loader: Any) -> Self:  # type: ignore[override]
        """Find where to clip, in one pass and 8 MB.

        Args:
            loader: Labelled training data, in any form that `cofire.summarize` takes.

        Raises:
            DataError: No samples, or what `cofire.summarize` raises for data.
            NonFiniteError: A feature is NaN or infinite.
        """
        counts = torch.zeros(_BINS, dtype=torch.int64, device=self.network.device)
        for batch in Batches(loader, self.network.num_classes):
            counts += torch.bincount(_bins(self._features(batch.inputs)), minlength=_BINS)
        below = counts.cumsum(dim=0)
        features = int(below[-1])
        if not features:
            raise DataError(
                "no samples",
                "at least one batch of (inputs, labels)",
                "check what the loader returns",
            )
        # Ranks in whole numbers as far as they are: 0.9 · 10 must not become the tenth.
        rank = max(1, -int(-(self.percentile * features / 100 - 1e-9) // 1))
        self._limit = _value(int(torch.searchsorted(below, rank)))
        return self

    def predict(self, images: Tensor) -> Tensor:
        """Outlier scores, (batch,), float64, as `Energy` gives them; refused with `DataError` before `fit`."""
        limit = self.limit
        features = self._features(images)
        # Read anew each time, since training may change them.
        held = self.network.state_dict(self._names)
        weights = [held[name].detach().to(features.dtype) for name in self._names]
        with torch.inference_mode():
            logits = torch.nn.functional.linear(features.clamp(max=limit), *weights)
        return self._scores(logits)

    def _features(self, images: Tensor) -> Tensor:
        """What goes into the final linear layer, (batch, features), float32 or float64."""
        found: list[Tensor] = []
        self.network.run(images, head=found.append)
        (features,) = found
        check_finite(features, "a NaN or infinite feature")
        return (
            features
            if features.dtype in (torch.float32, torch.float64)
            else features.to(torch.float32)
        )


_DROPPED = 12
_BINS = 1 << (32 - _DROPPED)
"""Bins of the sign, the exponent and 11 bits of the mantissa of a float32: no range need be known beforehand."""


def _bins(values: Tensor) -> Tensor:
    """The bin of every value, ascending with it, (values,), int64."""
    bits = (values.flatten().to(torch.float32) + 0.0).view(
        torch.int32
    )  # adding 0 leaves no negative zeros
    ascending = torch.where(bits >= 0, bits, bits ^ 0x7FFFFFFF)
    return (ascending >> _DROPPED).to(torch.int64) + _BINS // 2


def _value(number: int) -> float:
    """The value of a bin that is nearest to zero."""
    cut = (number - _BINS // 2) << _DROPPED
    bits = cut if cut >= 0 else (cut | ((1 << _DROPPED) - 1)) ^ 0x7FFFFFFF
    return float(torch.tensor(bits, dtype=torch.int32).view(torch.float32))


def _head_tensors(network: Network) -> list[str]:
    """The names of weight and bias of the linear layer that reads the last activation layer.

    Raises:
        ExportError: The network has no operator graph.
        LayerError: There is no such layer.
    """
    if not network.activation_layers:
        raise _no_head("a network without activation layers")
    last = network.activation_layers[-1]
    source = network.node(last)
    if not network.has_head:
        raise _no_head("a network whose logits come from no linear layer")
    classes = network.num_classes
    output = next(node for node in reversed(network.graph.nodes) if node.op == "output")
    found = []
    for linear in network.graph.nodes:
        gives = linear.target is _aten.linear.default and any(
            _passes_on(n, linear) for n in output.all_input_nodes
        )
        if gives and linear.meta["val"].shape[-1] == classes and _passes_on(linear.args[0], source):
            found.append(
                [
                    node.meta.get("tensor_name")
                    for node in linear.args[1:]
                    if isinstance(node, fx.Node)
                ]
            )
    if len(found) > 1:
        raise _no_head(
            f"a network with {len(found)} linear layers that give {classes} outputs from '{last.name}'"
        )
    if not found:
        raise _no_head(
            f"a network whose final linear layer does not read its last activation layer, '{last.name}'"
        )
    if not all(isinstance(name, str) for name in found[0]):
        raise _no_head("a network whose final linear layer computes its weights")
    return [str(name) for name in found[0]]


def _passes_on(node: Any, source: fx.Node) -> bool:
    """Whether a value is another, passed on."""
    while isinstance(node, fx.Node) and node is not source and operator_of(node) in _BETWEEN:
        node = node.args[0]
    return node is source


def _no_head(given: str) -> LayerError:
    return LayerError(
        given,
        "logits from one linear layer on the last activation layer or its mean over positions",
        "use Energy or PatternConfidence for this network",
    )
