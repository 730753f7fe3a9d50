"""The fully connected classifiers of P2 Table 1."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from cofire.arguments import validated


@validated
def fcnn(
    inputs: int, hidden: Sequence[int], classes: int, *, dropout: float = 0.0
) -> nn.Sequential:
    """A fully connected classifier: ReLU and dropout after each hidden layer (P2 §6, Table 1).

    Args:
        inputs: Values per sample; samples of any shape are flattened.
        hidden: Units of the hidden layers.
        classes: Units of the output layer, which gives logits.
        dropout: Share of hidden units left out in training.

    Returns:
        The network, freshly initialised from torch's random state.

    Example:
        >>> network = fcnn(784, (512, 512), 10, dropout=0.5)
        >>> sum(p.numel() for p in network.parameters()), [name for name, _ in network.named_children()]
        (669706, ['flatten', 'fc1', 'relu1', 'dropout1', 'fc2', 'relu2', 'dropout2', 'output'])
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for number, units in enumerate(hidden, start=1):
        layers[f"fc{number}"] = nn.Linear(inputs, units)
        layers[f"relu{number}"] = nn.ReLU()
        if dropout:
            layers[f"dropout{number}"] = nn.Dropout(dropout)
        inputs = units
    layers["output"] = nn.Linear(inputs, classes)
    return nn.Sequential(layers)
