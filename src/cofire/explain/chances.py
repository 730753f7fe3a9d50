"""How sure a network is of each class."""

from __future__ import annotations

from torch import Tensor

from cofire.errors import NonFiniteError


def chances_of(logits: Tensor, first: int = 0) -> Tensor:
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
