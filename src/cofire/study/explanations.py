"""Explanations at a checkpoint: which test samples, their rows, and whether classes differ."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor

from cofire.activations.batches import Batches
from cofire.errors import CofireError
from cofire.explain import Explanation, explain
from cofire.explain.inputs import probabilities_of
from cofire.explain.result.regions import Points, heat
from cofire.network import Network
from cofire.study.tables import TABLES

RUNNERS_UP = 3
"""With how many of the most probable other classes the predicted one is compared."""


_HELD = 4
"""So many times more right predictions than are shown are held in memory, to spread those that are shown."""


@dataclass(frozen=True, eq=False)
class Case:
    """A test sample to explain.

    Attributes:
        index: Its place in the data, from 0.
        label: Its class.
        predicted: What the network takes it for.
        confidence: Softmax of the predicted class, 0 to 1.
        runners_up: The most probable other classes, in order.
        inputs: The sample itself.
    """

    index: int
    label: int
    predicted: int
    confidence: float
    runners_up: tuple[int, ...]
    inputs: Tensor

    @property
    def right(self) -> bool:
        """Whether the prediction is right."""
        return self.label == self.predicted


@dataclass(frozen=True, eq=False)
class Cases:
    """The samples to explain, and out of how many.

    Attributes:
        chosen: First those predicted right in the order of their classes, then the mistakes, the
            most confident first.
        samples: In the data.
        mistakes: Of the network on the data.
    """

    chosen: tuple[Case, ...]
    samples: int
    mistakes: int


def cases_of(network: Network, data: Any, most: int, *, batch_size: int = 256) -> Cases:
    """Choose samples in one reading of the data.

    Of those predicted right: the most confident one of each class (several where there are few
        classes), of classes
    that lie evenly over all where there are many. Of the mistakes: the most confident ones.

    Args:
        network: The classifier.
        data: What `cofire.summarize` takes.
        most: How many of each kind at the most.
        batch_size: For data that does not come in batches.

    Raises:
        DataError: See `cofire.summarize`.
    """
    right: list[Case] = []
    wrong: list[Case] = []
    samples = mistakes = 0
    for batch in Batches(data, network.num_classes, batch_size=batch_size):
        probabilities = probabilities_of(network.run(batch.inputs)).cpu()
        confidence, predicted = probabilities.max(dim=1)
        ordered = probabilities.topk(min(1 + RUNNERS_UP, network.num_classes)).indices
        labels = batch.labels.cpu()
        seen: Counter[int] = Counter()
        for at in confidence.argsort(descending=True, stable=True).tolist():
            label, taken = int(labels[at]), int(predicted[at])
            kind = label if label == taken else -1
            seen[kind] += 1
            if seen[kind] > most:
                continue
            others = tuple(other for other in ordered[at].tolist() if other != taken)[:RUNNERS_UP]
            # A copy: a view would keep the whole batch in memory.
            case = Case(
                samples + at, label, taken, float(confidence[at]), others, batch.inputs[at].clone()
            )
            (right if case.right else wrong).append(case)
        samples += len(labels)
        mistakes += int((labels != predicted).sum())
        wrong = _surest(wrong)[:most]
        right = _ranked(right)[: _HELD * most]
    return Cases((*_spread(right, most), *wrong), samples, mistakes)


def _surest(cases: list[Case]) -> list[Case]:
    return sorted(cases, key=lambda case: (-case.confidence, case.index))


def _ranked(cases: list[Case]) -> list[Case]:
    """The surest of every class, then the second of every class, and so on."""
    ranks: Counter[int] = Counter()
    ranked = []
    for case in _surest(cases):
        ranked.append((ranks[case.label], case))
        ranks[case.label] += 1
    return [case for _, case in sorted(ranked, key=lambda pair: pair[0])]


def _spread(ranked: list[Case], most: int) -> list[Case]:
    classes = len({case.label for case in ranked})
    chosen = ranked[:most]
    if classes > most:
        first = sorted(ranked[:classes], key=lambda case: case.label)
        places = torch.linspace(0, classes - 1, most).round().long().tolist()
        chosen = [first[place] for place in places]
    return sorted(chosen, key=lambda case: (case.label, case.index))


def overlap(
    first: Points, second: Points, size: tuple[int, int], pixels: int
) -> dict[str, float] | None:
    """Hold the points of two classes on one image against each other.

    Args:
        first: Of one class.
        second: Of the other.
        size: Height and width of the image.
        pixels: How many pixels of it can be points: those that are not zero.

    Returns:
        As the columns of `tracings`: `jaccard`, the pixels that are points for both classes, as a
        share of those that are for either; `jaccard_heat`, the same of the heat maps, which do not
        ask for the very same pixels (see `heat_overlap`); `jaccard_chance`, the `jaccard` to be
        expected of as many pixels drawn at random from those that can be points. None where neither
        has a point.

    Example:
        Two points each, one of them shared, on a row of 8 pixels, 4 of which are not zero:

        >>> row = torch.zeros(2, dtype=torch.int32)
        >>> one = Points(row, torch.tensor([0, 1], dtype=torch.int32), torch.tensor([0.5, 0.5]))
        >>> two = Points(row, torch.tensor([1, 2], dtype=torch.int32), torch.tensor([0.2, 0.6]))
        >>> {name: round(share, 4) for name, share in overlap(one, two, (1, 8), 4).items()}
        {'jaccard': 0.3333, 'jaccard_heat': 0.1429, 'jaccard_chance': 0.3333}
    """
    one, two = (
        set(zip(points.y.tolist(), points.x.tolist(), strict=True)) for points in (first, second)
    )
    either = one | two
    if not either:
        return None
    expected = len(one) * len(two) / max(pixels, len(either))
    shared = heat_overlap(first, second, size)
    return {
        "jaccard": len(one & two) / len(either),
        "jaccard_heat": shared / (2 - shared),
        "jaccard_chance": expected / (len(one) + len(two) - expected),
    }


def heat_overlap(first: Points, second: Points, size: tuple[int, int]) -> float:
    """How much of the evidence for two classes lies in the same places, 0 to 1: the sum of the lower of the heat maps.

    Each map counts as 1 in all, so that how much evidence arrived does not matter. 0 where one is
    empty.

    Args:
        first: Of one class.
        second: Of the other.
        size: Height and width of the image.
    """
    maps = [heat(points.y, points.x, points.score, *size).double() for points in (first, second)]
    totals = [float(values.sum()) for values in maps]
    if not all(totals):
        return 0.0
    return min(1.0, float(torch.minimum(maps[0] / totals[0], maps[1] / totals[1]).sum()))


METHOD = "discernible"


_SIDE = 224


def explanation_tables(
    network: Network, data: Any, most: int, moment: Mapping[str, Any], *, batch_size: int = 256
) -> dict[str, pa.Table]:
    """The tables `tracings` and `explanations` of one checkpoint.

    A network through which evidence cannot be traced gives one row of `tracings` that says why, and
    no error.

    Args:
        network: At the checkpoint.
        data: Test data, as `cofire.summarize` takes it.
        most: How many samples of each kind are explained, right ones and mistakes.
        moment: The checkpoint's number, epoch and step.
        batch_size: For data that does not come in batches.

    Raises:
        DataError: See `cofire.summarize`.
    """
    cases = cases_of(network, data, most, batch_size=batch_size)
    rows: list[dict[str, Any]] = []
    overlaps: list[dict[str, float]] = []
    error: str | None = None
    try:
        for case in cases.chosen:
            found, compared = _explained(network, case)
            rows += [{**moment, **row} for row in found]
            overlaps += compared
    except CofireError as refused:
        # A study that took hours does not fail for what is shown at its end; the report gives the
        # reason.
        error, rows, overlaps = str(refused), [], []
    explained = {row["index"]: row["label"] == row["predicted"] for row in rows}
    mean = {
        name: sum(one[name] for one in overlaps) / len(overlaps)
        for name in next(iter(overlaps), ())
    }
    tracing = {
        **moment,
        "method": METHOD,
        "samples": cases.samples,
        "mistakes": cases.mistakes,
        "right_explained": sum(explained.values()),
        "mistakes_explained": len(explained) - sum(explained.values()),
        "compared": len(overlaps),
        **mean,
        "error": error,
    }
    tables = {"tracings": [tracing], "explanations": rows}
    return {name: TABLES[name].table(of_table) for name, of_table in tables.items()}


def _explained(network: Network, case: Case) -> tuple[list[dict[str, Any]], list[dict[str, float]]]:
    """Rows of the predicted class and, if it is another, of the true one; and overlaps with other classes."""
    shown = [case.predicted] if case.right else [case.predicted, case.label]
    targets = [*shown, *(other for other in case.runners_up if other not in shown)]
    batch = case.inputs[None].expand(len(targets), *case.inputs.shape)
    # Points alone are kept: no need to ask layers where their evidence lies.
    found = explain(network, batch, torch.tensor(targets), METHOD, contrast=None)
    rows = [_row(case, target, found, at) for at, target in enumerate(targets[: len(shown)])]
    values = case.inputs.flatten(1).any(dim=0) if case.inputs.ndim == 3 else case.inputs != 0
    points = [found.points(at) for at in range(len(targets))]
    compared = [overlap(points[0], other, found.size, int(values.sum())) for other in points[1:]]
    return rows, [one for one in compared if one is not None]


def _row(case: Case, target: int, found: Explanation, at: int) -> dict[str, Any]:
    points = found.points(at)
    vector = len(found.input_shape) == 1
    return {
        **{name: getattr(case, name) for name in ("index", "label", "predicted", "confidence")},
        "target": target,
        "probability": float(found.probability[at, 0]),
        "shape": list(found.input_shape),
        "image": None if vector else _png(found.images[at]),
        "values": case.inputs.detach().cpu().float().tolist() if vector else None,
        **{name: getattr(points, name).tolist() for name in ("y", "x", "score")},
    }


def _png(pixels: Tensor) -> bytes:
    image = Image.fromarray(pixels.numpy())
    image.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()
