"""Every operator of the table through every method: traced, or refused with an error that says so."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import cofire
from cofire.errors import ExplanationError, ExportError, RuleError
from cofire.explain.methods.registry import METHODS
from cofire.network import Network
from cofire.network.operators import OPERATORS, named
from cofire.network.reading import operator_of

A = torch.ops.aten
IMAGES = torch.linspace(-1, 1, 2 * 2 * 36).reshape(2, 2, 6, 6)
LABELS = torch.tensor([0, 1])


class Parameters(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        for name, shape in {
            "one": (4,),
            "square": (6, 6),
            "line": (4, 4, 3),
            "plane": (4, 4, 3, 3),
            "space": (4, 1, 1, 3, 3),
            "whole": (144, 3),
            "cube": (2, 6, 6),
        }.items():
            self.register_parameter(name, nn.Parameter(torch.rand(shape) + 0.1))
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("spread", torch.ones(4))


def first(value):
    return value[0] if isinstance(value, tuple | list) else value


# What each operator is called with, on x (batch, 4, 6, 6) and the parameters p; the rest takes x alone.
CALLS = {
    **{
        name: lambda x, p, f=getattr(torch, name): f(x + 1)
        for name in ("log", "rsqrt", "reciprocal")
    },
    "quick_gelu": lambda x, p: x * torch.sigmoid(1.702 * x),
    "prelu": lambda x, p: F.prelu(x, p.one),
    "rrelu": lambda x, p: F.rrelu(x, training=False),
    "glu": lambda x, p: F.glu(x, 1),
    "clamp": lambda x, p: x.clamp(0, 6),
    "clamp_min": lambda x, p: A.clamp_min(x, 0),
    "fake_quantize_per_tensor_affine": lambda x, p: torch.fake_quantize_per_tensor_affine(
        x, 0.01, 0, -128, 127
    ),
    "fake_quantize_per_channel_affine": lambda x, p: torch.fake_quantize_per_channel_affine(
        x, p.spread / 100, p.mean, 1, -128, 127
    ),
    "clamp_max": lambda x, p: A.clamp_max(x, 1),
    "hardtanh": lambda x, p: F.hardtanh(x),
    "threshold": lambda x, p: F.threshold(x, 0.1, 0.0),
    "log_sigmoid": lambda x, p: F.logsigmoid(x),
    **{name: lambda x, p, f=getattr(F, name): f(x, 1) for name in named("softmax")},
    "conv1d": lambda x, p: F.conv1d(x.flatten(2), p.line),
    "conv2d": lambda x, p: F.conv2d(x, p.plane, p.one, 2),
    "conv3d": lambda x, p: F.conv3d(x[:, None], p.space),
    "conv_transpose1d": lambda x, p: F.conv_transpose1d(x.flatten(2), p.line),
    "conv_transpose2d": lambda x, p: F.conv_transpose2d(x, p.plane, p.one),
    "conv_transpose3d": lambda x, p: F.conv_transpose3d(x[:, None], p.space[:1]),
    "convolution": lambda x, p: A.convolution(
        x, p.plane, p.one, [1, 1], [0, 0], [1, 1], False, [0, 0], 1
    ),
    "linear": lambda x, p: F.linear(x, p.square),
    "addmm": lambda x, p: torch.addmm(p.whole[0], x.flatten(1), p.whole),
    "mm": lambda x, p: torch.mm(x.flatten(1), p.whole),
    "matmul": lambda x, p: x @ p.square,
    "rmatmul": lambda x, p: p.square @ x,
    "bmm": lambda x, p: torch.bmm(x.flatten(2), x.flatten(2).transpose(1, 2)),
    "baddbmm": lambda x, p: torch.baddbmm(x[:, 0], x[:, 1], x[:, 2]),
    "einsum": lambda x, p: torch.einsum("bchw,wk->bchk", x, p.square),
    "scaled_dot_product_attention": lambda x, p: F.scaled_dot_product_attention(x, x, x),
    "embedding": lambda x, p: F.embedding((x[:, 0, 0] > 0).long(), p.square),
    "batch_norm": lambda x, p: F.batch_norm(x, p.mean, p.spread, p.one, p.one),
    "native_batch_norm": lambda x, p: A.native_batch_norm(
        x, p.one, p.one, p.mean, p.spread, False, 0.1, 1e-5
    ),
    "native_batch_norm_legit": lambda x, p: A._native_batch_norm_legit(
        x, p.one, p.one, p.mean, p.spread, False, 0.1, 1e-5
    ),
    "native_batch_norm_legit_no_training": lambda x, p: A._native_batch_norm_legit_no_training(
        x, p.one, p.one, p.mean, p.spread, 0.1, 1e-5
    ),
    "group_norm": lambda x, p: F.group_norm(x, 2, p.one, p.one),
    "instance_norm": lambda x, p: F.instance_norm(x),
    "native_group_norm": lambda x, p: A.native_group_norm(
        x, p.one, p.one, x.shape[0], 4, 36, 2, 1e-5
    ),
    "layer_norm": lambda x, p: F.layer_norm(x, (6, 6), p.square),
    "native_layer_norm": lambda x, p: A.native_layer_norm(x, [6, 6], p.square, None, 1e-5),
    "rms_norm": lambda x, p: F.rms_norm(x, (6, 6)),
    "norm": lambda x, p: A.norm(x, 2, [1]),
    "linalg_norm": lambda x, p: torch.linalg.norm(x, dim=(2, 3)),
    "linalg_vector_norm": lambda x, p: torch.linalg.vector_norm(x, dim=1),
    "vector_norm": lambda x, p: torch.linalg.vector_norm(x, dim=1),
    **{
        f"{kind}_pool{rank}d": lambda x, p, f=getattr(F, f"{kind}_pool{rank}d"), view=view: f(
            view(x), 2
        )
        for kind in ("avg", "max", "adaptive_avg", "adaptive_max")
        for rank, view in ((1, lambda x: x.flatten(2)), (2, lambda x: x), (3, lambda x: x[:, None]))
    },
    "max_pool2d_with_indices": lambda x, p: A.max_pool2d_with_indices(x, [2, 2]),
    "max_pool3d_with_indices": lambda x, p: A.max_pool3d_with_indices(x[:, None], [2, 2, 2]),
    **{
        name: lambda x, p, f=getattr(torch, name): f(x, dim=1)
        for name in ("mean", "sum", "amax", "amin", "prod", "var")
    },
    **{
        name: lambda x, p, f=getattr(torch, name): f(x, dim=1)
        for name in (
            "std",
            "var_mean",
            "std_mean",
            "logsumexp",
            "nanmean",
            "nansum",
            "median",
            "max",
            "min",
        )
    },
    **{
        name: lambda x, p, f=getattr(torch, name): f(x, dim=1).float()
        for name in ("argmax", "argmin", "all", "any")
    },
    **{name: lambda x, p, f=getattr(torch, name): f(x, dim=1) for name in named("scan")},
    "add": lambda x, p: x + x.flip(3),
    "sub": lambda x, p: x - p.square,
    "rsub": lambda x, p: A.rsub(x, 1.0),
    "mul": lambda x, p: x * x.flip(3),
    "div": lambda x, p: x / (x.abs() + 2),
    "pow": lambda x, p: x.pow(2),
    "maximum": lambda x, p: torch.maximum(x, x.flip(3)),
    "minimum": lambda x, p: torch.minimum(x, p.square),
    "lerp": lambda x, p: torch.lerp(x, x.flip(3), 0.3),
    "addcmul": lambda x, p: torch.addcmul(x, x, x),
    "addcdiv": lambda x, p: torch.addcdiv(x, x, x.abs() + 1),
    "copy": lambda x, p: A.copy(x, x.flip(3)),
    "fill": lambda x, p: x + A.fill(x, 1.0),
    "where": lambda x, p: torch.where(x > 0, x, x * 0.1),
    "masked_fill": lambda x, p: x.masked_fill(x < 0, 0.0),
    "index": lambda x, p: x[:, [0, 2]],
    "cat": lambda x, p: torch.cat([x, x.flip(3)], 1),
    "stack": lambda x, p: torch.stack([x, x.flip(3)], 1),
    "view": lambda x, p: x.view(-1, 4, 36),
    "reshape": lambda x, p: x.reshape(-1, 4, 36),
    "flatten": lambda x, p: x.flatten(2),
    "unflatten": lambda x, p: x.unflatten(1, (2, 2)),
    "view_as": lambda x, p: x.view_as(x.flip(3)),
    "reshape_as": lambda x, p: x.reshape_as(x.flip(3)),
    "squeeze": lambda x, p: x[:, :1].squeeze(1),
    "unsqueeze": lambda x, p: x.unsqueeze(1),
    "permute": lambda x, p: x.permute(0, 2, 3, 1),
    "transpose": lambda x, p: x.transpose(1, 2),
    "movedim": lambda x, p: x.movedim(1, 3),
    "t": lambda x, p: x.flatten(1).t().t(),
    "T": lambda x, p: x.flatten(1).T.T,
    "mT": lambda x, p: x.mT,
    "slice": lambda x, p: x[:, 1:3],
    "select": lambda x, p: x.select(1, 0),
    "narrow": lambda x, p: x.narrow(1, 1, 2),
    "getitem": lambda x, p: x.chunk(2, 1)[1],
    "chunk": lambda x, p: x.chunk(2, 1),
    "split": lambda x, p: x.split(2, 1),
    "split_with_sizes": lambda x, p: x.split_with_sizes([1, 3], 1),
    "unbind": lambda x, p: x.unbind(1),
    "tensor_split": lambda x, p: x.tensor_split(2, 1),
    "unsafe_chunk": lambda x, p: A.unsafe_chunk(x, 2, 1),
    "unsafe_split": lambda x, p: A.unsafe_split(x, 2, 1),
    "constant_pad_nd": lambda x, p: A.constant_pad_nd(x, [1, 1]),
    "pad": lambda x, p: F.pad(x, (1, 1)),
    "zero_pad2d": lambda x, p: nn.ZeroPad2d(1)(x),
    "reflection_pad1d": lambda x, p: A.reflection_pad1d(x.flatten(2), [1, 1]),
    "reflection_pad2d": lambda x, p: A.reflection_pad2d(x, [1, 1, 1, 1]),
    "replication_pad1d": lambda x, p: A.replication_pad1d(x.flatten(2), [1, 1]),
    "replication_pad2d": lambda x, p: A.replication_pad2d(x, [1, 1, 1, 1]),
    "expand": lambda x, p: x.unsqueeze(1).expand(-1, 2, -1, -1, -1),
    "expand_as": lambda x, p: x[:, :1].expand_as(x),
    "repeat": lambda x, p: x.repeat(1, 2, 1, 1),
    "flip": lambda x, p: x.flip(3),
    "roll": lambda x, p: x.roll(1, 3),
    "unfold": lambda x, p: x.unfold(2, 2, 2),
    "im2col": lambda x, p: F.unfold(x, 2),
    "col2im": lambda x, p: F.fold(F.unfold(x, 2), 6, 2),
    "pixel_shuffle": lambda x, p: F.pixel_shuffle(x, 2),
    "pixel_unshuffle": lambda x, p: F.pixel_unshuffle(x, 2),
    "channel_shuffle": lambda x, p: F.channel_shuffle(x, 2),
    "repeat_interleave": lambda x, p: x.repeat_interleave(2, dim=1),
    "upsample_nearest1d": lambda x, p: F.interpolate(x.flatten(2), scale_factor=2),
    "upsample_nearest2d": lambda x, p: F.interpolate(x, scale_factor=2),
    "upsample_nearest3d": lambda x, p: F.interpolate(x[:, None], scale_factor=2),
    "upsample_linear1d": lambda x, p: F.interpolate(x.flatten(2), scale_factor=2, mode="linear"),
    "upsample_bilinear2d": lambda x, p: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "upsample_bicubic2d": lambda x, p: F.interpolate(x, scale_factor=2, mode="bicubic"),
    "upsample_trilinear3d": lambda x, p: F.interpolate(
        x[:, None], scale_factor=2, mode="trilinear"
    ),
    "interpolate": lambda x, p: F.interpolate(x, scale_factor=2),
    "contiguous": lambda x, p: x.transpose(2, 3).contiguous(),
    "alias": lambda x, p: A.alias(x),
    "identity": lambda x, p: nn.Identity()(x),
    "lift_fresh_copy": lambda x, p: A.lift_fresh_copy(x),
    "to": lambda x, p: x.to(torch.float64).to(torch.float32),
    "to_copy": lambda x, p: A._to_copy(x, dtype=torch.float32),
    "type": lambda x, p: x.type(torch.float32),
    "type_as": lambda x, p: x.type_as(p.one),
    "double": lambda x, p: x.double().float(),
    "float": lambda x, p: x.double().float(),
    "half": lambda x, p: x.half().float(),
    "bfloat16": lambda x, p: x.bfloat16().float(),
    **{
        name: lambda x, p, f=getattr(F, name, None) or getattr(torch, name): f(x, 0.5, False)
        for name in named("dropout") - {"native_dropout"}
    },
    "native_dropout": lambda x, p: A.native_dropout(x, 0.5, False),
    **{name: lambda x, p, f=getattr(torch, name): x + f(x) for name in ("zeros_like", "ones_like")},
    "empty_like": lambda x, p: x + A.fill(torch.empty_like(x), 1.0),
    "full_like": lambda x, p: x + torch.full_like(x, 1.0),
    "new_zeros": lambda x, p: x + x.new_zeros(6),
    "new_ones": lambda x, p: x + x.new_ones(6),
    "new_empty": lambda x, p: x + A.fill(x.new_empty(6), 1.0),
    "new_full": lambda x, p: x + x.new_full((6,), 1.0),
}
SPELLED = {"quick_gelu"}
# Of a GPU, of a form that PyTorch gives only inside its own passes, or with states of their own.
UNSEEN = {
    "native_batch_norm_legit_functional",
    "cudnn_batch_norm",
    "miopen_batch_norm",
    "lstm",
    "gru",
}


class Tiny(nn.Module):
    """A classifier with one operator between its convolution and its last layer."""

    def __init__(self, name):
        super().__init__()
        self.parameters_of_all = Parameters()
        plain = [getattr(space, name, None) for space in (F, torch, torch.Tensor)]
        self.call = CALLS.get(name) or (lambda x, p: next(filter(None, plain))(x))
        with torch.no_grad():
            self.last = nn.Linear(self.features(IMAGES).shape[1], 3)

    def features(self, images):
        held = self.parameters_of_all
        return first(self.call(held.conv(images).relu(), held)).flatten(1)

    def forward(self, images):
        return self.last(self.features(images))


@pytest.mark.parametrize("name", sorted(set(OPERATORS) - UNSEEN))
def test_it_is_traced_or_refused_by_every_method(name):
    model = Tiny(name)
    network = Network(model, IMAGES)
    if name not in {operator_of(node) for node in network.graph.nodes} | SPELLED:
        # A function of Python: the graph has the operators that it is made of.
        called = Network(model, IMAGES, capture="calls")
        assert torch.allclose(called.run(IMAGES), network.run(IMAGES), atol=1e-6)
        with pytest.raises(ExportError):
            cofire.explain(called, IMAGES, method="lrp")
    summary = cofire.summarize(network, (IMAGES, LABELS), progress=False)
    assert len(summary.layers) == len(network.activation_layers)
    predicted, refused = network.run(IMAGES).argmax(1).tolist(), {}
    for method in METHODS:
        try:
            assert cofire.explain(network, IMAGES, method=method).predicted.tolist() == predicted
        except (RuleError, ExplanationError) as error:
            refused[method] = error
    for method, error in refused.items():
        words = (
            ("no gradient",) if "gradcam" in method else ("node", "do not depend", "no way from")
        )
        assert any(word in str(error) for word in words)
        assert isinstance(error, ExplanationError if "gradcam" in method else RuleError)
    if name in named("activation") - {"glu"}:
        assert not refused
