"""Measures inside torchmetrics: collections, resets, and several processes."""

import copy
import pickle
import sys

import pytest
import torch

from cofire.errors import DataError, MissingExtraError
from cofire.evaluate.metrics import (
    ChangeInConfidence,
    Localisation,
    PointingGame,
    SoftChange,
    as_torchmetric,
)

torchmetrics = pytest.importorskip("torchmetrics")

GENERATOR = torch.Generator().manual_seed(0)
MAPS = torch.rand(20, 6, 6, generator=GENERATOR)
BOXES = [
    torch.zeros(0, 4) if number % 7 == 0 else torch.tensor([[2.0, 2, 4, 4]]) for number in range(20)
]


def whole(tolerance=0.0):
    found = PointingGame(tolerance)
    found.update(MAPS, BOXES)
    return found


def test_batch_by_batch_it_is_the_measure_itself():
    metric = as_torchmetric(PointingGame())
    assert isinstance(metric, torchmetrics.Metric)
    for start in range(0, 20, 6):
        metric.update(MAPS[start : start + 6], BOXES[start : start + 6])
    assert metric.compute().item() == whole().result().mean
    assert metric.measure().result() == whole().result()
    metric.reset()
    assert metric.measure().left_out == 0
    assert len(metric.measure().values) == 0


def test_forward_gives_the_batch_and_keeps_the_whole():
    metric = as_torchmetric(PointingGame())
    box = [torch.tensor([[0.0, 0, 1, 2]])]
    assert metric(torch.tensor([[[1.0, 0], [0, 0]]]), box).item() == 1
    assert metric(torch.tensor([[[0.0, 0], [0, 1]]]), box).item() == 0
    assert metric.compute().item() == 0.5


def test_a_collection_does_not_take_one_tolerance_for_the_other():
    """After a first batch in which both agree, torchmetrics would let them share a state of the same name."""
    metrics = torchmetrics.MetricCollection(
        {"near": as_torchmetric(PointingGame(15)), "in": as_torchmetric(PointingGame())}
    )
    corner, box = torch.tensor([[[1.0, 0], [0, 0]]]), torch.tensor([[0.0, 0, 1, 1]])
    metrics.update(corner, [box])
    metrics.update(corner, [box + 1])
    assert {name: value.item() for name, value in metrics.compute().items()} == {
        "near": 1.0,
        "in": 0.5,
    }


def test_a_collection_hands_each_metric_what_it_takes():
    metrics = torchmetrics.MetricCollection(
        {"pointing": as_torchmetric(PointingGame()), "iou": as_torchmetric(Localisation())}
    )
    corners = torch.tensor([[2.0, 2, 4, 4]]).expand(20, 4)
    metrics.update(maps=MAPS, boxes=BOXES, corners=corners, found=torch.ones(20, dtype=torch.bool))
    found = metrics.compute()
    assert (found["pointing"].item(), found["iou"].item()) == (whole().result().mean, 1.0)


def process(numbers):
    metric = as_torchmetric(PointingGame())
    for number in numbers:
        metric.update(MAPS[number : number + 1], [BOXES[number]])
    return metric


@pytest.mark.parametrize("split", [(range(13), range(13, 20)), (range(20), ())])
def test_processes_are_gathered_whatever_each_of_them_saw(split):
    """Two processes, one of them perhaps without images, as torchmetrics would gather them."""
    first, second = (process(numbers) for numbers in split)
    # What the second process would send, in the order in which the first one asks.
    waiting = [
        torch.cat([torch.tensor([], dtype=second.dtype), *getattr(second, name)])
        if "values" in name
        else getattr(second, name)
        for name in first._reductions
    ]

    def gather(tensor, group=None):
        other = waiting.pop(0)
        assert other.dtype == tensor.dtype  # a real gather needs it
        return [tensor, other]

    first.dist_sync_fn, first.distributed_available_fn = gather, lambda: True
    assert first.compute().item() == whole().result().mean
    assert not waiting
    assert len(first.measure().values) == len([n for n in split[0] if len(BOXES[n])])


def test_it_can_be_copied_pickled_and_moved_to_half_precision():
    metric = process(range(20))
    for other in (
        copy.deepcopy(metric),
        pickle.loads(pickle.dumps(metric)),
        metric.clone().half(),
        metric.double(),
    ):
        assert other.compute().item() == whole().result().mean


def test_options_go_with_it_and_numbers_stay_behind():
    held = ChangeInConfidence("drop")
    held.update(torch.tensor([0.5]), torch.tensor([0.25]))
    metric = as_torchmetric(held)
    assert metric.measure().options == {"part": "drop"}
    assert len(metric.measure().values) == 0
    assert len(held.values) == 1
    assert type(as_torchmetric(SoftChange()).measure()) is SoftChange


def test_nothing_counted_is_an_error():
    metric = as_torchmetric(PointingGame())
    metric.update(MAPS[:1], BOXES[:1])
    with pytest.raises(DataError, match="1 left out"):
        metric.compute()


def test_without_torchmetrics_the_error_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "cofire.evaluate.torchmetric", raising=False)
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    with pytest.raises(MissingExtraError, match="pip install torchmetrics"):
        as_torchmetric(PointingGame())
