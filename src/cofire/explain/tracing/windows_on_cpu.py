"""Scoring the inputs of neurons on the CPU: compiled loops over the windows that neurons see.

`scoring.choose` with `fields.candidates_of` defines the result.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from cofire.compiled import FAR, compiler, memory_of, over, plain
from cofire.explain.rules.flow import Flow
from cofire.explain.rules.weighted import Fields
from cofire.explain.tracing.argsort_on_cpu import argsort
from cofire.explain.tracing.topk_on_cpu import first_highest, more_than, pick

_NONE = -np.inf
_FEW = 8
"""Candidates for which going through taps in the inner loop is faster."""


class WindowsOnCPU:
    """The inputs of neurons of one weighted operator.

    Args:
        fields: The operator.
        flow: Neurons of its result.
        all_of_them: Whether the support of all candidates is kept, not of the highest alone: writing
            it takes as long as working it out.

    Attributes:
        support: (neurons, candidates) float64, `Z_cur`; minus infinity where a candidate
            contributes nothing. Without rows where it is not kept.
        first: (neurons,), the channel of the first candidate.
    """

    def __init__(self, fields: Fields, flow: Flow, all_of_them: bool = True) -> None:
        given = plain(fields.given)
        weight = plain(fields.weight).to(given.dtype).contiguous()
        per_group, height, width = weight.shape[1:]
        windows = fields.windows
        self._flow, self._shape = flow, tuple(given.shape)
        self._operator = (
            memory_of(given),
            given.stride(),
            windows.size,
            weight.numpy().reshape(-1),
            (height, width),
            (*windows.stride, *windows.padding, *windows.dilation, per_group),
        )
        columns = (flow.image.numpy(), flow.index.numpy(), flow.direction.numpy())
        order, *self._seen = _looking(
            *columns, fields.result, fields.last, fields.groups, per_group
        )
        self._seen = tuple(self._seen)
        self.first = torch.from_numpy(self._seen[5])
        kept = len(flow) if all_of_them else 0
        self.support = torch.empty(kept, per_group, dtype=torch.float64)
        self._best, self._top = np.empty(len(flow), dtype=np.int64), np.empty(len(flow))
        self._silent = np.empty(len(flow), dtype=np.bool_)
        taps = _tap_by_tap(self._seen[1], weight.flatten(2).numpy())
        seen = (order, *taps, self._operator, self._seen, self.support.numpy())
        products = len(flow) * fields.width
        over(_sum_products, len(flow), products, *seen, self._best, self._top, self._silent)
        self._last = fields.last

    def places(self, neuron: Tensor, candidate: Tensor) -> tuple[Tensor, Tensor]:
        """Place in what goes in, in row-major order, and direction of some candidates, all (candidates,)."""
        place, towards = torch.empty_like(candidate), torch.empty_like(candidate, dtype=torch.int8)
        asked = (neuron.numpy(), candidate.numpy(), self._shape[1:], self._last)
        found = (place.numpy(), towards.numpy())
        products = FAR * len(neuron) * self._operator[4][0] * self._operator[4][1]
        over(_find_places, len(neuron), products, self._operator, self._seen, *asked, *found)
        return place, towards

    def reward(self, score: Tensor) -> None:
        """Multiply, in place, scores (neurons, candidates) of inputs with the highest support for several neurons."""
        _reward(self._operator, self._seen, self._shape[1:], self._best, score.numpy())

    def chosen(self, score: Tensor, most: int, counted: bool, last_resort: bool) -> Flow:
        """The inputs that are chosen, with what each carries of its neuron's score.

        Args:
            score: (neurons, candidates), minus infinity where a candidate takes no part; changed in
                place.
            most: How many to choose.
            counted: Whether an input counts more that has the highest support for several neurons.
            last_resort: Whether the highest one takes all where none is above zero.
        """
        if counted:
            self.reward(score)
        picked = torch.empty(len(score), most, dtype=torch.int64)
        share = torch.empty(len(score), most, dtype=torch.float64)
        parts = (picked.numpy(), share.numpy())
        over(pick, len(score), score.numel(), score.numpy(), last_resort, *parts)
        return self.handed_on(picked, share)

    def one(self, last_resort: bool) -> Flow:
        """The input with the highest support of each neuron, if any; the same as `chosen` with one, not counted.

        Args:
            last_resort: Whether it is chosen where it speaks against the neuron.
        """
        there = (self._best >= 0) & (self._top > 0 if not last_resort else True)
        picked = torch.from_numpy(np.maximum(self._best, 0))
        return self.handed_on(picked[:, None], torch.from_numpy(there[:, None].astype(float)))

    def highest(self) -> Tensor:
        """The highest support of each neuron, (neurons,); what contributes nothing counts as 0."""
        return torch.from_numpy(np.where(self._silent, np.maximum(self._top, 0.0), self._top))

    def handed_on(self, picked: Tensor, share: Tensor) -> Flow:
        """The evidence of each neuron at the inputs that share it.

        Args:
            picked: (neurons, chosen), candidates.
            share: (neurons, chosen), of the neuron's score; 0 for none.
        """
        given = (self._flow.score.numpy(), self._flow.row.numpy(), self._shape[1:], self._last)
        found = _handed_on(self._operator, self._seen, picked.numpy(), share.numpy(), *given)
        image, index, direction, carried, row = map(torch.from_numpy, found)
        return Flow(image, index, direction, carried, row, own=False)


@compiler()
def _looking(
    image: Any, index: Any, direction: Any, result: Any, last: Any, groups: Any, per_group: Any
) -> Any:
    """An order of neurons, and image, output, row, column, direction and channel of the first candidate of each.

    Neurons at one position see the same values: one after the other, these are gathered once.
    """
    neurons = len(index)
    output, row, column = np.empty_like(index), np.empty_like(index), np.zeros_like(index)
    place, first = np.empty_like(index), np.empty_like(index)
    for neuron in range(neurons):
        if last:
            row[neuron] = index[neuron] // result[0]
            output[neuron] = index[neuron] - row[neuron] * result[0]
        else:
            rest = index[neuron] // result[2]
            column[neuron] = index[neuron] - rest * result[2]
            output[neuron] = rest // result[1]
            row[neuron] = rest - output[neuron] * result[1]
        first[neuron] = output[neuron] * groups // result[0] * per_group
        place[neuron] = (image[neuron] * result[1] + row[neuron]) * result[2] + column[neuron]
    return argsort(place), image, output, row, column, direction, first


@compiler()
def _at(channel: Any, place: Any, size: Any, last: Any) -> Any:
    """Where a channel's place lies in one sample, (channels, height, width) or with channels last."""
    if last:
        return place * size[0] + channel
    return channel * size[1] * size[2] + place


@compiler()
def _handed_on(
    operator: Any, seen: Any, picked: Any, share: Any, score: Any, rows: Any, size: Any, last: Any
) -> Any:
    """Image, index, direction, score and row of each chosen input."""
    count = 0
    for neuron in range(len(share)):
        for number in range(share.shape[1]):
            count += share[neuron, number] > 0.0
    image, index = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    direction, carried = np.empty(count, dtype=np.int8), np.empty(count)
    row = np.empty(count, dtype=np.int64)
    at = 0
    for neuron in range(len(share)):
        for number in range(share.shape[1]):
            if share[neuron, number] <= 0.0:
                continue
            channel = seen[5][neuron] + picked[neuron, number]
            place, towards = _largest(operator, seen, neuron, channel)
            image[at], row[at] = seen[0][neuron], rows[neuron]
            index[at], direction[at] = _at(channel, place, size, last), towards
            carried[at] = score[neuron] * share[neuron, number]
            at += 1
    return image, index, direction, carried, row


@compiler()
def _inside(start: Any, count: Any, gap: Any, size: Any) -> Any:
    """The first and the one-past-last of some places with a gap between them that lie inside."""
    first = 0
    while first < count and start + first * gap < 0:
        first += 1
    last = count
    while last > first and start + (last - 1) * gap >= size:
        last -= 1
    return first, last


@compiler()
def _sum_products(
    begin: Any,
    end: Any,
    order: Any,
    weights: Any,
    number_of: Any,
    operator: Any,
    seen: Any,
    support: Any,
    best: Any,
    highest: Any,
    silent: Any,
) -> None:
    """Support of all candidates, the one with the highest, -1 where none contributes, and whether one does not."""
    given, _, _, _, kernel, geometry = operator
    image, _, row, column, direction, first = seen
    positions, candidates = kernel[0] * kernel[1], geometry[6]
    window = np.empty((positions, candidates), dtype=given.dtype)
    taps = np.empty(positions, dtype=np.int64)
    scratch, room = np.empty(candidates), np.empty(candidates)
    held = alive = 0
    last = -1
    for number in range(begin, end):
        neuron = order[number]
        if (
            last < 0
            or image[neuron] != image[last]
            or row[neuron] != row[last]
            or column[neuron] != column[last]
            or first[neuron] != first[last]
        ):
            last = neuron
            held = _gather(operator, seen, neuron, window, taps)
            alive = _alive(window, held, room)
        row_of = support[neuron] if len(support) else scratch
        own, sign = weights[number_of[neuron]], np.float64(direction[neuron])
        _sum_window(window, own, taps, held, alive, sign, row_of)
        best[neuron] = first_highest(row_of, room)
        highest[neuron] = row_of[best[neuron]] if best[neuron] >= 0 else _NONE
        # Asked for where all that contributes speaks against the neuron.
        silent[neuron] = highest[neuron] < 0.0 and more_than(row_of, _NONE) < candidates


@compiler()
def _gather(operator: Any, seen: Any, neuron: Any, window: Any, taps: Any) -> Any:
    """What a neuron sees, tap by tap, which taps lie inside, and how many."""
    given, strides, size, _, kernel, geometry = operator
    image, _, row, column, _, first = seen
    stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x, candidates = geometry
    top = row[neuron] * stride_y - padding_y
    left = column[neuron] * stride_x - padding_x
    row_from, row_to = _inside(top, kernel[0], dilation_y, size[0])
    column_from, column_to = _inside(left, kernel[1], dilation_x, size[1])
    held = 0
    for y in range(row_from, row_to):
        for x in range(column_from, column_to):
            taps[held] = y * kernel[1] + x
            at = image[neuron] * strides[0] + first[neuron] * strides[1]
            at += (top + y * dilation_y) * strides[2] + (left + x * dilation_x) * strides[3]
            for channel in range(candidates):
                window[held, channel] = given[at + channel * strides[1]]
            held += 1
    return held


@compiler()
def _alive(window: Any, held: Any, room: Any) -> Any:
    """How many candidates have a value that is not zero; the others contribute nothing, whatever their weights."""
    room[:] = 0.0
    for tap in range(held):
        line = window[tap]
        for candidate in range(len(room)):
            room[candidate] = max(room[candidate], abs(line[candidate]))
    return more_than(room, 0.0)


@compiler()
def _tap_by_tap(output: Any, weight: Any) -> Any:
    """Weights (outputs, candidates, taps) of the outputs asked for, tap by tap, and which are whose."""
    if weight.shape[2] == 1:
        return weight.reshape(len(weight), 1, weight.shape[1]), output
    number, number_of = np.full(len(weight), -1), np.empty_like(output)
    count = 0
    for neuron in range(len(output)):
        if number[output[neuron]] < 0:
            number[output[neuron]] = count
            count += 1
        number_of[neuron] = number[output[neuron]]
    found = np.empty((count, weight.shape[2], weight.shape[1]), dtype=weight.dtype)
    for at in range(len(weight)):
        if number[at] >= 0:
            for tap in range(weight.shape[2]):
                line = found[number[at], tap]
                for candidate in range(len(line)):
                    line[candidate] = weight[at, candidate, tap]
    return found, number_of


@compiler()
def _sum_window(
    window: Any, weight: Any, taps: Any, held: Any, alive: Any, sign: Any, support: Any
) -> None:
    """Sums over the taps of a window, in their order; minus infinity where all products are zero."""
    if held == 1:
        line, only = window[0], weight[taps[0]]
        for candidate in range(len(support)):
            product = np.float64(line[candidate]) * only[candidate]
            support[candidate] = product * sign if product != 0.0 else _NONE
        return
    if len(support) < _FEW:
        for candidate in range(len(support)):
            support[candidate] = 0.0
            for tap in range(held):
                product = np.float64(window[tap, candidate]) * weight[taps[tap], candidate]
                support[candidate] += product
    else:
        support[:] = 0.0
        for tap in range(held):
            _add_products(window[tap], weight[taps[tap]], support)
    for candidate in range(len(support)):
        total = support[candidate]
        support[candidate] = total * sign if total != 0.0 else _NONE
    if more_than(support, _NONE) < alive:
        for candidate in range(len(support)):
            if support[candidate] == _NONE:
                # Products that add up to nothing; a sum that is infinite is left as it is.
                some, finite = False, True
                for tap in range(held):
                    product = np.float64(window[tap, candidate]) * weight[taps[tap], candidate]
                    some |= product != 0.0
                    finite &= np.isfinite(product)
                if some and finite:
                    support[candidate] = 0.0


@compiler()
def _add_products(values: Any, weight: Any, sums: Any) -> None:
    for candidate in range(len(sums)):
        sums[candidate] += np.float64(values[candidate]) * weight[candidate]


@compiler()
def _find_places(
    begin: Any,
    end: Any,
    operator: Any,
    seen: Any,
    neuron: Any,
    candidate: Any,
    size: Any,
    last: Any,
    place: Any,
    towards: Any,
) -> None:
    """The place of the largest product of some candidates, and whether it is wanted large or small."""
    for number in range(begin, end):
        channel = seen[5][neuron[number]] + candidate[number]
        found, towards[number] = _largest(operator, seen, neuron[number], channel)
        place[number] = _at(channel, found, size, last)


@compiler()
def _largest(operator: Any, seen: Any, neuron: Any, channel: Any) -> Any:
    given, strides, size, weight, kernel, geometry = operator
    images, outputs, rows, columns, directions, firsts = seen
    direction = directions[neuron]
    stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x, per_group = geometry
    top = rows[neuron] * stride_y - padding_y
    left = columns[neuron] * stride_x - padding_x
    row_from, row_to = _inside(top, kernel[0], dilation_y, size[0])
    column_from, column_to = _inside(left, kernel[1], dilation_x, size[1])
    best = _NONE
    place, upwards = 0, 1
    nearest = 0
    start = images[neuron] * strides[0] + channel * strides[1]
    weights = outputs[neuron] * per_group + channel - firsts[neuron]
    weights *= kernel[0] * kernel[1]
    for y in range(row_from, row_to):
        line = start + (top + y * dilation_y) * strides[2]
        for x in range(column_from, column_to):
            factor = np.float64(weight[weights + y * kernel[1] + x]) * direction
            product = np.float64(given[line + (left + x * dilation_x) * strides[3]]) * factor
            off_y, off_x = 2 * y - (kernel[0] - 1), 2 * x - (kernel[1] - 1)
            distance = off_y * off_y + off_x * off_x
            if product > best or (product == best and distance < nearest):
                best = product
                nearest = distance
                place = (top + y * dilation_y) * size[1] + left + x * dilation_x
                upwards = -1 if factor < 0 else 1
    return place, upwards


@compiler()
def _reward(operator: Any, seen: Any, shape: Any, best: Any, score: Any) -> None:
    """Scores times how many neurons of its image a candidate is the highest of, where it is of several."""
    _, _, size, _, kernel, geometry = operator
    image, _, row, column, _, first = seen
    stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x, _ = geometry
    positions = shape[1] * shape[2]
    keys = np.empty(len(best), dtype=np.int64)
    held = 0
    for neuron in range(len(best)):
        if best[neuron] >= 0:
            channel = first[neuron] + best[neuron]
            place, _ = _largest(operator, seen, neuron, channel)
            keys[held] = (image[neuron] * shape[0] + channel) * positions + place
            held += 1
    keys = np.sort(keys[:held])
    winners, count = np.empty(held, dtype=np.int64), np.empty(held, dtype=np.int64)
    several, start = 0, 0
    for end in range(1, held + 1):
        if end == held or keys[end] != keys[start]:
            if end - start > 1:
                winners[several], count[several] = keys[start], end - start
                several += 1
            start = end
    winners = winners[:several]
    if several == 0:
        return
    of_image = shape[0] * positions
    channels, rows, columns = winners.copy(), winners.copy(), winners.copy()
    for winner in range(several):
        rest = winners[winner] % of_image
        channels[winner] = rest // positions
        rows[winner] = rest % positions // size[1]
        columns[winner] = rest % size[1]
    for neuron in range(len(score)):
        top, left = row[neuron] * stride_y - padding_y, column[neuron] * stride_x - padding_x
        bottom, right = top + (kernel[0] - 1) * dilation_y, left + (kernel[1] - 1) * dilation_x
        low = np.searchsorted(winners, image[neuron] * of_image)
        high = np.searchsorted(winners, (image[neuron] + 1) * of_image)
        for winner in range(low, high):
            y, x = rows[winner], columns[winner]
            if y < top or y > bottom or x < left or x > right:
                continue
            candidate = channels[winner] - first[neuron]
            if candidate < 0 or candidate >= score.shape[1] or score[neuron, candidate] == _NONE:
                continue
            place, _ = _largest(operator, seen, neuron, channels[winner])
            if place == y * size[1] + x:
                score[neuron, candidate] *= count[winner]
