"""Shared inputs: small models, the golden numbers, real data where it is at hand."""

from __future__ import annotations

import copy
import lzma
import os
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from hypothesis import settings
from torch import nn

from cofire.network import Network
from tests.golden.running import forget_modules_of

pytest_plugins = ["tests.browser", "tests.every_message"]

# The same examples every time, so that a change is judged by itself; COFIRE_EXPLORE=1 looks for new
# ones.
settings.register_profile("repeatable", derandomize=True, max_examples=40, deadline=None)
settings.register_profile("exploring", derandomize=False, deadline=None)
settings.load_profile("exploring" if os.environ.get("COFIRE_EXPLORE") else "repeatable")

SHARED = Path(os.environ.get("COFIRE_SHARED", Path(__file__).resolve().parents[2] / "shared"))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def all_tests_folder(tmp_path_factory) -> Path:
    """A folder of this run of the tests; processes that run part of them each share it."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def made_once(all_tests_folder):
    """`made_once(name, make)`: a folder that `make(folder)` fills for whoever asks first, in all processes."""

    def made(name, make) -> Path:
        place = all_tests_folder / name
        with FileLock(f"{place}.lock"):
            if not place.exists():
                making = place.with_name(f"{name}-in-the-making")
                make(making)
                making.replace(place)
        return place

    return made


@pytest.fixture(autouse=True)
def _own_modules_are_forgotten(all_tests_folder):
    yield
    forget_modules_of(all_tests_folder)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Expected numbers and real data that do not belong in the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"no shared data at {SHARED}; set COFIRE_SHARED to where it is")
    return SHARED


@pytest.fixture(scope="session")
def mnist_root(shared, tmp_path_factory) -> Path:
    """A folder that holds MNIST and Fashion-MNIST as torchvision reads them."""
    root = tmp_path_factory.mktemp("data")
    for packed, name in (("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")):
        files = sorted((shared / "data" / packed).glob("*.xz"))
        if not files:
            pytest.skip(f"no {packed} in the shared data")
        (root / name / "raw").mkdir(parents=True)
        for file in files:
            (root / name / "raw" / file.stem).write_bytes(lzma.decompress(file.read_bytes()))
    return root


class Tiny:
    """A fully connected classifier with data: 3 classes, 2 activation layers of 8 and 6 neurons."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(7)
        self.model = nn.Sequential(
            nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)
        )
        self.inputs = torch.randn(90, 5, generator=generator)
        self.labels = torch.arange(90) % 3
        self.network = Network(self.model, self.inputs[:2])
        self.data = (self.inputs, self.labels)

    def activations(self) -> dict[str, torch.Tensor]:
        """The activations of all samples by layer, recorded in one batch."""
        seen: dict[str, torch.Tensor] = {}
        self.network.run(
            self.inputs, lambda layer, values: seen.__setitem__(layer.name, values.clone())
        )
        return seen


@pytest.fixture(scope="session")
def _tiny() -> Tiny:
    return Tiny()


@pytest.fixture
def tiny(_tiny) -> Tiny:
    return copy.deepcopy(_tiny)
