"""Real networks: do explanations tell classes apart, and do they lie on what is shown?"""

import json
import lzma

import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import load
from torch import nn
from torchvision.transforms import v2

from cofire.explain import explain
from cofire.network import Network


def overlaps(network, images, others, **options):
    """Jaccard overlap of points for the predicted class and for others, and the number of points."""
    own = explain(network, images, **options)
    jaccard, points = [], []
    for classes in others(own.predicted):
        other = explain(network, images, target=classes, **options)
        for number in range(len(images)):
            first, second = (
                set(zip(p.y.tolist(), p.x.tolist(), strict=True))
                for p in (own.points(number), other.points(number))
            )
            points.append(len(first))
            if classes[number] != own.predicted[number] and first | second:
                jaccard.append(len(first & second) / len(first | second))
    return sum(jaccard) / len(jaccard), sum(points) / len(points)


def test_points_on_digits_depend_on_the_class(shared, mnist_root):
    model = nn.Sequential(
        nn.Conv2d(1, 20, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(800, 500),
        nn.ReLU(),
        nn.Linear(500, 10),
    )
    model.load_state_dict(
        load((shared / "data" / "weights" / "cnn-mnist.safetensors").read_bytes())
    )
    digits = torchvision.datasets.MNIST(mnist_root, train=False).data[:40]
    images = ((digits.float() / 255 - 0.1307) / 0.3081)[:, None]
    network = Network(model.eval(), images[:1])
    every = [torch.full((40,), number) for number in range(10)]
    jaccard, points = overlaps(network, images, lambda _: every)
    assert points >= 20
    assert jaccard <= 0.5
    # The set form of CNN-Fixations forgets the class, as its reference does.
    assert overlaps(network, images, lambda _: every, method="cnn-fixations")[0] > 0.9


@pytest.mark.slow
def test_points_on_photos_depend_on_the_class_and_lie_in_the_boxes(shared):
    packed = shared / "data" / "weights" / "squeezenet1_0-imagenet.safetensors.xz"
    photos = shared / "data" / "imagenet_boxes"
    if not packed.exists() or not (photos / "boxes.json").exists():
        pytest.skip("no SqueezeNet or photos in the shared data")
    records = [
        record
        for record in json.loads((photos / "boxes.json").read_text())
        if record["box_area"] < 0.3
    ][:12]
    model = torchvision.models.squeezenet1_0(weights=None)
    model.load_state_dict(load(lzma.decompress(packed.read_bytes())))
    prepare = v2.Compose(
        [
            v2.CenterCrop(224),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    folder = photos / "images"
    images = torch.stack(
        [prepare(Image.open(folder / record["file"]).convert("RGB")) for record in records]
    )
    labels = torch.tensor([record["label"] for record in records])
    network = Network(model.eval(), images[:1])

    def others(predicted):
        second = network.run(images).topk(2, dim=1).indices
        return [
            torch.where(second[:, 0] == predicted, second[:, 1], second[:, 0]),
            (predicted + 500) % 1000,
        ]

    jaccard, points = overlaps(network, images, others)
    assert points >= 20
    assert jaccard <= 0.5
    hits = []
    for number, (heat, record) in enumerate(
        zip(explain(network, images, target=labels).heatmap(), records, strict=True)
    ):
        y, x = divmod(int(heat.argmax()), 224)
        hits.append(
            any(a - 1 <= x < c - 1 and b - 1 <= y < d - 1 for a, b, c, d in record["boxes"])
        )
        assert heat.max() > 0, number
    # Boxes that cover a fifth of the image on average are hit much more often than that.
    assert sum(hits) / len(hits) > 0.5
