"""Summaries on a Ray cluster: the same bytes as in one process, whatever dies on the way."""

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from cofire import summarize
from cofire.errors import BatchError, DataError, OptionError
from cofire.scale import summarize as on_ray
from cofire.scale.ray_engine import RayEngine
from cofire.scale.ray_passes import RayRows
from tests.cli.test_cli import cofire
from tests.scale.clusters import STORE, ray_cluster

pytestmark = pytest.mark.slow

SAMPLES = 8000
ASKED = {"by_class": True, "pairs": "union", "top": 2, "bins": 8, "null_graphs": 2}


@pytest.fixture(scope="module")
def machines():
    with ray_cluster(machines=2, cores=5) as found:
        yield found


class Data(Dataset):
    """Samples on which an actor's process dies that reads number 1,000, at one of its readings.

    A machine that is to be removed is waited for there instead.
    """

    def __init__(self, place, dies_at=None, waits=False):
        draw = torch.Generator().manual_seed(3)
        self.inputs = torch.randn(SAMPLES, 5, generator=draw)
        self.labels = (torch.arange(SAMPLES) % 3).tolist()
        self.place, self.dies_at, self.waits = str(place), dies_at, waits
        self.at_home = os.getpid()

    def __len__(self):
        return SAMPLES

    def __getitem__(self, at):
        away = os.getpid() != self.at_home
        if at == 1000 and away and (self.dies_at is not None or self.waits):
            readings = len(list(Path(self.place).glob("read-*")))
            Path(self.place, f"read-{readings}").touch()
            if readings == self.dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
        if self.waits and away and at % 1024 == 0:
            time.sleep(0.3)
        return self.inputs[at], self.labels[at]


def written(summary, place):
    return summary.save(place).read_bytes()


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(5)
    return torch.nn.Sequential(
        torch.nn.Linear(5, 8),
        torch.nn.ReLU(),
        torch.nn.Linear(8, 6),
        torch.nn.ReLU(),
        torch.nn.Linear(6, 3),
    )


@pytest.fixture(scope="module")
def here(model, tmp_path_factory):
    """What one process gives."""
    place = tmp_path_factory.mktemp("here")
    return written(summarize(model, Data(place), **ASKED), place / "summary")


# Of 2 and 12 actors see below.
@pytest.mark.parametrize("actors", [3, 5])
def test_any_number_of_actors_gives_the_same_bytes(machines, model, here, tmp_path, actors):
    found = on_ray(model, Data(tmp_path), engine=RayEngine(actors), **ASKED)
    assert written(found, tmp_path / "summary") == here


# Each pass reads the sample once, and what was lost is read again.
@pytest.mark.parametrize("reading", [0, 1])
def test_a_process_killed_in_either_pass_changes_nothing(machines, model, here, tmp_path, reading):
    found = on_ray(model, Data(tmp_path, reading), engine=RayEngine(2), **ASKED)
    assert written(found, tmp_path / "summary") == here
    assert len(list(tmp_path.glob("read-*"))) == 3


def test_a_machine_that_is_removed_changes_nothing(machines, model, here, tmp_path):
    machine = machines.add_node(num_cpus=5, object_store_memory=STORE)

    def remove():
        while not (tmp_path / "read-0").exists():
            time.sleep(0.05)
        machines.remove_node(machine, allow_graceful=False)

    remover = threading.Thread(target=remove)
    remover.start()
    found = on_ray(model, Data(tmp_path, waits=True), engine=RayEngine(12), **ASKED)
    remover.join()
    assert written(found, tmp_path / "summary") == here


@pytest.mark.filterwarnings("ignore:This API is deprecated:DeprecationWarning")
def test_rows_of_a_ray_data_set_are_counted_where_they_lie(machines, model, here, tmp_path):
    import ray.data

    data = Data(tmp_path)
    rows = ray.data.from_numpy(data.inputs.numpy()).rename_columns({"data": "pixel_values"})
    labels = ray.data.from_numpy(torch.tensor(data.labels).numpy()).rename_columns(
        {"data": "label"}
    )
    found = on_ray(model, rows.zip(labels), engine=RayEngine(2), **ASKED)
    assert written(found, tmp_path / "summary") == here
    with pytest.raises(DataError, match="a Ray data set with columns pixel_values"):
        on_ray(model, rows)


def test_an_address_nobody_answers_at_is_told(model, tmp_path):
    with pytest.raises(OptionError, match=r"no Ray cluster at '127\.0\.0\.1:9'"):
        on_ray(model, Data(tmp_path), address="127.0.0.1:9")


def test_the_command_gives_the_same_files_on_a_cluster(machines, tmp_path):
    (tmp_path / "net.py").write_text(
        "import torch\n"
        "def flat():\n"
        "    torch.manual_seed(0)\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 12), torch.nn.ReLU(), "
        "torch.nn.Linear(12, 10))\n"
    )
    command = ("summarize", "--model", "net:flat", "--data", "digits", "--by-class", "full")
    cofire(*command, "--out", "here", cwd=tmp_path)
    cofire(*command, "--out", "there", "--engine", "ray", "--actors", "2", cwd=tmp_path)
    for name in ("summary.safetensors", "layers.parquet", "neurons.parquet"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()
    told = cofire(*command, "--shard", "1/2", "--engine", "ray", cwd=tmp_path, ok=False)
    assert "--shard 1/2 with --engine 'ray'" in told.stderr


def test_rows_of_other_shapes_are_refused():
    rows = RayRows.__new__(RayRows)
    rows._names = ("image", "label")
    image = np.empty(2, dtype=object)
    image[:] = [np.zeros((2, 2)), np.zeros((2, 3))]
    with pytest.raises(BatchError, match="differ in shape"):
        rows._tensors({"image": image, "label": np.zeros(2)})
