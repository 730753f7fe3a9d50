"""Neurons of transformers: heads by the attention that tokens get, hidden units of the MLP by token and by image."""

import pytest
import torch
import torchvision
from torch import nn

import cofire
from cofire.errors import LayerError
from cofire.network import Network
from cofire.network.heads import attention_weights

IMAGES = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(4) % 2
FIRST = "encoder.layers.encoder_layer_0.self_attention"


def vit():
    torch.manual_seed(0)
    return torchvision.models.VisionTransformer(16, 8, 2, 2, 16, 24, num_classes=3).eval()


def tokens_of(model, image):
    """What goes into the first attention, token by token."""
    patches = model._process_input(image[None])[0]
    tokens = torch.cat([model.class_token[0], patches]) + model.encoder.pos_embedding[0]
    return model.encoder.layers[0].ln_1(tokens)


def received(model, image):
    """Of each head the attention that each token gets, from the definition, one query and key at a time."""
    attention, tokens = model.encoder.layers[0].self_attention, tokens_of(model, image)
    size = 16 // 2
    projected = tokens @ attention.in_proj_weight.T + attention.in_proj_bias
    result = torch.zeros(2, len(tokens))
    for head in range(2):
        part = slice(head * size, (head + 1) * size)
        for query in projected[:, :16]:
            scores = [float(query[part] @ key[part]) / size**0.5 for key in projected[:, 16:32]]
            result[head] += torch.tensor(scores).softmax(0) / len(tokens)
    return result


@torch.no_grad()
def test_a_head_is_a_neuron_that_observes_the_attention_each_token_gets():
    model = vit()
    network = Network(model, IMAGES[:1])
    heads = network.heads
    assert [(one.name, one.kind, one.shape) for one in heads] == [
        (FIRST, "attention", (2, 5)),
        (FIRST.replace("_0", "_1"), "attention", (2, 5)),
    ]
    slow = torch.stack([received(model, image) for image in IMAGES])
    found = {}
    logits = network.run(IMAGES, lambda one, values: found.update({one.name: values}), FIRST)
    torch.testing.assert_close(found, {FIRST: slow})
    torch.testing.assert_close(logits, model(IMAGES))

    summary = cofire.summarize(model, (IMAGES, LABELS), layers=[FIRST, "kind:gelu"])
    assert [one.layer.kind for one in summary.layers] == ["gelu", "gelu", "attention"]
    statistics = summary.layers[2].statistics.over_classes()
    assert statistics.observations.unique().tolist() == [20]
    torch.testing.assert_close(statistics.mean().flatten(), torch.full((2,), 0.2).double())
    torch.testing.assert_close(
        statistics.maximum.flatten().float(), slow.transpose(0, 1).flatten(1).amax(1)
    )


@torch.no_grad()
@pytest.mark.parametrize("unit", ["channel", "channel-mean", "channel-max"])
def test_hidden_units_of_the_mlp_are_observed_by_token_or_by_image(unit):
    model = vit()
    block = model.encoder.layers[0]
    observed = [[] for _ in range(24)]
    for image in IMAGES:
        tokens = tokens_of(model, image)
        into = model._process_input(image[None])[0]
        residual = torch.cat([model.class_token[0], into]) + model.encoder.pos_embedding[0]
        hidden = block.ln_2(residual + block.self_attention(*[tokens[None]] * 3)[0][0])
        values = nn.functional.gelu(block.mlp[0](hidden))
        for number in range(24):
            of_unit = [float(token[number]) for token in values]
            observed[number] += {
                "channel": of_unit,
                "channel-mean": [sum(of_unit) / len(of_unit)],
                "channel-max": [max(of_unit)],
            }[unit]
    layer = "encoder.layers.encoder_layer_0.mlp.1"
    (found,) = cofire.summarize(model, (IMAGES, LABELS), layers=layer, unit=unit).layers
    statistics = found.statistics.over_classes()
    slow = torch.tensor(observed, dtype=torch.float64)
    assert statistics.observations.unique().tolist() == [slow.shape[1]]
    torch.testing.assert_close(statistics.mean().flatten(), slow.mean(1), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(statistics.maximum.flatten(), slow.amax(1), atol=1e-6, rtol=1e-5)


class Attention(nn.Module):
    """Attention over windows folded into the batch, written out, with a softmax module, or fused."""

    def __init__(self, form):
        super().__init__()
        self.form, self.qkv, self.out = form, nn.Linear(3, 12), nn.Linear(4, 3)
        self.softmax = nn.Softmax(-1)

    def forward(self, x):  # (batch, 3, 4, 4)
        count = x.shape[0]
        tokens = x.flatten(2).transpose(1, 2).reshape(count * 4, 4, 3)
        q, k, v = self.qkv(tokens).reshape(count * 4, 4, 3, 2, 2).permute(2, 0, 3, 1, 4)
        if self.form == "fused":
            mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        else:
            scores = q @ k.transpose(-2, -1) * 2**-0.5
            weights = self.softmax(scores) if self.form == "module" else scores.softmax(-1)
            mixed = weights @ v
        mixed = mixed.transpose(1, 2).reshape(count, 16, 4)
        return self.out(torch.relu(mixed).mean(1))


def test_attention_over_windows_is_the_same_however_it_is_written():
    images, seen = IMAGES[..., :4, :4], []
    for form in ("written", "module", "fused"):
        torch.manual_seed(0)
        network = Network(Attention(form), images[:1])
        (layer,) = network.heads
        assert (layer.name, layer.shape) == ("attention", (2, 16))
        network.run(images, lambda _, values: seen.append(values), layer)
    for values in seen:
        torch.testing.assert_close(values, seen[0])
        # One for each of four windows.
        torch.testing.assert_close(values.sum(2), torch.full((4, 2), 4.0))


def test_masks_and_grouped_queries_are_as_pytorch_has_them():
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, n, 5, 3, generator=draw) for n in (4, 2, 2))
    hides = torch.rand(5, 5, generator=draw) > 0.5
    hides[1] = False
    fused = nn.functional.scaled_dot_product_attention
    for options in (
        {"is_causal": True},
        {"attn_mask": torch.randn(5, 5, generator=draw)},
        {"attn_mask": hides, "scale": 0.7},
    ):
        given = {**options, "enable_gqa": True}
        weights = attention_weights(q, k, v, **given)
        assert weights.isfinite().all()
        torch.testing.assert_close(
            weights @ v.repeat_interleave(2, 1), fused(q, k, v, **given).nan_to_num()
        )


def test_products_that_half_precision_cannot_hold_are_scaled_before_they_are_summed():
    query = torch.full((1, 2, 64), 40.0).half()
    query[0, 1] *= 1.01
    weights = attention_weights(query, query, query)
    assert not (query @ query.transpose(-2, -1)).isfinite().all()
    assert weights.isfinite().all()
    torch.testing.assert_close(
        weights @ query, nn.functional.scaled_dot_product_attention(query, query, query)
    )


def test_heads_are_asked_for_and_have_no_node():
    network = Network(vit(), IMAGES[:1])
    assert not {*network.heads} & {*network.select()}
    assert network.select("kind:attention") == network.select("*self_attention") == network.heads
    with pytest.raises(LayerError, match="attention heads"):
        network.node(network.heads[0])
    assert Network(vit(), IMAGES[:1], capture="calls").heads == ()


def test_heads_have_entropy_and_graphs_like_any_neurons(tmp_path):
    summary = cofire.summarize(
        vit(), (IMAGES, LABELS), layers="kind:attention", unit="element", by_class=True, bins=4
    )
    summary.save(tmp_path / "heads")
    again = cofire.ActivationSummary.load(tmp_path / "heads")
    assert [one.layer.name for one in again.layers] == [one.layer.name for one in summary.layers]
    assert again.layers[0].layer.kind == "attention"


def test_a_network_of_attention_alone_says_how_its_heads_are_taken():
    class Alone(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches = nn.Conv2d(3, 8, 4, 4)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            tokens = self.patches(x).flatten(2).mT
            return self.head(self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(1))

    model = Alone().eval()
    with pytest.raises(LayerError, match=r'no activation layers.*pass layers="kind:attention"'):
        cofire.summarize(model, (IMAGES, LABELS))
    found = cofire.summarize(model, (IMAGES, LABELS), layers="kind:attention")
    assert [one.layer.name for one in found.layers] == ["attention"]
