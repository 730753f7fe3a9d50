"""Sorting of whole numbers on the CPU, for compiled loops."""

from __future__ import annotations

from typing import Any

import numpy as np

from cofire.compiled import compiler


@compiler()
def argsort(key: Any) -> Any:
    """The order of whole numbers from 0 up, equal ones as they come, sorted by eleven bits at a time."""
    order, other = np.arange(len(key)), np.empty(len(key), dtype=np.int64)
    largest = key.max() if len(key) else 0
    shift = 0
    while largest >> shift > 0:
        start = np.zeros(2049, dtype=np.int64)
        for number in range(len(key)):
            start[((key[number] >> shift) & 2047) + 1] += 1
        for digit in range(2048):
            start[digit + 1] += start[digit]
        for number in range(len(key)):
            digit = (key[order[number]] >> shift) & 2047
            other[start[digit]] = order[number]
            start[digit] += 1
        order, other = other, order
        shift += 11
    return order
