"""Maps spread by a Gaussian, with nothing beyond the border."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from cofire.explain.regions import SIGMA, check_share


def blurred(maps: Tensor, sigma: float = SIGMA) -> Tensor:
    """Each map with its values spread as Gaussians, as `cofire.explain.regions.heat` spreads those of points.

    The kernel ends at 4 standard deviations and sums to 1; what is spread beyond the border is left
    out.

    Args:
        maps: (images, height, width), 0 or more.
        sigma: Standard deviation as a share of the shorter side, 0 or more; 0 gives the maps as
            they are.

    Returns:
        (images, height, width), float32, on the CPU.

    Raises:
        OptionError: `sigma` is no number from 0 up.

    Example:
        >>> one = torch.zeros(1, 11, 11)
        >>> one[0, 5, 5] = 0.5
        >>> found = blurred(one, 1 / 11)
        >>> round(float(found.sum()), 6), round(float(found[0, 5, 5]), 4)
        (0.5, 0.0796)
    """
    check_share("sigma", sigma, least=0.0)
    values = maps.detach().cpu().double().numpy()
    if sigma > 0:
        width = sigma * min(values.shape[1:])
        spread = [
            gaussian_filter(one, width, mode="constant", cval=0.0, truncate=4.0) for one in values
        ]
        values = np.stack(spread) if spread else values
    return torch.from_numpy(values.astype(np.float32))
