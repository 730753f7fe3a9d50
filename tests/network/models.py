"""Small classifiers that each show one way in which models are written."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Reused(nn.Module):
    """One ReLU module called twice, in place, and functions at the top level."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)
        self.norm = nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)
        self.fc = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.conv1(x)))
        x = self.act(self.conv2(x) + 0.1)
        x = F.gelu(x)
        return self.fc(torch.relu(x.mean((2, 3))))


class Functions(nn.Module):
    """Activation functions called in every way."""

    names = """
    relu relu relu relu relu relu6 relu6 gelu silu hardswish elu selu celu leaky_relu mish softplus
    softsign tanh sigmoid hardsigmoid hardtanh threshold log_sigmoid silu quick_gelu gelu mish tanhshrink
    """
    kinds = names.split()

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.fc1(x))
        x = F.relu(x - 0.1)
        x = (x - 0.1).relu().sub(0.1).relu_()
        x = (x - 0.1).clamp(min=0).clamp(0, 6)
        x = F.relu6(x + 1)
        for function in (F.gelu, F.silu, F.hardswish, F.elu, F.selu, F.celu, F.leaky_relu, F.mish):
            x = function(x)
        for function in (
            F.softplus,
            F.softsign,
            torch.tanh,
            torch.sigmoid,
            F.hardsigmoid,
            F.hardtanh,
        ):
            x = function(x)
        x = F.logsigmoid(F.threshold(x, 0.1, 0.2))
        x = x * torch.sigmoid(x)
        x = x * torch.sigmoid(1.702 * x)
        x = 0.5 * x * (1 + torch.erf(x / 2**0.5))
        x = x * torch.tanh(F.softplus(x))
        x = x - torch.tanh(x)
        return self.fc2(F.softmax(x.clamp(max=10).clamp_min(1e-6), -1))


class Swish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.sigmoid()


class SqueezeExcite(nn.Module):
    """A gate beside a hand-written swish."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.swish = nn.Conv2d(3, 4, 3), Swish()
        self.down, self.up = nn.Linear(4, 2), nn.Linear(2, 4)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.swish(self.conv(x))
        gate = torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3))))))
        x = x * gate[:, :, None, None].expand_as(x)
        return self.fc(x.mean((2, 3)))


class NoGrad(nn.Module):
    """A frozen part under torch.no_grad."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = F.relu(self.fc1(x))
        return self.fc3(F.relu(self.fc2(x)))


class Autocast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            x = F.relu(self.fc1(x))
        return self.fc2(x.float())


class DataDependent(nn.Module):
    """Control flow that depends on values, which no export can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.fc1(x))
        if x.sum() > 1e6:
            x = F.gelu(x)
        return self.fc2(x)


class Windows(nn.Module):
    """Windows folded into the batch axis, once with the batch outside and once inside."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(3, 5), nn.Linear(5, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:  # (batch, 4, 3)
        size = x.shape[0]
        x = F.relu(self.fc1(x.reshape(size * 4, 3)))
        x = x.reshape(size, 4, 5).transpose(0, 1).reshape(4 * size, 5)
        x = F.gelu(self.fc2(x))
        return self.fc3(x.reshape(4, size, 4).mean(0))


class Tokens(nn.Module):
    """A BERT-like classifier whose sequence comes first."""

    def __init__(self, batch_first: bool = False) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.embed = nn.Embedding(50, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, activation="gelu", batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.pool, self.fc = nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        x = self.embed(tokens)
        x = self.encoder(x) if self.batch_first else self.encoder(x.transpose(0, 1)).transpose(0, 1)
        return {"hidden": x, "logits": self.fc(torch.tanh(self.pool(x[:, 0])))}


class InPlaceView(nn.Module):
    """A ReLU on a part of a tensor, in place; its result is used through the whole."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(4, 6), nn.Linear(6, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        x.sub_(0.5)
        self.calls.add_(1)
        x = self.fc1(x)
        x[:, :4].relu_()
        return self.fc2(x)


class Caching(nn.Module):
    """Keeps what it computed on itself."""

    def __init__(self, fails: bool = False) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fails = nn.Linear(4, 6), nn.Linear(6, 3), fails
        self.kept: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.fc1(x))
        self.kept["hidden"] = x
        if self.fails:
            raise RuntimeError("this model always fails")
        return self.fc2(x)
