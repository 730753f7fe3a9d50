"""Several processes that train one model make one row of all that they observed."""

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
