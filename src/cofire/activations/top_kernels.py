"""The hot loops of `top_samples` on the CPU: most samples are no better than those kept, which is soon seen."""

from __future__ import annotations

from functools import lru_cache

import numba
import numpy as np
import torch

from cofire.activations.kernels import Kernel
from cofire.compiled import compiler

_WIDTH, _ROWS = 512, 32
"""Neurons handled side by side where they are the innermost axis."""


# Outside of the functions that use it, as in `kernels`.
@numba.njit(nogil=True, inline="always")
def _insert(values, samples, places, row, c, value, number, place):  # type: ignore[no-untyped-def]
    at = values.shape[2] - 1
    while at > 0 and (
        value > values[row, c, at - 1]
        or (value == values[row, c, at - 1] and number < samples[row, c, at - 1])
    ):
        values[row, c, at] = values[row, c, at - 1]
        samples[row, c, at] = samples[row, c, at - 1]
        places[row, c, at] = places[row, c, at - 1]
        at -= 1
    values[row, c, at], samples[row, c, at], places[row, c, at] = value, number, place


@lru_cache(maxsize=2)
def kernels_of(dtype: torch.dtype) -> tuple[Kernel, Kernel]:
    """The loops over (samples, neurons, positions), and over (samples, positions, neurons)."""
    precision, whole = (np.float32, np.int32) if dtype == torch.float32 else (np.float64, np.int64)
    # As in `kernels`: extremes of whole numbers compile to vector instructions.
    mask, lowest = whole(np.iinfo(whole).max), whole(np.iinfo(whole).min)
    sign, below = whole(np.iinfo(whole).bits - 1), precision(-np.inf)
    compiled = compiler(error_model="numpy")

    @compiled
    def first(  # type: ignore[no-untyped-def]
        low, high, x, bits, labels, order, start, placed, limits, values, samples, places
    ):
        end = values.shape[2] - 1
        keys = np.empty(1, whole)
        floats = keys.view(precision)
        for c in range(low, high):
            for at in range(len(order)):
                n, row = order[at], labels[at]
                most = lowest
                for p in range(x.shape[2]):
                    b = bits[n, c, p]
                    most = max(most, b ^ ((b >> sign) & mask))
                keys[0] = most ^ ((most >> sign) & mask)
                value, number, least = floats[0], np.int32(start + n), limits[row, c]
                if value > least or (value == least and number < samples[row, c, end]):
                    place = np.int32(0 if placed else -1)
                    while placed and x[n, c, place] != value:
                        place += np.int32(1)
                    _insert(values, samples, places, row, c, value, number, place)
                    limits[row, c] = values[row, c, end]

    @compiled
    def last(  # type: ignore[no-untyped-def]
        low, high, x, bits, labels, order, start, placed, limits, values, samples, places
    ):
        end, width, count = values.shape[2] - 1, min(_WIDTH, high - low), len(order)
        # Of each sample the highest of its positions, where there are several.
        most = np.empty((count if x.shape[1] > 1 else 1, width), precision)
        highest = np.empty(width, precision)
        for begin in range(low, high, width):
            m = min(width, high - begin)
            at = 0
            while at < count:
                row, of_class = labels[at], at
                highest[:] = below
                while at < count and labels[at] == row and at - of_class < _ROWS:
                    line = x[order[at], 0, begin : begin + m]
                    if x.shape[1] > 1:
                        most[at, :m] = line
                        for p in range(1, x.shape[1]):
                            line = x[order[at], p, begin : begin + m]
                            best = most[at]
                            for c in range(m):
                                best[c] = line[c] if line[c] > best[c] else best[c]
                        line = most[at, :m]
                    for c in range(m):
                        highest[c] = line[c] if line[c] > highest[c] else highest[c]
                    at += 1
                # Where the best of a class is no better than what is kept, none is looked at.
                for c in range(m):
                    j = begin + c
                    least = limits[row, j]
                    if highest[c] < least or (
                        highest[c] == least and start + order[of_class] >= samples[row, j, end]
                    ):
                        continue
                    for i in range(of_class, at):
                        n = order[i]
                        number = np.int32(start + n)
                        value = most[i, c] if x.shape[1] > 1 else x[n, 0, j]
                        if value > least or (value == least and number < samples[row, j, end]):
                            place = np.int32(0 if placed else -1)
                            while placed and x[n, place, j] != value:
                                place += np.int32(1)
                            _insert(values, samples, places, row, j, value, number, place)
                            least = values[row, j, end]
                    limits[row, j] = least

    return first, last
