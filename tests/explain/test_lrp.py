"""Relevance: zennit's own numbers on the eager model, the equations by hand, and the model stays as it was."""

import copy
import functools
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from torch import nn
from torchvision.models.mobilenetv2 import InvertedResidual, MobileNetV2
from zennit.attribution import Gradient
from zennit.canonizers import AttributeCanonizer, CompositeCanonizer, SequentialMergeBatchNorm
from zennit.composites import EpsilonPlus
from zennit.layer import Sum
from zennit.torchvision import ResNetCanonizer, VGGCanonizer

from cofire import errors
from cofire.explain import Explanation, explain
from cofire.explain.methods.lrp import relevance
from cofire.network import Network
from tests.explain.networks import Written, plain_cnn


class Small(nn.Module):
    """Functions, one ReLU module used twice in place, batch normalisation, a residual sum, concatenation, pools."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3, stride=2), nn.Conv2d(6, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.ReLU(inplace=True)
        self.left, self.right = nn.Conv2d(6, 2, 1), nn.Conv2d(6, 3, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x):
        x = self.act(self.norm(self.conv1(x)))
        x = F.max_pool2d(F.relu(self.conv2(x).add_(x)), 2)
        x = F.relu(torch.cat([self.left(x), self.right(x)], 1))
        x = self.act(self.fc1(F.dropout(x.mean((2, 3)), training=self.training)))
        return self.fc2(x)


@pytest.fixture
def small():
    model, images = lively(Small()), torch.randn(4, 3, 17, 15)
    return model, images, Network(model, images[:1]), torch.tensor([0, 1, 2, 1])


def lively(model):
    """Batch normalisation as after training; its identity, once merged, is one to the last digit if ε is 0."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 0.0
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, -1, 1.5)
            nn.init.uniform_(module.bias, -0.1, 0.3)
    return model


def by_zennit(model, images, target, canonizers):
    eager = copy.deepcopy(model).eval()
    chosen = F.one_hot(target, 1000)
    with Gradient(
        eager, EpsilonPlus(canonizers=canonizers), lambda out: out.detach() * chosen
    ) as attributor:
        logits, found = attributor(images.clone().requires_grad_())
    return logits.detach(), found.detach()


def _of_mobilenet(name, module):
    """As zennit's canonizer for ResNet has it: the sum, and here also the pooling, as modules."""
    if isinstance(module, InvertedResidual) and module.use_res_connect:
        total = Sum()
        return {
            "total": total,
            "forward": lambda x: module.total(torch.stack([x, module.conv(x)], -1)),
        }
    if isinstance(module, MobileNetV2):
        return {
            "pool": nn.AdaptiveAvgPool2d(1),
            "forward": lambda x: module.classifier(
                torch.flatten(module.pool(module.features(x)), 1)
            ),
        }
    return None


MOBILENET = CompositeCanonizer((SequentialMergeBatchNorm(), AttributeCanonizer(_of_mobilenet)))


@pytest.mark.parametrize(
    ("name", "side", "canonizers"),
    [
        ("squeezenet1_0", 64, []),
        ("mobilenet_v2", 64, [MOBILENET]),
        ("resnet18", 64, [ResNetCanonizer()]),
        pytest.param("vgg11", 32, [VGGCanonizer()], marks=pytest.mark.slow),
        pytest.param("vgg11_bn", 32, [VGGCanonizer()], marks=pytest.mark.slow),
        pytest.param("resnet50", 64, [ResNetCanonizer()], marks=pytest.mark.slow),
    ],
)
def test_torchvisions_networks_get_zennits_own_relevance(name, side, canonizers):
    model = lively(getattr(torchvision.models, name)(weights=None))
    images, target = torch.randn(2, 3, side, side), torch.tensor([3, 700])
    network = Network(model, images[:1])
    logits, theirs = by_zennit(model, images, target, canonizers)
    torch.testing.assert_close(network.run(images).clone(), logits, rtol=1e-3, atol=1e-6)
    ours = relevance(network, images, target)
    assert theirs.abs().amax() > 0
    assert (ours - theirs).abs().amax() <= 1e-5 * theirs.abs().amax()


def dense(layer, shape):
    """A layer without its bias as a matrix (outputs, inputs)."""
    plain = copy.deepcopy(layer)
    if getattr(plain, "bias", None) is not None:
        nn.init.zeros_(plain.bias)
    columns = [
        plain(one.reshape(1, *shape)).flatten()
        for one in torch.eye(int(np.prod(shape)), dtype=torch.float64)
    ]
    return torch.stack(columns, 1)


def shared_out(layer, value, above):
    """ZPlus for convolutions, ε for the rest, over a matrix."""
    products = dense(layer, value.shape) * value.flatten()
    bias = torch.zeros(len(products), dtype=torch.float64)
    if getattr(layer, "bias", None) is not None:
        bias = layer.bias.repeat_interleave(len(products) // len(layer.bias))
    if isinstance(layer, nn.Conv2d):
        products, bias = products.clamp(min=0), bias.clamp(min=0)
    total = products.sum(1) + bias
    total = total + 1e-6 * torch.where(total < 0, -1.0, 1.0)
    return (products * (above.flatten() / total)[:, None]).sum(0).reshape(value.shape)


@torch.no_grad()
def by_equations(model, image, target):
    values = [image]
    for layer in model:
        values.append(layer(values[-1][None])[0])
    above = torch.zeros_like(values[-1])
    above[target] = values[-1][target]
    for layer, value in reversed(list(zip(model, values[:-1], strict=True))):
        if isinstance(layer, (nn.Flatten, nn.ReLU, nn.Tanh)):
            above = above.reshape(value.shape)
        elif isinstance(layer, nn.MaxPool2d):
            _, where = F.max_pool2d(value[None], layer.kernel_size, return_indices=True)
            flat = torch.zeros_like(value).flatten(1)
            above = flat.scatter_add_(1, where[0].flatten(1), above.flatten(1)).reshape(value.shape)
        else:
            above = shared_out(layer, value, above)
    return above


def made_of(bias, activation):
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, stride=2, padding=1, bias=bias),
        activation(),
        nn.Conv2d(3, 4, 2, bias=bias),
        activation(),
        nn.MaxPool2d(2),
        nn.AvgPool2d((1, 2), padding=(0, 1), stride=1),
        nn.Flatten(),
        nn.Linear(24, 5, bias=bias),
        activation(),
        nn.Linear(5, 3, bias=bias),
    ).double()


@functools.cache
def read(bias, activation):
    """Reading a network takes longer than explaining: done once, for all weights."""
    return Network(made_of(bias, activation), torch.zeros(1, 2, 9, 10, dtype=torch.float64))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.sampled_from([nn.ReLU, nn.Tanh]))
def test_it_is_what_the_equations_say(seed, bias, activation):
    torch.manual_seed(seed)
    model = made_of(bias, activation)
    images = torch.randn(2, 2, 9, 10, dtype=torch.float64)
    target = torch.tensor([seed % 3, (seed + 1) % 3])
    found = relevance(read(bias, activation).with_weights(model.state_dict()), images, target)
    for one, image, wanted in zip(found, images, target, strict=True):
        expected = by_equations(model, image, int(wanted))
        torch.testing.assert_close(
            one, expected, rtol=1e-6, atol=1e-9 * float(expected.abs().amax() + 1)
        )


def _residual(self, x):
    x = torch.relu(self.one(x))
    return x + self.two(x)


JOINED = {
    "a residual sum": _residual,
    "in place": lambda self, x: self.one(x).relu_().add_(self.two(self.one(x))),
    "a difference": lambda self, x: torch.relu(self.one(x)) - self.two(self.one(x)),
    "with a factor": lambda self, x: torch.add(self.one(x), self.two(self.one(x)), alpha=-0.5),
    "the other way round": lambda self, x: torch.rsub(self.one(x), self.two(self.one(x)), alpha=2),
    "a value and itself": lambda self, x: (y := self.one(x)) + y,
    "spread over positions": lambda self, x: (
        (y := torch.relu(self.one(x))) + y.mean((2, 3), keepdim=True)
    ),
    "concatenation": lambda self, x: torch.cat(
        [(y := self.one(x))[:, :2], torch.relu(self.two(y))[:, 1:3]], 1
    ),
    "numbers": lambda self, x: -(3 * torch.relu(self.one(x)) / 2),
    "moving": lambda self, x: (
        torch.stack(self.one(x).chunk(2, 1), 1).flatten(1, 2).permute(0, 1, 3, 2).flip(2)
    ),
    "maxima": lambda self, x: F.adaptive_max_pool2d(F.pad(self.one(x), (1, 1, 0, 0)), 3),
    "a sum of positions": lambda self, x: self.one(x).sum(2, keepdim=True),
}


@pytest.mark.parametrize("name", JOINED)
def test_nothing_is_lost_or_made_up(name):
    """Without biases all relevance of a logit arrives; a sum left to autograd would arrive twice."""
    parts = {
        "one": nn.Conv2d(3, 4, 3, bias=False),
        "two": nn.Conv2d(4, 4, 3, padding=1, bias=False),
    }
    images = torch.randn(2, 3, 7, 8, dtype=torch.float64)
    size = Written(JOINED[name], **parts).double()(images)[0].numel()
    model = Written(
        lambda self, x: self.fc(JOINED[name](self, x).flatten(1)),
        **parts,
        fc=nn.Linear(size, 3, bias=False),
    ).double()
    network = Network(model, images)
    found = relevance(network, images, torch.tensor([0, 2]))
    logits = network.run(images)[[0, 1], [0, 2]].clone()
    torch.testing.assert_close(found.sum((1, 2, 3)), logits, rtol=1e-3, atol=1e-6)


def test_a_sum_is_shared_by_what_each_operand_contributes():
    model = Written(
        lambda self, x: self.fc(F.relu(x[:, :2]) - 2 * F.relu(x[:, 2:])),
        fc=nn.Linear(2, 2, bias=False),
    )
    model.fc.weight.data.copy_(torch.tensor([[1.0, 1.0], [0.0, -1.0]]))
    given = torch.tensor([[3.0, 1.0, 1.0, 2.0]])
    network = Network(model, given)
    # 3 - 2 and 1 - 4: the logits are -2 and 3.
    expected = torch.tensor([[3.0, 1.0, -2.0, -4.0], [0.0, -1.0, 0.0, 4.0]])
    for target in (0, 1):
        found = relevance(network, given, torch.tensor([target]))
        torch.testing.assert_close(found, expected[[target]], rtol=0, atol=1e-4)


REFUSED = {
    "exp": lambda self, x: self.fc(self.embed(x).exp().mean((2, 3))),
    "pow": lambda self, x: self.fc((self.embed(x) ** 2).mean((2, 3))),
    "softmax": lambda self, x: self.fc(self.embed(x).mean((2, 3)).softmax(1)),
    "linear": lambda self, x: F.linear(self.embed(x).mean((2, 3)), x[0, :2, 0, :4]),
    "maximum": lambda self, x: self.fc(torch.maximum(self.embed(x), self.embed(-x)).mean((2, 3))),
}


BY_HAND = {
    "silu": (F.silu, lambda x: x * torch.sigmoid(x)),
    "mish": (F.mish, lambda x: x * torch.tanh(F.softplus(x))),
    "gelu": (F.gelu, lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5))),
    "hardswish": (F.hardswish, lambda x: x * F.hardsigmoid(x)),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_an_activation_function_written_by_hand_hands_on_what_it_gets(name):
    whole, written = BY_HAND[name]
    embed, fc, images = nn.Conv2d(3, 4, 3), nn.Linear(4, 2), torch.randn(2, 3, 6, 6)
    found = [
        relevance(
            Network(
                Written(
                    lambda self, x, f=f: self.fc(f(self.embed(x)).mean((2, 3))), embed=embed, fc=fc
                ),
                images,
            ),
            images,
            torch.tensor([0, 1]),
        )
        for f in (whole, written)
    ]
    assert torch.allclose(*found, atol=1e-5)


@pytest.mark.parametrize("name", REFUSED)
def test_what_zennit_has_no_rule_for_is_refused_by_name(name):
    model = Written(REFUSED[name], embed=nn.Conv2d(3, 4, 3), fc=nn.Linear(4, 2))
    images = torch.randn(3, 3, 6, 6)
    with pytest.raises(errors.RuleError) as caught:
        relevance(Network(model, images), images, torch.tensor([0, 1, 0]))
    told = str(caught.value)
    assert told.startswith(f"{name} (node ")
    assert all(
        part in told for part in ("method 'lrp'", "networks.py line", "zennit", "discernible")
    )


def test_logits_without_a_way_back_are_refused():
    model = Written(
        lambda self, x: self.fc(x.detach() * 0 + torch.ones_like(x)), fc=nn.Linear(3, 2)
    )
    given = torch.randn(2, 3)
    # Zero times the image is still a way back, along which nothing comes.
    assert not relevance(Network(model, given), given, torch.tensor([0, 1])).any()
    model = Written(lambda self, x: self.fc(torch.ones_like(x)), fc=nn.Linear(3, 2))
    with pytest.raises(errors.RuleError, match="do not depend on the image"):
        relevance(Network(model, given), given, torch.tensor([0, 1]))
    with pytest.raises(errors.ExportError, match="no operator graph"):
        relevance(
            Network(plain_cnn(), torch.randn(2, 1, 12, 12), capture="calls"),
            torch.randn(2, 1, 12, 12),
            None,
        )


def snapshot(model):
    tensors = [*model.parameters(), *model.buffers()]
    marks = [
        (value.requires_grad, value._version, value.data_ptr(), id(value.grad)) for value in tensors
    ]
    hooks = [
        [len(getattr(module, name)) for name in vars(module) if name.endswith("_hooks")]
        for module in model.modules()
    ]
    everywhere = [
        len(value)
        for name, value in vars(nn.modules.module).items()
        if name.startswith("_global_") and name.endswith("hooks")
    ]
    return (
        [dict(module.__dict__) for module in model.modules()],
        marks,
        hooks,
        everywhere,
        [v.tolist() for v in tensors],
    )


def test_the_model_stays_as_it_is_also_after_an_exception(small, monkeypatch):
    model, images, network, target = small
    model.fc1.weight.requires_grad_(False)
    model.fc2(torch.ones(1, 5)).sum().backward()
    kept = images.clone(), target.clone()
    before = snapshot(model)
    relevance(network, images, target)
    assert snapshot(model) == before

    def failing(*_, **__):
        raise KeyboardInterrupt

    for place in (
        (sys.modules["cofire.explain.methods.lrp"], "_times"),
        (sys.modules["cofire.explain.methods.lrp"], "_divided"),
        (torch.autograd, "grad"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(*place, failing)
            with pytest.raises(KeyboardInterrupt):
                relevance(network, images, target)
        assert snapshot(model) == before
    assert torch.equal(images, kept[0])
    assert torch.equal(target, kept[1])
    assert not images.requires_grad


def test_context_layout_and_frozen_weights_make_no_difference(small):
    model, images, network, target = small
    expected = relevance(network, images, target)
    for mode in (torch.inference_mode, torch.no_grad, torch.enable_grad):
        with mode():
            assert torch.equal(relevance(network, images.clone(), target.clone()), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(relevance(network, images, target), expected)
    with torch.inference_mode():
        weights = {name: value.clone() for name, value in model.state_dict().items()}
    assert torch.equal(relevance(network.with_weights(weights), images, target), expected)
    frozen = Network(copy.deepcopy(model).requires_grad_(False), images)
    assert torch.equal(relevance(frozen, images, target), expected)
    striding = images.to(memory_format=torch.channels_last)
    lasting = Network(copy.deepcopy(model).to(memory_format=torch.channels_last), striding)
    torch.testing.assert_close(relevance(lasting, striding, target), expected, rtol=1e-3, atol=1e-5)
    with ThreadPoolExecutor(4) as pool:
        assert all(
            torch.equal(one, expected)
            for one in pool.map(lambda _: relevance(network, images, target), [0] * 8)
        )


def test_relevance_does_not_depend_on_the_rest_of_the_batch(small, monkeypatch):
    model, images, _, target = small
    network = Network(model.double(), images.double())
    expected = relevance(network, images, target)
    alone = [relevance(network, images[[one]], target[[one]]) for one in range(4)]
    torch.testing.assert_close(torch.cat(alone), expected)
    monkeypatch.setattr(sys.modules["cofire.explain.methods.lrp"], "_BYTES", 1)
    torch.testing.assert_close(relevance(network, images, target), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_single(small, dtype):
    model, images, _, target = small
    images = images.to(dtype)
    rounded = copy.deepcopy(model).to(dtype)
    found = relevance(Network(rounded, images), images, target)
    assert found.dtype == torch.float32
    assert torch.equal(
        found, relevance(Network(rounded.float(), images.float()), images.float(), target)
    )

    cast = Written(lambda self, x: self.fc(x.to(dtype).relu().float()), fc=nn.Linear(3, 2))
    given = torch.rand(2, 3)
    plain = Written(lambda self, x: self.fc(x.relu()), fc=cast.fc)
    classes = torch.tensor([0, 1])
    assert torch.equal(*(relevance(Network(one, given), given, classes) for one in (cast, plain)))


def test_a_program_of_other_operators_gives_the_same(small, tmp_path):
    model, images, network, target = small
    batch = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(
        model.eval(), (images,), dynamic_shapes=batch
    ).run_decompositions()
    names = {str(node.target) for node in program.graph.nodes}
    assert {
        "aten.convolution.default",
        "aten._native_batch_norm_legit_no_training.default",
    } <= names
    torch.export.save(program, tmp_path / "small.pt2")
    found = relevance(Network.load(tmp_path / "small.pt2"), images, target)
    torch.testing.assert_close(found, relevance(network, images, target), rtol=1e-4, atol=1e-6)


def test_new_weights_and_training_show(small):
    model, images, network, target = small
    before = relevance(network, images, target)
    zeros = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    assert not relevance(
        network.with_weights(zeros | {"norm.running_var": torch.ones(6)}), images, target
    ).any()
    with torch.no_grad():
        model.fc2.weight *= 2
        model.fc2.bias *= 2
    torch.testing.assert_close(relevance(network, images, target), before * 2, rtol=1e-3, atol=1e-5)


def test_an_explanation_holds_the_positive_part_blurred(small, tmp_path):
    _, images, network, target = small
    found = explain(network, images, target, "lrp")
    raw = relevance(network, images, target).sum(1).clamp(min=0).double().numpy()
    for one, map_ in zip(raw, found.heatmap(), strict=True):
        expected = gaussian_filter(one, 20 / 224 * 15, mode="constant")
        np.testing.assert_allclose(map_.numpy(), expected, rtol=1e-5, atol=1e-7)
    assert found.options == {"composite": "epsilon plus", "sigma": 20 / 224}
    assert torch.equal(found.predicted, network.run(images).argmax(1))
    assert found.boxes().found.all()
    np.testing.assert_allclose(
        explain(network, images, target, "lrp", sigma=0).maps, raw, rtol=1e-6
    )
    again = Explanation.load(found.save(tmp_path / "found.safetensors"))
    assert torch.equal(again.maps, found.maps)
    assert "LRP" in found.save_svg(tmp_path / "found.svg").read_text()
    predicted = explain(network, images, method="lrp")
    assert torch.equal(predicted.target[:, 0], predicted.predicted)


def test_what_speaks_for_a_class_is_positive_though_its_logit_is_not():
    model = nn.Sequential(nn.Linear(3, 2, bias=False))
    model[0].weight.data.copy_(torch.tensor([[1.0, -3.0, 0.0], [1.0, 1.0, 1.0]]))
    found = explain(Network(model, torch.ones(1, 3)), torch.ones(1, 3), 0, "lrp", sigma=0)
    torch.testing.assert_close(
        found.heatmap(), torch.tensor([[[1.0, 0.0, 0.0]]]), rtol=0, atol=1e-5
    )


def test_bad_input_gives_no_map(small):
    _, images, network, target = small
    for wrong in (-0.1, float("nan"), "wide", True):
        with pytest.raises(errors.OptionError, match="sigma"):
            explain(network, images, target, "lrp", sigma=wrong)
    with pytest.raises(errors.OptionError, match="one of its options: sigma"):
        explain(network, images, target, "lrp", layer="conv1")
    with pytest.raises(errors.OptionError, match="one class"):
        explain(network, images, torch.tensor([[0, 1]] * 4), "lrp")
    with pytest.raises(errors.BatchError):
        relevance(network, images[:, :2], target)
    with pytest.raises(errors.NonFiniteError):
        explain(network, images * 1e38, target, "lrp")
    with pytest.raises(errors.NonFiniteError, match="image 2"):
        relevance(network, torch.stack([*images[:2], images[2] * 1e38]), target[:3])
