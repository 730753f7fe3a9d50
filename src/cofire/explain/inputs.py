"""What an explanation is asked of: inputs, classes, and images to draw on, checked."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from cofire.errors import BatchError, DataError, LabelError, NonFiniteError
from cofire.marks import LATER, shown
from cofire.network import Network, check_decides
from cofire.tensors import Values, dense

Inputs = Annotated[Tensor, LATER]
"""A batch of images or one, a tensor or array: `checked_inputs` holds it against the network."""


Target = Annotated[int | Tensor | None, LATER]
"""The classes to explain: `checked_classes` holds them against network and inputs."""


Images = Annotated[Tensor | None, LATER]
"""What to draw on: `checked_images` holds it against the inputs."""


def checked_inputs(network: Network, inputs: Tensor) -> Tensor:
    """A batch of finite images that fit a network, also where one image was given without its batch.

    Raises:
        BatchError: Their shape or type is not the network's, or there are none.
        NonFiniteError: A pixel is NaN or infinite.
        OptionError: The network does not decide between classes.

    Example:
        >>> checked_inputs(Network(torch.nn.Linear(3, 2), torch.zeros(1, 3)), torch.zeros(3)).shape
        torch.Size([1, 3])
    """
    check_decides(network)
    inputs = Values(finite=False, lists=False, error=BatchError).of("inputs", inputs)
    if tuple(inputs.shape) == network.input_shape:
        inputs = inputs[None]
    if inputs.ndim == 0 or tuple(inputs.shape[1:]) != network.input_shape:
        raise BatchError(
            f"inputs of shape {tuple(inputs.shape)}",
            f"(images, {', '.join(map(str, network.input_shape))})",
            "resize the images, check their channels, or build the network with an example of that shape",
        )
    if not len(inputs):
        raise BatchError("no image", "one or more", "pass a batch of images")
    finite = inputs.isfinite().flatten(1).all(1)
    if not bool(finite.all()):
        number = int((~finite).nonzero()[0])
        raise NonFiniteError(
            f"a pixel of image {number} that is NaN or infinite", "finite pixels", "check the image"
        )
    return inputs


def checked_classes(network: Network, target: int | Tensor | None, images: int) -> Tensor | None:
    """The classes to explain, (images, n), int64, on the CPU; None where none were given.

    Raises:
        LabelError: A target is no class, is there twice, or there is not one for each image.

    Example:
        >>> checked_classes(Network(torch.nn.Linear(3, 2), torch.zeros(1, 3)), 1, images=2).tolist()
        [[1], [1]]
    """
    if target is None:
        return None
    count = network.num_classes
    try:
        given = dense(target, "targets").cpu()
    except DataError as error:
        raise LabelError(
            f"target={shown(target)}",
            "a class number, or one for each image",
            f"pass a number from 0 to {count - 1}",
        ) from error
    else:
        if given.is_floating_point() or given.dtype == torch.bool or given.is_complex():
            raise LabelError(
                f"targets of type {given.dtype}", "whole numbers", "pass class numbers"
            )
        classes = (given.expand(images) if given.ndim == 0 else given).long()
        classes = classes[:, None] if classes.ndim == 1 else classes
    if classes.ndim != 2 or len(classes) != images or not classes.shape[1]:
        raise LabelError(
            f"targets of shape {tuple(classes.shape)} for {images} images",
            "one class for each image, or (images, n)",
            "pass one class number, or one for each image",
        )
    wrong = (classes < 0) | (classes >= count)
    if bool(wrong.any()):
        raise LabelError(
            f"target {int(classes[wrong][0])}",
            f"a class from 0 to {count - 1}",
            "pass one of these",
        )
    if any(len(set(row)) < len(row) for row in classes.tolist()):
        raise LabelError(
            "a class that is there twice for one image", "different classes", "name each class once"
        )
    return classes


def checked_images(inputs: Tensor, images: Tensor | None) -> Tensor:
    """Images to draw on, (images, height, width, 3), uint8: those given, or the inputs stretched, each by itself.

    Raises:
        BatchError: Those given do not fit the inputs.

    Example:
        >>> checked_images(torch.tensor([[1.0, 2.0, 3.0]]), None)[0, 0, :, 0].tolist()
        [0, 128, 255]
    """
    size = (
        tuple(inputs.shape[2:])
        if inputs.ndim == 4
        else (1, inputs[0].numel())
        if inputs.ndim == 2
        else (1, 1)
    )
    if images is not None:
        images = Values(lists=False, error=BatchError).of("images", images)
        if images.dtype != torch.uint8 or tuple(images.shape) != (len(inputs), *size, 3):
            raise BatchError(
                f"images of type {images.dtype} and shape {tuple(images.shape)}",
                f"torch.uint8, {(len(inputs), *size, 3)}",
                "convert them, or leave them out",
            )
        return images
    values = inputs.detach().float().cpu().reshape(len(inputs), -1, *size)
    low, high = values.flatten(1).aminmax(dim=1)
    span = (high - low).clamp(min=torch.finfo(torch.float32).tiny)[:, None, None, None]
    shown = ((values - low[:, None, None, None]) / span * 255).round().to(torch.uint8)
    shown = (
        shown
        if shown.shape[1] == 3
        else shown.float().mean(1, keepdim=True).to(torch.uint8).expand(-1, 3, *size)
    )
    return shown.permute(0, 2, 3, 1).contiguous()


def probabilities_of(logits: Tensor, first: int = 0) -> Tensor:
    """Softmax of logits (images, classes) in double precision.

    Raises:
        NonFiniteError: One is NaN or infinite.
    """
    finite = logits.isfinite().all(1)
    if not bool(finite.all()):
        number = first + int((~finite).nonzero()[0])
        raise NonFiniteError(
            f"logits of image {number} that are NaN or infinite",
            "finite logits",
            "check the weights and the image",
        )
    return logits.double().softmax(1)
