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
        self._per_group, height, width = weight.shape[1:]
        output, y, x = fields.seen_from(flow.index)
        position = (
            (flow.image * (int(y.max()) + 1) + y) * (int(x.max()) + 1) + x if len(flow) else y
        )
        windows = fields.windows
        per_output = fields.result[0] // fields.groups
        self.first = torch.div(output, per_output, rounding_mode="floor") * self._per_group
        self._neurons = len(flow)
        self._products = len(flow) * fields.width
        # Neurons at one position see the same values: one after the other, they are gathered once.
        order = position.argsort(stable=True)
        self._seen = (
            order.numpy(),
            memory_of(given),
            given.stride(),
            windows.size,
            weight.numpy().reshape(-1),
            (height, width),
            (*windows.stride, *windows.padding, *windows.dilation, self._per_group),
            flow.image.numpy(),
            output.numpy(),
            y.numpy(),
            x.numpy(),
            flow.direction.numpy(),
            self.first.numpy(),
        )
        self._image = flow.image
        self._channels, self._positions = given.shape[1], given.shape[2] * given.shape[3]
        self.support = torch.empty(self._neurons, self._per_group, dtype=torch.float64)
        self._best = torch.empty(self._neurons, dtype=torch.int64)
        over(
            _sum_products,
            self._neurons,
            self._products,
            *self._seen,
            self.support.numpy(),
            self._best.numpy(),
        )

    def places(self, neuron: Tensor, candidate: Tensor) -> tuple[Tensor, Tensor]:
        """Place and direction of some candidates, both given and returned as (candidates,)."""
        order, *operator, image, output, y, x, direction, first = self._seen
        at = neuron.numpy()
        seen = (order, *operator, *(part[at] for part in (image, output, y, x, direction, first)))
        channel = (self.first[neuron] + candidate)[:, None]
        place, towards = torch.empty_like(channel), torch.empty(channel.shape, dtype=torch.int8)
        products = len(channel) * self._products // max(1, self.support.numel())
        over(
            _find_places,
            len(channel),
            products,
            *seen,
            channel.numpy(),
            place.numpy(),
            towards.numpy(),
        )
        return place[:, 0], towards[:, 0]

    def reward(self, score: Tensor) -> None:
        """Multiply, in place, scores (neurons, candidates) of inputs with the highest support for several neurons."""
        image, channel, place, count = self.winners()
        if len(image):
            over(
                _reward,
                self._neurons,
                0,
                *self._seen,
                score.numpy(),
                image.numpy(),
                channel.numpy(),
                place.numpy(),
                count.numpy(),
            )

    def winners(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Inputs with the highest support for several neurons: image, channel, place and for how many."""
        best = (self._best >= 0).nonzero().squeeze(1)
        channel = self.first + self._best
        place = torch.empty(self._neurons, 1, dtype=torch.int64)
        towards = torch.empty(self._neurons, 1, dtype=torch.int8)
        over(
            _find_places,
            self._neurons,
            0,
            *self._seen,
            channel.clamp(min=0)[:, None].numpy(),
            place.numpy(),
            towards.numpy(),
        )
        key = (self._image[best] * self._channels + channel[best]) * self._positions + place[
            best, 0
        ]
        found, count = torch.unique(key, return_counts=True)
        found, count = found[count > 1], count[count > 1]
        rest = torch.div(found, self._positions, rounding_mode="floor")
        image = torch.div(rest, self._channels, rounding_mode="floor")
        return image, rest - image * self._channels, found - rest * self._positions, count

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
        picked = torch.empty(self._neurons, most, dtype=torch.int64)
        share = torch.empty(self._neurons, most, dtype=torch.float64)
        over(
            _pick,
            self._neurons,
            score.numel(),
            score.numpy(),
            last_resort,
            picked.numpy(),
            share.numpy(),
        )
        channel = self.first[:, None] + picked
        place, towards = torch.empty_like(picked), torch.empty(picked.shape, dtype=torch.int8)
        over(
            _find_places,
            self._neurons,
            0,
            *self._seen,
            channel.numpy(),
            place.numpy(),
            towards.numpy(),
        )
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
    begin: Any,
    end: Any,
    order: Any,
    given: Any,
    strides: Any,
    size: Any,
    weight: Any,
    kernel: Any,
    geometry: Any,
    image: Any,
    output: Any,
    row: Any,
    column: Any,
    direction: Any,
    first: Any,
    support: Any,
    best: Any,
) -> None:
    """Support of all candidates, and the candidate with the highest, -1 where none contributes."""
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
        if positions == 1:
            _products(window, weight, weights, np.float64(direction[neuron]), held, row_of)
        else:
            _window_sums(
                window,
                weight,
                weights,
                taps,
                held,
                positions,
                np.float64(direction[neuron]),
                row_of,
            )
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
    begin: Any,
    end: Any,
    order: Any,
    given: Any,
    strides: Any,
    size: Any,
    weight: Any,
    kernel: Any,
    geometry: Any,
    image: Any,
    output: Any,
    row: Any,
    column: Any,
    direction: Any,
    first: Any,
    channels: Any,
    place: Any,
    towards: Any,
) -> None:
    """The place of the largest product in some channels of each neuron, and whether it is wanted large or small."""
    for neuron in range(begin, end):
        for number in range(channels.shape[1]):
            found = _largest(
                given,
                strides,
                size,
                weight,
                kernel,
                geometry,
                image[neuron],
                output[neuron],
                row[neuron],
                column[neuron],
                direction[neuron],
                first[neuron],
                channels[neuron, number],
            )
            place[neuron, number], towards[neuron, number] = found


@compiler()
def _largest(
    given: Any,
    strides: Any,
    size: Any,
    weight: Any,
    kernel: Any,
    geometry: Any,
    image: Any,
    output: Any,
    row: Any,
    column: Any,
    direction: Any,
    first: Any,
    channel: Any,
) -> Any:
    stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x, per_group = geometry
    top, left = row * stride_y - padding_y, column * stride_x - padding_x
    row_from, row_to = _inside(top, kernel[0], dilation_y, size[0])
    column_from, column_to = _inside(left, kernel[1], dilation_x, size[1])
    best = _NONE
    place, upwards = 0, 1
    nearest = 0
    start = image * strides[0] + channel * strides[1]
    weights = (output * per_group + channel - first) * kernel[0] * kernel[1]
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
def _reward(
    begin: Any,
    end: Any,
    order: Any,
    given: Any,
    strides: Any,
    size: Any,
    weight: Any,
    kernel: Any,
    geometry: Any,
    image: Any,
    output: Any,
    row: Any,
    column: Any,
    direction: Any,
    first: Any,
    score: Any,
    at_image: Any,
    at_channel: Any,
    at_place: Any,
    count: Any,
) -> None:
    """Scores times counts where a candidate is one of the given inputs, which are sorted by image."""
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
            place, _ = _largest(
                given,
                strides,
                size,
                weight,
                kernel,
                geometry,
                image[neuron],
                output[neuron],
                row[neuron],
                column[neuron],
                direction[neuron],
                first[neuron],
                at_channel[winner],
            )
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
