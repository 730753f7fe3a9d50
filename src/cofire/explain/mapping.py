"""Class activation maps as explanations."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from cofire.errors import OptionError
from cofire.explain.cam_layers import choose_cam_layer
from cofire.explain.cams import CamMethod, cam_maps
from cofire.explain.chances import chances_of
from cofire.explain.explanation import Explanation
from cofire.network import Network

__all__ = ["mapped"]


def mapped(
    network: Network,
    images: Tensor,
    classes: Tensor | None,
    method: CamMethod,
    pictures: Tensor,
    options: dict[str, Any],
) -> Explanation:
    """The class activation maps of images.

    Args:
        network: The classifier.
        images: (images, channels, height, width), checked.
        classes: (images, 1), None for the predicted ones.
        method: Whose maps.
        pictures: What to draw on.
        options: `layer`, and nothing else.

    Raises:
        OptionError: Another option is given, or several classes for one image.
        ExplanationError: The network has no layer for a map.
        MissingExtraError: The library is not installed.
    """
    for name in options:
        if name != "layer":
            raise OptionError(
                f"{name}= for method {method!r}", "layer=, its only option",
                "leave it out, or use a method that traces, such as 'discernible'",
            )  # fmt: skip
    if classes is not None and classes.shape[1] > 1:
        raise OptionError(
            f"{classes.shape[1]} classes for one image",
            f"one class, as {method} explains one",
            "explain each by itself",
        )
    layer = choose_cam_layer(network, options.get("layer"))
    if classes is None:
        classes = network.run(images).argmax(1, keepdim=True).cpu()
    maps, name, logits = cam_maps(network, images, classes[:, 0], method, layer)
    chances = chances_of(logits).cpu()
    confidence, predicted = chances.max(1)
    return Explanation(
        method=method,
        options={"target_layer": name},
        target=classes.clone(),
        probability=chances.gather(1, classes).float(),
        predicted=predicted.clone(),
        confidence=confidence.float(),
        input_shape=network.input_shape,
        sites=(),
        neurons=None,
        maps=maps.cpu(),
        pictures=pictures,
    )
