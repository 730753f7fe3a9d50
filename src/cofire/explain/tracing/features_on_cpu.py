"""Linear layers of which every input that speaks for a neuron is chosen, on the CPU, without a list of all pairs.

`scoring.choose` with `k_linear=None` defines which inputs are chosen and what they carry.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from cofire.compiled import compiler, plain
from cofire.explain.rules.flow import Flow
from cofire.explain.rules.weighted import Fields

PARENTS = 8
"""Neurons that are linked to an input which more of them chose: those that handed on most, standing for all."""


def choose_all_features(
    flow: Flow, fields: Fields, *, counted: bool, carried: bool, most: int | None, last_resort: bool
) -> Flow:
    """The inputs that speak for the neurons of a linear layer, with what they carry.

    Args:
        flow: Sorted by image and index.
        fields: Of the linear layer.
        counted: Whether an input counts more that has the highest support for several neurons.
        carried: Whether neurons hand on their score; else an input is chosen or not.
        most: How many inputs of an image will go on; others get one link each, since they end soon.
        last_resort: Whether the highest input takes all where none is above zero.

    Returns:
        Pairs of neurons and inputs, at most PARENTS for each input; what they carry adds up to what
        the input carries.
    """
    given = plain(fields.given)
    weight = plain(fields.weight).to(given.dtype).flatten(1)
    output, position, _ = fields.seen_from(flow.index)
    key = flow.image * given.shape[2] + position
    starts = torch.cat(
        [torch.zeros(1, dtype=torch.int64), (torch.diff(key) != 0).nonzero().squeeze(1) + 1]
    )
    ends = torch.cat([starts[1:], torch.tensor([len(flow)])])
    features = given.shape[1]
    found: list[tuple[Tensor, ...]] = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        values = given[flow.image[start], :, position[start], 0].double().contiguous().numpy()
        neurons = (output, flow.direction, flow.score)
        seen = tuple(column[start:end].numpy() for column in neurons)
        going = features if most is None else most
        parts = (
            _spread(values, weight.numpy(), seen, counted, going, last_resort)
            if carried
            else _collected(values, weight.numpy(), seen, last_resort)
        )
        neuron, feature, direction, score = (torch.from_numpy(part) for part in parts)
        found.append((neuron + start, feature, direction, score))
    neuron, feature, direction, score = (torch.cat(column) for column in zip(*found, strict=True))
    index = fields.index(feature, position[neuron])
    return Flow(flow.image[neuron], index, direction, score, flow.row[neuron], own=False)


@compiler()
def _spread(values: Any, weight: Any, seen: Any, counted: Any, most: Any, last_resort: Any) -> Any:
    """Pairs of neuron and input, with direction and score, for one image and position."""
    output, direction, score = seen
    neurons, features = len(output), len(values)
    active = np.flatnonzero(values)
    times = np.ones(features)
    highest = np.full(neurons, -1)
    alone = np.zeros(neurons, dtype=np.bool_)
    for neuron in range(neurons):
        best = -np.inf
        for feature in active:
            product = values[feature] * weight[output[neuron], feature] * direction[neuron]
            if product > best and product != 0.0:
                best = product
                highest[neuron] = feature
        alone[neuron] = best <= 0.0
    if counted:
        wins = np.zeros(features)
        for neuron in range(neurons):
            if highest[neuron] >= 0:
                wins[highest[neuron]] += 1.0
        times = np.maximum(times, wins)
    scaled = values * times
    carried = np.zeros(features)
    rate = np.zeros(neurons)
    for neuron in range(neurons):
        if alone[neuron]:
            continue
        total = 0.0
        for feature in active:
            total += max(scaled[feature] * weight[output[neuron], feature] * direction[neuron], 0.0)
        rate[neuron] = score[neuron] * direction[neuron] / total
        for feature in active:
            carried[feature] += max(
                scaled[feature] * weight[output[neuron], feature] * rate[neuron], 0.0
            )
    order = np.argsort(-carried, kind="mergesort")
    rows = alone.sum() + (carried > 0.0).sum() + min(most, features) * PARENTS
    neuron_of = np.empty(rows, dtype=np.int64)
    feature_of = np.empty(rows, dtype=np.int64)
    direction_of = np.empty(rows, dtype=np.int8)
    score_of = np.empty(rows)
    top = np.empty(PARENTS)
    who = np.empty(PARENTS, dtype=np.int64)
    count = 0
    for rank in range(features):
        place = order[rank]
        if carried[place] <= 0.0:
            break
        held = 0
        linked = PARENTS if rank < most else 1
        for neuron in range(neurons):
            part = scaled[place] * weight[output[neuron], place] * rate[neuron]
            if part <= 0.0 or (held == linked and part <= top[held - 1]):
                continue
            at = min(held, linked - 1)
            while at > 0 and top[at - 1] < part:
                top[at], who[at] = top[at - 1], who[at - 1]
                at -= 1
            top[at], who[at] = part, neuron
            held = min(held + 1, linked)
            if rank >= most:
                break
        total = 0.0
        for number in range(held):
            total += top[number]
        for number in range(held):
            neuron_of[count] = who[number]
            feature_of[count] = place
            direction_of[count] = -1 if values[place] < 0 else 1
            score_of[count] = carried[place] * top[number] / total
            count += 1
    for neuron in range(neurons):
        if alone[neuron] and highest[neuron] >= 0 and last_resort:
            best = -np.inf
            for feature in active:
                product = scaled[feature] * weight[output[neuron], feature] * direction[neuron]
                if product > best and product != 0.0:
                    best = product
                    highest[neuron] = feature
            neuron_of[count] = neuron
            feature_of[count] = highest[neuron]
            direction_of[count] = (
                -1 if weight[output[neuron], highest[neuron]] * direction[neuron] < 0 else 1
            )
            score_of[count] = score[neuron]
            count += 1
    return neuron_of[:count], feature_of[:count], direction_of[:count], score_of[:count]


@compiler()
def _collected(values: Any, weight: Any, seen: Any, last_resort: Any) -> Any:
    """The same where inputs are chosen or not: each is looked for until enough neurons are found that chose it."""
    output, direction, _ = seen
    neurons, features = len(output), len(values)
    times = np.zeros(features, dtype=np.int64)
    open_features = np.flatnonzero(values)
    rows = len(open_features) * PARENTS + neurons
    neuron_of = np.empty(rows, dtype=np.int64)
    feature_of = np.empty(rows, dtype=np.int64)
    direction_of = np.empty(rows, dtype=np.int8)
    count = 0
    still = len(open_features)
    for neuron in range(neurons):
        speaks = False
        kept = 0
        for number in range(still):
            feature = open_features[number]
            if values[feature] * weight[output[neuron], feature] * direction[neuron] > 0.0:
                speaks = True
                neuron_of[count] = neuron
                feature_of[count] = feature
                direction_of[count] = -1 if values[feature] < 0 else 1
                count += 1
                times[feature] += 1
            if times[feature] < PARENTS:
                open_features[kept] = feature
                kept += 1
        still = kept
        if speaks:
            continue
        best = -np.inf
        highest = -1
        for feature in range(features):
            product = values[feature] * weight[output[neuron], feature] * direction[neuron]
            if product > best and product != 0.0:
                best = product
                highest = feature
                if best > 0.0:
                    break
        if highest >= 0 and best <= 0.0 and last_resort:
            neuron_of[count] = neuron
            feature_of[count] = highest
            direction_of[count] = (
                -1 if weight[output[neuron], highest] * direction[neuron] < 0 else 1
            )
            count += 1
    return neuron_of[:count], feature_of[:count], direction_of[:count], np.ones(count)
