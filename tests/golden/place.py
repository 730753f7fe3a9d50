"""A user's folder: a module with networks and data, images with boxes, an exported network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

SIDE = 16

# Only torch and scikit-learn: nothing here moves with the package's inside.
_MODULE = '''
import torch
from sklearn.datasets import load_digits
from torch import nn

IMAGES, LABELS = (torch.from_numpy(values) for values in load_digits(return_X_y=True))
IMAGES, LABELS = IMAGES.to(torch.float32).reshape(-1, 1, 8, 8) / 16, LABELS.to(torch.int64)


def _trained(model):
    optimizer = torch.optim.SGD(model.parameters(), 0.2)
    for start in range(0, 600, 50):
        optimizer.zero_grad()
        outputs = model(IMAGES[start : start + 50])
        nn.functional.cross_entropy(outputs, LABELS[start : start + 50]).backward()
        optimizer.step()
    return model.eval()


def digits_network():
    torch.manual_seed(0)
    return _trained(
        nn.Sequential(
            nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(),
            nn.Linear(12, 10),
        )
    )


def digits_cnn():
    torch.manual_seed(0)
    return _trained(
        nn.Sequential(
            nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(54, 12),
            nn.ReLU(), nn.Linear(12, 10),
        )
    )


class Branched(nn.Module):
    """Batch norm, a shortcut, a gate, a concatenation, pools; some of it functional."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.squeeze = nn.Conv2d(8, 8, 1)
        self.left, self.right = nn.Conv2d(8, 6, 1), nn.Conv2d(8, 6, 3, stride=2, padding=1)
        self.head = nn.Linear(12, 3)
        with torch.no_grad():
            self.norm.weight.copy_(torch.linspace(-1, 1.5, 8))
            self.norm.running_mean.copy_(torch.linspace(-0.2, 0.2, 8))

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        y = torch.relu(self.depthwise(x))
        y = y * torch.sigmoid(self.squeeze(nn.functional.adaptive_avg_pool2d(y, 1)))
        y = nn.functional.relu(y + x)
        left = nn.functional.max_pool2d(nn.functional.silu(self.left(y)), 2)
        y = torch.cat([left, nn.functional.gelu(self.right(y))], 1)
        return self.head(torch.flatten(nn.functional.adaptive_avg_pool2d(y, 1), 1))


def branched():
    torch.manual_seed(0)
    return Branched().eval()


def studied():
    from cofire.study import fcnn

    return fcnn(64, (12, 12), 10)


def train():
    return IMAGES[:600], LABELS[:600]


def held_out():
    return IMAGES[600:800], LABELS[600:800]


def test():
    return IMAGES[800:1100], LABELS[800:1100]


def floats():
    return IMAGES[:50], LABELS[:50].to(torch.float32)


def with_nan():
    images = IMAGES[:50].clone()
    images[3, 0, 2, 2] = float("nan")
    return images, LABELS[:50]


def number():
    return 7


def broken():
    raise RuntimeError("no such luck")
'''

_SMALL = """data = "digits-mixed"
hidden = [10]
epochs = 1
checkpoints = 1
optimizer = "sgd"
learning_rate = 0.1
range = "zero-to-max"
pairs = "union"
top = 3
bins = 10
"""


def build(folder: Path) -> Path:
    """Write everything that the commands read."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mine.py").write_text(_MODULE, encoding="utf-8")
    (folder / "names.txt").write_text("red\ngreen\nblue\n", encoding="utf-8")
    (folder / "two.txt").write_text("red\ngreen\n", encoding="utf-8")
    (folder / "empty").mkdir()
    (folder / "bad.json").write_text("{", encoding="utf-8")
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n not an image")
    (folder / "small.toml").write_text(_SMALL, encoding="utf-8")
    (folder / "bad.toml").write_text("epochs = [", encoding="utf-8")
    (folder / "unknown.toml").write_text('data = "digits"\nepoch = 3\n', encoding="utf-8")
    _images(folder, 12)
    for seed, name in enumerate(("net.pt2", "other.pt2")):
        program = torch.export.export(
            colour_network(seed),
            (torch.zeros(2, 3, SIDE, SIDE),),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
        torch.export.save(program, folder / name)
    return folder


def colour_network(seed: int) -> nn.Module:
    """Tells red, green and blue squares apart; the seed draws what is noise among its weights."""
    torch.manual_seed(3 + seed)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 6, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    ).eval()
    with torch.no_grad():
        for at in (0, 3):
            model[at].weight.mul_(0.3)
            model[at].bias.zero_()
        for colour in range(3):
            model[0].weight[colour, colour, 1, 1] += 1.0
            model[3].weight[colour, colour, 1, 1] += 1.0
            model[7].weight[colour, colour] += 4.0
    return model


def _images(folder: Path, count: int) -> None:
    """Coloured squares on grey: in one folder with the list of their boxes, and by class."""
    draw = np.random.default_rng(0)
    (folder / "images").mkdir()
    boxes = []
    for number in range(count):
        label, (left, top) = number % 3, draw.integers(0, 9, 2).tolist()
        side = int(draw.integers(4, 8))
        pixels = draw.integers(90, 140, (SIDE, SIDE, 3), dtype=np.uint8)
        pixels[top : top + side, left : left + side] = 60
        pixels[top : top + side, left : left + side, label] = 250
        name = f"{number:03d}.png"
        image = Image.fromarray(pixels)
        image.save(folder / "images" / name)
        by_class = folder / "by_class" / ("red", "green", "blue")[label]
        by_class.mkdir(parents=True, exist_ok=True)
        image.save(by_class / name)
        box = [left, top, left + side, top + side]
        boxes.append({"file": name, "label": label, "size": [SIDE, SIDE], "boxes": [box]})
    (folder / "boxes.json").write_text(json.dumps(boxes), encoding="utf-8")
