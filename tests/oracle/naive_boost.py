"""What follows a network's own prediction, as nested loops: slow, obvious, and without a look at the package.

Matrices are numpy arrays or nested lists; an activation counts as active by a comparison in its own
precision.
"""

from __future__ import annotations

import math
from fractions import Fraction

from . import naive


def is_active(activations, threshold=0.0):
    """`U*` of each sample (P1 eq. 15)."""
    return [
        [bool(naive.active_counts(value.reshape(1, 1), threshold)[0]) for value in row]
        for row in activations
    ]


def proposed(predicted, probability, activations, threshold=0.0):
    """`Y_proposed = (P · U*) × Y_predicted` (P1 eq. 16)."""
    found = []
    for row, active in zip(predicted, is_active(activations, threshold), strict=True):
        found.append([])
        for label in range(len(probability)):
            overlap = math.fsum(
                float(probability[label][x]) for x in range(len(active)) if active[x]
            )
            found[-1].append(overlap * float(row[label]))
    return found


def log_likelihood(labels, seen, activations, classes, threshold=0.0):
    """`Σ_x [u log p + (1 - u) log (1 - p)]` of each row of `activations`, counted on the labelled rows of `seen`.

    `p = (k + 1) / (n + 2)` where k of the class's n samples activate the neuron.
    """
    known, new = is_active(seen, threshold), is_active(activations, threshold)
    found = []
    for active in new:
        found.append([])
        for label in range(classes):
            members = [row for row, own in zip(known, labels, strict=True) if own == label]
            terms = []
            for x, fires in enumerate(active):
                p = Fraction(sum(row[x] for row in members) + 1, len(members) + 2)
                terms.append(math.log(p if fires else 1 - p))
            found[-1].append(math.fsum(terms))
    return found


def solve(matrix, right):
    """Gauss-Jordan elimination in exact fractions."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for j in range(len(rows)):
        pivot = next(i for i in range(j, len(rows)) if rows[i][j] != 0)
        rows[j], rows[pivot] = rows[pivot], rows[j]
        rows[j] = [value / rows[j][j] for value in rows[j]]
        for i in range(len(rows)):
            if i != j:
                rows[i] = [a - rows[i][j] * b for a, b in zip(rows[i], rows[j], strict=True)]
    return [row[-1] for row in rows]


def discriminant(activations, labels, classes, ridge):
    """Weights `S⁻¹ μ` and bias `-½ μᵀ S⁻¹ μ + log (n / N)` of each class, from deviations, in exact fractions.

    S averages the outer products of each sample's deviation from the mean of its class; then
    `ridge · mean(diag S)` is added to its diagonal.
    """
    exact = [[Fraction(float(value)) for value in row] for row in activations]
    n, neurons = len(exact), len(exact[0])
    members = [
        [row for row, own in zip(exact, labels, strict=True) if own == label]
        for label in range(classes)
    ]
    means = [[sum(row[x] for row in rows) / len(rows) for x in range(neurons)] for rows in members]
    shared = [[Fraction(0)] * neurons for _ in range(neurons)]
    for rows, mean in zip(members, means, strict=True):
        for row in rows:
            for x in range(neurons):
                for y in range(neurons):
                    shared[x][y] += (row[x] - mean[x]) * (row[y] - mean[y]) / n
    typical = sum(shared[x][x] for x in range(neurons)) / neurons
    for x in range(neurons):
        shared[x][x] += Fraction(ridge) * typical
    weights, bias = [], []
    for rows, mean in zip(members, means, strict=True):
        weight = solve(shared, mean)
        weights.append([float(value) for value in weight])
        square = sum(a * b for a, b in zip(mean, weight, strict=True))
        bias.append(float(-square / 2) + math.log(Fraction(len(rows), n)))
    return weights, bias


def calibration_error(probabilities, labels, bins):
    """`Σ_k |bin k| / N · |accuracy - mean confidence|`, a confidence in bin k if `k/bins < it <= (k + 1)/bins`."""
    rows = [[float(value) for value in row] for row in probabilities]
    total = 0.0
    for k in range(bins):
        right, confidences = 0, []
        for row, label in zip(rows, labels, strict=True):
            if k / bins < max(row) <= (k + 1) / bins:
                confidences.append(max(row))
                right += row.index(max(row)) == label
        if confidences:
            gap = right / len(confidences) - math.fsum(confidences) / len(confidences)
            total += len(confidences) / len(rows) * abs(gap)
    return total


def surprise(row, label):
    """`-log softmax(row)[label]` in nats."""
    highest = max(row)
    return highest - row[label] + math.log(math.fsum(math.exp(value - highest) for value in row))


def negative_log_likelihood(logits, labels):
    """The mean over the samples."""
    rows = [[float(value) for value in row] for row in logits]
    return math.fsum(surprise(row, label) for row, label in zip(rows, labels, strict=True)) / len(
        rows
    )


def false_counts(predicted, labels, classes):
    positives, negatives = [0] * classes, [0] * classes
    for guess, label in zip(predicted, labels, strict=True):
        if guess != label:
            positives[guess] += 1
            negatives[label] += 1
    return positives, negatives


def quantile(ordered, share):
    """Linear between the two nearest."""
    at = share * (len(ordered) - 1)
    low = min(math.floor(at), len(ordered) - 2)
    return ordered[low] + (at - low) * (ordered[low + 1] - ordered[low])


def bootstrapped_means(runs, draws, random):
    """Ordered means: each draw draws runs, and samples once for all of its runs."""
    found = []
    for _ in range(draws):
        chosen = random.choices(range(len(runs)), k=len(runs))
        samples = random.choices(range(len(runs[0])), k=len(runs[0]))
        found.append(
            sum(runs[r][s] for r in chosen for s in samples) / (len(chosen) * len(samples))
        )
    return sorted(found)


def bootstrap(runs, draws, random):
    """The 95 % percentile interval of the mean."""
    means = bootstrapped_means(runs, draws, random)
    return quantile(means, 0.025), quantile(means, 0.975)


def slope(rows, labels, beta):
    """Derivative of the mean negative log-likelihood of `beta · logits` by beta: it never falls."""
    total = 0.0
    for row, label in zip(rows, labels, strict=True):
        highest = max(row)
        shares = [math.exp(beta * (value - highest)) for value in row]
        total += (
            sum(share * value for share, value in zip(shares, row, strict=True)) / sum(shares)
            - row[label]
        )
    return total / len(rows)


def temperature(logits, labels, low=1e-3, high=1e3):
    """Where that derivative is zero, by halving."""
    rows = [[float(value) for value in row] for row in logits]
    assert slope(rows, labels, 1 / high) < 0 < slope(rows, labels, 1 / low), "no minimum in between"
    for _ in range(50):
        middle = math.sqrt(low * high)
        if slope(rows, labels, 1 / middle) > 0:
            low = middle
        else:
            high = middle
    return math.sqrt(low * high)
