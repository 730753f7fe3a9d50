"""Eqs. 1 to 5 and Algorithm 1 of P3 as plain loops over one image, and nothing besides.

Written from the paper; where values stand and come from (windows, paddings, reshapes) is that of
`naive_tracing`.
"""

from __future__ import annotations

import itertools

import numpy as np

from tests.oracle.naive_tracing import WEIGHTED, Tracing


class Algorithm(Tracing):
    """The discriminative neurons of every step.

    A neuron is a place and a gain: what the steps between it and its weighted operator multiply its
        weights with
    (batch norm is folded), 1 for a neuron that has just been selected.
    """

    def __init__(self, steps, values, alpha=(1.0, 1.0, 1.0), k=1, k_linear=1):
        super().__init__(steps, values, None)
        self.current, self.preceding, self.succeeding = alpha
        self.k, self.k_linear = k, k_linear
        self.known = {}

    # Eqs. 2 and 3

    def fields(self, step, place):
        """For every candidate of a neuron, in order: its places in the operand and their weights, in order."""
        weight, shape = self.weights[step], self.shape(step.inputs[0])
        if step.kind == "linear":
            row, out = divmod(place, len(weight))
            return [[(row * weight.shape[1] + i, weight[out, i])] for i in range(weight.shape[1])]
        out, *position = (int(p) for p in np.unravel_index(place, self.shape(step)))
        params = step.params
        group = out // (len(weight) // params["groups"])
        found = []
        for c in range(weight.shape[1]):
            field = []
            for offsets in itertools.product(*(range(size) for size in weight.shape[2:])):
                there = []
                for p, s, before, o, d in zip(
                    position,
                    params["stride"],
                    params["before"],
                    offsets,
                    params["dilation"],
                    strict=True,
                ):
                    there.append(p * s - before + o * d)
                if all(0 <= p < size for p, size in zip(there, shape[1:], strict=True)):
                    source = int(np.ravel_multi_index((group * weight.shape[1] + c, *there), shape))
                    field.append((source, weight[(out, c, *offsets)]))
            found.append(field)
        return found

    def supports(self, step, place, gain):
        """Z_cur of every candidate, and where its largest product stands."""
        if (step, place, gain) in self.known:
            return self.known[step, place, gain]
        found = self.known[step, place, gain] = []
        for field in self.fields(step, place):
            if field:
                products = [self.at(step.inputs[0], source) * gain * w for source, w in field]
                found.append((sum(products), field[products.index(max(products))][0]))
        return found

    def z_pre(self, step, place, gain):
        """The highest support of the preceding layer for the neuron at `place`."""
        if step.kind == "image":
            return 0.0
        operand = step.inputs[0]
        if step.kind in WEIGHTED:
            return max((z for z, _ in self.supports(step, place, gain)), default=0.0)
        if step.kind in ("act", "same"):
            return self.z_pre(operand, place, gain)
        if step.kind in ("norm", "scale", "gated"):
            gain = gain * self.factor(step, place)
            return self.z_pre(operand, self.spread(step, operand, place), gain) if gain else 0.0
        if step.kind == "max":
            return self.z_pre(operand, self.largest(step, place), gain)
        if step.kind == "move":
            came = self.source(step, place)
            return 0.0 if came is None else self.z_pre(*came, gain)
        found = []
        for part, there, share in self.addends(step, place, gain):
            if step.kind == "sum" and (len(step.inputs) == 1 or self.straight(part, there)):
                found.append(self.z_pre(part, there, share))
            else:
                found.append(share * self.at(part, there))
        return max(found)

    # Eqs. 1, 4 and 5

    def selected(self, step, neurons):
        """Algorithm 1: the neurons of the current layer for those of the succeeding one."""
        k = self.k_linear if step.kind == "linear" else self.k
        operand = step.inputs[0]
        counts = {}
        for place, gain in neurons:
            supports = self.supports(step, place, gain)
            if supports:
                best = supports[[z for z, _ in supports].index(max(z for z, _ in supports))][1]
                counts[best] = counts.get(best, 0) + 1
        union = set()
        for place, gain in neurons:
            scores = []
            for z_cur, source in self.supports(step, place, gain):
                z_suc = counts.get(source, 1)
                z_pre = self.z_pre(operand, source, 1.0) if self.preceding else 0.0
                omega = self.succeeding * z_suc * (self.current * z_cur + self.preceding * z_pre)
                scores.append((omega, source))
            for _ in range(min(k, len(scores))):
                highest = max(omega for omega, _ in scores)
                chosen = next(n for n, (omega, _) in enumerate(scores) if omega == highest)
                union.add((scores.pop(chosen)[1], 1.0))
        return [(operand, neuron) for neuron in union]

    # Steps without weights

    def addends(self, step, place, gain):
        """What a sum or an average adds up at a place."""
        if step.kind == "mean":
            places = self.window(step, place)
            return [(step.inputs[0], source, gain / len(places)) for source in places]
        return [
            (part, self.spread(step, part, place), gain * s)
            for part, s in zip(step.inputs, step.params["signs"], strict=True)
        ]

    def handed(self, step, neurons):
        for place, gain in neurons:
            operand = step.inputs[0]
            if step.kind in ("act", "same"):
                yield operand, (place, gain)
            elif step.kind in ("norm", "scale", "gated"):
                factor = self.factor(step, place)
                if factor:
                    yield operand, (self.spread(step, operand, place), gain * factor)
            elif step.kind == "max":
                yield operand, (self.largest(step, place), gain)
            elif step.kind == "move":
                came = self.source(step, place)
                if came is not None:
                    yield came[0], (came[1], gain)
            else:
                assert step.kind in ("sum", "mean"), step.kind
                parts = [
                    (self.at(part, p) * share, part, (p, share))
                    for part, p, share in self.addends(step, place, gain)
                ]
                speaking = [part for part in parts if part[0] > 0]
                for _, part, neuron in speaking or [max(parts, key=lambda part: part[0])]:
                    yield part, neuron

    def neurons(self, classes):
        """Every step's neurons, {(place, gain)}, from the places of the classes at the last step."""
        found = {step: set() for step in self.steps}
        found[self.steps[-1]] = {(place, 1.0) for place in classes}
        for step in reversed(self.steps[1:]):
            use = self.selected if step.kind in WEIGHTED else self.handed
            for operand, neuron in use(step, found[step]):
                found[operand].add(neuron)
        return found
