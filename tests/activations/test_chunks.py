"""How many samples a network runs at once, by the size of what it computes."""

import pytest
import torch
from torch import nn

import cofire
from cofire.activations.chunks import block_of, chunk_of

SIZE = 64


class Recurrent(nn.Module):
    """Its largest result is one of several that a single call gives."""

    def __init__(self):
        super().__init__()
        self.steps, self.relu, self.head = (
            nn.LSTM(1, 256, batch_first=True),
            nn.ReLU(),
            nn.Linear(256, 3),
        )

    def forward(self, inputs):
        return self.head(self.relu(self.steps(inputs)[0][:, -1]))


def test_a_call_with_several_results_counts_by_the_largest():
    network = cofire.Network(Recurrent().eval(), torch.zeros(2, SIZE, 1), capture="calls")
    assert network.most_values == SIZE * 256
    assert chunk_of(network) == block_of(network) == 256


@pytest.mark.parametrize(
    ("channels", "side", "chunk", "block"),
    [(1, 8, 1024, 1024), (8, 32, 256, 256), (64, 64, 32, 256), (64, 512, 4, 256)],
)
def test_a_processor_runs_many_small_samples_and_few_large_ones(channels, side, chunk, block):
    model = nn.Sequential(
        *(nn.Conv2d(1, channels, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.Linear(channels, 2)),
    )
    network = cofire.Network(model.eval(), torch.zeros(2, 1, side, side))
    assert (chunk_of(network), block_of(network)) == (chunk, block)
