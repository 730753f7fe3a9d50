"""Hand-made results for pages: explained images, options learnt, and how they were made."""

from dataclasses import replace

import numpy as np
import torch

from cofire.evaluate.bandit import ucb1
from cofire.evaluate.tuned import Learned, Score, Tuned
from cofire.explain import Explanation, Neurons, Site
from cofire.explain.result.layer_maps import LayerMaps
from cofire.explain.result.regions import Regions, regions_of
from cofire.report.pages import Explained, Setup, shown, write_explanations
from cofire.statistics import Interval

EVIL = '</script><img src=x onerror=window.evil=1>"&'
NAMES = ["ant", EVIL, "cat with a name that does not end soon and does not care for narrow screens"]
SIDE = 32
SETUP = Setup(
    "torchvision:squeezenet1_0",
    "a/very/long/path/" * 8,
    "x − 0.5",
    f"cofire explain {EVIL}",
    "0.1",
)


def common(target, predicted=0):
    image = torch.arange(SIDE * SIDE * 3).remainder(251).reshape(1, SIDE, SIDE, 3).to(torch.uint8)
    return {
        "target": torch.tensor([[target]]),
        "probability": torch.tensor([[0.75 if target == predicted else 0.2]]),
        "predicted": torch.tensor([predicted]),
        "confidence": torch.tensor([0.75]),
        "input_shape": (3, SIDE, SIDE),
        "images": image,
    }


def traced(target=0, *, carried=True, score=0.0625, points=9, method="discernible"):
    """Evidence in a block of 3 × 3 pixels, through one layer of 8 × 8 positions."""
    at = torch.arange(points, dtype=torch.int32)
    none = torch.zeros(points, dtype=torch.int32)
    one = torch.zeros(1, dtype=torch.int32)
    share = 1.0 if not carried else score
    neurons = Neurons(
        image=torch.cat([one, none, none]),
        site=torch.cat([one + 2, none + 1, none]),
        channel=torch.cat([one + target, at % 4, none]),
        y=torch.cat([one, at // 3 % 6 + 2, at // 3 % 20 + 10]),
        x=torch.cat([one, at % 3 + 2, at % 3 + 12]),
        score=torch.cat(
            [torch.ones(1), torch.full((points,), share), torch.full((points,), share)]
        ),
        child=torch.cat([at + 1, at + 1 + points]),
        parent=torch.cat([none, at + 1]),
        share=torch.full((2 * points,), share),
    )
    sites = (
        Site("input", "input", (3, SIDE, SIDE), 0),
        Site("features.relu", "activation", (4, 8, 8), 0),
        Site("classes", "classes", (3,), 0),
    )
    options = {"k": 5, "n": 1, "most": 500, "carried": carried}
    return Explanation(
        method=method, options=options, sites=sites, neurons=neurons, maps=None, **common(target)
    )


def layered(target=0, **options):
    """The same, with a layer whose evidence lies elsewhere."""
    values = torch.zeros(1, 8, 8)
    values[0, 4:6, 2:5] = 1
    parts = {name: getattr(traced(target), name) for name in Explanation.__dataclass_fields__}
    parts |= {
        "options": parts["options"] | {"contrast": 0.7},
        "regions": regions_of(options, "layers")[0],
    }
    return Explanation(**parts | {"layer_maps": LayerMaps(("features.relu",), (values,))})


def mapped(target=0, largest=2.0):
    maps = torch.zeros(1, SIDE, SIDE)
    maps[0, 4:12, 8:20] = largest
    options = {"target_layer": "features.relu"}
    return Explanation(
        method="gradcam++", options=options, sites=(), neurons=None, maps=maps, **common(target)
    )


def explained(name="a.png", rows=None):
    rows = rows or ((traced(), traced(carried=False, method="cnn-fixations"), mapped()),)
    return Explained(
        f"images/{name}", name, name.split(".")[0], (64, 32), (16.0, 0.0, 48.0, 32.0), rows
    )


def written(path, *images, names=NAMES, count=None):
    pages = [shown(image, names, len(images)) for image in images]
    return write_explanations(path, pages, images[0], SETUP, explained=count or len(images))


def learned(name, values, chances, start, *, exact=False, alike=False, trials=200):
    table = (np.random.default_rng(3).random((trials, len(values))) < np.array(chances)).astype(
        float
    )
    if alike:
        table[:] = table[:, :1]
    names = [str(value) for value in values]
    run = ucb1(names, table if exact or alike else lambda arm, trial: table[trial, arm], trials)
    chosen = start if alike else values[run.arm]
    return Learned(
        name, values, start, chosen, "pointing" if name == "sigma" else "iou", alike, run
    )


def tuned(gain=(0.12, 0.04, 0.2), **changes):
    found = Tuned(
        method="discernible",
        options={"alpha": [1.0, 0.0, 1.0], "k": 5},
        regions=Regions(sigma=0.05),
        network="a",
        architecture="b",
        images=140,
        without_box=3,
        least_iou=0.5,
        seed=0,
        learned=(
            learned("current", (0.0, 0.5, 1.0), (0.1, 0.3, 0.6), 1.0),
            learned("succeeding", (0.5, 1.0), (0.5, 0.5), 1.0, alike=True),
            learned("k", (1, 5, None), (0.2, 0.7, 0.4), 10, exact=True),
            learned("sigma", (0.05, 0.1), (0.9, 0.8), 0.1),
        ),
        before=Score(0.4, 0.38, 0.8),
        after=Score(0.5, 0.5, 0.85),
        gain=Interval(*gain, 140),
        setup={
            "model": "</script><img src=x onerror=window.evil=1>",
            "command": "cofire tune images",
        },
    )
    return replace(found, **changes)
