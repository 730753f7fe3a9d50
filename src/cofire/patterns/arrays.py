"""What callers may pass where a tensor is meant."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import numpy.typing as npt
from torch import Tensor

from cofire.tensors import Values
from cofire.tensors import dense as tensor_of

__all__ = ["ArrayLike", "tensor_of"]

ArrayLike = Annotated[Tensor | npt.NDArray[np.generic], Values(finite=False)]
"""A tensor or an array; each function says which entry is NaN or infinite in its own words."""
