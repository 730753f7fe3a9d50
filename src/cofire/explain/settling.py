"""Neurons that evidence reaches on several ways become one; those that carry least may end."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from cofire.compiled import compiler
from cofire.explain.flow import Flow, joined, merged, strongest


def settled(parts: list[Flow], size: int, carried: bool, most: int | None) -> tuple[Flow, Tensor]:
    """One flow out of several, in which each neuron and direction is there once.

    Args:
        parts: Evidence that came in from different operators.
        size: How many values one sample has at this node.
        carried: Whether scores of the same neuron are added; else each neuron carries 1.
        most: How many neurons of an image stay, those that carry most, and take over what the
            others carried, in proportion; None for all.

    Returns:
        The flow, sorted by image and index, with rows from 0, and for each neuron of the parts, one
        part after the other, its row in the flow, -1 where it ended.
    """
    together = parts[0] if len(parts) == 1 else joined(parts)
    if together.image.device.type != "cpu" or together.folded:
        return settled_by_definition(together, size, carried, most)
    neurons = len(together)
    key = (together.image * size + together.index) * 2 + (together.direction < 0)
    found = torch.empty(neurons, dtype=torch.int64)
    score = torch.empty(neurons, dtype=torch.float64)
    row = torch.empty(neurons, dtype=torch.int64)
    count = _settle(
        key.numpy(),
        together.score.numpy(),
        2 * size,
        carried,
        -1 if most is None else most,
        found.numpy(),
        score.numpy(),
        row.numpy(),
    )
    found, score = found[:count], score[:count]
    place = found >> 1
    image = torch.div(place, size, rounding_mode="floor")
    direction = (1 - 2 * (found & 1)).to(torch.int8)
    return Flow(image, place - image * size, direction, score, torch.arange(count)), row


def settled_by_definition(
    together: Flow, size: int, carried: bool, most: int | None
) -> tuple[Flow, Tensor]:
    """The same on any device; it defines the result."""
    flow, row = merged(together, size, carried)
    if most is not None and len(flow) > most:
        kept = strongest(flow, most)
        number = torch.where(kept, kept.cumsum(0) - 1, -1)
        images = int(flow.image.max()) + 1
        whole = flow.score.new_zeros(images).index_add_(0, flow.image, flow.score)
        flow = flow.where(kept)
        rows = torch.arange(len(flow), device=row.device)
        score = flow.score
        if carried:
            left = score.new_zeros(images).index_add_(0, flow.image, score)
            score = score * (whole / left)[flow.image]
        flow = Flow(flow.image, flow.index, flow.direction, score, rows)
        row = number[row]
    return flow, row


@compiler()
def _settle(
    key: Any, given: Any, per_image: Any, carried: Any, most: Any, found: Any, score: Any, row: Any
) -> Any:
    """Fill what is found; gives how many are."""
    count = 0
    order = np.argsort(key, kind="mergesort")
    for number in range(len(order)):
        at = order[number]
        if count == 0 or found[count - 1] != key[at]:
            found[count] = key[at]
            score[count] = 0.0
            count += 1
        score[count - 1] += given[at]
        row[at] = count - 1
    if not carried:
        score[:count] = 1.0
    if most < 0 or count <= most:
        return count
    place = np.empty(count, dtype=np.int64)
    kept = 0
    start = 0
    while start < count:
        image = found[start] // per_image
        end = start
        while end < count and found[end] // per_image == image:
            end += 1
        if end - start > most:
            by_score = np.argsort(-score[start:end], kind="mergesort")
            place[start:end] = -1
            whole = score[start:end].sum()
            left = 0.0
            for number in range(most):
                place[start + by_score[number]] = 0
                left += score[start + by_score[number]]
            if carried:
                score[start:end] *= whole / left
        else:
            place[start:end] = 0
        for number in range(start, end):
            if place[number] == 0:
                place[number] = kept
                found[kept] = found[number]
                score[kept] = score[number]
                kept += 1
        start = end
    for number in range(len(row)):
        row[number] = place[row[number]]
    return kept
