"""A small network on small photos, and hand-made results for what shows them."""

import torch
from torch import nn

from cofire.evaluate.results import (
    COMPARISONS,
    AttackCase,
    AttackedImage,
    MethodShift,
    NetworkCase,
    NetworkRow,
    Robustness,
    TwoNetworks,
)
from cofire.explain import Explanation
from cofire.images.preparation import Preparation
from cofire.network import Network

SIZE = 12
PREPARATION = Preparation((3, SIZE, SIZE), 0, (0.5, 0.4, 0.3), (0.5, 0.25, 0.2))


def small_network(seed=0, classes=4):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 16, classes),
    )
    return Network(model, torch.zeros(1, 3, SIZE, SIZE))


def small_photos(count=5, seed=1):
    """Inputs as the preparation makes them, and the images they are made of."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, SIZE, SIZE, 3), generator=generator, dtype=torch.uint8)
    mean, std = (
        torch.tensor(values)[:, None, None] for values in (PREPARATION.mean, PREPARATION.std)
    )
    return (images.permute(0, 3, 1, 2).float() / 255 - mean) / std, images


def small_boxes(count=5):
    return [
        torch.tensor([[2.0, 2.0, 9.0, 8.0]]) if at % 2 == 0 else torch.zeros(0, 4)
        for at in range(count)
    ]


def mapped(place=4, target=1, method="gradcam"):
    """One image whose evidence lies around one place on the diagonal; nowhere for -1."""
    maps = torch.zeros(1, SIZE, SIZE)
    if place >= 0:
        maps[0, place, place], maps[0, place - 1, place] = 1.0, 0.5
    return Explanation(
        method=method,
        options={"target_layer": "conv"},
        target=torch.tensor([[target]]),
        probability=torch.tensor([[0.6]]),
        predicted=torch.tensor([target]),
        confidence=torch.tensor([0.6]),
        input_shape=(3, SIZE, SIZE),
        sites=(),
        neurons=None,
        maps=maps,
        images=torch.full((1, SIZE, SIZE, 3), 90, dtype=torch.uint8),
    )


def attacked(fooled=True, label=1, levels=0.25, file="a.jpg", covered=None):
    return AttackedImage(
        file=file,
        label=label,
        before=1,
        after=2,
        noisy=1,
        confidence=0.9,
        confidence_after=0.5,
        kept=0.4,
        kept_noisy=0.89,
        norm=0.75,
        levels=levels,
        rounded=None if levels is None else False,
        steps=3,
        fooled=fooled,
        covered=covered,
    )


def small_robustness(
    methods=("gradcam", "gradcam++"), names=("ant", "bee", "<cat>"), images=3, *, boxes=True
):
    far = {"noise": 0.01, "attack": 0.04, "decision": 0.2, "classes": 0.2}
    # Of the class that the attacked image is taken for less of the map lies in the box.
    inside = {which: 0.25 if which == "decision" else 0.5 for which in COMPARISONS}
    before = 0.5 if boxes else None
    shifts = tuple(
        MethodShift(
            image,
            method,
            which,
            far[which] + 0.001 * image,
            1 - far[which],
            1 - far[which],
            before,
            inside[which] if boxes else None,
        )
        for image in range(images)
        for method in methods
        for which in COMPARISONS
    )
    shown = torch.full((SIZE, SIZE, 3), 90, dtype=torch.uint8).numpy()
    own = {method: (mapped(4), mapped(4), mapped(5), mapped(7, target=2)) for method in methods}
    cases = tuple(
        AttackCase(
            image, (shown, shown, shown), shown, 50, own, small_boxes()[0] if boxes else None
        )
        for image in range(images)
    )
    return Robustness(
        methods=tuple(methods),
        images=(
            *(attacked(file=f"{at}.jpg", covered=0.2 if boxes else None) for at in range(images)),
            attacked(fooled=False, file="no.jpg"),
        ),
        shifts=shifts,
        classes=dict(enumerate(names)) if names else {},
        options={"classes": 10, "overshoot": 0.02, "steps": 50, "seed": 0, "bounded": True},
        cases=cases,
    )


def network_row(predicted=(1, 1), label=1, overlap=0.5, inside=(0.5, 0.75), covered=0.25):
    return NetworkRow(
        file="a.jpg",
        label=label,
        predicted=predicted,
        confidence=(0.9, 0.8),
        probability=(0.4, 0.3),
        overlap=overlap,
        overlap_of_truth=overlap,
        inside=inside,
        inside_of_truth=inside,
        covered=covered,
    )


def small_comparison(names=("ant", "bee", "<cat>"), *, boxes=True):
    without = {} if boxes else {"inside": (None, None), "covered": None}
    rows = (
        network_row(**without),
        network_row((1, 1), overlap=0.75, **without),
        network_row((1, 2), overlap=0.25, **without),
        network_row((0, 1), overlap=0.0, **without),
        network_row((0, 2), overlap=None, **without),
    )
    drawn = torch.tensor([[1.0, 1.0, 9.0, 9.0]]) if boxes else None
    cases = tuple(
        NetworkCase(at, ((mapped(4), mapped(5)), (mapped(7), mapped(-1))), drawn) for at in (3, 2)
    )
    return TwoNetworks(
        networks=("Small", "Other"),
        method="gradcam",
        rows=rows,
        classes=dict(enumerate(names)) if names else {},
        options={"area": 0.2, "seed": 0, "method": {}},
        cases=cases,
    )
