"""Noise of a length: the same for an image in every batch, and within bounds."""

import pytest
import torch

from cofire.errors import BatchError, OptionError
from cofire.evaluate.deepfool import fitting_noise


def noisy(images, norm, **how):
    changed, fits = fitting_noise(images, norm, **how)
    assert fits.all()
    return changed


def test_noise_has_the_length_that_is_asked_for():
    images, norm = torch.rand(4, 3, 6, 6), torch.tensor([0.0, 0.1, 1.0, 3.0])
    changed = noisy(images, norm)
    assert (changed - images).flatten(1).norm(dim=1).tolist() == pytest.approx(
        norm.tolist(), rel=1e-4
    )
    assert torch.equal(changed[0], images[0])


def test_noise_within_bounds_is_as_long():
    images = torch.rand(3, 3, 6, 6).round()
    changed = noisy(
        images, torch.tensor([0.5, 2.0, 4.0]), bounds=(torch.tensor(0.0), torch.tensor(1.0))
    )
    assert (changed - images).flatten(1).norm(dim=1).tolist() == pytest.approx(
        [0.5, 2.0, 4.0], rel=1e-4
    )
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 1


def test_an_images_noise_is_its_own():
    images, norm = torch.rand(3, 1, 4, 4), torch.ones(3)
    together = noisy(images, norm, seed=5)
    assert torch.equal(noisy(images[1:2], norm[1:2], seed=5)[0], together[1])
    assert not torch.allclose(noisy(images, norm, seed=6), together)
    assert not torch.allclose((together - images)[0], (together - images)[1])


def test_what_cannot_be_is_refused():
    images = torch.zeros(2, 1, 2, 2)
    with pytest.raises(BatchError):
        noisy(images, torch.ones(3))
    with pytest.raises(OptionError):
        noisy(images, torch.tensor([1.0, -1.0]))
    with pytest.raises(OptionError):
        noisy(images, torch.ones(2), seed=-1)


def test_which_noise_fits_is_told():
    bounds = (torch.tensor(-1.0), torch.tensor(1.0))
    changed, fits = fitting_noise(
        torch.zeros(3, 1, 2, 2), torch.tensor([1.0, 9.0, 0.5]), bounds=bounds
    )
    assert fits.tolist() == [True, False, True]
    assert changed.flatten(1).norm(dim=1).tolist() == pytest.approx([1.0, 2.0, 0.5], rel=1e-4)
    assert fitting_noise(torch.zeros(0, 1, 2, 2), torch.zeros(0))[1].shape == (0,)
