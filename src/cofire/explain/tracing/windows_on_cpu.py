"""Scoring the inputs of neurons on the CPU: compiled loops over the windows that neurons see.

`scoring.choose` with `fields.candidates_of` defines the result.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from cofire.compiled import compiler
from cofire.explain.rules.flow import Flow
from cofire.explain.rules.weighted import Fields
from cofire.explain.tracing.features_on_cpu import memory_of, over, plain

_NONE = -np.inf
_LEAST = -1.7976931348623157e308
# Without regard for NaN and the order of sums: neither is there, and a maximum has no order.
_quick = compiler(fastmath={"nnan", "nsz", "reassoc"})
Chosen = tuple[Tensor, Tensor, Tensor, Tensor]
"""Channel, place, direction and share of 1 of the chosen inputs, each (neurons, most); a share of 0 where fewer are."""


class WindowsOnCPU:
    """The inputs of neurons of one weighted operator.

    Args:
        fields: The operator.
        flow: Neurons of its result.

    Attributes:
        support: (neurons, candidates) float64, `Z_cur`; minus infinity where a candidate
            contributes nothing.
        first: (neurons,), the channel of the first candidate.
    """

    def __init__(self, fields: Fields, flow: Flow) -> None:
        given = plain(fields.given)
        weight = plain(fields.weight).to(given.dtype).contiguous()
        per_group, height, width = weight.shape[1:]
        output, y, x = fields.seen_from(flow.index)
        windows = fields.windows
        group = torch.div(output * fields.groups, fields.result[0], rounding_mode="floor")
        self.first = group * per_group
        self._operator = (
            memory_of(given),
            given.stride(),
            windows.size,
            weight.numpy().reshape(-1),
            (height, width),
            (*windows.stride, *windows.padding, *windows.dilation, per_group),
        )
        columns = (flow.image, output, y, x, flow.direction, self.first)
        self._seen = tuple(column.numpy() for column in columns)
        self._image, self._shape = flow.image, given.shape
        self.support = torch.empty(len(flow), per_group, dtype=torch.float64)
        self._best = torch.empty(len(flow), dtype=torch.int64)
        # Neurons at one position see the same values: one after the other, they are gathered once.
        order = torch.arange(0)
        if len(flow):
            place = (flow.image * fields.result[1] + y) * fields.result[2] + x
            order = place.argsort(stable=True)
        seen = (order.numpy(), self._operator, self._seen)
        over(
            _sum_products,
            len(flow),
            len(flow) * fields.width,
            *seen,
            self.support.numpy(),
            self._best.numpy(),
        )
        self._products = fields.width / max(1, per_group)

    def places(self, neuron: Tensor, candidate: Tensor) -> tuple[Tensor, Tensor]:
        """Place and direction of some candidates, both given and returned as (candidates,)."""
        seen = tuple(column[neuron.numpy()] for column in self._seen)
        place, towards = self._find(seen, (self.first[neuron] + candidate)[:, None])
        return place[:, 0], towards[:, 0]

    def _find(self, seen: tuple[Any, ...], channel: Tensor) -> tuple[Tensor, Tensor]:
        place, towards = torch.empty_like(channel), torch.empty(channel.shape, dtype=torch.int8)
        found = (place.numpy(), towards.numpy())
        products = int(channel.numel() * self._products)
        over(_find_places, len(channel), products, self._operator, seen, channel.numpy(), *found)
        return place, towards

    def reward(self, score: Tensor) -> None:
        """Multiply, in place, scores (neurons, candidates) of inputs with the highest support for several neurons."""
        best = (self._best >= 0).nonzero().squeeze(1)
        channel = self.first + self._best
        place, _ = self._find(self._seen, channel.clamp(min=0)[:, None])
        channels, positions = self._shape[1], self._shape[2] * self._shape[3]
        key = (self._image[best] * channels + channel[best]) * positions + place[best, 0]
        found, count = torch.unique(key, return_counts=True)
        found, count = found[count > 1], count[count > 1]
        if len(found):
            rest = torch.div(found, positions, rounding_mode="floor")
            image = torch.div(rest, channels, rounding_mode="floor")
            parts = (image, rest - image * channels, found - rest * positions, count)
            winners = tuple(part.numpy() for part in parts)
            over(_reward, len(score), 0, self._operator, self._seen, score.numpy(), winners)

    def chosen(self, score: Tensor, most: int, counted: bool, last_resort: bool) -> Chosen:
        """The inputs that are chosen for each neuron.

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
        parts = (score.numpy(), last_resort, picked.numpy(), share.numpy())
        over(_pick, len(score), score.numel(), *parts)
        channel = self.first[:, None] + picked
        place, towards = self._find(self._seen, channel)
        return channel, place, towards, share


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
    begin: Any, end: Any, order: Any, operator: Any, seen: Any, support: Any, best: Any
) -> None:
    """Support of all candidates, and the candidate with the highest, -1 where none contributes."""
    given, strides, size, weight, kernel, geometry = operator
    image, output, row, column, direction, first = seen
    stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x, candidates = geometry
    positions = kernel[0] * kernel[1]
    window = np.empty(candidates * positions, dtype=given.dtype)
    taps = np.empty(positions, dtype=np.int64)
    held = 0
    last_image = last_row = last_column = last_first = -1
    for number in range(begin, end):
        neuron = order[number]
        if (
            image[neuron] != last_image
            or row[neuron] != last_row
            or column[neuron] != last_column
            or first[neuron] != last_first
        ):
            last_image, last_row, last_column = image[neuron], row[neuron], column[neuron]
            last_first = first[neuron]
            top, left = last_row * stride_y - padding_y, last_column * stride_x - padding_x
            row_from, row_to = _inside(top, kernel[0], dilation_y, size[0])
            column_from, column_to = _inside(left, kernel[1], dilation_x, size[1])
            held = 0
            for y in range(row_from, row_to):
                for x in range(column_from, column_to):
                    taps[held] = y * kernel[1] + x
                    at = last_image * strides[0] + last_first * strides[1]
                    at += (top + y * dilation_y) * strides[2] + (left + x * dilation_x) * strides[3]
                    for channel in range(candidates):
                        window[channel * positions + held] = given[at + channel * strides[1]]
                    held += 1
        weights = output[neuron] * candidates * positions
        row_of = support[neuron]
        sign = np.float64(direction[neuron])
        if positions == 1:
            _products(window, weight, weights, sign, held, row_of)
        else:
            _window_sums(window, weight, weights, taps, held, positions, sign, row_of)
        best[neuron] = _first_highest(row_of)


@_quick
def _products(window: Any, weight: Any, start: Any, sign: Any, held: Any, support: Any) -> None:
    """Values times weights; minus infinity where there is nothing."""
    for channel in range(len(support)):
        product = np.float64(window[channel]) * weight[start + channel] * sign
        support[channel] = product if product != 0.0 and held == 1 else _NONE


@compiler()
def _window_sums(
    window: Any,
    weight: Any,
    start: Any,
    taps: Any,
    held: Any,
    positions: Any,
    sign: Any,
    support: Any,
) -> None:
    """Sums over the places of a window; minus infinity where all products are zero."""
    for channel in range(len(support)):
        total = 0.0
        at = channel * positions
        if held == positions:
            for tap in range(positions):
                total += np.float64(window[at + tap]) * weight[start + at + tap]
        else:
            for tap in range(held):
                total += np.float64(window[at + tap]) * weight[start + at + taps[tap]]
        if total == 0.0:
            matters = False
            for tap in range(held):
                matters |= window[at + tap] * weight[start + at + taps[tap]] != 0.0
            support[channel] = 0.0 if matters else _NONE
        else:
            support[channel] = total * sign


@_quick
def _highest(values: Any) -> Any:
    best = _LEAST
    for value in values:
        best = max(best, value)
    return best


@compiler()
def _first_highest(values: Any) -> Any:
    """The first place of the highest value, -1 where all are minus infinity."""
    best = _highest(values)
    if best > _LEAST:
        for place in range(len(values)):
            if values[place] == best:
                return place
    return -1


@compiler()
def _find_places(
    begin: Any, end: Any, operator: Any, seen: Any, channels: Any, place: Any, towards: Any
) -> None:
    """The place of the largest product in some channels of each neuron, and whether it is wanted large or small."""
    for neuron in range(begin, end):
        for number in range(channels.shape[1]):
            found = _largest(operator, seen, neuron, channels[neuron, number])
            place[neuron, number], towards[neuron, number] = found


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
def _reward(begin: Any, end: Any, operator: Any, seen: Any, score: Any, winners: Any) -> None:
    """Scores times counts where a candidate is one of the given inputs, which are sorted by image."""
    _, _, size, _, kernel, geometry = operator
    image, _, row, column, _, first = seen
    at_image, at_channel, at_place, count = winners
    stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x, _ = geometry
    for neuron in range(begin, end):
        top, left = row[neuron] * stride_y - padding_y, column[neuron] * stride_x - padding_x
        bottom, right = top + (kernel[0] - 1) * dilation_y, left + (kernel[1] - 1) * dilation_x
        low = np.searchsorted(at_image, image[neuron], side="left")
        high = np.searchsorted(at_image, image[neuron], side="right")
        for winner in range(low, high):
            y, x = at_place[winner] // size[1], at_place[winner] % size[1]
            if y < top or y > bottom or x < left or x > right:
                continue
            candidate = at_channel[winner] - first[neuron]
            if candidate < 0 or candidate >= score.shape[1] or score[neuron, candidate] == _NONE:
                continue
            place, _ = _largest(operator, seen, neuron, at_channel[winner])
            if place == at_place[winner]:
                score[neuron, candidate] *= count[winner]


@compiler()
def _pick(begin: Any, end: Any, score: Any, last_resort: Any, picked: Any, share: Any) -> None:
    """The highest scores, the lower candidate first where several are equal, and their shares of 1."""
    most = picked.shape[1]
    for neuron in range(begin, end):
        if most == 1:
            at = _first_highest(score[neuron])
            chosen = at >= 0 and (last_resort or score[neuron, at] > 0.0)
            picked[neuron, 0] = max(at, 0)
            share[neuron, 0] = 1.0 if chosen else 0.0
            continue
        count = 0
        bar = _NONE
        for candidate in range(score.shape[1]):
            value = score[neuron, candidate]
            if value <= bar:
                continue
            at = min(count, most - 1)
            if most < score.shape[1]:
                while at > 0 and share[neuron, at - 1] < value:
                    share[neuron, at] = share[neuron, at - 1]
                    picked[neuron, at] = picked[neuron, at - 1]
                    at -= 1
            elif at > 0 and share[neuron, 0] < value:
                # All are chosen: only the highest has to come first.
                share[neuron, at], picked[neuron, at] = share[neuron, 0], picked[neuron, 0]
                at = 0
            share[neuron, at] = value
            picked[neuron, at] = candidate
            count = min(count + 1, most)
            if count == most:
                bar = share[neuron, most - 1]
        total = 0.0
        for position in range(count):
            total += max(share[neuron, position], 0.0)
        if total == 0.0 and count > 0 and last_resort:
            share[neuron, 0] = total = 1.0
        for position in range(most):
            if position >= count or share[neuron, position] <= 0.0:
                share[neuron, position] = 0.0
                picked[neuron, position] = 0
            else:
                share[neuron, position] /= total
