"""The papers' equations as nested loops: slow, obvious, and written without a look at the package.

An activation matrix is a numpy array (observations, neurons) in the activations' own precision;
`samples` says for each of its rows which sample it observes.
"""

from __future__ import annotations

import math

import numpy as np
import torch


def histogram(values, bins, span=None):
    """Counts in equal bins, by numpy; by looking at every edge where numpy cannot be asked.

    It raises where the range is too narrow for that many edges. And it guesses a bin and corrects
    the guess by one at most, which is not enough where a bin is so narrow that its width is
    denormal: there its counts contradict its own edges.
    """
    lowest, highest = span or (values.min(), values.max())
    if highest / bins - lowest / bins >= np.finfo(values.dtype).tiny:
        try:
            return list(np.histogram(values, bins=bins, range=span)[0])
        except ValueError as error:
            if "Too many bins" not in str(error):
                raise
    edges = np.linspace(lowest, highest, bins + 1, dtype=values.dtype)
    counts = [0] * bins
    for value in values:
        counts[max(k for k in range(bins) if edges[k] <= value)] += 1
    return counts


def entropy(counts):
    """`E_j = -Σ h log h` (P2 §5.2)."""
    total = sum(int(count) for count in counts)
    result = 0.0
    for count in counts:
        if count > 0:
            share = int(count) / total
            result -= share * math.log(share)
    return result


def bin_range(column, everything, where):
    """Where the bins of a neuron lie; None for its own range. `everything` is of all neurons."""
    if where == "global":
        return everything.min(), everything.max()
    if where == "zero-to-max":
        zero = column.dtype.type(0)
        return min(column.min(), zero), max(column.max(), zero)
    return None


def neuron_counts(column, everything, bins, where):
    """One neuron's histogram; None where it has none or where all its non-zero values are equal."""
    column = column[column != 0]
    if column.size == 0 or column.min() == column.max():
        return None
    return histogram(column, bins, bin_range(column, everything, where))


def nonzero_of(matrices):
    values = np.concatenate([matrix.ravel() for matrix in matrices])
    return values[values != 0]


def entropies(matrix, bins, where="own", network=None):
    """Entropy of each neuron. `network` holds the matrices of all layers, for one range for all of them."""
    everything = nonzero_of(network or [matrix])
    found = []
    for j in range(matrix.shape[1]):
        counts = neuron_counts(matrix[:, j], everything, bins, where)
        found.append(0.0 if counts is None else entropy(counts))
    return np.array(found)


def of_class(matrix, samples, labels, label):
    """The observations of one class's samples."""
    return matrix[[labels[sample] == label for sample in samples]]


def mean(column):
    """Exactly rounded."""
    return math.fsum(float(value) for value in column) / len(column)


def means(matrix):
    return np.array([mean(matrix[:, j]) for j in range(matrix.shape[1])])


def active_counts(matrix, threshold=0.0):
    """The threshold is one in the activations' own precision, as numpy and torch compare."""
    limit = matrix.dtype.type(threshold)
    found = []
    for j in range(matrix.shape[1]):
        found.append(sum(1 for value in matrix[:, j] if value > limit))
    return np.array(found)


def probabilities(matrix, threshold=0.0):
    return active_counts(matrix, threshold) / len(matrix)


def by_class(function, matrix, samples, labels, classes):
    return np.stack(
        [function(of_class(matrix, samples, labels, label)) for label in range(classes)]
    )


def information(matrix, samples, labels, classes, threshold=0.0):
    """Mutual information of activity and class in bits, from their joint table."""
    found = []
    for j in range(matrix.shape[1]):
        joint = [[0] * classes for _ in range(2)]
        for i, sample in enumerate(samples):
            joint[int(matrix[i, j] > matrix.dtype.type(threshold))][labels[sample]] += 1
        total = len(samples)
        bits = 0.0
        for activity in range(2):
            for label in range(classes):
                if joint[activity][label]:
                    both = joint[activity][label] / total
                    one = sum(joint[activity]) / total
                    other = (joint[0][label] + joint[1][label]) / total
                    bits += both * math.log2(both / (one * other))
        found.append(bits)
    return np.array(found)


def selectivity(table):
    """`(max - mean of the others) / (max + mean of the others)` of each column (Morcos et al. 2018)."""
    found = []
    for column in table.T:
        best = max(range(len(column)), key=lambda label: column[label])
        others = [column[label] for label in range(len(column)) if label != best]
        rest = sum(others) / len(others)
        found.append((column[best] - rest) / (column[best] + rest) if column[best] + rest else 0.0)
    return np.array(found)


def exact_mean_in(values, precision):
    return precision.type(math.fsum(float(value) for value in values) / len(values))


def observe(activations, unit, channel_axis):
    """Activations (batch, ...) of a layer as (matrix, the sample of each row)."""
    wide = activations.detach()
    wide = wide.double() if wide.dtype == torch.float64 else wide.float()
    array = np.moveaxis(wide.numpy(), channel_axis, 1) if unit != "element" else wide.numpy()
    precision = array.dtype
    rows, samples = [], []
    for i, sample in enumerate(array):
        if unit == "element":
            rows.append([sample[at] for at in np.ndindex(*sample.shape)])
            samples.append(i)
            continue
        places = list(np.ndindex(*sample.shape[1:]))
        if unit == "channel":
            for at in places:
                rows.append([channel[at] for channel in sample])
                samples.append(i)
        else:
            pooled = []
            for channel in sample:
                values = [channel[at] for at in places]
                pooled.append(
                    max(values) if unit == "channel-max" else exact_mean_in(values, precision)
                )
            rows.append(pooled)
            samples.append(i)
    return np.array(rows, dtype=precision), samples


def record(model, modules, batches):
    """Activations of the named modules and the logits, batch by batch in evaluation mode, by hooks."""
    seen = {name: [] for name in modules}
    handles = [
        model.get_submodule(name).register_forward_hook(
            lambda _module, _args, output, name=name: seen[name].append(output.detach().clone())
        )
        for name in modules
    ]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            logits = torch.cat([model(batch) for batch in batches])
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return {name: torch.cat(parts) for name, parts in seen.items()}, logits


def accuracy(logits, labels):
    right = 0
    for row, label in zip(logits.tolist(), labels, strict=True):
        right += max(range(len(row)), key=row.__getitem__) == label
    return right / len(labels)


def rank(series):
    """Ranks from 1; equal values share the mean of their ranks."""
    found = []
    for value in series:
        below = sum(1 for other in series if other < value)
        equal = sum(1 for other in series if other == value)
        found.append(below + (equal + 1) / 2)
    return found


def pearson(first, second):
    a, b = math.fsum(first) / len(first), math.fsum(second) / len(second)
    top = math.fsum((x - a) * (y - b) for x, y in zip(first, second, strict=True))
    one = math.fsum((x - a) ** 2 for x in first)
    other = math.fsum((y - b) ** 2 for y in second)
    return max(-1.0, min(1.0, top / math.sqrt(one * other)))
