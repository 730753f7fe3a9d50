"""P3's Algorithm 1 against the loops of `naive_algorithm.py`, step by step."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import fuse_conv_bn_eval

import cofire
from cofire.explain import METHODS

from .naive_algorithm import Algorithm
from .naive_tracing import fixed
from .test_explain_against_naive import EACH, Compared, compared, head

pytestmark = [
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning"),
    pytest.mark.filterwarnings("ignore:var.*degrees of freedom:UserWarning"),
]

OPTIONS = (
    {},
    {"k": 2, "k_linear": 3},
    {"alpha": (1.0, 0.0, 1.0), "k": 3},
    {"alpha": (0.0, 1.0, 1.0), "k": None, "k_linear": None},
    {"alpha": (0.25, 1.0, 0.5), "k": 2, "n": 2},
    {"alpha": (2.0, 0.5, 4.0)},
)


def neurons_of(one, alpha, k, k_linear, classes):
    """By the loops: for every step {(image, place, gain)}, and the pixels."""
    every = 10**6
    found = {step: set() for step in one.builder.steps}
    for image in range(len(one.images)):
        values = {step: value[image] for step, value in one.values.items()}
        loops = Algorithm(one.builder.steps, values, alpha, k or every, k_linear or every)
        for step, neurons in loops.neurons(classes[image]).items():
            found[step] |= {(image, place, gain) for place, gain in neurons}
    return found


def rounded(neurons):
    return {(image, place, float(f"{gain:.9g}")) for image, place, gain in neurons}


def check(one, alpha=(1.0, 1.0, 1.0), k=1, k_linear=1, n=1):
    chosen = METHODS["discernible-p3"].options(alpha=alpha, k=k, k_linear=k_linear)
    scoring = chosen.scoring()
    starts = one.starts(n)
    expected = neurons_of(
        one, alpha, k, k_linear, [[place for place, _ in start] for start in starts]
    )
    met = set()
    for node, flow, _ in one.found(starts, scoring):
        found = list(
            zip(flow.image.tolist(), flow.index.tolist(), flow.direction.tolist(), strict=True)
        )
        assert len(found) == len(set(found)), f"{node.name} holds a neuron twice"
        assert set(flow.score.tolist()) <= {1.0} or n > 1
        if node is one.plan.image:
            assert {key[:2] for key in found} == {key[:2] for key in expected[one.builder.image]}
            met.add(one.builder.image)
            continue
        steps = one.same[node.name]
        assert not steps or any(rounded(found) == rounded(expected[step]) for step in steps), (
            f"{node.name}, alpha {alpha}, k {k}, {k_linear}: {rounded(found)}, {[rounded(expected[s]) for s in steps]}"
        )
        met.update(steps)
    for step in one.builder.steps:
        if step.kind in ("image", "act") and expected[step]:
            assert step in met, f"{step.run} is not in the record"
    return expected


@pytest.mark.parametrize(("name", "whole"), EACH)
def test_it_is_the_algorithm(name, whole):
    one = compared(name, whole)
    for options in OPTIONS:
        check(one, **options)


@settings(deadline=None, max_examples=12, database=None)
@given(
    st.lists(
        st.sampled_from(["conv", "down", "act", "norm", "max", "average", "skip", "cat"]),
        max_size=6,
    ),
    st.integers(0, 99),
    st.booleans(),
    st.sampled_from(OPTIONS),
)
def test_networks_put_together_at_random(names, seed, whole, options):
    def build(b, x):
        for name in names:
            if name == "conv":
                x = b.conv(x, 3, 3, padding=1)
            elif name == "down":
                x = b.act(b.conv(x, 4, 2, stride=2, padding=1))
            elif name == "act":
                x = b.act(x, nn.ReLU())
            elif name == "norm":
                x = b.norm(x)
            elif name in ("max", "average"):
                x = b.pool(x, name == "max", 3, 1, 1)
            elif name == "skip":
                x = b.sum(x, b.conv(x, b.shape(x)[0], 1))
            else:
                x = b.move(lambda *parts: torch.cat(parts, 1), x, b.conv(x, 2, 1))
        head(b, b.act(b.conv(x, 3, 1)))

    check(Compared(build, (2, 4, 5), seed, whole), **options)


def pixels(one, **options):
    return {key[1] for key in check(one, **options)[one.builder.image]}


def image(*values):
    return np.array([values])


def test_an_input_that_contributes_nothing_is_chosen_when_others_speak_against():
    def build(b, x):
        fixed(b, x, [[-1.0, 3.0, -2.0], [0.0, 0.0, -9.0]])

    one = Compared(build, (3,), 0, True, image(1.0, 0.0, 1.0))
    assert pixels(one) == {1}
    assert pixels(one, k_linear=2) == {0, 1}, "k are chosen, whatever their score"


def test_what_a_negative_weight_chose_is_explained_as_large():
    def build(b, x):
        x = fixed(b, x, [[1.0, -3.0], [0.5, 0.5]])
        fixed(b, x, [[-1.0, 1.0], [0.0, -9.0]])

    # The hidden units are -2 and 1: the first speaks for class 0, and the first input contributes
    # most to it.
    assert pixels(Compared(build, (2,), 0, True, image(1.0, 1.0)), alpha=(1.0, 0.0, 1.0)) == {0}


def test_the_layer_before_speaks_for_a_silent_input():
    def build(b, x):
        x = b.act(fixed(b, x, [[9.0, -9.5], [1.0, 0.5]]))
        fixed(b, x, [[1.0, 1.0], [-9.0, -9.0]])

    one = Compared(build, (2,), 0, True, image(1.0, 1.0))
    hidden = one.builder.steps[2]
    assert {key[1] for key in check(one)[hidden]} == {0}, "Ω = 0 + 9 against 1.5 + 1"
    assert {key[1] for key in check(one, alpha=(1.0, 0.0, 1.0))[hidden]} == {1}


def test_of_equal_products_in_a_window_the_first_counts():
    def build(b, x):
        module = nn.Conv2d(1, 1, 3, bias=False).double()
        module.weight.data.fill_(1.0)
        head(b, b.conv(x, 1, 3, module=module), 2)

    assert pixels(Compared(build, (1, 3, 3), 0, True, np.ones((1, 1, 3, 3)))) == {0}


class Normed(nn.Module):
    """Convolutions with batch norm of either sign, a residual sum and an average pool."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(c, 4, 3, padding=1) for c in (2, 4, 4))
        self.norms = nn.ModuleList(nn.BatchNorm2d(4) for _ in range(3))
        self.last = nn.Linear(4, 3)

    def forward(self, x):
        for number, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = norm(conv(x))
            x = torch.relu(y if number == 0 else x + y)
        return self.last(x.mean((2, 3)))


@pytest.mark.parametrize("seed", range(4))
def test_batch_norm_is_folded(seed):
    rng = torch.manual_seed(seed)
    model = Normed().double().eval()
    with torch.no_grad():
        for norm in model.norms:
            for values in (norm.weight, norm.bias, norm.running_mean):
                values.normal_(generator=rng)
            norm.running_var.uniform_(0.1, 9, generator=rng)
    folded = copy.deepcopy(model)
    for number in range(3):
        folded.convs[number] = fuse_conv_bn_eval(model.convs[number], model.norms[number])
        folded.norms[number] = nn.Identity()
    images = torch.randn(6, 2, 7, 8, generator=rng, dtype=torch.float64)
    points = []
    for each in (model, folded):
        network = cofire.Network(each, torch.zeros(2, 2, 7, 8, dtype=torch.float64))
        found = cofire.explain(network, images, method="discernible-p3", k=2)
        points.append(
            [
                sorted(zip(p.y.tolist(), p.x.tolist(), strict=True))
                for p in map(found.points, range(6))
            ]
        )
    assert points[0] == points[1]


def test_the_repaired_form_gives_other_points():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        generator = torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 6, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(24, 3),
        )
        network = cofire.Network(model.eval(), torch.zeros(1, 1, 8, 8))
        images = torch.randn(20, 1, 8, 8, generator=generator)
        points = {}
        for method in ("discernible-p3", "discernible-points"):
            found = cofire.explain(network, images, method=method)
            points[method] = [
                set(zip(p.y.tolist(), p.x.tolist(), strict=True))
                for p in map(found.points, range(20))
            ]
    assert 0 < sum(a != b for a, b in zip(*points.values(), strict=True)) < 20
