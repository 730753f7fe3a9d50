"""What callers may pass where a tensor is meant."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cofire.errors import DataError

__all__ = ["ArrayLike", "tensor_of"]

ArrayLike = Tensor | npt.NDArray[np.generic]
"""A tensor or an array."""


def tensor_of(values: Any, what: str) -> Tensor:
    """The values as a dense tensor without gradient.

    Args:
        values: A tensor, an array, or nested lists of numbers.
        what: Their name, for the message.

    Raises:
        DataError: They are no numbers.

    Example:
        >>> tensor_of([[1, 2], [3, 4]], "an adjacency").shape
        torch.Size([2, 2])
    """
    try:
        tensor = torch.as_tensor(values).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{what} of type {type(values).__name__}: {error}", "a tensor or array of numbers", "convert it"
        ) from error
    return tensor if tensor.layout == torch.strided else tensor.to_dense()
