"""Loops that are compiled for the CPU against what defines them on any device."""

import math

import pytest
import torch
from torch import nn

from cofire.explain.rules.flow import Flow
from cofire.explain.rules.pooling import MaxPool, shares_by_definition, shares_of
from cofire.explain.rules.weighted import Fields, Windows, candidates_of
from cofire.explain.tracing.merging import settled, settled_by_definition
from cofire.explain.tracing.plan import plan_of
from cofire.explain.tracing.scoring import Scoring, _chosen_on_cpu, chosen_by_definition
from cofire.explain.tracing.support import InputBounds
from cofire.explain.tracing.windows_on_cpu import WindowsOnCPU
from cofire.network import Network


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
        settle(flow, size, carried, most) for settle in (settled, settled_by_definition)
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
    return fields, settled(neurons(90, 2, size), size, True, None)[0]


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


class Before:
    """What the layer before says of inputs: a number made of place and direction, below a bound."""

    def __init__(self, fields, flow, parts):
        generator = torch.Generator().manual_seed(parts)
        images, channels = fields.given.shape[:2]
        neurons = len(flow)
        of_channels = torch.randint(4, (parts, images, channels), generator=generator).double()
        of_windows = torch.randint(4, (parts, neurons), generator=generator).double()
        self.bounds = InputBounds(of_channels, of_windows, (parts + 1) // 2)
        self.asked = 0

    def upper_bounds(self, fields):
        return self.bounds

    def support(self, neuron, place, direction):
        self.asked += len(neuron)
        positions = self.positions
        channel = torch.div(place, positions, rounding_mode="floor")
        image = self.images[neuron]
        most = torch.zeros(len(neuron), dtype=torch.float64)
        for part in range(len(self.bounds.windows)):
            one = self.bounds.channels[part, image, channel]
            other = self.bounds.windows[part, neuron]
            here = one * other if part < self.bounds.products else torch.minimum(one, other)
            most = torch.maximum(most, here)
        return most * ((place * 7 + direction) % 3 == 0)


@pytest.mark.parametrize("most", [1, 3, 40, None])
@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("parts", [0, 1, 3])
@SHAPES
def test_few_are_asked_what_comes_before_them(most, counted, parts, channels, kernel, groups):
    fields, flow = few_values(channels, kernel, groups)
    # Neither is a number that float32 has.
    scoring = Scoring(counted=counted, current=0.7, preceding=0.1)
    results, asked = [], []
    for choose in (_chosen_on_cpu, chosen_by_definition):
        before = Before(fields, flow, parts)
        before.images, before.positions = flow.image, fields.given[0, 0].numel()
        results.append(choose(scoring, flow, fields, before, most, True))
        asked.append(before.asked)
    found, expected = results
    alike(*(one.where((one.row * 10_000 + one.index).argsort()) for one in (found, expected)))
    # Of inputs that are equally likely either may be asked first.
    assert asked[0] == pytest.approx(asked[1], rel=0.1)
    if most == 1 and channels == 100:
        assert asked[0] < channels * len(flow) / 4


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


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("line", [False, True])
def test_the_place_of_a_maximum_is_the_first(padding, stride, dilation, line):
    torch.manual_seed(0)
    settings = {"padding": padding, "stride": stride, "dilation": dilation}
    pool = (nn.MaxPool1d if line else nn.MaxPool2d)(3, ceil_mode=True, **settings)
    shape = (4, 11) if line else (4, 9, 11)
    features = pool(torch.zeros(1, *shape)).numel()
    model = nn.Sequential(pool, nn.Flatten(), nn.Linear(features, 2))
    network = Network(model, torch.zeros(1, *shape))
    plan = plan_of(network)
    (node,) = (node for node, (_, rule) in plan.steps.items() if isinstance(rule, MaxPool))
    step, rule = plan.steps[node]
    # Whole numbers, of which many are equal; channels may be last in memory.
    given = torch.randint(-3, 3, (2, *shape)).float()
    given = given if line else given.to(memory_format=torch.channels_last)
    values = {plan.image: given}
    flow = neurons(300, 2, math.prod(step.shape))
    ((_, found),) = rule.trace(step, values, flow)
    assert torch.equal(found.index, rule.first_largest(step, values, flow))


@pytest.mark.parametrize("silent", [False, True])
def test_contributions_above_zero_share(silent):
    torch.manual_seed(0)
    odd = [
        [0.0, 0.0],
        [-0.0, -torch.inf],
        [-torch.inf, -torch.inf],
        [torch.nan, -1.0],
        [-2.0, -2.0],
    ]
    some = torch.randint(-2, 3, (200, 3)).double()
    for given in (torch.tensor(odd, dtype=torch.float64), some, some.T, some[:0]):
        expected = shares_by_definition(given, silent) if given.numel() else given
        torch.testing.assert_close(
            shares_of(given, silent), expected, equal_nan=True, rtol=0, atol=0
        )
