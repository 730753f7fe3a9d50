"""Evidence that several operators bring to the same neurons: each neuron once, and the strongest of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from cofire.compiled import compiler
from cofire.explain.rules.flow import Flow, merged, strongest
from cofire.explain.tracing.argsort_on_cpu import argsort


def settled(together: Flow, size: int, carried: bool, most: int | None) -> tuple[Flow, Tensor]:
    """Evidence in which each neuron and direction is there once.

    Args:
        together: Evidence that came in from different operators, in any order.
        size: How many values one sample has at this node.
        carried: Whether scores of the same neuron are added; else each neuron carries 1.
        most: How many neurons of an image stay, those that carry most, and take over what the
            others carried, in proportion; None for all.

    Returns:
        The flow, sorted by image and index, with rows from 0, and for each neuron given its row in
        the flow, -1 where it ended.
    """
    if together.image.device.type != "cpu" or together.folded:
        return settled_by_definition(together, size, carried, most)
    parts = (together.image, together.index, together.direction, together.score)
    columns = (part.contiguous().numpy() for part in parts)
    *found, row = _settle(*columns, size, carried, -1 if most is None else most)
    image, index, direction, score = map(torch.from_numpy, found)
    return Flow(image, index, direction, score, torch.arange(len(image))), torch.from_numpy(row)


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
    image: Any, index: Any, direction: Any, given: Any, size: Any, carried: Any, most: Any
) -> Any:
    """Image, index, direction and score of each neuron once, and where each given one is among them."""
    neurons = len(index)
    per_image = 2 * size
    key = np.empty(neurons, dtype=np.int64)
    for number in range(neurons):
        key[number] = (image[number] * size + index[number]) * 2 + (direction[number] < 0)
    found = np.empty(neurons, dtype=np.int64)
    score = np.zeros(neurons)
    row = np.empty(neurons, dtype=np.int64)
    count = 0
    order = argsort(key)
    for number in range(neurons):
        at = order[number]
        if count == 0 or found[count - 1] != key[at]:
            found[count] = key[at]
            count += 1
        row[at] = count - 1
    for number in range(neurons):
        score[row[number]] += given[number]
    if not carried:
        score[:count] = 1.0
    if 0 <= most < count:
        count = _keep_strongest(found, score, row, count, per_image, carried, most)
    found = found[:count]
    place = found // 2 % size
    return (
        found // per_image,
        place,
        (1 - 2 * (found % 2)).astype(np.int8),
        score[:count].copy(),
        row,
    )


@compiler()
def _keep_strongest(
    found: Any, score: Any, row: Any, count: Any, per_image: Any, carried: Any, most: Any
) -> Any:
    """Keep, in place, the neurons of each image that carry most; gives how many are left."""
    place = np.empty(count, dtype=np.int64)
    kept = 0
    start = 0
    while start < count:
        image = found[start] // per_image
        end = start
        while end < count and found[end] // per_image == image:
            end += 1
        if end - start > most:
            bar = np.partition(score[start:end], end - start - most)[end - start - most]
            whole, left, above = 0.0, 0.0, 0
            for number in range(start, end):
                whole += score[number]
                above += score[number] > bar
            equal = most - above
            for number in range(start, end):
                # Of several as low as the last, the first.
                stays = score[number] > bar or (score[number] == bar and equal > 0)
                equal -= stays and score[number] == bar
                place[number] = 0 if stays else -1
                left += score[number] if stays else 0.0
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
