"""Random changes of a given length: what an attack is compared with."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from cofire.bounds import check_whole
from cofire.errors import BatchError, OptionError
from cofire.evaluate.deepfool import Bounds, check_bounds

_ROUNDS = 60
_NEAR = 1e-5


def noisy(images: Tensor, norm: Tensor, *, bounds: Bounds | None = None, seed: int = 0) -> Tensor:
    """Images with Gaussian noise of a given Euclidean length.

    The direction of an image's noise follows from the seed and from the image itself: it is the
    same in every batch. Within bounds the noise is cut off at them and made so much stronger that
    its length is still the one given.

    Args:
        images: (images, ...), float32.
        norm: Of the change of each image in units of the input, (images,), finite, 0 or more.
        bounds: What values an input can have.
        seed: A whole number from 0 up.

    Returns:
        The changed images, of the same shape.

    Raises:
        BatchError: Not one norm for each image.
        OptionError: A norm is below 0 or longer than the bounds allow, or the bounds are wrong.

    Example:
        >>> images = torch.zeros(2, 1, 4, 4)
        >>> changed = noisy(images, torch.tensor([0.5, 2.0]))
        >>> (changed - images).flatten(1).norm(dim=1)
        tensor([0.5000, 2.0000])
    """
    changed, fits = fitting_noise(images, norm, bounds=bounds, seed=seed)
    if not bool(fits.all()):
        at = int((~fits).nonzero()[0])
        reached = float((changed[at] - images[at].detach().cpu().float()).double().norm())
        raise OptionError(
            f"noise of length {float(norm[at]):.4g}, of which {reached:.4g} fits",
            "noise that fits within the bounds",
            "pass a smaller norm, or no bounds",
        )
    return changed


def fitting_noise(
    images: Tensor, norm: Tensor, *, bounds: Bounds | None = None, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """The same as `noisy`, with word of the images on which noise of that length does not fit.

    Args:
        images: (images, ...), float32.
        norm: Of the change of each image, (images,), finite, 0 or more.
        bounds: What values an input can have.
        seed: A whole number from 0 up.

    Returns:
        The changed images, and (images,), bool: whether the change is as long as was asked for.
        Where it is not, it is as long as the bounds let it become.

    Raises:
        BatchError: Not one norm for each image.
        OptionError: A norm is below 0, or the bounds are wrong.

    Example:
        >>> bounds = (torch.tensor(-1.0), torch.tensor(1.0))
        >>> fitting_noise(torch.zeros(2, 1, 2, 2), torch.tensor([1.0, 9.0]), bounds=bounds)[1]
        tensor([ True, False])
    """
    check_whole("seed", seed, least=0)
    if norm.shape != (len(images),):
        raise BatchError(
            f"norms of shape {tuple(norm.shape)}",
            f"({len(images)},), one for each image",
            "pass these",
        )
    if not bool((norm.isfinite() & (norm >= 0)).all()):
        raise OptionError(
            f"norms from {float(norm.min())} to {float(norm.max())}",
            "finite, 0 or more",
            "check them",
        )
    limits = check_bounds(bounds, images)
    start = images.detach().cpu().float()
    found = [
        _lengthened(image, _direction(image, seed), float(length), limits)
        for image, length in zip(start, norm, strict=True)
    ]
    return (
        torch.stack([changed for changed, _ in found]) if found else start,
        torch.tensor([fits for _, fits in found], dtype=torch.bool),
    )


def _direction(image: Tensor, seed: int) -> Tensor:
    """Gaussian noise of length 1."""
    words = hashlib.sha256(f"{seed} ".encode() + image.contiguous().numpy().tobytes()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(words[:7], "big"))
    noise = torch.randn(image.shape, generator=generator)
    length = noise.double().norm()
    # Only a single value can be drawn as exactly 0.
    return (noise.double() / length).float() if length > 0 else torch.ones_like(noise)


def _lengthened(
    image: Tensor, direction: Tensor, length: float, bounds: Bounds | None
) -> tuple[Tensor, bool]:
    """The image with noise, and whether that is as long as it should be."""
    if bounds is None or length == 0:
        return image + length * direction, True
    low, high = bounds[0].cpu(), bounds[1].cpu()

    def cut(times: float) -> Tensor:
        return torch.minimum(torch.maximum(image + times * direction, low), high)

    # What is cut off is less the less there is: each round comes nearer from below.
    times = length
    for _ in range(_ROUNDS):
        changed = cut(times)
        reached = float((changed - image).double().norm())
        if reached >= length * (1 - _NEAR):
            return changed, True
        if reached == 0:
            break
        times *= length / reached
    return changed, False
