"""The highest of some values on the CPU: compiled loops that look at most values many at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from cofire.compiled import compiler

_NONE = -np.inf
_LANES = 16
"""Values that are compared at once."""

BLOCK = 64
"""Candidates of which none is looked at alone where none of them is wanted."""


@compiler()
def more_than(values: Any, bar: Any) -> Any:
    """How many values are higher."""
    count = 0
    for place in range(len(values)):
        count += values[place] > bar
    return count


@compiler()
def _highest(values: Any, room: Any) -> Any:
    """The highest value, from the highest of every so many."""
    lanes = min(_LANES, len(values))
    for lane in range(lanes):
        room[lane] = values[lane]
    whole = len(values) // _LANES * _LANES
    for start in range(_LANES, whole, _LANES):
        part = values[start : start + _LANES]
        for lane in range(_LANES):
            room[lane] = max(room[lane], part[lane])
    best = room[0]
    for lane in range(1, lanes):
        best = max(best, room[lane])
    for place in range(max(whole, lanes), len(values)):
        best = max(best, values[place])
    return best


@compiler()
def first_highest(values: Any, room: Any) -> Any:
    """The first place of the highest value, -1 where all are minus infinity."""
    best = _highest(values, room)
    if best == _NONE:
        return -1
    for start in range(0, len(values), BLOCK):
        part = values[start : start + BLOCK]
        found = 0
        for place in range(len(part)):
            found += part[place] == best
        if found:
            for place in range(len(part)):
                if part[place] == best:
                    return start + place
    return -1


@compiler()
def pick(begin: Any, end: Any, score: Any, last_resort: Any, picked: Any, share: Any) -> None:
    """The highest scores, the lower candidate first where several are equal, and their shares of 1."""
    most = picked.shape[1]
    room = np.empty(score.shape[1])
    for neuron in range(begin, end):
        if most == 1:
            at = first_highest(score[neuron], room)
            chosen = at >= 0 and (last_resort or score[neuron, at] > 0.0)
            picked[neuron, 0] = max(at, 0)
            share[neuron, 0] = 1.0 if chosen else 0.0
            continue
        if most < score.shape[1]:
            count = few_highest(score[neuron], share[neuron], picked[neuron])
        else:
            count = 0
            for candidate in range(score.shape[1]):
                value = score[neuron, candidate]
                if value == _NONE:
                    continue
                at = count
                if at > 0 and share[neuron, 0] < value:
                    # All are chosen: only the highest has to come first.
                    share[neuron, at], picked[neuron, at] = share[neuron, 0], picked[neuron, 0]
                    at = 0
                share[neuron, at], picked[neuron, at] = value, candidate
                count += 1
        into_shares(share[neuron], picked[neuron], count, last_resort)


@compiler()
def into_shares(share: Any, picked: Any, count: Any, last_resort: Any) -> None:
    """What some candidates have of 1, in place of their scores, the highest first; those without any are no one."""
    total = 0.0
    for position in range(count):
        total += max(share[position], 0.0)
    if total == 0.0 and count > 0 and last_resort:
        share[0] = total = 1.0
    for position in range(len(share)):
        if position >= count or share[position] <= 0.0:
            share[position] = 0.0
            picked[position] = 0
        else:
            share[position] /= total


@compiler()
def few_highest(values: Any, found: Any, place: Any) -> Any:
    """The highest values in order, the lower place first where several are equal; gives how many there are."""
    most, count, bar = len(found), 0, _NONE
    floor = _floor(values, most) if len(values) >= 4 * BLOCK and most <= BLOCK // 2 else _NONE
    high = np.empty(BLOCK, dtype=np.int64)
    for start in range(0, len(values), BLOCK):
        part = values[start : start + BLOCK]
        some = 0
        for number in range(len(part)):
            some += part[number] >= floor
        if not some or (count == most and not more_than(part, bar)):
            continue
        # Without branches: which of them will do cannot be foreseen.
        some = 0
        for number in range(len(part)):
            high[some] = number
            some += part[number] >= floor and part[number] > bar
        for number in high[:some]:
            value = part[number]
            if value <= bar:
                continue
            at = min(count, most - 1)
            while at > 0 and found[at - 1] < value:
                found[at], place[at] = found[at - 1], place[at - 1]
                at -= 1
            found[at], place[at] = value, start + number
            count = min(count + 1, most)
            if count == most:
                bar = found[most - 1]
    return count


@compiler()
def _floor(values: Any, most: Any) -> Any:
    """What the highest values are not below: so many of the parts into which all are dealt have one as high."""
    highest = np.full(BLOCK, _NONE)
    for start in range(0, len(values) // BLOCK * BLOCK, BLOCK):
        part = values[start : start + BLOCK]
        for lane in range(BLOCK):
            highest[lane] = max(highest[lane], part[lane])
    few = np.full(most, _NONE)
    for lane in range(BLOCK):
        value = highest[lane]
        if value > few[most - 1]:
            at = most - 1
            while at > 0 and few[at - 1] < value:
                few[at] = few[at - 1]
                at -= 1
            few[at] = value
    return few[most - 1]
