"""The graph equations of P2 (§3.2, §5.1, §7.1) as nested loops, written without a look at the package.

Everything is a list: activations are (samples, neurons), means are (classes, neurons), an adjacency
    is
(vertices, vertices). Means and shares are fractions, so that "exceeds the mean" has one answer.
"""

from __future__ import annotations

import math
from fractions import Fraction


def class_means(activations, labels, num_classes):
    """Eq. 6: `V_i(q) = Σ_{d in D_i} v_i(q, d) / |D_i|`, without any rounding."""
    means = []
    for label in range(num_classes):
        row = []
        for q in range(len(activations[0])):
            total, samples = Fraction(0), 0
            for d in range(len(activations)):
                if labels[d] == label:
                    total += Fraction(activations[d][q])
                    samples += 1
            row.append(total / samples)
        means.append(row)
    return means


def representative_neurons(mean_activation, top):
    """`N_i` (P2 §5.1): the `top` neurons with the highest mean, best first, ties by the lower index."""
    found = []
    for means in mean_activation:
        left = list(range(len(means)))
        chosen = []
        for _ in range(top):
            best = left[0]
            for q in left:
                if means[q] > means[best]:
                    best = q
            chosen.append(best)
            left.remove(best)
        found.append(chosen)
    return found


def activation_pattern_graph(activations, labels, num_classes, top, pairs="class"):
    """Eq. 7 summed over the classes: the share of a class's samples in which p and q both exceed their mean.

    `pairs="class"` counts the pairs of `N_i` for class i, `pairs="union"` those of the union of all
    `N_i`.
    """
    neurons = len(activations[0])
    means = class_means(activations, labels, num_classes)
    representatives = representative_neurons(means, top)
    union = {q for chosen in representatives for q in chosen}
    weights = [[Fraction(0)] * neurons for _ in range(neurons)]
    for label in range(num_classes):
        counted = union if pairs == "union" else set(representatives[label])
        samples = [d for d in range(len(activations)) if labels[d] == label]
        for p in counted:
            for q in counted:
                if p == q:
                    continue
                both = 0
                for d in samples:
                    if activations[d][p] > means[label][p] and activations[d][q] > means[label][q]:
                        both += 1
                weights[p][q] += Fraction(both, len(samples))
    return [[float(weight) for weight in row] for row in weights]


def unique_neuron_matrix(representatives, exclusive=False):
    """P2 Table 2: neurons of class i alone on the diagonal, `|N_i ∩ N_j|` off it; in §7.1 those in no other set."""
    classes = len(representatives)
    found = [[0] * classes for _ in range(classes)]
    for i in range(classes):
        for j in range(classes):
            for q in set(representatives[i]):
                if i == j:
                    found[i][j] += all(
                        q not in representatives[k] for k in range(classes) if k != i
                    )
                else:
                    others = [representatives[k] for k in range(classes) if k not in (i, j)]
                    found[i][j] += q in representatives[j] and not (
                        exclusive and any(q in other for other in others)
                    )
    return found


def membership(mean_activation, representatives):
    """The partition for Eq. 2: among the classes a neuron represents, that of its highest mean.

    A tie goes to the lower class. -1: the neuron represents no class and is no vertex.
    """
    found = [-1] * len(mean_activation[0])
    for q in range(len(found)):
        for label, chosen in enumerate(representatives):
            if q in chosen and (
                found[q] == -1 or mean_activation[label][q] > mean_activation[found[q]][q]
            ):
                found[q] = label
    return found


def degrees(adjacency, vertices):
    """`k_v = Σ_w A_vw` over the vertices."""
    return {v: math.fsum(adjacency[v][w] for w in vertices) for v in vertices}


def modularity(adjacency, membership):
    """Eq. 2: `Q = 1/2m Σ_{v,w} (A_vw - k_v k_w / 2m) δ(C_v, C_w)`. Vertices of -1 and their edges are left out."""
    vertices = [v for v in range(len(membership)) if membership[v] != -1]
    k = degrees(adjacency, vertices)
    twice_m = math.fsum(k.values())
    if twice_m == 0:
        return 0.0
    terms = []
    for v in vertices:
        for w in vertices:
            if membership[v] == membership[w]:
                terms.append(adjacency[v][w] / twice_m - (k[v] / twice_m) * (k[w] / twice_m))
    return math.fsum(terms)


def belonging(adjacency, communities, weighted):
    """`α_cv` of Eq. 4, `1 / O_v` of Eq. 3: how much of vertex v belongs to community c; 0 if it is no member.

    `α_cv = k_cv / Σ_c k_cv` with `k_cv = Σ_{p in c} W_vp`, the sum over the communities that
    contain v; equal shares where v has no weight inside any of them.
    """
    found = [[0.0] * len(adjacency) for _ in communities]
    for v in range(len(adjacency)):
        containing = [c for c in range(len(communities)) if v in communities[c]]
        inside = {c: math.fsum(adjacency[v][p] for p in set(communities[c])) for c in containing}
        total = math.fsum(inside.values())
        for c in containing:
            found[c][v] = inside[c] / total if weighted and total > 0 else 1 / len(containing)
    return found


def overlapping_modularity(adjacency, communities, weighted=True):
    """`Q = 1/2m Σ_c Σ_{v,w} (A_vw - k_v k_w / 2m) α_cv α_cw`: Eq. 4, or Eq. 3 where not weighted.

    Eq. 3 has an edge of 1 wherever there is weight and `α_cv = 1 / O_v` for the members of c.
    """
    vertices = list(range(len(adjacency)))
    alpha = belonging(adjacency, communities, weighted)
    if not weighted:
        adjacency = [[1.0 if weight > 0 else 0.0 for weight in row] for row in adjacency]
    k = degrees(adjacency, vertices)
    twice_m = math.fsum(k.values())
    if twice_m == 0:
        return 0.0
    terms = []
    for c in range(len(communities)):
        for v in vertices:
            for w in vertices:
                surplus = adjacency[v][w] / twice_m - (k[v] / twice_m) * (k[w] / twice_m)
                terms.append(surplus * alpha[c][v] * alpha[c][w])
    return math.fsum(terms)


def participation(adjacency, membership):
    """`P_v = 1 - Σ_s (k_vs / k_v)²` (Guimerà & Amaral 2005); 0 for an isolated vertex and for what is none."""
    vertices = [v for v in range(len(membership)) if membership[v] != -1]
    k = degrees(adjacency, vertices)
    found = [0.0] * len(membership)
    for v in vertices:
        if k[v] == 0:
            continue
        found[v] = 1.0
        for s in sorted({membership[w] for w in vertices}):
            to_s = math.fsum(adjacency[v][w] for w in vertices if membership[w] == s)
            found[v] -= (to_s / k[v]) ** 2
    return found


def within_strength(adjacency, membership):
    """`k_v,C(v) = Σ_{w in C_v} A_vw`: the weight of a vertex inside its own community; 0 for what is no vertex."""
    found = [0.0] * len(membership)
    for v in range(len(membership)):
        if membership[v] != -1:
            found[v] = math.fsum(
                adjacency[v][w] for w in range(len(membership)) if membership[w] == membership[v]
            )
    return found


def entropy_of_partition(partition):
    """`H = -Σ_s (n_s / n) log(n_s / n)`."""
    shares = [
        sum(1 for other in partition if other == s) / len(partition) for s in sorted(set(partition))
    ]
    return -math.fsum(share * math.log(share) for share in shares)


def nmi(first, second):
    """`2 I(X; Y) / (H(X) + H(Y))`, normalised by the arithmetic mean; 1 where neither partition divides anything."""
    n = len(first)
    mean = (entropy_of_partition(first) + entropy_of_partition(second)) / 2
    if mean == 0:
        return 1.0
    terms = []
    for s in sorted(set(first)):
        for t in sorted(set(second)):
            both = sum(1 for v in range(n) if first[v] == s and second[v] == t)
            one = sum(1 for v in range(n) if first[v] == s)
            other = sum(1 for v in range(n) if second[v] == t)
            if both:
                terms.append(both / n * math.log(Fraction(both * n, one * other)))
    return math.fsum(terms) / mean


def adjusted_rand(first, second):
    """Hubert & Arabie 1985: `(together - expected) / (mean of both - expected)` over all pairs of vertices.

    1 where that is 0/0: both put all vertices together, or both keep each one alone.
    """
    pairs = together = one = other = 0
    for v in range(len(first)):
        for w in range(v):
            pairs += 1
            one += first[v] == first[w]
            other += second[v] == second[w]
            together += first[v] == first[w] and second[v] == second[w]
    if pairs == 0:
        return 1.0
    expected = Fraction(one * other, pairs)
    most = Fraction(one + other, 2)
    return float((together - expected) / (most - expected)) if most != expected else 1.0
