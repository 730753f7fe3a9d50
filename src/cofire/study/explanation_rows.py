"""From one checkpoint's network and test data to explanations as rows of a trajectory."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor

from cofire.errors import CofireError
from cofire.explain import Explanation, explain
from cofire.network import Network
from cofire.study.cases import Case, Cases, cases_of
from cofire.study.schemas import EXPLANATIONS_SCHEMA, TRACINGS_SCHEMA
from cofire.study.sensitivity import Overlap, mean_overlap, overlap

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
    overlaps: list[Overlap] = []
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
    tracing = {**moment, **_counts(cases, rows), **_means(overlaps), "error": error}
    return {
        "tracings": pa.Table.from_pylist([tracing], schema=TRACINGS_SCHEMA),
        "explanations": pa.Table.from_pylist(rows, schema=EXPLANATIONS_SCHEMA),
    }


def _explained(network: Network, case: Case) -> tuple[list[dict[str, Any]], list[Overlap]]:
    """Rows of the predicted class and, if it is another, of the true one; and overlaps with other classes."""
    shown = [case.predicted] if case.right else [case.predicted, case.label]
    targets = [*shown, *(other for other in case.runners_up if other not in shown)]
    batch = case.inputs[None].expand(len(targets), *case.inputs.shape)
    # Points alone are kept: no need to ask layers where their evidence lies.
    found = explain(network, batch, torch.tensor(targets), METHOD, contrast=None)
    rows = [_row(case, target, found, at) for at, target in enumerate(targets[: len(shown)])]
    pixels = _not_zero(case.inputs)
    points = [found.points(at) for at in range(len(targets))]
    compared = [overlap(points[0], other, found.size, pixels) for other in points[1:]]
    return rows, [one for one in compared if one is not None]


def _row(case: Case, target: int, found: Explanation, at: int) -> dict[str, Any]:
    points = found.points(at)
    vector = len(found.input_shape) == 1
    return {
        "index": case.index,
        "label": case.label,
        "predicted": case.predicted,
        "confidence": case.confidence,
        "target": target,
        "probability": float(found.probability[at, 0]),
        "shape": list(found.input_shape),
        "picture": None if vector else _png(found.pictures[at]),
        "values": case.inputs.detach().cpu().float().tolist() if vector else None,
        "y": points.y.tolist(),
        "x": points.x.tolist(),
        "score": points.score.tolist(),
    }


def _not_zero(inputs: Tensor) -> int:
    values = inputs.flatten(1).any(dim=0) if inputs.ndim == 3 else inputs != 0
    return int(values.sum())


def _png(picture: Tensor) -> bytes:
    image = Image.fromarray(picture.numpy())
    image.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _counts(cases: Cases, rows: list[dict[str, Any]]) -> dict[str, Any]:
    explained = {row["index"]: row["label"] == row["predicted"] for row in rows}
    return {
        "method": METHOD,
        "samples": cases.samples,
        "mistakes": cases.mistakes,
        "right_explained": sum(explained.values()),
        "mistakes_explained": len(explained) - sum(explained.values()),
    }


def _means(overlaps: list[Overlap]) -> dict[str, Any]:
    mean = mean_overlap(overlaps)
    return {
        "compared": len(overlaps),
        "jaccard": None if mean is None else mean.jaccard,
        "jaccard_heat": None if mean is None else mean.heat,
        "jaccard_chance": None if mean is None else mean.chance,
    }
