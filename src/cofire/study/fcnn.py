"""The fully connected classifiers of P2 Table 1."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

__all__ = ["fcnn"]


def fcnn(inputs: int, hidden: Sequence[int], classes: int, *, dropout: float = 0.0) -> nn.Sequential:
    """A fully connected classifier: ReLU and dropout after each hidden layer (P2 §6, Table 1).

    Args:
        inputs: Values per sample; samples of any shape are flattened.
        hidden: Units of the hidden layers.
        classes: Units of the output layer, which gives logits.
        dropout: Share of hidden units left out in training.

    Returns:
        The network, freshly initialised from torch's random state.

    Example:
        >>> sum(p.numel() for p in fcnn(784, (512, 512), 10).parameters())
        669706
    """
    layers: list[nn.Module] = [nn.Flatten()]
    for units in hidden:
        layers += [nn.Linear(inputs, units), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
        inputs = units
    layers.append(nn.Linear(inputs, classes))
    return nn.Sequential(*layers)


