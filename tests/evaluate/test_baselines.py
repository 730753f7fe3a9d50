"""Baselines: their maps by hand and by SciPy, in whatever batch, and as explanations."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import nn

from cofire import errors
from cofire.evaluate.methods import (
    BASELINES,
    CENTRE_SIGMA,
    baseline,
    centre_map,
    edge_maps,
    random_maps,
)
from cofire.explain.result.regions import SIGMA
from cofire.network import Network


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    return Network(model, torch.zeros(1, 3, 12, 15))


@pytest.fixture
def images():
    return torch.randn(5, 3, 12, 15)


@given(st.integers(1, 20), st.integers(1, 20), st.floats(0.05, 1))
def test_the_centre_is_a_gaussian_at_the_middle(height, width, sigma):
    found = centre_map((height, width), sigma)
    for y in range(height):
        for x in range(width):
            squared = (y + 0.5 - height / 2) ** 2 + (x + 0.5 - width / 2) ** 2
            assert float(found[y, x]) == pytest.approx(
                np.exp(-squared / (2 * (sigma * min(height, width)) ** 2)), 1e-5
            )
    assert torch.equal(found, found.flip(0).flip(1))


def test_the_middle_is_hottest_whatever_the_image(network, images):
    found = baseline("centre", network, images, options={"sigma": 0.1})
    assert all(torch.equal(one, found.maps[0]) for one in found.maps)
    # Of 12 × 15 pixels two lie next to the middle, (6, 7.5).
    assert (found.maps[0] == found.maps[0].max()).nonzero().tolist() == [[5, 7], [6, 7]]
    assert found.boxes().found.all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 9), st.integers(1, 9), st.sampled_from([0.0, 0.1]))
def test_edges_are_sobels(seed, height, width, sigma):
    images = torch.randn(
        2, 3, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    found = edge_maps(images, sigma)
    for image, one in zip(images.numpy(), found, strict=True):
        squared = sum(
            ndimage.sobel(channel, axis, mode="nearest") ** 2
            for channel in image
            for axis in (0, 1)
        )
        expected = np.sqrt(squared) / 8
        if sigma:
            expected = ndimage.gaussian_filter(
                expected, sigma * min(height, width), mode="constant"
            )
        np.testing.assert_allclose(one.numpy(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("level", [0.0, 0.1, -2.1179039, 3e38])
def test_a_plain_image_has_no_edges(level, network):
    found = baseline("edges", network, torch.full((2, 3, 12, 15), 0.1))
    assert not edge_maps(torch.full((2, 3, 12, 15), level)).any()
    assert not found.has_evidence.any()
    assert not found.boxes().found.any()


def test_the_largest_and_smallest_numbers_have_finite_edges():
    for size in (3e38, 1e-30):
        images = torch.tensor([[[[-size, size, -size]]]])
        found = edge_maps(images, 0)[0, 0]
        torch.testing.assert_close(found / size, torch.tensor([1.0, 0.0, 1.0]))


def test_a_random_pixel_follows_from_the_seed_and_the_image(images):
    found = random_maps(images, 3, sigma=0)
    assert found.sum((1, 2)).tolist() == [1.0] * 5
    order = torch.tensor([4, 2, 0, 3, 1])
    assert torch.equal(random_maps(images[order], 3, sigma=0), found[order])
    assert all(
        torch.equal(random_maps(images[[one]], 3, sigma=0)[0], found[one]) for one in range(5)
    )
    striding = images.to(memory_format=torch.channels_last)
    assert torch.equal(random_maps(striding, 3, sigma=0), found)
    assert torch.equal(
        random_maps(images * 0.0, 3, sigma=0), random_maps(images.abs() * 0.0, 3, sigma=0)
    )
    assert not torch.equal(random_maps(images, 4, sigma=0), found)


def test_random_pixels_are_spread_evenly():
    """Of 2,000 draws among 8 pixels: χ² with 7 degrees of freedom is below 24.3 in 999 of 1,000 cases."""
    images = torch.arange(2000.0).reshape(2000, 1, 1, 1).expand(-1, 1, 2, 4)
    counts = random_maps(images, 0, sigma=0).sum(0).flatten()
    assert float(((counts - 250) ** 2 / 250).sum()) < 24.3


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_is_an_explanation_of_any_class(name, network, images):
    found = baseline(name, network, images, seed=1)
    chances = network.run(images).double().softmax(1)
    assert found.method == name
    assert torch.equal(found.predicted, chances.argmax(1))
    assert torch.equal(found.target[:, 0], found.predicted)
    torch.testing.assert_close(found.confidence, chances.amax(1).float())
    assert found.options["sigma"] == (CENTRE_SIGMA if name == "centre" else SIGMA)
    other = baseline(name, network, images, torch.tensor([0, 1, 2, 1, 0]), seed=1)
    assert torch.equal(other.maps, found.maps)
    torch.testing.assert_close(other.probability[:, 0], chances[range(5), [0, 1, 2, 1, 0]].float())
    assert found.boxes().found.all()
    # A box of a higher threshold, where one was asked for.
    small = baseline(name, network, images, seed=1, options={"threshold": 0.9}).boxes().corners
    assert torch.equal(small, found.boxes(threshold=0.9).corners)
    alone = baseline(name, network, images[0], seed=1)
    assert torch.equal(alone.maps[0], found.maps[0])


@pytest.mark.parametrize("name", BASELINES)
def test_vectors_are_one_row_of_pixels(name):
    network = Network(nn.Linear(6, 2), torch.zeros(1, 6))
    vectors = torch.tensor([[0.0, 0, 3, 3, 0, 0]])
    found = baseline(name, network, vectors, options={"sigma": 0.5} if name == "centre" else {})
    assert found.heatmap().shape == (1, 1, 6)
    assert found.boxes().found.all()


def test_bad_input_gives_no_map(network, images):
    for given_, error, words in (
        ({"name": "center"}, errors.OptionError, "pass 'centre'"),
        ({"options": {"layer": "conv"}}, errors.OptionError, "layer= for method"),
        ({"options": {"sigma": -1}}, errors.OptionError, "sigma"),
        ({"options": {"threshold": 2}}, errors.OptionError, "threshold"),
        ({"name": "centre", "options": {"sigma": 0}}, errors.OptionError, "sigma"),
        ({"seed": 0.5}, errors.OptionError, "seed=0.5"),
        ({"target": 3}, errors.LabelError, "target 3"),
        ({"target": torch.tensor([[0, 1]] * 5)}, errors.OptionError, "2 classes"),
        ({"inputs": images[:, :2]}, errors.BatchError, "shape"),
        ({"inputs": images * torch.nan}, errors.NonFiniteError, "image 0"),
        ({"inputs": torch.zeros(5, 12, 15, 3)}, errors.BatchError, "images"),
    ):
        with pytest.raises(error, match=words):
            baseline(**{"name": "random", "network": network, "inputs": images, **given_})
