"""Whether the parts of an explanation fit together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cofire.errors import ExplanationError

if TYPE_CHECKING:
    from cofire.explain.explanation import Explanation

__all__ = ["TENSORS", "check_parts"]

TENSORS = {
    "target": torch.int64,
    "probability": torch.float32,
    "predicted": torch.int64,
    "confidence": torch.float32,
    "maps": torch.float32,
    "pictures": torch.uint8,
}
"""The tensors of an explanation besides its neurons, and their types."""

# Softmax in half precision can end a little above 1.
_ROUNDING = 1e-2


def check_parts(explanation: Explanation) -> None:
    """Hold an explanation to what it promises.

    Raises:
        ExplanationError: Its parts do not fit together.
    """
    if len(explanation.input_shape) not in (1, 3) or min(explanation.input_shape) < 1:
        raise _misfit(f"input_shape={explanation.input_shape}", "(channels, height, width) or (features,)")
    images, (height, width) = len(explanation), explanation.size
    classes = explanation.target.shape[1] if explanation.target.ndim == 2 else 1
    shapes = {
        "target": (images, classes),
        "probability": (images, classes),
        "predicted": (images,),
        "confidence": (images,),
        "maps": (images, height, width),
        "pictures": (images, height, width, 3),
    }
    for name, shape in shapes.items():
        values: Tensor | None = getattr(explanation, name)
        if values is not None and (values.shape != shape or values.dtype != TENSORS[name]):
            raise _misfit(f"{name} of {values.dtype} and shape {tuple(values.shape)}", f"{TENSORS[name]}, {shape}")
    for name in ("probability", "confidence"):
        values = getattr(explanation, name)
        if not bool(((values >= 0) & (values <= 1 + _ROUNDING)).all()):
            raise _misfit(f"{name} outside 0 to 1", "probabilities")
    maps, neurons, sites = explanation.maps, explanation.neurons, explanation.sites
    if (neurons is None) == (maps is None):
        raise _misfit("neurons and maps together, or neither", "one of the two")
    if maps is not None and not bool((torch.isfinite(maps) & (maps >= 0)).all()):
        raise _misfit("maps with values below 0 or not finite", "finite values from 0 up")
    if neurons is not None:
        if len(sites) < 2 or sites[0].kind != "input" or sites[-1].kind != "classes":
            raise _misfit(f"sites {[site.name for site in sites]}", "sites from the input to the classes")
        if tuple(sites[0].shape) != explanation.input_shape:
            raise _misfit(f"an input site of shape {sites[0].shape}", f"the input's {explanation.input_shape}")
        neurons.check(sites, images)


def _misfit(given: str, expected: str) -> ExplanationError:
    return ExplanationError(given, expected, "make the explanation with cofire.explain, or mend its parts")
