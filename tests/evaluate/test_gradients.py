"""Gradients with respect to the input, on the graph and without a trace in the model."""

import pytest
import torch
from torch import nn

from cofire.errors import BatchError, ExplanationError, ExportError
from cofire.evaluate.deepfool import InputGradients
from cofire.network import Network


class InPlace(nn.Module):
    """Writes over what a sigmoid keeps for its gradient, as models for inference alone may."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 3)

    def forward(self, images):
        values = torch.sigmoid(self.conv(images))
        values *= 2
        values.add_(images[:, :1, 1:-1, 1:-1])
        values.flatten(1).relu_()
        return self.head(values.mean((2, 3)))

    def plain(self, images):
        values = torch.sigmoid(self.conv(images)) * 2 + images[:, :1, 1:-1, 1:-1]
        return self.head(torch.relu(values).mean((2, 3)))


def slopes_of(forward, images, classes):
    leaf = images.clone().requires_grad_()
    logits = forward(leaf).gather(1, classes)
    return torch.stack(
        [torch.autograd.grad(c.sum(), leaf, retain_graph=True)[0] for c in logits.unbind(1)], 1
    )


def test_gradients_are_those_of_the_model():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(36, 5),
    )
    images, classes = torch.randn(4, 3, 8, 8), torch.tensor([[0, 1], [4, 2], [3, 3], [1, 0]])
    logits, slopes = InputGradients(Network(model, images))(images, classes)
    assert torch.equal(logits, model.eval()(images))
    assert torch.allclose(slopes, slopes_of(model, images, classes), atol=1e-7)


def test_what_is_written_in_place_spoils_nothing():
    model, images, classes = InPlace(), torch.randn(2, 3, 9, 9), torch.tensor([[0, 2], [1, 0]])
    logits, slopes = InputGradients(Network(model, images))(images, classes)
    assert torch.allclose(logits, model(images), atol=1e-6)
    assert torch.allclose(slopes, slopes_of(model.plain, images, classes), atol=1e-7)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_the_caller_may_record_nothing_and_the_model_keeps_nothing(mode):
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(), nn.ReLU(), nn.Linear(4, 2)).train()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    network = Network(model, torch.zeros(1, 3))
    with mode():
        images = torch.randn(5, 3)
        _, slopes = InputGradients(network)(images, torch.zeros(5, 1, dtype=torch.int64))
    assert slopes.abs().sum() > 0
    assert not slopes.requires_grad
    assert model.training
    assert all(
        parameter.grad is None and not parameter.requires_grad for parameter in model.parameters()
    )


def test_changed_weights_are_seen():
    model = nn.Linear(2, 2, bias=False)
    network = Network(model, torch.zeros(1, 2))
    sloped = InputGradients(network)
    model.weight.data.copy_(torch.tensor([[5.0, 6.0], [7.0, 8.0]]))
    assert sloped(torch.ones(1, 2), torch.tensor([[1]]))[1].tolist() == [[[7.0, 8.0]]]


def test_half_precision_has_wide_gradients():
    model = nn.Sequential(nn.Linear(3, 2)).to(torch.bfloat16)
    network = Network(model, torch.zeros(1, 3, dtype=torch.bfloat16))
    logits, slopes = InputGradients(network)(torch.randn(2, 3), torch.tensor([[0], [1]]))
    assert logits.dtype == slopes.dtype == torch.float32


def test_what_has_no_gradient_is_told():
    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(5, 3)

        def forward(self, words):
            return self.table(words).sum(1)

    with pytest.raises(ExplanationError, match="whole numbers"):
        InputGradients(Network(Whole(), torch.zeros(1, 2, dtype=torch.int64)))

    class Stepped(nn.Module):
        def forward(self, values):
            return (values > 0).float()

    with pytest.raises(ExplanationError, match="no gradient"):
        InputGradients(Network(Stepped(), torch.zeros(1, 2)))(torch.ones(1, 2), torch.tensor([[0]]))
    with pytest.raises(ExportError):
        InputGradients(Network(nn.Linear(2, 2), torch.zeros(1, 2), capture="calls"))
    with pytest.raises(BatchError):
        InputGradients(Network(nn.Linear(2, 2), torch.zeros(1, 2)))(
            torch.ones(1, 3), torch.tensor([[0]])
        )
