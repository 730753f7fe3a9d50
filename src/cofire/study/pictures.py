"""What neurons fire for, as rows of a trajectory: the most and the least selective ones of a layer, in pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from cofire.activations import ActivationSummary, LayerSummary
from cofire.errors import CofireError
from cofire.images.pictures import encoded, neuron_pictures
from cofire.network import Network
from cofire.study.tables import TABLES, WITHOUT

LAYERS = 2
"""The last so many layers."""
CLASSES, BROAD = 10, 3
"""So many classes have a neuron each, and so many of the least selective neurons are shown."""
SIDE = 64
"""Pixels of a picture, of 3 kB at the most."""
OF_NEURON = 9
"""Pictures of a neuron at the most: a page has 618 at the most, and 2 MB of them."""
VERTICES, OF_VERTEX, VERTEX_SIDE = 48, 4, 40
"""So many vertices of a layer's graph have pictures, how many of each, and how large: they are small beside a dot."""
RARE = 0.01
"""Share of observations below which a neuron is selective by accident."""


def picture_tables(
    network: Network,
    data: Any,
    summary: ActivationSummary,
    moment: Mapping[str, Any],
    *,
    images: bool = True,
) -> dict[str, pa.Table]:
    """The table `pictures` of one checkpoint.

    Results of hours do not fail for what is shown beside them: of a layer without pictures the
    table's metadata says why (see `left_out`).

    Args:
        network: At the checkpoint.
        data: What the summary is of.
        summary: With `top_samples`.
        moment: The checkpoint's number, epoch and step.
        images: Whether pictures are kept, or the numbers of samples alone.
    """
    rows: list[dict[str, Any]] = []
    reasons: dict[str, str] = {}
    first = max(0, len(summary.layers) - LAYERS)
    for index, layer in list(enumerate(summary.layers))[first:]:
        chosen = list(_chosen(layer))
        place = {**moment, "layer_index": index, "layer": layer.layer.name}
        try:
            pictures = (
                neuron_pictures(
                    network,
                    data,
                    layer.layer,
                    layer.top_samples(),
                    list({neuron for neuron, _, _ in chosen}),
                    unit=summary.options.unit,
                    most=OF_NEURON,
                    num_classes=max(
                        (network.num_classes, *(n + 1 for n in summary.options.classes))
                    ),
                )
                if chosen
                else {}
            )
        except Exception as error:
            known = isinstance(error, CofireError)
            why = str(error) if known else f"{type(error).__name__}: {error}"
            reasons[f"{WITHOUT}{moment['checkpoint']} {layer.layer.name}"] = why
            continue
        for neuron, role, value in chosen:
            told: dict[str, Any] = {"neuron": neuron, "role": role, "value": value}
            told["class"] = int(layer.preferred_class()[neuron]) if role == "selective" else None
            few = role == "graph"
            for rank, one in enumerate(pictures[neuron][: OF_VERTEX if few else None]):
                shown = encoded(one.crop, VERTEX_SIDE if few else SIDE) if images else None
                seen: dict[str, Any] = {"rank": rank, "sample": one.sample, "label": one.label}
                seen |= {"activation": one.activation, "shown": list(one.crop.size), "image": shown}
                rows.append({**place, **told, **seen})
    found = TABLES["pictures"].table(rows)
    return {"pictures": found.replace_schema_metadata(reasons or None)}


def left_out(pictures: pa.Table, checkpoint: int) -> dict[str, str]:
    """The layers of a checkpoint of which there are no pictures, and why."""
    said = {key.decode(): why.decode() for key, why in (pictures.schema.metadata or {}).items()}
    of = f"{WITHOUT}{checkpoint} "
    return {key.removeprefix(of): why for key, why in said.items() if key.startswith(of)}


def _chosen(layer: LayerSummary) -> Iterator[tuple[int, str, float]]:
    """Neurons of a layer with why they are shown, and the selectivity."""
    if len(layer.statistics.samples) < 2:
        return
    selectivity, best = layer.selectivity(), layer.preferred_class()
    often = ((layer.probability() >= RARE) & ~layer.dead() & selectivity.isfinite()).tolist()
    order = [n for n in selectivity.argsort(descending=True, stable=True).tolist() if often[n]]
    classes: set[int] = set()
    for neuron in order:
        if (own := int(best[neuron])) not in classes and len(classes) < CLASSES:
            classes.add(own)
            yield neuron, "selective", float(selectivity[neuron])
    for neuron in order[: -BROAD - 1 : -1] if len(order) > 2 * BROAD else ():
        yield neuron, "broad", float(selectivity[neuron])
    if layer.cofiring is not None:
        ranked = layer.cofiring.representatives.T.flatten().tolist()
        for neuron in list(dict.fromkeys(ranked))[:VERTICES]:
            yield neuron, "graph", float(selectivity[neuron])
