"""The hot loops of `top_samples` on the CPU: most samples are no better than those kept, which is soon seen."""

from __future__ import annotations

from functools import lru_cache

import numba
import numpy as np
import torch

from cofire.activations.kernels import Kernel
from cofire.compiled import compiler

_WIDTH = 64
"""Neurons handled side by side where they are the innermost axis, a multiple of 8."""


# Outside of the functions that use it, as in `kernels`.
@numba.njit(nogil=True, inline="always")
def _insert(values, samples, places, value, number, place):  # type: ignore[no-untyped-def]
    at = len(values) - 1
    while at > 0 and (
        value > values[at - 1] or (value == values[at - 1] and number < samples[at - 1])
    ):
        values[at], samples[at], places[at] = values[at - 1], samples[at - 1], places[at - 1]
        at -= 1
    values[at], samples[at], places[at] = value, number, place


@lru_cache(maxsize=2)
def kernels_of(dtype: torch.dtype) -> tuple[Kernel, Kernel]:
    """The loops over (samples, neurons, positions), and over (samples, positions, neurons)."""
    precision, whole = (np.float32, np.int32) if dtype == torch.float32 else (np.float64, np.int64)
    # As in `kernels`: extremes of whole numbers compile to vector instructions.
    mask, lowest = whole(np.iinfo(whole).max), whole(np.iinfo(whole).min)
    sign, below = whole(np.iinfo(whole).bits - 1), precision(-np.inf)
    compiled = compiler(error_model="numpy")

    @compiled
    def first(low, high, x, bits, labels, order, start, placed, values, samples, places):  # type: ignore[no-untyped-def]
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
                value, number, least = floats[0], np.int32(start + n), values[row, c, end]
                if value > least or (value == least and number < samples[row, c, end]):
                    place = np.int32(0 if placed else -1)
                    while placed and x[n, c, place] != value:
                        place += np.int32(1)
                    _insert(values[row, c], samples[row, c], places[row, c], value, number, place)

    @compiled
    def last(low, high, x, bits, labels, order, start, placed, values, samples, places):  # type: ignore[no-untyped-def]
        end = values.shape[2] - 1
        width = min(_WIDTH, high - low)
        most, least = np.empty(width, precision), np.empty(width, precision)
        least_number = np.empty(width, np.int32)
        words = np.zeros(-(-width // 8), np.uint64)
        better = words.view(np.uint8)
        for begin in range(low, high, width):
            m = min(width, high - begin)
            words[:] = 0
            for at in range(len(order)):
                n, row = order[at], labels[at]
                if at == 0 or row != labels[at - 1]:
                    for c in range(m):
                        least[c] = values[row, begin + c, end]
                        least_number[c] = samples[row, begin + c, end]
                most[:] = below
                for p in range(x.shape[1]):
                    line = x[n, p, begin : begin + m]
                    for c in range(m):
                        most[c] = line[c] if line[c] > most[c] else most[c]
                number = np.int32(start + n)
                for c in range(m):
                    better[c] = (most[c] > least[c]) | (
                        (most[c] == least[c]) & (number < least_number[c])
                    )
                # Eight at a time: hardly any is.
                for word in range((m + 7) // 8):
                    if words[word] == 0:
                        continue
                    for c in range(8 * word, min(8 * word + 8, m)):
                        if not better[c]:
                            continue
                        place = np.int32(0 if placed else -1)
                        while placed and x[n, place, begin + c] != most[c]:
                            place += np.int32(1)
                        j = begin + c
                        _insert(
                            values[row, j], samples[row, j], places[row, j], most[c], number, place
                        )
                        least[c], least_number[c] = values[row, j, end], samples[row, j, end]

    return first, last
