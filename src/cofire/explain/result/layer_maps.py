"""Where each layer's evidence lies, and where all of them agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from pydantic import NonNegativeFloat
from scipy.ndimage import gaussian_filter1d
from torch import Tensor, fx
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from cofire.arguments import validated
from cofire.errors import ExplanationError, NonFiniteError
from cofire.explain.result.regions import LAYER_SIGMA
from cofire.explain.rules.positions import TokenMap
from cofire.network import ActivationLayer

_FLOOR = 0.005
"""What a layer says at the least, as a share of an even map: one layer alone cannot forbid a place."""

_AT_ONCE = 16
"""Values of so many layers are multiplied: each is at most 200 times the pixels of an image."""


@dataclass(frozen=True, eq=False)
class LayerMaps:
    """Net evidence of feature maps, each at its own resolution.

    Attributes:
        names: Of the layers, from the input up.
        maps: For each layer (images, height, width), float32, 0 or more.

    Raises:
        ExplanationError: Names and maps do not fit together, or a map has values below 0 or not
            finite.

    Example:
        Two layers that agree on the left half:

        >>> fine = torch.tensor([[[1.0, 1.0, 0.0, 2.0]] * 4])
        >>> coarse = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
        >>> LayerMaps(("a", "b"), (fine, coarse)).together((4, 4), sigma=0)[0, 0].mul(100).round().tolist()
        [13.0, 11.0, 0.0, 1.0]
    """

    names: tuple[str, ...]
    maps: tuple[Tensor, ...]
    _last: tuple[tuple[float, ...], Tensor] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        kept = tuple(values.detach().to("cpu", torch.float32) for values in self.maps)
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "maps", kept)
        if (
            not kept
            or len(self.names) != len(kept)
            or not all(isinstance(name, str) for name in self.names)
        ):
            raise _misfit(
                f"{len(self.names)} names for {len(kept)} maps",
                "one name for each of one or more maps",
            )
        for name, values in zip(self.names, kept, strict=True):
            if values.ndim != 3 or len(values) != len(kept[0]) or 0 in values.shape[1:]:
                raise _misfit(
                    f"maps of '{name}' of shape {tuple(values.shape)}",
                    "(images, h, w), as many images each",
                )
            if not bool((torch.isfinite(values) & (values >= 0)).all()):
                raise _misfit(
                    f"maps of '{name}' with values below 0 or not finite", "finite values from 0 up"
                )

    def __len__(self) -> int:
        return len(self.maps[0])

    def of_images(self, chosen: Sequence[int]) -> LayerMaps:
        """Those of some images."""
        rows = torch.tensor(list(chosen), dtype=torch.int64)
        return LayerMaps(self.names, tuple(values[rows] for values in self.maps))

    def where(self, kept: Tensor) -> LayerMaps:
        """The same maps, zeros for images that are not kept, (images,)."""
        return LayerMaps(self.names, tuple(one * kept[:, None, None] for one in self.maps))

    @validated(finite=False)
    def together(self, size: tuple[int, int], sigma: NonNegativeFloat = LAYER_SIGMA) -> Tensor:
        """Where the layers agree: the geometric mean of their maps, each brought to the image's size and blurred.

        `H ∝ exp(Σ_l log(M_l + f) / L) − f`, with each `M_l` of sum 1 and a floor `f` of half a
        percent of an even map. A layer without any evidence for an image says nothing about it.

        Args:
            size: Height and width of the images.
            sigma: Standard deviation of the Gaussian as a share of the shorter side, 0 or more.

        Returns:
            (images, H, W), float32, of sum 1; zeros where no layer has evidence.

        Raises:
            OptionError: `sigma` is no number from 0 up.
        """
        asked = (*size, float(sigma))
        # Heat map and box need the same: the last one made is remembered.
        if self._last is None or self._last[0] != asked:
            object.__setattr__(self, "_last", (asked, self._together(size, sigma)))
        assert self._last is not None
        return self._last[1].clone()

    def _together(self, size: tuple[int, int], sigma: float) -> Tensor:
        floor = _FLOOR / (size[0] * size[1])
        product: Tensor | None = None
        logs: Tensor | None = None
        layers = torch.zeros(len(self), 1, 1, dtype=torch.float64)
        width = float(sigma * min(size))
        for number, values in enumerate(self.maps, 1):
            down, across = (
                _spreading(*pair, width) for pair in zip(values.shape[1:], size, strict=True)
            )
            wide = values.double()
            # The sum of what it spreads to, known before it is spread.
            total = (down.sum(0)[:, None] * wide * across.sum(0)).sum((1, 2), keepdim=True)
            there = total > 0
            # In floors, so that a place of which no layer says anything is at 1 to the last bit.
            wide /= (total * floor).where(there, torch.ones(()))
            spread = (down @ wide @ across.T).add_(1)
            product = spread if product is None else product.mul_(spread)
            layers += there
            # One logarithm for several layers.
            if number % _AT_ONCE == 0 or number == len(self.maps):
                logs = product.log_() if logs is None else logs.add_(product.log_())
                product = None
        assert logs is not None
        agreed = logs.div_(layers.clamp_(min=1)).expm1_()
        whole = agreed.sum((1, 2), keepdim=True).clamp_(min=torch.finfo(torch.float64).tiny)
        return agreed.div_(whole).float()


def joined_maps(parts: Sequence[LayerMaps | None]) -> LayerMaps | None:
    """The maps of several batches of images, one after the other; None where there are none."""
    there = [part for part in parts if part is not None]
    if not there or len(there) < len(parts):
        return None
    columns = zip(*(part.maps for part in there), strict=True)
    return LayerMaps(there[0].names, tuple(torch.cat(column) for column in columns))


@lru_cache(maxsize=256)
def _spreading(given: int, wanted: int, width: float) -> Tensor:
    """The matrix (wanted, given) that interpolates linearly along one axis and blurs; beyond the border lies nothing.

    Both steps are linear and treat rows and columns alike, so that two products with small matrices
    do for a map what resizing and filtering it would.
    """
    steps = interpolate(torch.eye(given, dtype=torch.float64)[:, None], size=wanted, mode="linear")[
        :, 0
    ].T
    # Narrower than a hundredth of a pixel nothing spreads, and its square would round to 0.
    if width > 0.01:
        spread = gaussian_filter1d(
            steps.numpy(), width, axis=0, mode="constant", cval=0.0, truncate=4.0
        )
        steps = torch.from_numpy(np.ascontiguousarray(spread))
    return steps


def _misfit(given: str, expected: str) -> ExplanationError:
    return ExplanationError(
        given, expected, "make the explanation with cofire.explain, or mend its parts"
    )


_FINEST = 56
"""More rows or columns of a layer are averaged down to so many: finer detail is blurred away anyhow."""


def net_evidence(
    layers: dict[fx.Node, ActivationLayer | TokenMap],
    logits: Tensor,
    values: Mapping[fx.Node, Tensor],
    classes: Tensor,
    contrast: float,
    first: int = 0,
) -> LayerMaps | None:
    """Where each layer's evidence for a class outweighs that for its strongest rival.

    The net evidence of a place is `E_c = Σ_channels a · ∂z_c/∂a`: for a network of ReLUs, up to
    biases, what its activations there add to the logit, whatever way they take. Of it what is above
    zero counts, as shares of 1 over the layer; from it `contrast` times the same of the rival, the
    most probable class that is not explained, is taken
    away: `(Ê_c − contrast · Ê_d)⁺`.

    Args:
        layers: To look at.
        logits: (images, classes), recorded by autograd.
        values: The layers' activations, recorded too; by node.
        classes: The classes explained, (images, n); their logits are summed.
        contrast: From 0 up to 1.
        first: The number of the first image, for messages.

    Returns:
        None where no layer leads to the logits by differentiable operators.

    Raises:
        NonFiniteError: A gradient is NaN or infinite.
    """
    recorded = {node: layer for node, layer in layers.items() if values[node].requires_grad}
    if not recorded or not logits.requires_grad:
        return None
    tensors = [values[node] for node in recorded]
    own = _shares(logits, classes, tensors, recorded, first)
    if own is None:
        return None
    if contrast and classes.shape[1] < logits.shape[1]:
        rivals = logits.detach().scatter(1, classes, -torch.inf).argmax(1, keepdim=True)
        against = _shares(logits, rivals, tensors, recorded, first)
        if against is not None:
            own = [
                (one - contrast * other).clamp(min=0)
                for one, other in zip(own, against, strict=True)
            ]
    return LayerMaps(tuple(layer.name for layer in recorded.values()), tuple(own))


def _shares(
    logits: Tensor,
    classes: Tensor,
    tensors: Sequence[Tensor],
    layers: dict[fx.Node, ActivationLayer | TokenMap],
    first: int,
) -> list[Tensor] | None:
    # The caller may be in a mode in which nothing is recorded, nor could what is recorded be read.
    with torch.inference_mode(False), torch.no_grad():
        start = torch.zeros_like(logits).scatter(1, classes, 1.0)
        gradients = torch.autograd.grad(
            logits, tensors, start, retain_graph=True, allow_unused=True
        )
    if all(gradient is None for gradient in gradients):
        return None
    found = []
    for (node, layer), value, gradient in zip(layers.items(), tensors, gradients, strict=True):
        axis = layer.channel_axis + 1
        wide = torch.float64 if value.dtype == torch.float64 else torch.float32
        if gradient is None:
            evidence = torch.zeros_like(value.detach().select(axis, 0), dtype=wide)
        else:
            evidence = (value.detach().to(wide) * gradient.to(wide)).sum(axis)
        if isinstance(layer, TokenMap):
            evidence = layer.on_the_map(evidence)
        found.append(shares_on(evidence, f"'{layer.name}' ({node.name})", first))
    return found


def shares_on(evidence: Tensor, name: str, first: int = 0) -> Tensor:
    """Evidence of places as shares of 1 of what is above zero of it, at the most 56 rows and columns of it.

    Args:
        evidence: (images, rows, columns).
        name: Where, for messages.
        first: The number of the first image, for messages.

    Returns:
        (images, rows, columns), float32, of sum 1, or 0 where nothing is above zero.

    Raises:
        NonFiniteError: Evidence is NaN or infinite.

    Example:
        >>> shares_on(torch.tensor([[[3.0, -1.0], [1.0, 0.0]]]), "here")
        tensor([[[0.7500, 0.0000],
                 [0.2500, 0.0000]]])
    """
    refuse_not_finite(evidence, name, first)
    evidence = evidence.clamp(min=0)
    if max(evidence.shape[1:]) > _FINEST:
        # Averages of whole numbers of pixels where sizes divide, of overlapping windows where
        # they do not.
        height, width = (min(size, _FINEST) for size in evidence.shape[1:])
        evidence = adaptive_avg_pool2d(evidence[:, None], (height, width))[:, 0]
    # Logits may be of any scale: in double precision no sum of finite single ones overflows.
    total = evidence.double().sum((1, 2), keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    return (evidence.double() / total).float()


def refuse_not_finite(evidence: Tensor, name: str, first: int = 0) -> None:
    """Refuse evidence that is NaN or infinite.

    Args:
        evidence: (images, ...).
        name: Where, for messages.
        first: The number of the first image, for messages.

    Raises:
        NonFiniteError: It is.
    """
    bad = ~evidence.isfinite().flatten(1).all(1)
    if bool(bad.any()):
        raise NonFiniteError(
            f"NaN or infinite gradients at {name}, first for image {first + int(bad.nonzero()[0])}",
            "finite images, weights, activations and gradients",
            "look for NaN in the image and the weights; in half precision, use float32 or bfloat16",
        )
