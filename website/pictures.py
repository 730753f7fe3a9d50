"""Small pictures of what a measure sees, drawn with cofire from a few numbers; they follow the page's colours."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cofire import functional
from cofire.patterns import class_selectivity, mutual_information
from cofire.statistics import verdict
from cofire.study import correlate

PICTURES: dict[str, Callable[[], str]] = {}


def svg(name: str) -> str:
    """The picture of a concept as SVG, to stand in a page of Markdown."""
    return PICTURES[name]()


def _picture(draw: Callable[[], tuple[int, str, str]]) -> Callable[[], tuple[int, str, str]]:
    """Makes a function that gives height, parts and description a picture of its name."""

    def made() -> str:
        height, parts, words = draw()
        told = html.escape(words, quote=True)
        return (
            f'<svg class="concept" viewBox="0 0 520 {height}" role="img" aria-label="{told}">'
            f"{parts}</svg>\n\n*{words}*"
        )

    PICTURES[draw.__name__] = made
    return draw


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{html.escape(words)}</text>'


def _box(x: float, y: float, width: float, height: float, kind: str = "a") -> str:
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
    )


def _line(x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<line class="line" x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}"/>'


def _dot(x: float, y: float, radius: float, kind: str = "a") -> str:
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>'


def _bars(
    x: float, heights: Sequence[float], width: float, kind: str = "a", base: float = 110
) -> str:
    step = width / len(heights)
    most = max(heights) or 1
    bars = (
        _box(x + i * step, base - 80 * h / most, step * 0.85, 80 * h / most, kind)
        for i, h in enumerate(heights)
    )
    return "".join(bars) + _line(x, base, x + width, base)


def _raster(x: float, y: float, fires: Tensor, kind: str = "a", cell: float = 9) -> str:
    return "".join(
        _box(x + column * cell, y + row * 16, cell - 1, 13, kind if on else "faint")
        for row, line in enumerate(fires.tolist())
        for column, on in enumerate(line)
    )


@_picture
def entropy() -> tuple[int, str, str]:
    generator = torch.Generator().manual_seed(0)
    wide = torch.rand(400, generator=generator) + 0.01
    narrow = torch.rand(400, generator=generator) ** 12 + 0.01
    of = functional.activation_entropy(torch.stack([wide, narrow], 1), bins=20).tolist()
    parts = "".join(
        _bars(x, torch.histc(values, 20).tolist(), 200, kind) + _text(x, 132, f"{e:.2f} nats")
        for x, values, kind, e in ((10, wide, "a", of[0]), (290, narrow, "b", of[1]))
    )
    return (
        140,
        parts,
        (
            "Histograms of the activations of two neurons over 20 bins: one that can give anything, one that "
            "nearly always gives the same."
        ),
    )


@_picture
def activity() -> tuple[int, str, str]:
    generator = torch.Generator().manual_seed(1)
    shares = (0.0, 0.1, 0.5, 1.0)
    fires = torch.stack([torch.rand(40, generator=generator) < share for share in shares])
    words = [
        f"{'dead' if s == 0 else 'always active' if s == 1 else f'{fires[i].float().mean():.0%}'}"
        for i, s in enumerate(shares)
    ]
    parts = _raster(10, 10, fires) + "".join(
        _text(380, 21 + 16 * i, w) for i, w in enumerate(words)
    )
    return (
        84,
        parts,
        "Four neurons (rows) on 40 samples (columns): a cell is filled where the neuron fires.",
    )


@_picture
def selectivity() -> tuple[int, str, str]:
    means = torch.tensor([[0.1, 0.4], [0.1, 0.5], [1.2, 0.6], [0.2, 0.5]])
    of = class_selectivity(means).tolist()
    parts = "".join(
        _bars(x, means[:, i].tolist(), 160, kind) + _text(x, 132, f"selectivity {of[i]:.2f}")
        for i, (x, kind) in enumerate(((10, "a"), (290, "b")))
    )
    return (
        140,
        parts,
        "Mean activation on four classes of two neurons: one that prefers the third, one that prefers none.",
    )


@_picture
def information() -> tuple[int, str, str]:
    labels = torch.arange(2).repeat_interleave(20)
    generator = torch.Generator().manual_seed(2)
    knows = torch.rand(40, generator=generator) < torch.tensor([0.05, 0.95])[labels]
    idle = torch.rand(40, generator=generator) < 0.5
    fires = torch.stack([knows, idle])
    probability = torch.stack([fires[:, labels == c].double().mean(1) for c in (0, 1)])
    bits = mutual_information(probability, torch.tensor([20, 20])).tolist()
    parts = _raster(10, 24, fires) + _text(10, 16, "class 0") + _text(190, 16, "class 1")
    parts += "".join(_text(380, 35 + 16 * i, f"{b:.2f} bits") for i, b in enumerate(bits))
    return (
        66,
        parts,
        "Two neurons on 20 samples of each of two classes: one whose firing tells the class, one whose firing does not.",
    )


def _two_classes() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    classes = torch.arange(2).repeat_interleave(6)
    joined = torch.rand(12, 12, generator=generator) < torch.where(
        classes[:, None] == classes, torch.tensor(0.75), torch.tensor(0.08)
    )
    return torch.triu(joined, 1).double() + torch.triu(joined, 1).double().T, classes


def _net(adjacency: Tensor, classes: Tensor) -> str:
    angle = torch.arange(12) % 6 * torch.pi / 3
    x = torch.where(classes == 0, 130.0, 380.0) + 70 * angle.cos()
    y = 90 + 62 * angle.sin()
    lines = "".join(
        _line(float(x[i]), float(y[i]), float(x[j]), float(y[j]))
        for i, j in torch.triu(adjacency).nonzero().tolist()
    )
    return lines + "".join(
        _dot(float(x[i]), float(y[i]), 4 + float(adjacency[i].sum()), "ab"[int(classes[i])])
        for i in range(12)
    )


@_picture
def graph() -> tuple[int, str, str]:
    adjacency, classes = _two_classes()
    return (
        185,
        _net(adjacency, classes),
        (
            "Representatives of two classes. A line joins two that exceed their own class mean in the same "
            "samples; a dot is as large as its lines are many."
        ),
    )


@_picture
def modularity() -> tuple[int, str, str]:
    adjacency, classes = _two_classes()
    shuffled = classes[torch.randperm(12, generator=torch.Generator().manual_seed(0))]
    q = functional.modularity(adjacency, classes), functional.modularity(adjacency, shuffled)
    parts = _net(adjacency, classes)
    return (
        185,
        parts,
        f"The classes of this graph as communities: Q = {q[0]:.2f}. The same graph with the colours dealt anew: Q = {q[1]:.2f}.",
    )


@_picture
def roles() -> tuple[int, str, str]:
    adjacency, classes = _two_classes()
    spread = functional.participation_coefficient(adjacency, classes)
    parts = _net(adjacency, classes)
    most = int(spread.argmax())
    return (
        185,
        parts,
        (
            f"Participation of these neurons lies between {float(spread.min()):.2f}, all partners of one class, and "
            f"{float(spread[most]):.2f}, of the neuron with the largest part of its lines to the other class."
        ),
    )


@_picture
def boosters() -> tuple[int, str, str]:
    fires = torch.tensor([[1, 1, 0, 0, 1, 0, 1, 0]])
    probability = torch.tensor(
        [[0.9, 0.8, 0.1, 0.2, 0.7, 0.1, 0.9, 0.3], [0.2, 0.3, 0.8, 0.9, 0.4, 0.7, 0.1, 0.6]]
    )
    parts = _raster(10, 8, fires.bool(), cell=22) + _text(
        200, 19, "which neurons fire for this image"
    )
    for row, (values, kind) in enumerate(zip(probability, "ab", strict=True)):
        for i, p in enumerate(values.tolist()):
            parts += _box(10 + 22 * i, 90 + 60 * row - 45 * p, 18, 45 * p, kind)
        total = float((values * fires[0]).sum())
        parts += _text(
            200, 85 + 60 * row, f"how often for class {row}; of those that fire: {total:.1f}"
        )
    return (
        155,
        parts,
        "The evidence of a pattern for two classes: neurons that fire count by how often they do for the class.",
    )


@_picture
def evidence() -> tuple[int, str, str]:
    columns = ((30, 5, (1, 3)), (180, 4, (0, 2)), (330, 3, (1,)), (480, 2, (0,)))
    place = [[(x, 30 + (i + 0.5) * 130 / n) for i in range(n)] for x, n, _ in columns]
    parts = ""
    for before, after, (*_, chosen), (*_, chosen_after) in zip(
        place, place[1:], columns, columns[1:], strict=False
    ):
        parts += "".join(_line(*before[i], *after[j]) for i in chosen for j in chosen_after)
    for spots, (*_, chosen) in zip(place, columns, strict=True):
        parts += "".join(
            _dot(*spot, 9, "b" if i in chosen else "faint") for i, spot in enumerate(spots)
        )
    for (x, *_), words in zip(columns, ("pixels", "layer 1", "layer 2", "classes"), strict=True):
        parts += _text(x, 16, words, "middle")
    return (
        170,
        parts,
        "From the class down to the pixels: of the inputs of a neuron, those that contributed most take over what it carries.",
    )


@_picture
def judging() -> tuple[int, str, str]:
    parts = ""
    generator = torch.Generator().manual_seed(0)
    for x, (cy, cx), words in ((10, (6, 6), "hit"), (290, (12, 3), "miss")):
        y, z = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
        heat = torch.exp(-((y - cy) ** 2 + (z - cx) ** 2) / 14) + 0.1 * torch.rand(
            16, 16, generator=generator
        )
        for i in range(16):
            for j in range(16):
                opacity = min(1.0, float(heat[i, j]))
                parts += f'<rect class="b" opacity="{opacity:.2f}" x="{x + 9 * j}" y="{10 + 9 * i}" width="9" height="9"/>'
        parts += f'<rect x="{x + 27}" y="{10 + 27}" width="72" height="63" fill="none" stroke="currentColor" stroke-width="2"/>'
        parts += _text(x + 156, 30, words)
    return 160, parts, "Pointing: does the hottest pixel of the map lie in the object's box?"


@_picture
def verdicts() -> tuple[int, str, str]:
    rows = ((0.6, 1.8), (-1.7, -0.5), (-0.35, 0.3), (-0.9, 1.2))
    middle, unit = 260, 75
    parts = _box(middle - 0.5 * unit, 5, unit, 112, "faint") + _line(middle, 5, middle, 117)
    for i, (low, high) in enumerate(rows):
        y = 20 + 27 * i
        parts += f'<line x1="{middle + low * unit}" x2="{middle + high * unit}" y1="{y}" y2="{y}" stroke="currentColor" stroke-width="3"/>'
        parts += _dot(middle + (low + high) / 2 * unit, y, 5) + _text(
            420, y + 4, verdict(low, high, 0.5)
        )
    return (
        125,
        parts,
        "Four differences with their intervals; the grey band is the margin within which two things count as equal.",
    )


@_picture
def correlation() -> tuple[int, str, str]:
    generator = torch.Generator().manual_seed(4)
    walks = torch.randn(2, 20, generator=generator).cumsum(1)
    found = correlate(walks[0].tolist(), walks[1].tolist())
    parts = ""
    for walk, colour in zip(walks, ("--md-typeset-a-color", "--md-accent-fg-color"), strict=True):
        scaled = 100 - 85 * (walk - walks.min()) / (walks.max() - walks.min())
        points = " ".join(f"{20 + 25 * i},{float(y):.1f}" for i, y in enumerate(scaled))
        parts += (
            f'<polyline points="{points}" fill="none" stroke="var({colour})" stroke-width="2.5"/>'
        )
    return (
        110,
        parts,
        (
            f"Two random walks that have nothing to do with each other: r = {found.pearson:+.2f}. As 20 independent points: "
            f"[{found.pearson_low:+.2f}, {found.pearson_high:+.2f}]; as the {found.effective:.0f} they are worth: "
            f"[{found.pearson_serial_low:+.2f}, {found.pearson_serial_high:+.2f}]."
        ),
    )
