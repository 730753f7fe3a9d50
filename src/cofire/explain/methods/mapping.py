"""Explanations that are maps: class activation maps, and relevance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor

from cofire.errors import OptionError
from cofire.explain.inputs import chances_of
from cofire.explain.methods.cam import CamMethod, cam_maps
from cofire.explain.methods.cam_layer import choose_cam_layer
from cofire.explain.methods.lrp import lrp_maps
from cofire.explain.result.explanation import Explanation
from cofire.explain.result.regions import SIGMA
from cofire.network import Network

MapMethod = CamMethod | Literal["lrp"]
"""Whose map."""


def mapped(
    network: Network,
    images: Tensor,
    classes: Tensor | None,
    method: MapMethod,
    pictures: Tensor,
    options: dict[str, Any],
) -> Explanation:
    """The maps of images.

    Args:
        network: The classifier.
        images: (images, channels, height, width), checked.
        classes: (images, 1), None for the predicted ones.
        method: Whose maps.
        pictures: What to draw on.
        options: `layer` of class activation maps, `sigma` of relevance, and nothing else.

    Raises:
        OptionError: Another option is given, or several classes for one image.
        ExplanationError: The network has no layer for a map.
        MissingExtraError: The library is not installed.
        RuleError: The network has an operator through which relevance cannot go.
    """
    refuse_options(method, options, ["sigma"] if method == "lrp" else ["layer"])
    one_class_each(method, classes)
    if method == "lrp":
        sigma = options.get("sigma", SIGMA)
        logits = network.run(images)
        chances = chances_of(logits).cpu()
        classes = logits.argmax(1, keepdim=True).cpu() if classes is None else classes
        maps = lrp_maps(network, images, classes[:, 0], sigma)
        told = {"composite": "epsilon plus", "sigma": float(sigma)}
    else:
        layer = choose_cam_layer(network, options.get("layer"))
        if classes is None:
            classes = network.run(images).argmax(1, keepdim=True).cpu()
        maps, name, logits = cam_maps(network, images, classes[:, 0], method, layer)
        chances = chances_of(logits).cpu()
        told = {"target_layer": name}
    confidence, predicted = chances.max(1)
    return Explanation(
        method=method,
        options=told,
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


def refuse_options(method: str, options: dict[str, Any], own: Sequence[str]) -> None:
    """Nothing but a method's own options.

    Raises:
        OptionError: Another one is given.
    """
    for name in options:
        if name not in own:
            raise OptionError(
                f"{name}= for method {method!r}",
                f"{own[0]}=, its only option" if own else "no options",
                "leave it out, or use a method that traces, such as 'discernible'",
            )


def one_class_each(method: str, classes: Tensor | None) -> None:
    """One class for each image.

    Raises:
        OptionError: There are several.
    """
    if classes is not None and classes.shape[1] > 1:
        raise OptionError(
            f"{classes.shape[1]} classes for one image",
            f"one class, as {method} explains one",
            "explain each by itself",
        )
