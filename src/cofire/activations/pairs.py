"""The compiled loops that count which neurons fire together: one bit per observation, whole words at a time."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from cofire.activations.kernels import over_neurons
from cofire.compiled import compiler

_WORD = 64


def count_pairs(
    x: npt.NDArray[np.floating[Any]],
    neurons_last: bool,
    labels: npt.NDArray[np.int64],
    order: npt.NDArray[np.int64],
    neurons: npt.NDArray[np.int64],
    thresholds: npt.NDArray[np.float64],
    worth: npt.NDArray[np.float64],
    counts: npt.NDArray[Any],
) -> None:
    """Add a batch's co-firing counts, in place.

    Args:
        x: (samples, positions, neurons) if `neurons_last`, else (samples, neurons, positions).
        neurons_last: Which of the two.
        labels: Classes of the samples, in order.
        order: The samples in the order of their classes.
        neurons: Which neurons are counted for each class, (classes, top).
        thresholds: Above what each of them fires, (classes, top).
        worth: What one observation of a class adds, (classes,).
        counts: (classes, top, top), above the diagonal; or (1, top, top), where all classes are
            added up.
    """
    starts = (
        np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
        if len(labels)
        else np.zeros(0, np.int64)
    )
    bounds = np.r_[starts, len(labels)]
    neurons_first = x.transpose(0, 2, 1) if neurons_last else x
    positions = neurons_first.shape[2]
    longest = int(np.diff(bounds).max(initial=0)) * positions
    top = neurons.shape[1]
    fired = np.empty((len(starts), top, -(-longest // _WORD)), np.uint64)
    size = len(labels) * positions * top
    over_neurons(_pack, top, size, neurons_first, bounds, labels, order, neurons, thresholds, fired)
    over_neurons(_count, top, size * top // _WORD, bounds, labels, positions, worth, fired, counts)


_compiled = compiler(error_model="numpy")


@_compiled
def _pack(low, high, x, bounds, labels, order, neurons, thresholds, fired):  # type: ignore[no-untyped-def]
    for g in range(len(bounds) - 1):
        k = labels[bounds[g]]
        words = fired[g]
        for t in range(low, high):
            q = neurons[k, t]
            limit = thresholds[k, t]
            word = np.uint64(0)
            bit = np.uint64(0)
            at = 0
            for i in range(bounds[g], bounds[g + 1]):
                row = x[order[i], q]
                for p in range(len(row)):
                    on = np.uint64(1) if np.float64(row[p]) > limit else np.uint64(0)
                    word |= on << bit
                    bit += np.uint64(1)
                    if bit == np.uint64(64):
                        words[t, at] = word
                        at += 1
                        word = np.uint64(0)
                        bit = np.uint64(0)
            if bit > np.uint64(0):
                words[t, at] = word


@numba.njit(nogil=True, inline="always")
def _ones(word):  # type: ignore[no-untyped-def]
    """How many bits are set, in the form that compilers turn into one instruction."""
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + (
        (word >> np.uint64(2)) & np.uint64(0x3333333333333333)
    )
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (word * np.uint64(0x0101010101010101)) >> np.uint64(56)


@_compiled
def _count(low, high, bounds, labels, positions, worth, fired, counts):  # type: ignore[no-untyped-def]
    top = fired.shape[1]
    for g in range(len(bounds) - 1):
        k = labels[bounds[g]]
        into = counts[k if len(counts) > 1 else 0]
        words = ((bounds[g + 1] - bounds[g]) * positions + 63) // 64
        for t in range(low, high):
            for u in range(t + 1, top):
                both = np.uint64(0)
                for w in range(words):
                    both += _ones(fired[g, t, w] & fired[g, u, w])
                into[t, u] += both * worth[k]
