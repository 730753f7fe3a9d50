"""A small convolutional classifier for small images."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from cofire.arguments import validated
from cofire.errors import OptionError

_CHANNELS = (16, 32)


@validated
def cnn(
    shape: Sequence[int], hidden: Sequence[int], classes: int, *, dropout: float = 0.0
) -> nn.Sequential:
    """A convolutional classifier: two 3 × 3 convolutions, each with ReLU and 2 × 2 max-pooling, then linear layers.

    Neither paper has it; it is for images from 8 × 8 (digits) over 28 × 28 (MNIST) to 32 × 32 in
    colour.

    Args:
        shape: (channels, height, width) of a sample.
        hidden: Units of the fully connected hidden layers, each followed by ReLU and dropout.
        classes: Units of the output layer, which gives logits.
        dropout: Share of the units of `hidden` left out in training.

    Returns:
        The network, freshly initialised from torch's random state.

    Raises:
        OptionError: Samples are no images, or of less than 4 × 4 pixels.

    Example:
        >>> network = cnn((1, 8, 8), (64,), 10)
        >>> sum(p.numel() for p in network.parameters()), [name for name, _ in network.named_children()][:7]
        (13706, ['conv1', 'relu1', 'pool1', 'conv2', 'relu2', 'pool2', 'flatten'])
    """
    least = 2 ** len(_CHANNELS)
    if len(shape) != 3 or min(shape[1:]) < least:
        raise OptionError(
            f"a cnn on samples of shape {tuple(shape)}",
            f"images, (channels, height, width), of {least} × {least} pixels at least",
            "use fcnn, which takes any shape",
        )
    channels, height, width = shape
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, features in enumerate(_CHANNELS, start=1):
        layers[f"conv{number}"] = nn.Conv2d(channels, features, 3, padding=1)
        layers[f"relu{number}"] = nn.ReLU()
        layers[f"pool{number}"] = nn.MaxPool2d(2)
        channels, height, width = features, height // 2, width // 2
    layers["flatten"] = nn.Flatten()
    inputs = channels * height * width
    for number, units in enumerate(hidden, start=len(_CHANNELS) + 1):
        layers[f"fc{number}"] = nn.Linear(inputs, units)
        layers[f"relu{number}"] = nn.ReLU()
        if dropout:
            layers[f"dropout{number}"] = nn.Dropout(dropout)
        inputs = units
    layers["output"] = nn.Linear(inputs, classes)
    return nn.Sequential(layers)
