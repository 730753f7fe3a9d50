"""The hot loops on the CPU: compiled, without the interpreter lock, one slice of the neurons per thread.

Each inner loop does one thing, because that is what the compiler turns into vector instructions. A
neuron is always handled by one thread and in the order of the samples, so that the result does not
depend on the number of threads. The torch versions in `statistics` and `histograms` define the
result.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
import torch

from cofire.compiled import compiler

_SMALL = 1 << 20
"""Elements below which handing work to threads costs more than it saves."""


_STRIP = 512
"""Values whose bins are computed together, small enough to stay in the first cache."""


_LANES = 16
"""Neurons handled side by side where they are the innermost axis: one cache line of float32."""


_SPREAD = 8
"""Bins that take the zeros in turn: adding to one and the same place again and again would be slow."""


Kernel = Callable[..., Any]


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    # Keyed by process: threads do not survive a fork.
    return ThreadPoolExecutor(
        max_workers=os.cpu_count() or 1, thread_name_prefix=f"cofire-{process}"
    )


def over_neurons(kernel: Kernel, neurons: int, elements: int, *arguments: Any) -> list[Any]:
    """Run a kernel over all neurons, in slices on as many threads as torch uses.

    Args:
        kernel: Takes the first and the one-past-last neuron, then the arguments.
        neurons: How many neurons there are.
        elements: Size of the batch, to decide whether threads pay; more where an element takes
            longer than to be summed.
        arguments: What the kernel takes besides.

    Returns:
        What the kernel returned for each slice.
    """
    threads = 1 if elements < _SMALL else torch.get_num_threads()
    # Slices at multiples of a cache line keep threads from writing to the same one.
    cuts = {
        min(neurons, (neurons * t // threads + _LANES - 1) // _LANES * _LANES)
        for t in range(1, threads)
    }
    bounds = sorted({0, neurons, *cuts})
    slices = list(pairwise(bounds))
    if len(slices) < 2:
        return [kernel(0, neurons, *arguments)]
    *others, own = slices
    jobs = [_pool(os.getpid()).submit(kernel, low, high, *arguments) for low, high in others]
    # This thread works too: it is awake and holds the batch in its cache.
    last = kernel(*own, *arguments)
    return [*(job.result() for job in jobs), last]


class Kernels(NamedTuple):
    """The four loops for one precision; each runs over a slice of the neurons.

    Samples are visited in the order of their labels, `order`, to which `labels` belong; where they
    lie in memory does not change. Pass 1 writes its sums by `local`, the numbers of the classes
    among those of the batch.

    Attributes:
        bits: Whole-number type of the same size.
        sums_first: Pass 1 over (samples, neurons, positions).
        sums_last: Pass 1 over (samples, positions, neurons).
        histogram_first: Pass 2 over (samples, neurons, positions).
        histogram_last: Pass 2 over (samples, positions, neurons).
    """

    bits: Any
    sums_first: Kernel
    sums_last: Kernel
    histogram_first: Kernel
    histogram_last: Kernel


@lru_cache(maxsize=2)
def kernels_for(dtype: torch.dtype) -> Kernels:
    """The loops for float32 or float64."""
    precision, bits = (np.float32, np.int32) if dtype == torch.float32 else (np.float64, np.int64)
    return Kernels(bits, *_sum_kernels(precision, bits), *_histogram_kernels(precision))


# Outside of the functions that use it: numba would not find again what it kept of a closure over
# it.
@numba.njit(nogil=True, inline="always", error_model="numpy")
def _bin_of(v, first, scale, step, last_bin, precision):  # type: ignore[no-untyped-def]
    """The bin by arithmetic, put right by comparing with the edges on its two sides."""
    i = min(max(np.int32((v - first) * scale), np.int32(0)), last_bin)
    lower = precision(i) * step + first
    upper = precision(i + np.int32(1)) * step + first
    up = np.int32(1) if (v >= upper and i < last_bin) else np.int32(0)
    down = np.int32(1) if (v < lower and i > 0) else np.int32(0)
    return i + up - down


def _sum_kernels(precision: Any, whole: Any) -> tuple[Kernel, Kernel]:
    # Whole numbers sort as floats do once the lower bits of the negative ones are flipped, and
    # extremes of whole numbers compile to vector instructions where those of floats (because of
    # NaN) do not.
    mask = whole(np.iinfo(whole).max)
    lowest = whole(np.iinfo(whole).min)
    sign = whole(np.iinfo(whole).bits - 1)
    infinite = precision(np.inf).view(whole)
    above, below = precision(np.inf), precision(-np.inf)

    # "reassoc" lets sums run in several lanes; NaN and infinities keep their meaning.
    compiled = compiler(fastmath={"reassoc", "nsz", "contract"})

    @compiled
    def sums_first(  # type: ignore[no-untyped-def]
        low,
        high,
        x,
        bits,
        labels,
        order,
        local,
        threshold,
        total,
        nonzero,
        active,
        minimum,
        maximum,
    ):
        worst = whole(0)
        keys = np.empty(2, whole)
        floats = keys.view(precision)
        for c in range(low, high):
            for at in range(x.shape[0]):
                n = order[at]
                k = labels[at]
                s = 0.0
                on = 0
                some = 0
                least = mask
                most = lowest
                for p in range(x.shape[2]):
                    s += np.float64(x[n, c, p])
                for p in range(x.shape[2]):
                    on += x[n, c, p] > threshold
                for p in range(x.shape[2]):
                    b = bits[n, c, p]
                    size = b & mask
                    some += size != 0
                    worst = max(worst, size)
                    key = b ^ ((b >> sign) & mask)
                    least = min(least, key if size != 0 else mask)
                    most = max(most, key if size != 0 else lowest)
                total[local[at], c] += s
                active[k, c] += on
                nonzero[k, c] += some
                if some > 0:
                    keys[0] = least ^ ((least >> sign) & mask)
                    keys[1] = most ^ ((most >> sign) & mask)
                    minimum[k, c] = min(minimum[k, c], np.float64(floats[0]))
                    maximum[k, c] = max(maximum[k, c], np.float64(floats[1]))
        return worst >= infinite

    @compiled
    def sums_last(  # type: ignore[no-untyped-def]
        low,
        high,
        x,
        bits,
        labels,
        order,
        local,
        threshold,
        total,
        nonzero,
        active,
        minimum,
        maximum,
    ):
        width = min(256, high - low)
        s = np.zeros(width, np.float64)
        on = np.zeros(width, np.int32)
        some = np.zeros(width, np.int32)
        least = np.full(width, above, precision)
        most = np.full(width, below, precision)
        worst = np.zeros(width, whole)
        samples = x.shape[0]
        for start in range(low, high, width):
            m = min(width, high - start)
            for at in range(samples):
                n = order[at]
                for p in range(x.shape[1]):
                    row = x[n, p, start : start + m]
                    row_bits = bits[n, p, start : start + m]
                    for c in range(m):
                        s[c] += np.float64(row[c])
                    for c in range(m):
                        some[c] += np.int32(1) if row[c] != 0 else np.int32(0)
                        on[c] += np.int32(1) if row[c] > threshold else np.int32(0)
                    for c in range(m):
                        v = row[c]
                        small = v if v != 0 else above
                        large = v if v != 0 else below
                        least[c] = small if small < least[c] else least[c]
                        most[c] = large if large > most[c] else most[c]
                    for c in range(m):
                        size = row_bits[c] & mask
                        worst[c] = size if size > worst[c] else worst[c]
                k = labels[at]
                # In the order of the labels, the lanes are written out once per class.
                if at + 1 == samples or labels[at + 1] != k:
                    for c in range(m):
                        total[local[at], start + c] += s[c]
                        active[k, start + c] += on[c]
                        nonzero[k, start + c] += some[c]
                        minimum[k, start + c] = min(minimum[k, start + c], np.float64(least[c]))
                        maximum[k, start + c] = max(maximum[k, start + c], np.float64(most[c]))
                    s[:] = 0
                    on[:] = 0
                    some[:] = 0
                    least[:] = above
                    most[:] = below
        return worst.max() >= infinite

    return sums_first, sums_last


def _histogram_kernels(precision: Any) -> tuple[Kernel, Kernel]:
    # No contraction and no reordering here: the edges must round exactly as NumPy's do.
    compiled = compiler(error_model="numpy")

    @compiled
    def histogram_first(  # type: ignore[no-untyped-def]
        low, high, x, labels, order, first, scale, step, counts
    ):
        samples, _, positions = x.shape
        bins = counts.shape[2]
        last_bin = np.int32(bins - 1)
        zero_bin = np.int32(bins)
        where = np.empty(_STRIP, np.int32)
        h = np.zeros(bins + _SPREAD, np.int32)
        for c in range(low, high):
            for at in range(samples):
                n = order[at]
                k = labels[at]
                f = first[k, c]
                g = scale[k, c]
                w = step[k, c]
                for start in range(0, positions, _STRIP):
                    m = min(_STRIP, positions - start)
                    row = x[n, c, start : start + m]
                    for j in range(m):
                        v = row[j]
                        i = _bin_of(v, f, g, w, last_bin, precision)
                        where[j] = i if v != 0 else zero_bin + np.int32(j & (_SPREAD - 1))
                    for j in range(m):
                        h[where[j]] += 1
                if at + 1 == samples or labels[at + 1] != k:
                    # Neurons whose range is too narrow for this arithmetic are counted elsewhere.
                    if g > 0:
                        for i in range(bins):
                            counts[k, c, i] += h[i]
                    h[:] = 0

    @compiled
    def histogram_last(  # type: ignore[no-untyped-def]
        low, high, x, labels, order, first, scale, step, counts
    ):
        samples, positions, _ = x.shape
        bins = counts.shape[2]
        last_bin = np.int32(bins - 1)
        zero_bin = np.int32(bins)
        where = np.empty(_LANES, np.int32)
        h = np.zeros((_LANES, bins + _SPREAD), np.int32)
        # With few observations, writing out whole histograms would cost more than counting in
        # place.
        in_place = samples * positions < bins
        for start in range(low, high, _LANES):
            m = min(_LANES, high - start)
            for at in range(samples):
                n = order[at]
                k = labels[at]
                f = first[k, start : start + m]
                g = scale[k, start : start + m]
                w = step[k, start : start + m]
                for p in range(positions):
                    row = x[n, p, start : start + m]
                    spread = zero_bin + np.int32((at + p) & (_SPREAD - 1))
                    for c in range(m):
                        v = row[c]
                        i = _bin_of(v, f[c], g[c], w[c], last_bin, precision)
                        where[c] = i if v != 0 else spread
                    if in_place:
                        for c in range(m):
                            if where[c] <= last_bin and g[c] > 0:
                                counts[k, start + c, where[c]] += 1
                    else:
                        for c in range(m):
                            h[c, where[c]] += 1
                if not in_place and (at + 1 == samples or labels[at + 1] != k):
                    for c in range(m):
                        if g[c] > 0:
                            for i in range(bins):
                                counts[k, start + c, i] += h[c, i]
                    h[:] = 0

    return histogram_first, histogram_last


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


@compiler()
def add_by_label(low, high, sums, labels, totals):  # type: ignore[no-untyped-def]
    """Add each sample's activations to the sums of its row, for each of several labellings."""
    for run in range(labels.shape[0]):
        for n in range(sums.shape[0]):
            into = totals[labels[run, n], low:high]
            row = sums[n, low:high]
            for c in range(len(row)):
                into[c] += row[c]
