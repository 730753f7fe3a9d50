"""Networks of a study: two small ones of its own, or any that is named, and the weights they start from."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from cofire.activations.progress import announce
from cofire.arguments import validated
from cofire.errors import OptionError
from cofire.network.weights import copy_of, fitted, read_checkpoint
from cofire.study.options import StudyOptions
from cofire.study.sources import build_model, is_published

_WITH_AUXILIARY = ("inception_v3", "googlenet")
"""Models of torchvision with further outputs, which need inputs of 299 pixels; studies leave those out."""
_AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")

Dropout = Annotated[float, Field(ge=0, lt=1)]
_WEIGHTS = 1 << 32
"""Which take 16 GiB."""


def build(options: StudyOptions, shape: Sequence[int], classes: int) -> nn.Module:
    """The network of a study, freshly made from torch's random state, with an output for each class.

    Args:
        options: Of the study.
        shape: Of a sample.
        classes: Of the data.

    Raises:
        OptionError: No such model, or one that does not take such samples.
    """
    dropout, hidden = options.dropout or 0.0, options.hidden or ()
    if options.model == "cnn":
        return cnn(shape, hidden, classes, dropout=dropout)
    if options.model == "fcnn":
        return fcnn(math.prod(shape), hidden, classes, dropout=dropout)
    more: dict[str, bool] = {}
    library, _, name = options.model.partition(":")
    if library == "torchvision" and name in _WITH_AUXILIARY:
        # Published weights see inputs that the model itself scales.
        more = {
            "aux_logits": False,
            "transform_input": options.weights == "published",
            "init_weights": options.weights == "none",
        }
    outputs = classes if is_published(options.model) else None
    return build_model(options.model, outputs, **more)


def load_start(model: nn.Module, options: StudyOptions) -> None:
    """Put the weights that training starts from into a model; a head of another size is left as it is, and said.

    Raises:
        WeightsError: The weights are missing, damaged, or do not fit elsewhere than in the head.
    """
    if options.weights == "none":
        return
    source = f"weights '{options.weights}'"
    if options.weights == "published":
        content: object = build_model(options.model, trained=True).state_dict()
    else:
        content = read_checkpoint(options.weights)
    own = model.state_dict()
    given = copy_of(content, own, options.weights_key, source)
    kept = {n: t for n, t in given.items() if n in own or not n.startswith(_AUXILIARY)}
    head = _head_of_another_size(kept, own)
    if head:
        announce(
            f"Note: the head ({', '.join(head)}) of {source} has {len(kept[head[0]])} outputs and the data "
            f"{len(own[head[0]])} classes: it starts anew.",
            True,
        )
    found = fitted({**kept, **{name: own[name] for name in head}}, own, source)
    model.load_state_dict({**own, **found})


def _head_of_another_size(given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """Weights of the last layer where only the number of outputs differs; none where others differ as well."""
    differ = [name for name in own if name in given and given[name].shape != own[name].shape]
    one_layer = len({name.rpartition(".")[0] for name in differ}) == 1
    outputs_alone = all(given[name].shape[1:] == own[name].shape[1:] for name in differ)
    return differ if one_layer and outputs_alone else []


_CHANNELS = (16, 32)


@validated
def cnn(
    shape: Sequence[PositiveInt],
    hidden: Sequence[PositiveInt],
    classes: PositiveInt,
    *,
    dropout: Dropout = 0.0,
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
    return _with_dense(layers, channels * height * width, hidden, classes, dropout)


@validated
def fcnn(
    inputs: PositiveInt,
    hidden: Sequence[PositiveInt],
    classes: PositiveInt,
    *,
    dropout: Dropout = 0.0,
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
    return _with_dense(OrderedDict(flatten=nn.Flatten()), inputs, hidden, classes, dropout)


def _with_dense(
    layers: OrderedDict[str, nn.Module],
    inputs: int,
    hidden: Sequence[int],
    classes: int,
    dropout: float,
) -> nn.Sequential:
    """The layers, the fully connected ones behind them, and the output."""
    weights = sum(before * units for before, units in pairwise((inputs, *hidden, classes)))
    if weights > _WEIGHTS:
        raise OptionError(
            f"fully connected layers of {weights:,} weights",
            f"{_WEIGHTS:,} at the most",
            "take fewer hidden units",
        )
    first = 1 + sum(name.startswith("relu") for name in layers)
    for number, units in enumerate(hidden, start=first):
        layers[f"fc{number}"] = nn.Linear(inputs, units)
        layers[f"relu{number}"] = nn.ReLU()
        if dropout:
            layers[f"dropout{number}"] = nn.Dropout(dropout)
        inputs = units
    layers["output"] = nn.Linear(inputs, classes)
    return nn.Sequential(layers)
