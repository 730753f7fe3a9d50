"""Loops that are compiled for the CPU against what defines them on any device."""

import pytest
import torch

from cofire.explain.rules.flow import Flow
from cofire.explain.rules.weighted import Fields, Windows, candidates_of
from cofire.explain.tracing.scoring import Scoring, _chosen_on_cpu, chosen_by_definition
from cofire.explain.tracing.trace import settled, settled_by_definition
from cofire.explain.tracing.windows_on_cpu import WindowsOnCPU


def neurons(count, images, size):
    image = torch.randint(images, (count,)).sort().values
    direction = torch.where(torch.rand(count) < 0.3, -1, 1).to(torch.int8)
    score = torch.rand(count, dtype=torch.float64)
    return Flow(image, torch.randint(size, (count,)), direction, score, torch.arange(count))


def alike(first, second):
    for name in ("image", "index", "direction"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    torch.testing.assert_close(first.score, second.score, atol=1e-12, rtol=1e-12)


# Keys of eleven bits, and of more, which are sorted several times.
@pytest.mark.parametrize(("count", "size"), [(0, 5), (1, 1), (60, 7), (60, 200), (60, 100_000)])
@pytest.mark.parametrize("most", [None, 1, 20])
@pytest.mark.parametrize("carried", [True, False])
def test_neurons_that_several_brought_get_one_row(count, size, most, carried):
    torch.manual_seed(count + size)
    flow = neurons(count, 3, size)
    (found, row), (expected, other) = (
        settle([flow] if settle is settled else flow, size, carried, most)
        for settle in (settled, settled_by_definition)
    )
    alike(found, expected)
    assert torch.equal(row, other)


def few_values(channels, kernel, groups):
    """A convolution and neurons of it; whole numbers, so that scores are often equal, and many zeros."""
    torch.manual_seed(channels)
    given = torch.randint(-1, 3, (2, channels, 5, 6)).clamp(min=0).float()
    weight = torch.randint(-2, 3, (8, channels // groups, kernel, kernel)).float()
    windows = Windows((5, 6), (kernel, kernel), (2, 1), (1, 1), (1, 1))
    rows, columns = (5 + 2 - kernel) // 2 + 1, 6 + 2 - kernel + 1
    fields = Fields(given, weight, windows, (8, rows, columns), groups)
    size = 8 * rows * columns
    return fields, settled([neurons(90, 2, size)], size, True, None)[0]


SHAPES = pytest.mark.parametrize(
    ("channels", "kernel", "groups"), [(100, 1, 1), (70, 3, 1), (66, 2, 2), (2, 1, 2)]
)


@pytest.mark.parametrize("most", [1, 3, 40, None])
@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("last_resort", [True, False])
@SHAPES
def test_inputs_are_chosen_as_defined(most, counted, last_resort, channels, kernel, groups):
    fields, flow = few_values(channels, kernel, groups)
    found, expected = (
        choose(Scoring(counted=counted), flow, fields, None, most, last_resort)
        for choose in (_chosen_on_cpu, chosen_by_definition)
    )
    assert torch.equal(found.row, expected.row)
    # Of all that are chosen only the highest has to come first.
    first = torch.ones(len(found), dtype=torch.bool)
    first[1:] = torch.diff(found.row) != 0
    alike(found.where(first), expected.where(first))
    alike(*(one.where((one.row * 10_000 + one.index).argsort()) for one in (found, expected)))


@SHAPES
def test_the_highest_support_is_that_of_all(channels, kernel, groups):
    fields, flow = few_values(channels, kernel, groups)
    found = WindowsOnCPU(fields, flow, all_of_them=False)
    assert len(found.support) == 0
    assert torch.equal(found.highest(), candidates_of(fields, flow).support.amax(1))


def test_an_infinite_support_is_none():
    given, weight = torch.zeros(1, 1, 1, 2), torch.tensor([[[[-1.0, 2.0]]]])
    given[..., 0] = torch.inf
    fields = Fields(given, weight, Windows((1, 2), (1, 2)), (1, 1, 1))
    one = torch.zeros(1, dtype=torch.int64)
    flow = Flow(one, one, torch.ones(1, dtype=torch.int8), torch.ones(1, dtype=torch.float64), one)
    assert WindowsOnCPU(fields, flow).support.tolist() == [[-torch.inf]]
