"""Every family of classifiers is read, summarised and explained, whatever it comes from and whatever wraps it."""

import copy

import lightning
import peft
import pytest
import torch
from torch import distributed, nn
from torch.nn.utils import parametrizations, prune

import cofire
from cofire.errors import BatchError, ExportError, RuleError
from cofire.network import Network

from .families import FAMILIES, shape_of

IMAGES = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(4) % 2
# What has no rules yet: the error names operator, node and line (docs/reading.md).
NOT_EXPLAINED = frozenset({"timm-convit_tiny"})


def cnn():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


def hooks_of(model):
    return [[*one._forward_hooks, *one._forward_pre_hooks] for one in model.modules()]


def works(model, images, refused=False, read_once=False):
    """Read, summarise and explain a plain module; it stays what it is, and its logits are the network's.

    Reading takes longest: with `read_once`, the network that was read is summarised and explained.
    """
    before = copy.deepcopy(model.state_dict()), model.training, torch.get_rng_state()
    hooks = hooks_of(model)
    network = Network(model, images[:1])
    given = network if read_once else model
    summary = cofire.summarize(given, (images, LABELS[: len(images)]), bins=10, progress=False)
    assert len(summary.layers) == len(network.activation_layers) > 0
    assert all(one.statistics.total.isfinite().all() for one in summary.layers)
    if refused:
        with pytest.raises(RuleError, match=r"(?s)(node|copy_) .* line "):
            cofire.explain(given, images)
    else:
        assert cofire.explain(given, images).heatmap().isfinite().all()
    torch.testing.assert_close(model.state_dict(), before[0])
    assert model.training == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    assert hooks_of(model) == hooks
    assert all(parameter.grad is None for parameter in model.parameters())
    return network


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", FAMILIES)
def test_families(name):
    torch.manual_seed(0)
    model = FAMILIES[name]().eval()
    images = torch.rand(2, *shape_of(name, model))
    network = works(model, images, refused=name in NOT_EXPLAINED, read_once=True)
    with torch.no_grad():
        given = model(images)
    right = given if isinstance(given, torch.Tensor) else given.logits
    torch.testing.assert_close(network.run(images), right, atol=1e-4, rtol=1e-3)


class Lit(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = cnn()

    def forward(self, x):
        return self.net(x)


def lora():
    config = peft.LoraConfig(target_modules=["3", "7"], lora_dropout=0.1)
    return peft.get_peft_model(cnn(), config)


def parametrised():
    model = cnn()
    parametrizations.weight_norm(model[0])
    parametrizations.spectral_norm(model[3])
    parametrizations.orthogonal(model[7])
    prune.l1_unstructured(model[0], "bias", 0.5)
    return model


def quantised():
    from torch.ao import quantization

    model = nn.Sequential(quantization.QuantStub(), cnn(), quantization.DeQuantStub())
    model.qconfig = quantization.get_default_qat_qconfig("x86")
    quantization.prepare_qat(model, inplace=True)
    model(IMAGES)
    return model


def lazy():
    model = nn.Sequential(nn.LazyConv2d(6, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    model(IMAGES)
    return model


class Auxiliary(nn.Module):
    """Gives a second head's logits in training mode alone, as GoogLeNet does."""

    def __init__(self):
        super().__init__()
        self.main, self.side = cnn(), nn.Linear(3, 3)

    def forward(self, x):
        logits = self.main(x)
        return (logits, self.side(logits)) if self.training else logits


WRAPPED = {
    "data parallel": lambda: nn.DataParallel(cnn()),
    "compiled": lambda: torch.compile(cnn()),
    "compiled inside": lambda: nn.Sequential(torch.compile(cnn()[:6]), *cnn()[6:]),
    "lightning": Lit,
    "low-rank adapters": lora,
    "parametrised": parametrised,
    "lazy": lazy,
    "auxiliary heads": Auxiliary,
    "averaged": lambda: torch.optim.swa_utils.AveragedModel(cnn()),
    "channels last": lambda: cnn().to(memory_format=torch.channels_last),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_wrapped_models(name):
    works(WRAPPED[name](), IMAGES)


def test_a_model_in_distributed_training():
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        works(nn.parallel.DistributedDataParallel(cnn()), IMAGES)
        sharded = cnn()
        distributed.fsdp.fully_shard(sharded)
        with pytest.raises(ExportError, match=r"sharded .* plain copy"):
            Network(sharded, IMAGES)
    finally:
        distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_quantisation_aware_layers_round_as_they_do_and_observe_nothing():
    model = quantised()
    network = works(model, IMAGES)
    plain = copy.deepcopy(model).eval().apply(torch.ao.quantization.disable_observer)
    torch.testing.assert_close(network.run(3 * IMAGES), plain(3 * IMAGES))
    model.apply(torch.ao.quantization.disable_fake_quant)
    assert not torch.equal(Network(model, IMAGES).run(IMAGES), network.run(IMAGES))


class Autocast(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 6, 3), nn.Linear(6, 3)

    def forward(self, x):
        with torch.autocast("cpu", enabled=False):
            x = torch.relu(self.body(x))
        return self.head(x.mean((2, 3)))


class Powers(nn.Module):
    """Squares, sums with products and expansions, as in StarReLU, global response norm and separable attention."""

    def __init__(self, square):
        super().__init__()
        self.body, self.head, self.square = nn.Conv2d(3, 6, 3), nn.Linear(6, 3), square
        self.scale, self.bias = (
            nn.Parameter(torch.randn(6, 1, 1)),
            nn.Parameter(torch.randn(6, 1, 1)),
        )

    def forward(self, x):
        x = self.square(torch.relu(self.body(x)))
        x = torch.addcmul(self.bias, self.scale, x)
        return self.head((x * x.mean(1, keepdim=True).expand_as(x)).mean((2, 3)))


def test_regions_without_autocast_and_powers():
    works(Autocast(), IMAGES)
    found = []
    for square in (torch.square, lambda x: x**2, lambda x: x.pow(2.0)):
        torch.manual_seed(0)
        model = Powers(square)
        works(model, IMAGES)
        found.append(cofire.explain(model, IMAGES))
        assert found[-1].has_evidence.any()
        torch.testing.assert_close(found[-1].neurons.score, found[0].neurons.score)
    with pytest.raises(RuleError, match=r"a power below 1.*pow.*node .* line "):
        cofire.explain(Powers(lambda x: x**0.5), IMAGES)


def test_a_plain_model_takes_one_image_and_refuses_another_size():
    one, all_of_them = cofire.explain(cnn(), IMAGES[0]), cofire.explain(cnn(), IMAGES)
    torch.testing.assert_close(one.heatmap(), all_of_them.heatmap()[:1])
    torch.manual_seed(0)
    vit = FAMILIES["torchvision-vit"]()
    with pytest.raises(ExportError, match="Wrong image height"):
        cofire.explain(vit, IMAGES)
    with pytest.raises(BatchError, match="inputs of shape"):
        cofire.explain(Network(vit, torch.zeros(1, 3, 64, 64)), IMAGES)


class Probe(nn.Module):
    """Pools tokens by attention from a learned query, as SigLIP does."""

    def __init__(self):
        super().__init__()
        self.patches, self.head = nn.Conv2d(3, 8, 4, 4), nn.Linear(16, 3)
        self.probe, self.pool = (
            nn.Parameter(torch.randn(1, 1, 8)),
            nn.MultiheadAttention(8, 2, batch_first=True),
        )
        self.hidden = nn.Linear(8, 16)

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        probe = self.probe.repeat(x.shape[0], 1, 1)
        pooled = self.pool(probe, tokens, tokens)[0][:, 0]
        return self.head(nn.functional.gelu(self.hidden(pooled)))


def test_tokens_pooled_by_a_learned_query():
    torch.manual_seed(0)
    network = works(Probe(), IMAGES)
    assert [one.shape for one in network.heads] == [(2, 16)]
