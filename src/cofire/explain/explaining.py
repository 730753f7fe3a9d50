"""`explain`: why a network decided as it did, image by image."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from cofire.errors import BatchError, ExplanationError, LabelError, NonFiniteError, OptionError, near_matches
from cofire.explain.cams import CamMethod
from cofire.explain.chances import chances_of
from cofire.explain.explanation import Explanation
from cofire.explain.flow import Flow
from cofire.explain.mapping import mapped
from cofire.explain.memory import images_at_once
from cofire.explain.options import DEFAULTS, METHODS, tracing_of
from cofire.explain.plan import plan_of
from cofire.explain.recording import Table
from cofire.explain.tracing import trace
from cofire.network import Network

__all__ = ["explain"]


def explain(
    network: Network,
    images: Tensor,
    target: int | Tensor | None = None,
    method: str = "discernible",
    *,
    pictures: Tensor | None = None,
    **options: Any,
) -> Explanation:
    """Trace a prediction back to the pixels that carried it.

    "discernible" follows evidence from the class down, operator by operator: of the inputs of a neuron with weights
    those are chosen that score highest by P3's Eq. 1, `Ω = α_suc · Z_suc · (α_cur · Z_cur + α_pre · Z_pre)`, and each
    neuron hands its evidence on to them in proportion. "cnn-fixations" is the same with other options. "gradcam" and
    "gradcam++" are the class activation maps of captum and grad-cam.

    Args:
        network: The classifier, read from its operator graph.
        images: A batch (images, *network.input_shape), prepared as for prediction; or one image.
        target: The class to explain: None for the one that each image is predicted as, a number for all images,
            (images,) for one each, (images, n) to start from several at once.
        method: "discernible", "cnn-fixations", "gradcam" or "gradcam++".
        pictures: What to draw the explanation on, (images, height, width, 3), uint8. Left out, the images
            themselves, each stretched to the full range of grey values or colours.
        **options: Of the method. Those that trace: `alpha`, `k`, `k_linear`, `n`, `most`, `counted`, `carried` (see
            `cofire.explain.options.Tracing`). Class activation maps: `layer`, the activation layer to look at.

    Returns:
        The explanation of all images. What nothing speaks for has "no evidence": no points, a map of zeros.

    Raises:
        BatchError: The images' shape or type is not the network's.
        NonFiniteError: An image or a logit is NaN or infinite.
        LabelError: A target is no class.
        OptionError: The method or an option does not exist, or has a value it cannot have.
        RuleError: The network has an operator through which evidence cannot be traced.
        ExportError: The network has no operator graph.
        ExplanationError: The network has no layer for a class activation map.
        MissingExtraError: The library of a class activation map is not installed.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU(), torch.nn.Linear(2, 2))
        >>> for parameter, values in zip(model.parameters(), ([[1.0, 0, 0], [0, 0, 1]], [0.0, 0], [[2.0, 0], [0, 1]],
        ...                                                   [0.0, 0]), strict=True):
        ...     _ = parameter.data.copy_(torch.tensor(values))
        >>> found = explain(Network(model, torch.zeros(1, 3)), torch.tensor([[1.0, 5.0, 1.0]]))
        >>> found.target.tolist(), found.points(0)
        ([[0]], Points(1, score 1.0000))
    """
    if method not in METHODS:
        raise OptionError(
            f"method={method!r}", f"one of {', '.join(map(repr, METHODS))}",
            f"pass {near_matches(str(method), METHODS, most=1)}",
        )  # fmt: skip
    if len(network.input_shape) not in (1, 3):
        raise ExplanationError(
            f"a network on inputs of shape {network.input_shape}",
            "images (channels, height, width), or vectors (features,)",
            "wrap the model so that it takes images, of height 1 for a line",
        )
    batch = _batch(network, images)
    if method not in DEFAULTS:
        return mapped(
            network,
            batch,
            _classes(network, target, len(batch)),
            cast("CamMethod", method),
            _drawn(batch, pictures),
            options,
        )
    tracing = tracing_of(method, options)
    classes = _classes(network, target, len(batch))
    if classes is not None and tracing.n > 1:
        raise OptionError(f"n={tracing.n} and a target", "one of the two", "pass (images, n) classes as target")
    if tracing.n > network.num_classes:
        raise OptionError(f"n={tracing.n}", f"at most {network.num_classes} classes", "pass n=1")
    plan = plan_of(network)
    table = Table(plan)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    each = images_at_once(plan, len(batch))
    for first in range(0, len(batch), each):
        part = batch[first : first + each]
        logits, values = plan.tap(network, part)
        chances = chances_of(logits, first)
        chosen = chances.topk(tracing.n, dim=1).indices if classes is None else classes[first : first + each]
        chosen = chosen.to(logits.device)
        with torch.inference_mode():
            table.add(first, trace(plan, values, _start(chosen, logits), tracing.scoring))
        found.append((chosen.cpu(), chances.gather(1, chosen).cpu(), torch.stack(chances.max(1)).cpu()))
    sites, neurons = table.finished()
    highest = torch.cat([part[2] for part in found], dim=1)
    return Explanation(
        method=method,
        options=tracing.described(),
        target=torch.cat([part[0] for part in found]),
        probability=torch.cat([part[1] for part in found]).float(),
        predicted=highest[1].long(),
        confidence=highest[0].float(),
        input_shape=network.input_shape,
        sites=sites,
        neurons=neurons,
        maps=None,
        pictures=_drawn(batch, pictures),
    )


def _batch(network: Network, images: Tensor) -> Tensor:
    if isinstance(images, Tensor) and tuple(images.shape) == network.input_shape:
        images = images[None]
    if not isinstance(images, Tensor) or images.ndim == 0 or tuple(images.shape[1:]) != network.input_shape:
        given = f"images of shape {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
        raise BatchError(
            given,
            f"(images, {', '.join(map(str, network.input_shape))})",
            "resize the images, check their channels, or build the network with an example of that shape",
        )
    if not len(images):
        raise BatchError("no image", "one or more", "pass a batch of images")
    finite = images.isfinite().flatten(1).all(1)
    if not bool(finite.all()):
        number = int((~finite).nonzero()[0])
        raise NonFiniteError(f"a pixel of image {number} that is NaN or infinite", "finite pixels", "check the image")
    return images


def _classes(network: Network, target: int | Tensor | None, images: int) -> Tensor | None:
    if target is None:
        return None
    count = network.num_classes
    try:
        given = torch.as_tensor(target).detach().cpu()
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise LabelError(
            f"target={target!r}", "a class number, or one for each image", f"pass a number from 0 to {count - 1}"
        ) from error
    else:
        if given.is_floating_point() or given.dtype == torch.bool or given.is_complex():
            raise LabelError(f"targets of type {given.dtype}", "whole numbers", "pass class numbers")
        classes = (given.expand(images) if given.ndim == 0 else given).long()
        classes = classes[:, None] if classes.ndim == 1 else classes
    if classes.ndim != 2 or len(classes) != images or not classes.shape[1]:
        raise LabelError(
            f"targets of shape {tuple(classes.shape)} for {images} images", "one class for each image, or (images, n)",
            "pass one class number, or one for each image",
        )  # fmt: skip
    wrong = (classes < 0) | (classes >= count)
    if bool(wrong.any()):
        raise LabelError(f"target {int(classes[wrong][0])}", f"a class from 0 to {count - 1}", "pass one of these")
    if any(len(set(row)) < len(row) for row in classes.tolist()):
        raise LabelError("a class that is there twice for one image", "different classes", "name each class once")
    return classes


def _start(classes: Tensor, logits: Tensor) -> Flow:
    ordered, order = classes.sort(dim=1)
    # Softmax over these classes alone: their probabilities among themselves, however small each is.
    share = logits.double().gather(1, classes).softmax(1).gather(1, order)
    image = torch.arange(len(classes), device=classes.device).repeat_interleave(classes.shape[1])
    index, score = ordered.reshape(-1), share.reshape(-1)
    kept = score > 0
    one = torch.ones_like(index, dtype=torch.int8)
    flow = Flow(image, index, one, score, torch.arange(len(index), device=index.device)).where(kept)
    return Flow(flow.image, flow.index, flow.direction, flow.score, torch.arange(len(flow), device=index.device))


def _drawn(images: Tensor, pictures: Tensor | None) -> Tensor:
    """Pictures to draw on: those given, or the images stretched, each by itself."""
    size = tuple(images.shape[2:]) if images.ndim == 4 else (1, images[0].numel()) if images.ndim == 2 else (1, 1)
    if pictures is not None:
        if not isinstance(pictures, Tensor):
            raise BatchError(
                f"pictures that are {type(pictures).__name__}",
                "a tensor of type uint8",
                "pass torch.as_tensor(pictures)",
            )
        if pictures.dtype != torch.uint8 or tuple(pictures.shape) != (len(images), *size, 3):
            raise BatchError(
                f"pictures of type {pictures.dtype} and shape {tuple(pictures.shape)}",
                f"torch.uint8, {(len(images), *size, 3)}",
                "convert them, or leave them out",
            )
        return pictures
    values = images.detach().float().cpu().reshape(len(images), -1, *size)
    low, high = values.flatten(1).aminmax(dim=1)
    span = (high - low).clamp(min=torch.finfo(torch.float32).tiny)[:, None, None, None]
    shown = ((values - low[:, None, None, None]) / span * 255).round().to(torch.uint8)
    shown = shown if shown.shape[1] == 3 else shown.float().mean(1, keepdim=True).to(torch.uint8).expand(-1, 3, *size)
    return shown.permute(0, 2, 3, 1).contiguous()
