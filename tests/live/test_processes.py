"""Several processes that train one model make one row of all that they observed."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from torch import nn

from cofire.live import Monitor
from tests.live.test_monitor import data, network


def part(rank, folder):
    """One process: every second sample, through DistributedDataParallel."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    model = nn.parallel.DistributedDataParallel(network())
    monitor = Monitor(model, every=1, folder=f"{folder}/run")
    inputs, labels = (one[rank::2] for one in data())
    for x, y in zip(inputs.split(16), labels.split(16), strict=True):
        with monitor.step(x, y):
            model(x).sum().backward()
    monitor.end_epoch()
    assert monitor.trajectory.checkpoints == ((1,) if rank == 0 else ())
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_the_states_of_all_processes_merge(tmp_path):
    from cofire import Trajectory

    mp.spawn(part, (str(tmp_path),), nprocs=2)
    model = network()
    alone = Monitor(model, every=1)
    for x, y in zip(*(one.split(16) for one in data()), strict=True):
        with alone.step(x, y):
            model(x)
    alone.end_epoch()
    found = Trajectory.load(tmp_path / "run").layers.to_pylist()
    for mine, theirs in zip(found, alone.trajectory.layers.to_pylist(), strict=True):
        assert mine == pytest.approx({**theirs, "step": 3})


OWN_GROUP = """
from pathlib import Path
import cofire.live
import torch
from torch import distributed
from tests.live.test_monitor import data, network

distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
monitor = cofire.live.Monitor(network(), every=1)
with monitor.step(*(one[:16] for one in data())):
    pass
distributed.destroy_process_group()
left = [task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm")]
assert not any("gloo" in name for name in left), left
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are listed by Linux")
def test_a_group_of_the_users_own_ends_with_its_threads():
    """Threads that are left may abort a process that ends."""
    told = subprocess.run([sys.executable, "-c", OWN_GROUP], capture_output=True, text=True)
    assert not told.returncode, told.stderr
