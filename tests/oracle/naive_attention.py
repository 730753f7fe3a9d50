"""Evidence through attention, in loops, from the definition alone: nothing here knows how the package does it.

A number of the result of attention is `out[i][d] = Σ_j A[i][j] v[j][d]`, where `A[i]` is the softmax over the keys j of
how query i fits them. Evidence for `out[i][d]` goes to the values `v[j][d]`, in proportion to `A[i][j] v[j][d]` where
that is above zero, the weights A being numbers; where none is, the highest takes all. Followed through the weights as
well, one half goes to the values so, and the other half to the weights `A[i][j]`, in proportion too; a weight hands
it on to how its query fits its key, and that to the products `q[i][e] k[j][e]` that speak for it: large where `v[j][d]`
is above zero, small where it is below; of each product half goes to the query, half to the key.

The net evidence of a token for a class is what the logit loses without it, while all weights of attention, all spreads
that normalisation divides by, and all quotients `f(x) / x` of activation functions stay as they are.
"""

import math


def softmax(row):
    top = max(row)
    parts = [math.exp(value - top) for value in row]
    return [part / sum(parts) for part in parts]


def weights_of(queries, keys, mask=None):
    scale = 1 / math.sqrt(len(queries[0]))
    found = []
    for i, query in enumerate(queries):
        fits = [scale * sum(a * b for a, b in zip(query, key, strict=True)) for key in keys]
        if mask is not None:
            fits = [fit if mask[i][j] else -math.inf for j, fit in enumerate(fits)]
        found.append(softmax(fits))
    return found


def proportions(contributions):
    positive = [max(0.0, one) for one in contributions]
    total = sum(positive)
    if total > 0:
        return [one / total for one in positive]
    if all(one == 0 for one in contributions):
        return [0.0] * len(contributions)
    top = contributions.index(max(contributions))
    return [1.0 if j == top else 0.0 for j in range(len(contributions))]


def evidence(evidence_of_result, queries, keys, values, through_weights=False, mask=None):
    """Evidence of queries, keys and values, as nested lists; of the result it is a dictionary {(i, d): evidence}."""
    weights = weights_of(queries, keys, mask)
    found = [[[0.0] * len(one[0]) for _ in one] for one in (queries, keys, values)]
    for (i, d), given in evidence_of_result.items():
        share = proportions([weights[i][j] * values[j][d] for j in range(len(keys))])
        for j, part in enumerate(share):
            if not through_weights:
                found[2][j][d] += given * part
                continue
            found[2][j][d] += given * part / 2
            if part == 0:
                continue
            want = 1 if values[j][d] > 0 else -1
            fit = proportions([want * q * k for q, k in zip(queries[i], keys[j], strict=True)])
            for e, piece in enumerate(fit):
                found[0][i][e] += given * part / 2 * piece / 2
                found[1][j][e] += given * part / 2 * piece / 2
    return found


def _times(matrix, vector):
    return [sum(w * x for w, x in zip(row, vector, strict=True)) for row in matrix]


def _normalised(tokens, spreads, scale):
    found = []
    for token, spread in zip(tokens, spreads, strict=True):
        mean = sum(token) / len(token)
        found.append([g * (x - mean) / spread for g, x in zip(scale, token, strict=True)])
    return found


def _spreads(tokens, eps):
    found = []
    for token in tokens:
        mean = sum(token) / len(token)
        found.append(math.sqrt(sum((x - mean) ** 2 for x in token) / len(token) + eps))
    return found


def _block(tokens, block, frozen):
    """One block of a transformer with one head, pre-norm: what is frozen is filled in where it is empty."""
    before = frozen.setdefault("before", _spreads(tokens, block["eps"]))
    seen = _normalised(tokens, before, block["scale1"])
    queries, keys, values = ([_times(block[n], token) for token in seen] for n in ("q", "k", "v"))
    weights = frozen.setdefault("weights", weights_of(queries, keys))
    mixed = [
        [sum(row[j] * values[j][d] for j in range(len(values))) for d in range(len(values[0]))]
        for row in weights
    ]
    added = [_times(block["out"], one) for one in mixed]
    tokens = [
        [a + b for a, b in zip(*pair, strict=True)] for pair in zip(tokens, added, strict=True)
    ]
    after = frozen.setdefault("after", _spreads(tokens, block["eps"]))
    hidden = [_times(block["up"], one) for one in _normalised(tokens, after, block["scale2"])]
    quotients = frozen.setdefault(
        "quotients",
        [[0.5 * (1 + math.erf(x / math.sqrt(2))) for x in row] for row in hidden],
    )
    fired = [
        [x * q for x, q in zip(*pair, strict=True)] for pair in zip(hidden, quotients, strict=True)
    ]
    added = [_times(block["down"], one) for one in fired]
    return [[a + b for a, b in zip(*pair, strict=True)] for pair in zip(tokens, added, strict=True)]


def logit(tokens, blocks, head, frozen):
    for number, block in enumerate(blocks):
        tokens = _block(tokens, block, frozen.setdefault(number, {}))
    return sum(w * x for w, x in zip(head, tokens[0], strict=True))


def net_evidence(tokens, blocks, head):
    """What the logit that is read from the first token loses without each token."""
    frozen = {}
    whole = logit(tokens, blocks, head, frozen)
    found = []
    for number in range(len(tokens)):
        without = [
            [0.0] * len(token) if place == number else token for place, token in enumerate(tokens)
        ]
        found.append(whole - logit(without, blocks, head, frozen))
    return whole, found
