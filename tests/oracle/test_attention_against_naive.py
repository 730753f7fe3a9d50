"""Evidence through attention against loops that were written from its definition."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cofire import explain
from cofire.network import Network
from tests.explain.transformers import OneHead
from tests.oracle import naive_attention


class Attending(nn.Module):
    """Queries, keys and values as the three channels of an image, (tokens, features) each."""

    def __init__(self, written):
        super().__init__()
        self.written = written
        torch.manual_seed(0)
        self.head = nn.Linear(12, 3, bias=False)

    def forward(self, x):
        q, k, v = x.unbind(1)
        if self.written == "fused":
            mixed = F.scaled_dot_product_attention(q, k, v)
        elif self.written == "einsum":
            weights = (torch.einsum("bid,bjd->bij", q, k) * 3**-0.5).softmax(-1)
            mixed = torch.einsum("bij,bjd->bid", weights, v)
        else:
            mixed = torch.bmm(torch.bmm(q, k.mT).mul(3**-0.5).softmax(-1), v)
        return self.head(mixed.flatten(1))


@pytest.mark.parametrize("attention", ["values", "weights"])
@pytest.mark.parametrize("written", ["fused", "einsum", "products"])
def test_evidence_goes_to_values_and_through_weights_as_defined(written, attention):
    model = Attending(written).double()
    images = torch.randn(2, 3, 4, 3, dtype=torch.float64)
    # All inputs of the head are followed, in proportion to what they add to the class.
    every = {"k": None, "k_linear": None, "most": None, "counted": False, "contrast": None}
    found = explain(Network(model, images), images, target=1, attention=attention, **every)
    neurons = found.neurons
    for number, (q, k, v) in enumerate(images.tolist()):
        weights = naive_attention.weights_of(q, k)
        mixed = [[sum(w * v[j][d] for j, w in enumerate(row)) for d in range(3)] for row in weights]
        head = model.head.weight[1].reshape(4, 3).tolist()
        added = {(i, d): head[i][d] * mixed[i][d] for i in range(4) for d in range(3)}
        total = sum(part for part in added.values() if part > 0)
        # A number with a negative weight is explained as a small one: of the values turned round.
        expected = torch.zeros(3, 4, 3, dtype=torch.float64)
        for sign in (1, -1):
            given = {
                at: part / total
                for at, part in added.items()
                if part > 0 and (head[at[0]][at[1]] > 0) == (sign > 0)
            }
            turned = [[sign * value for value in row] for row in v]
            expected += torch.tensor(
                naive_attention.evidence(given, q, k, turned, attention == "weights")
            )
        own = torch.zeros(3, 4, 3, dtype=torch.float64)
        here = (neurons.image == number) & (neurons.site == 0)
        for c, y, x, score in zip(
            neurons.channel[here],
            neurons.y[here],
            neurons.x[here],
            neurons.score[here],
            strict=True,
        ):
            own[int(c), int(y), int(x)] += float(score)
        assert torch.allclose(own, expected, atol=1e-6)


@pytest.mark.parametrize("fused", [True, False])
def test_net_evidence_of_tokens_is_what_the_logit_loses_without_them(fused):
    model = OneHead(fused=fused).double()
    images = torch.randn(2, 1, 4, 6, dtype=torch.float64)
    found = explain(Network(model.eval(), images), images, 2, "discernible-layers", contrast=0)
    # Two sums a block, of which the second ends it.
    assert len(found.layer_maps.names) == 4
    blocks = [
        {
            **dict(zip("qkv", block.qkv.weight.chunk(3), strict=True)),
            **{"out": block.out.weight, "up": block.up.weight, "down": block.down.weight},
            **{"scale1": block.norm1.weight, "scale2": block.norm2.weight, "eps": 1e-5},
        }
        for block in model.blocks
    ]
    blocks = [
        {name: value if name == "eps" else value.tolist() for name, value in block.items()}
        for block in blocks
    ]
    head = model.head.weight[2].tolist()
    with torch.no_grad():
        tokens = model.embed(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([model.token.expand(2, -1, -1), tokens], 1).tolist()
        logits = model(images)[:, 2].tolist()
    for number, rows in enumerate(tokens):
        after = naive_attention._block(rows, blocks[0], {})
        whole, lost = naive_attention.net_evidence(after, blocks[1:], head)
        assert whole == pytest.approx(logits[number])
        # Without biases nothing is left over, the class token's part included.
        assert sum(lost) == pytest.approx(whole)
        places = torch.tensor(lost[1:], dtype=torch.float64).clamp(min=0).reshape(2, 3)
        expected = places / places.sum()
        assert torch.allclose(found.layer_maps.maps[1][number].double(), expected, atol=1e-6)
