"""Explanations made by hand, whose numbers are known."""

import torch

from cofire.explain.result.explanation import Explanation
from cofire.explain.result.neurons import Neurons, Site

NAMES = tuple(f"class {i}" for i in range(10))


def whole(*values):
    return torch.tensor(values, dtype=torch.int32)


def table(rows, links=()):
    """Of rows (site, image, channel, y, x, score) in order, and links (child, parent, share)."""
    columns = list(zip(*rows, strict=True)) or [()] * 6
    ends = list(zip(*links, strict=True)) or [()] * 3
    site, image, channel, y, x = (whole(*column) for column in columns[:5])
    score, share = torch.tensor(columns[5]).float(), torch.tensor(ends[2]).float()
    return Neurons(image, site, channel, y, x, score, whole(*ends[0]), whole(*ends[1]), share)


def explanation(
    neurons, sites, shown, *, input_shape=None, maps=None, method="discernible", **parts
):
    images = len(shown)
    given = {
        "method": method,
        "options": {"alpha": [1.0, 0.5], "k": 1},
        "target": torch.full((images, 1), 1),
        "probability": torch.full((images, 1), 0.75),
        "predicted": torch.full((images,), 1),
        "confidence": torch.full((images,), 0.75),
        "input_shape": input_shape or sites[0].shape,
        "sites": sites,
        "neurons": neurons,
        "maps": maps,
        "images": shown,
    }
    return Explanation(**{**given, **parts})


TOY_SITES = (
    Site("input", "input", (2, 4, 6), 0),
    Site("conv.relu", "activation", (3, 2, 3), 0),
    Site("classes", "classes", (5,), 0),
)


def toy():
    """Two images of 4 × 6 pixels with two channels. Of image 0 three pixels are known, of image 1 one.

    Image 0: class 1 hands 0.75 to (0, 0, 0) and 0.25 to (2, 1, 2) of the layer. The first hands 0.5
        to pixel (0, 0),
    at both channels, and 0.25 to (1, 1); the second hands 0.125 to (1, 1) and 0.125 to (3, 5).
    """
    rows = [
        (2, 0, 1, 0, 0, 1.0),  # 0
        (2, 1, 1, 0, 0, 1.0),  # 1
        (1, 0, 0, 0, 0, 0.75),  # 2
        (1, 0, 2, 1, 2, 0.25),  # 3
        (1, 1, 1, 1, 1, 1.0),  # 4
        (0, 0, 0, 0, 0, 0.375),  # 5
        (0, 0, 0, 1, 1, 0.375),  # 6
        (0, 0, 1, 0, 0, 0.125),  # 7
        (0, 0, 1, 3, 5, 0.125),  # 8
        (0, 1, 0, 2, 2, 1.0),  # 9
    ]
    links = [
        (2, 0, 0.75),
        (3, 0, 0.25),
        (4, 1, 1.0),
        (5, 2, 0.375),
        (7, 2, 0.125),
        (6, 2, 0.25),
        (6, 3, 0.125),
        (8, 3, 0.125),
        (9, 4, 1.0),
    ]
    shown = (torch.arange(2 * 4 * 6 * 3) % 251).to(torch.uint8).reshape(2, 4, 6, 3)
    return explanation(table(rows, links), TOY_SITES, shown)


def pixels(*places, size=(40, 30), **parts):
    """One image with evidence at some pixels (y, x), the same everywhere, straight from the classes."""
    height, width = size
    sites = (Site("input", "input", (1, height, width), 0), Site("classes", "classes", (5,), 0))
    share = 1 / max(len(places), 1)
    rows = [(1, 0, 1, 0, 0, 1.0)] + [(0, 0, 0, y, x, share) for y, x in sorted(places)]
    links = [(row, 0, share) for row in range(1, len(rows))]
    return explanation(
        table(rows, links), sites, torch.full((1, height, width, 3), 90, dtype=torch.uint8), **parts
    )


def camera(images=2, size=(40, 30)):
    """Maps: a ramp, and nothing at all."""
    height, width = size
    maps = torch.zeros(images, height, width)
    maps[0, 10:20, 5:25] = torch.linspace(0.1, 2.0, 20)
    return explanation(
        None,
        (),
        torch.full((images, height, width, 3), 120, dtype=torch.uint8),
        input_shape=(3, height, width),
        maps=maps,
        method="gradcam++",
        options={"target_layer": "features.29"},
    )


def vectors():
    """A fully connected network on 6 features, of which two carried the decision."""
    sites = (
        Site("input", "input", (6,), 0),
        Site("0.relu", "activation", (4,), 0),
        Site("classes", "classes", (3,), 0),
    )
    rows = [
        (2, 0, 1, 0, 0, 1.0),
        (1, 0, 3, 0, 0, 1.0),
        (0, 0, 2, 0, 0, 0.25),
        (0, 0, 5, 0, 0, 0.75),
    ]
    shown = torch.linspace(0, 255, 6).to(torch.uint8)[None, None, :, None].repeat(1, 1, 1, 3)
    return explanation(table(rows, [(1, 0, 1.0), (2, 1, 0.25), (3, 1, 0.75)]), sites, shown)


def photos(shown, points=300, seed=0):
    """A consistent tracing of random neurons in clusters, 6 sites, (images, 224, 224, 3) images."""
    generator = torch.Generator().manual_seed(seed)
    sites = (
        Site("input", "input", (3, 224, 224), 0),
        Site("features.1", "activation", (64, 224, 224), 0),
        Site("features.9", "activation", (128, 56, 56), 0),
        Site("features.22", "activation", (512, 14, 14), 0),
        Site("classifier.4", "activation", (4096,), 0),
        Site("classes", "classes", (1000,), 0),
    )
    counts = (points, points, 120, 40, 30, 1)
    images = len(shown)
    found = {}
    for image in range(images):
        centre = torch.rand(2, generator=generator) * 0.4 + 0.3
        for at, (site, count) in enumerate(zip(sites, counts, strict=True)):
            height, width = site.grid
            spread = (
                torch.randn(count * 3, 2, generator=generator) * torch.tensor([0.13, 0.16]) + centre
            )
            lost = torch.rand(count * 3, 1, generator=generator) < 0.05
            place = torch.where(lost, torch.rand(count * 3, 2, generator=generator), spread).clamp(
                0, 0.999
            )
            channel = torch.randint(min(site.channels, 25), (count * 3,), generator=generator)
            if site.kind == "classes":
                channel[:] = 207 + image
            index = (
                channel * height * width
                + (place[:, 0] * height).long() * width
                + (place[:, 1] * width).long()
            )
            found[at, image] = index.unique()[
                torch.randperm(len(index.unique()), generator=generator)
            ][:count]
    order = [(at, image) for at in reversed(range(len(sites))) for image in range(images)]
    start, rows = {}, []
    for at, image in order:
        start[at, image] = len(rows)
        index = found[at, image] = found[at, image].sort().values
        height, width = sites[at].grid
        for i in index.tolist():
            rows.append([at, image, i // (height * width), i // width % height, i % width, 0.0])
    links = []
    for at, image in order:
        first, count = start[at, image], len(found[at, image])
        if at == len(sites) - 1:
            rows[first][5] = 1.0
            continue
        above, parents = start[at + 1, image], len(found[at + 1, image])
        weight = torch.rand(count, generator=generator) ** 4 + 0.01
        owner = torch.cat(
            [torch.arange(parents), torch.randint(parents, (count,), generator=generator)]
        )[:count]
        for parent in range(parents):
            mine = torch.nonzero(owner == parent).flatten()
            for child in mine.tolist():
                share = rows[above + parent][5] * float(weight[child] / weight[mine].sum())
                rows[first + child][5] += share
                links.append((first + child, above + parent, share))
    target = torch.arange(images)[:, None] + 207
    probability = torch.linspace(0.9734, 0.21, images)[:, None]
    predicted = torch.where(probability[:, 0] > 0.5, target[:, 0], 3)
    confidence = torch.where(probability[:, 0] > 0.5, probability[:, 0], 0.41)
    return explanation(
        table(rows, links),
        sites,
        shown,
        target=target,
        probability=probability,
        predicted=predicted,
        confidence=confidence,
    )
