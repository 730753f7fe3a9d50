"""One sentence under each figure that says what to see in it, written from the data."""

from __future__ import annotations

import numpy as np

from cofire.report.canvas import MANY_LAYERS
from cofire.report.facts import Facts
from cofire.report.notation import count, number, percent, plural, signed
from cofire.report.wording import is_clear, trend_of_steps

_MEANINGS = {
    "entropy": "Entropy of each neuron’s non-zero activations",
    "activity": "Share of observations in which each neuron is active",
    "selectivity": "How much each neuron prefers one class (0: all alike, 1: one only)",
    "information": "What each neuron’s firing tells about the class",
}


def captions(facts: Facts) -> dict[str, str]:
    """A caption for every figure that may be drawn.

    Returns:
        Sentences by the name of the figure; "distributions" is for the four distributions together.
    """
    said = {f"distribution-{m}": _distribution(facts, m) for m in _MEANINGS}
    said["distributions"] = _distributions(facts)
    if facts.single:
        return said
    said["entropy-accuracy"] = _course(facts)
    said["entropy-vs-accuracy"] = _scatter(facts)
    said["layer-entropy"] = _layers(facts)
    said["dead-neurons"] = _counted(facts, "dead", "Dead neurons")
    said["always-active"] = _counted(facts, "always_active", "Always active neurons")
    return said


def _course(facts: Facts) -> str:
    steps = len(facts.checkpoints) - 1
    falls, _ = trend_of_steps(facts.entropy)
    text = f"Entropy falls in {falls} of {plural(steps, 'step')}"
    if facts.train is not None:
        _, rises = trend_of_steps(facts.train)
        text += f", training accuracy rises in {rises}"
    return f"{text}; where the curves are scaled, compare their trends and not single peaks."


def _scatter(facts: Facts) -> str:
    mark = "Each mark is one checkpoint, paler for earlier ones, joined in order"
    network = facts.of("network")
    found = network[0].train if network else None
    if found is None or found.pearson is None:
        return f"{mark}."
    if found.pearson_serial_low is None:
        return f"{mark}; {found.points} are too few to call it a relation."
    if not is_clear(found):
        return f"{mark}: no clear relation (r\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{signed(found.pearson)})."
    way = (
        "high accuracy goes with low entropy"
        if found.pearson < 0
        else "high accuracy goes with high entropy"
    )
    return f"{mark}: {way} (training accuracy: r\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{signed(found.pearson)})."


def _layers(facts: Facts) -> str:
    values = facts.layer("entropy_mean")
    with np.errstate(divide="ignore", invalid="ignore"):
        change = values[:, -1] / values[:, 0] - 1
    known = np.flatnonzero(np.isfinite(change))
    if not len(known):
        return "Entropy per neuron in each layer."
    most = known[np.argmax(np.abs(change[known]))]
    text = f"Entropy per neuron changed most in {facts.layers[most]} ({signed(100 * change[most], 1)} %)"
    if len(known) > 1:
        least = known[np.argmin(np.abs(change[known]))]
        text += f" and least in {facts.layers[least]} ({signed(100 * change[least], 1)} %)"
    return f"{text} between the first checkpoint and the last."


def _distributions(facts: Facts) -> str:
    dead = int(facts.network("dead")[-1])
    out = f"; {plural(dead, 'dead neuron')} left out" if dead else ""
    when = "" if facts.single else " at the last checkpoint (blue) against the first (grey, dashed)"
    if len(facts.layers) > MANY_LAYERS:
        return f"Median and middle half of the neurons of each layer{when}{out}."
    return f"How the neurons of each layer spread{when}{out}; every layer is scaled to its own highest bar."


def _distribution(facts: Facts, measure: str) -> str:
    last = facts.living(measure)
    if not last:
        return f"{_MEANINGS[measure]}."
    end = float(np.median(np.concatenate(list(last.values()))))
    digits = 3 if measure == "information" else 2
    if facts.single:
        return f"{_MEANINGS[measure]}: median {number(end, digits)}."
    first = facts.living(measure, first=True)
    if not first:
        return f"{_MEANINGS[measure]}: median {number(end, digits)} at the last checkpoint."
    start = float(np.median(np.concatenate(list(first.values()))))
    return (
        f"{_MEANINGS[measure]}: median {number(start, digits)} first, {number(end, digits)} last."
    )


def _counted(facts: Facts, column: str, name: str) -> str:
    values = facts.layer(column)
    total = np.nansum(values, axis=0)
    text = f"{name}: {count(int(total[0]))} at the first checkpoint, {count(int(total[-1]))} at the last"
    if total[-1] and len(facts.layers) > 1:
        most = int(np.nanargmax(values[:, -1]))
        size = facts.layer("neurons")[most, -1]
        text += (
            f", most of them in {facts.layers[most]} ({count(int(values[most, -1]))} of {count(int(size))}, "
            f"{percent(values[most, -1] / size)})"
            if values[most, -1] * 2 > total[-1]
            else f", the largest group in {facts.layers[most]} ({count(int(values[most, -1]))} of {count(int(size))})"
        )
    return f"{text}."
