"""Soft entropy is the exact one as its kernel narrows, its gradient is right, and it trains."""

import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import cofire
from cofire.errors import DataError, LayerError
from cofire.functional import activation_entropy as entropy
from cofire.live import soft_entropy


@given(st.integers(0, 99), st.integers(2, 12), st.booleans())
@settings(max_examples=40, deadline=None)
def test_it_is_the_exact_entropy_as_the_kernel_narrows(seed, bins, rectified):
    values = torch.randn(50, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    values = values.relu() if rectified else values
    values[:, 0] = 0
    exact = entropy(values, bins=bins)
    errors = [
        float((soft_entropy(values, bins, kernel) - exact).abs().max())
        for kernel in (1, 1e-2, 1e-9)
    ]
    assert errors[2] < 1e-6
    assert errors[1] <= errors[0] + 0.05


@pytest.mark.parametrize("kernel", [1.0, 0.5])
def test_its_gradient_is_that_of_finite_differences(kernel):
    values = torch.randn(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    values.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: soft_entropy(x, 4, kernel), values)


def test_neurons_of_no_or_one_value_have_none_and_pass_no_nan_back():
    values = torch.zeros(5, 3)
    values[:, 1] = 2.0
    values[:, 2] = torch.arange(5)
    values.requires_grad_()
    found = soft_entropy(values, 4)
    found.sum().backward()
    assert found[:2].tolist() == [0, 0]
    assert found[2] > 0
    assert values.grad.isfinite().all()
    assert soft_entropy(torch.zeros(3, 2), 4).tolist() == [0, 0]


def test_what_is_no_matrix_of_numbers_is_refused():
    with pytest.raises(DataError, match="floating"):
        soft_entropy(torch.ones(3, 2, dtype=torch.int64))


def trained(weight):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    inputs = torch.randn(128, 8)
    penalty = cofire.EntropyPenalty(model, bins=10, weight=weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    for _ in range(60):
        with penalty.watch(inputs):
            model(inputs)
        optimizer.zero_grad()
        penalty().backward()
        optimizer.step()
    assert not any(module._forward_hooks for module in model.modules())
    return float(penalty.entropy("1").detach().mean())


def test_a_positive_weight_lowers_entropy_and_a_negative_one_raises_it():
    assert trained(0.3) < trained(0.0) < trained(-0.3)


class Function(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.b(torch.relu(self.a(x)))


def test_what_it_cannot_watch_it_says_before_training():
    penalty = cofire.EntropyPenalty(Function())
    with pytest.raises(LayerError, match="no module of its own"), penalty.watch(torch.ones(2, 4)):
        pass
    with pytest.raises(LayerError, match="no activations"):
        penalty()
    plain = cofire.EntropyPenalty(nn.Sequential(nn.Linear(4, 2)))
    with (
        pytest.raises(LayerError, match="without activation layers"),
        plain.watch(torch.ones(2, 4)),
    ):
        pass


def test_infinity_gives_its_neuron_no_number_and_disturbs_no_other():
    values = torch.arange(12.0).reshape(4, 3)
    expected = soft_entropy(values, 4)
    values[0, 1] = torch.inf
    found = soft_entropy(values, 4)
    assert found.isnan().tolist() == [False, True, False]
    assert torch.equal(found[[0, 2]], expected[[0, 2]])


def test_activations_are_as_the_layer_gave_them_and_are_let_go_of():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(4, 5), nn.SiLU(), nn.Dropout(0.9, inplace=True), nn.Linear(5, 2)
    )
    inputs, kept = torch.randn(30, 4), []
    penalty = cofire.EntropyPenalty(model, weight=1.0)
    expected = float(soft_entropy(model[1](model[0](inputs)).detach()).mean())
    with penalty.watch(inputs):
        model[1].register_forward_hook(lambda module, given, out: kept.append(weakref.ref(out)))
        loss = model(inputs).sum()
    with torch.no_grad():
        assert penalty.entropy("1").mean() == pytest.approx(expected)
    found = penalty()
    assert found.item() == pytest.approx(expected)
    (loss + found).backward()
    del loss
    assert kept[0]() is None
    assert penalty().item() == found.item()
