"""Sentences about the graphs that follow from the numbers, by thresholds that stand here."""

from __future__ import annotations

import math
from statistics import median
from typing import Any

import numpy as np

from cofire.report.graphs.facts import MEASURES, GraphFacts
from cofire.report.notation import count, joined, number, percent, plural, signed
from cofire.report.wording import Remark, movement

CLEAR = 3.0
"""From so many standard deviations above a null model on, a value is called more than chance."""
WITHIN = 2.0
"""Up to so many standard deviations from its mean, a value is called no more than chance."""
NEAR_ZERO = 0.02
"""A modularity whose mean lies within this of 0 is called a modularity of zero."""
LOW_AGREEMENT, HIGH_AGREEMENT = 0.3, 0.7
"""Below the one, communities hardly follow the classes; from the other on, largely."""
FAR = 100.0
"""A z-score beyond this is told as such: a few draws of a null model do not give it more exactly."""
LEAST_CHANGE = 0.05
"""A relative change of the number of neurons below this is told as none."""
LEAST_SHIFT = 0.01
"""A change of modularity below this is told as none."""


def unique_told(facts: GraphFacts, layer: str) -> str:
    """How many neurons represent one class alone and how many share, from first checkpoint to last."""
    ends = facts.checkpoints[0], facts.checkpoints[-1]
    first, last = (facts.row(layer, number) for number in ends)
    exclusive = [facts.exclusive(layer, number) for number in ends]
    if facts.single:
        return (
            f"{plural(last['unique_neurons'], 'neuron')} of {count(last['vertices'])} "
            f"{'represents' if last['unique_neurons'] == 1 else 'represent'} one class alone; pairs of classes share "
            f"{count(last['shared_neurons'])}, a neuron of several pairs counted in each. "
            f"{plural(exclusive[1], 'neuron')} of two classes {'has' if exclusive[1] == 1 else 'have'} no third."
        )
    alone = _moved(first["unique_neurons"], last["unique_neurons"])
    shared = _moved(first["shared_neurons"], last["shared_neurons"])
    return (
        f"Neurons that represent one class alone {alone}; what pairs of classes share {shared}, "
        f"a neuron of several pairs counted in each; neurons of two classes and no third {_moved(*exclusive)}."
    )


def _moved(first: int, last: int) -> str:
    if first == last:
        return f"stayed at {count(last)}"
    return f"{movement(np.array([first, last], dtype=np.float64))} from {count(first)} to {count(last)}"


def classes_told(facts: GraphFacts) -> str:
    """What the unique neurons did over all layers, held against the paper's observation."""
    apart = [name for name in facts.layers if _came_apart(facts, name)]
    total = len(facts.layers)
    paper = (
        "The paper observed that classes come to have more neurons of their own and share "
        "fewer as training goes on."
    )
    if len(apart) == total:
        where = (
            "this layer" if total == 1 else "both layers" if total == 2 else f"all {total} layers"
        )
        return f"{paper} So it is here in {where}."
    if not apart:
        return f"{paper} Here that is so in no layer."
    return f"{paper} Here that is so in {len(apart)} of {total} layers: {joined(apart[:8])}."


def _came_apart(facts: GraphFacts, layer: str) -> bool:
    """Whether a layer shows what the paper observed, by more than a little and where classes are communities at all.

    More neurons of one class and fewer shared ones, by a twentieth each at least, over three
    checkpoints or more, at a modularity (Eq. 4) that is neither near zero nor no more than chance.
    """
    alone, shared = (facts.course(layer, name) for name in ("unique_neurons", "shared_neurons"))
    if (
        len(alone) < 3
        or alone[-1] < (1 + LEAST_CHANGE) * alone[0]
        or shared[-1] > (1 - LEAST_CHANGE) * shared[0]
    ):
        return False
    row = facts.modularity(layer, "weighted-overlap", facts.checkpoints[-1])
    if row is None or row["modularity"] < NEAR_ZERO:
        return False
    z = _known(row["labels_z"])
    return z is None or z >= CLEAR


def undefined(row: dict[str, Any], null: str) -> str:
    """Why there is no z-score: "not compared", "no spread" or "too few", or "" where there is one."""
    if _known(row[f"{null}_z"]) is not None:
        return ""
    if _known(row[f"{null}_mean"]) is None:
        return "not compared"
    return "too few" if _known(row[f"{null}_std"]) else "no spread"


def meaning(row: dict[str, Any], null: str = "labels") -> str:
    r"""Whether a value of modularity means anything, held against a null model.

    Args:
        row: A row of the table of modularities.
        null: "labels" or "weights".

    Returns:
        The end of a sentence that begins with the measure's name.

    Example:
        >>> meaning({"modularity": 0.31, "labels_mean": 0.02, "labels_std": 0.006, "labels_z": 48.3})
        'Q\xa0=\xa00.310 is 48 standard deviations above what random labels give (0.020 ± 0.006)'
        >>> meaning({"modularity": 0.02, "labels_mean": 0.019, "labels_std": 0.006, "labels_z": 0.2})
        'Q\xa0=\xa00.020 is within what random labels give (0.019 ± 0.006): no more than chance'
    """
    what = {
        "labels": "random labels give",
        "weights": "the same graph gives with its weights shuffled",
    }[null]
    value = f"Q\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{number(row['modularity'], 3)}"
    mean, z = _known(row[f"{null}_mean"]), _known(row[f"{null}_z"])
    if mean is None:
        remedy = "; null_graphs=10 (--null-graphs 10) does so" if null == "labels" else ""
        return f"{value} was not held against what {what}, so that it says little by itself{remedy}"
    if undefined(row, null) == "too few":
        return (
            f"{value} has no z-score: there are too few graphs by chance to say how far these vary"
        )
    if z is None:
        return (
            f"{value} has no z-score: what {what} does not vary ({number(mean, 3)} each time), "
            "so that there is no deviation to measure by"
        )
    range_ = f"({spread_text(mean, row[f'{null}_std'])})"
    if abs(z) <= WITHIN:
        return f"{value} is within what {what} {range_}: no more than chance"
    side = "above" if z > 0 else "below"
    told = f"{value} is {_deviations(abs(z))} {side} what {what} {range_}"
    if abs(z) < CLEAR:
        return f"{told}: too little to rely on"
    if abs(row["modularity"]) < NEAR_ZERO:
        return f"{told}, but hardly more than zero: no communities to speak of"
    return told


def spread_text(mean: float, std: float) -> str:
    """Mean and standard deviation of a null model, with digits enough that it is not ± 0.

    Example:
        >>> spread_text(0.02, 0.006), spread_text(0.0004, 0.00003)
        ('0.020 ± 0.006', '0.00040 ± 0.00003')
    """
    digits = 3 if std >= 0.0005 else 5
    return f"{number(mean, digits)} ± {number(std, digits)}"


def _deviations(z: float) -> str:
    if z > FAR:
        return f"more than {FAR:g} standard deviations"
    return f"{number(z, 0 if z >= 10 else 1)} standard deviations"


def _known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def modularity_told(facts: GraphFacts, layer: str) -> list[tuple[str, str]]:
    """What each measure's value at the last checkpoint means.

    Returns:
        Pairs of the measure's name and the rest of the sentence.
    """
    told = []
    if facts.measures and facts.row(layer, facts.checkpoints[-1])["edges"] == 0:
        return [
            (
                "Modularity",
                "a graph without edges has no communities, and each of the measures is 0.",
            )
        ]
    for measure in facts.measures:
        row = facts.modularity(layer, measure, facts.checkpoints[-1])
        if row is not None:
            weights = _known(row["weights_z"])
            extra = ""
            if weights is not None and weights <= -CLEAR:
                extra = (
                    "; with its weights shuffled over its edges the same graph gives more "
                    f"({spread_text(row['weights_mean'], row['weights_std'])})"
                )
            elif (
                weights is not None
                and abs(weights) <= WITHIN
                and (_known(row["labels_z"]) or 0) >= CLEAR
            ):
                extra = (
                    "; shuffling the weights over the edges changes nothing, so it is who is joined that counts, "
                    "not how strongly"
                )
            if _known(row["labels_mean"]) is None and weights is not None:
                told.append((MEASURES[measure], f"{meaning(row, 'weights')}."))
            else:
                told.append((MEASURES[measure], f"{meaning(row)}{extra}."))
    return told


def lead_told(facts: GraphFacts) -> str:
    """Whether the classes of the last layer are communities, in a sentence for the top of the page; "" if not known."""
    layer = facts.layers[-1]
    first, last = (
        facts.modularity(layer, "weighted-overlap", facts.checkpoints[place]) for place in (0, -1)
    )
    if first is None or last is None:
        return ""

    def shown(value: float) -> str:
        return number(round(value, 2) + 0.0, 2)

    course = f"is {shown(last['modularity'])}"
    if not facts.single:
        course = f"went from {shown(first['modularity'])} to {shown(last['modularity'])}"
    chance = _known(last["labels_mean"])
    return (
        f"The modularity of the classes in {layer}, how far the neurons of each class fire among themselves, {course}"
        + ("." if chance is None else f"; with random labels it is {shown(chance)}.")
    )


def course_told(facts: GraphFacts, layer: str) -> str:
    """How the first measure moved, as a caption's sentence."""
    measure = facts.measures[0]
    values = facts.modularity_course(layer, measure)
    first, last = float(values[0]), float(values[-1])
    name = MEASURES[measure]
    if not (math.isfinite(first) and math.isfinite(last)):
        return ""
    if abs(last - first) < LEAST_SHIFT:
        return (
            f"Modularity without overlap stayed near {number(last, 2)}."
            if measure == "no-overlap"
            else ""
        )
    way = "rose" if last > first else "fell"
    return f"{name[0].upper()}{name[1:]} {way} from {number(first, 2)} to {number(last, 2)}."


def doubt(facts: GraphFacts, layer: str, measure: str) -> str:
    """Why a measure's correlation means nothing: "near zero", "chance", or "" where nothing speaks against it."""
    if measure not in MEASURES:
        return ""
    values = facts.modularity_course(layer, measure)
    if abs(float(np.nanmean(values))) < NEAR_ZERO:
        return "near zero"
    scores = [
        abs(z)
        for z in facts.modularity_course(layer, measure, "labels_z").tolist()
        if math.isfinite(z)
    ]
    return "chance" if scores and median(scores) <= WITHIN else ""


def doubts_told(facts: GraphFacts) -> str:
    """Which correlations are to be read as noise, or that none is."""
    pairs = [(layer, measure) for layer in facts.layers for measure in facts.measures]
    found = [f"{MEASURES[m]} in {layer}" for layer, m in pairs if doubt(facts, layer, m)]
    rule = (
        f"The correlation of a modularity that sits at zero is noise, however large: a mean within {NEAR_ZERO:g} of 0 "
        f"is marked “near zero”, and one whose distance from random labels is at most {WITHIN:g} standard deviations "
        "in the median of the checkpoints is marked “chance”."
    )
    if not found:
        return f"{rule} None of those here is."
    if len(found) == len(pairs):
        return f"{rule} All of those here are: read nothing into this table."
    listed = (
        joined([*found[:5], f"{count(len(found) - 5)} more"]) if len(found) > 6 else joined(found)
    )
    return f"{rule} So marked {'is' if len(found) == 1 else 'are'} {listed}."


def communities_told(facts: GraphFacts) -> list[str]:
    """What the found communities have to do with the classes, layer by layer at the last checkpoint."""
    told = []
    for layer in facts.layers[:8]:
        row = facts.row(layer, facts.checkpoints[-1])
        if row["edges"] == 0:
            told.append(
                f"{layer}: without edges there is nothing to find, and every neuron is a community by itself."
            )
            continue
        nmi, ari = row["nmi"], row["ari"]
        score = f"NMI {number(nmi, 2)}, ARI {number(ari, 2)}"
        if ari >= HIGH_AGREEMENT:
            follow = "largely follow the classes"
        else:
            follow = (
                "follow the classes in part"
                if ari >= LOW_AGREEMENT
                else "hardly follow the classes"
            )
        stable = _known(row["stability"])
        firm = (
            ""
            if stable is None
            else f"; other seeds find {_stability(stable)} (ARI {number(stable, 2)})"
        )
        told.append(
            f"{layer}: the {plural(row['communities'], 'community', 'communities')} found {follow} ({score}){firm}."
        )
    return told


def _stability(value: float) -> str:
    if value >= HIGH_AGREEMENT:
        return "much the same"
    return "partly the same" if value >= LOW_AGREEMENT else "others"


def picture_told(facts: GraphFacts) -> str:
    """A text in place of the picture: what there is at the last checkpoint."""
    told = []
    for layer in facts.layers[:8]:
        row = facts.row(layer, facts.checkpoints[-1])
        text = f"{layer}: {plural(row['vertices'], 'neuron')} and {plural(row['edges'], 'edge')}"
        if row["isolated"]:
            text += f", {count(row['isolated'])} without any"
        told.append(text)
    more = f"; and {plural(len(facts.layers) - 8, 'more layer')}" if len(facts.layers) > 8 else ""
    return f"{'; '.join(told)}{more}."


def remarks(facts: GraphFacts) -> tuple[list[Remark], list[Remark]]:
    """What may be concluded from the graphs, and what may not."""
    layer = facts.layers[-1]
    supported = []
    if (
        facts.measures
        and (row := facts.modularity(layer, facts.measures[0], facts.checkpoints[-1])) is not None
    ):
        text = f"In {layer}, {MEASURES[facts.measures[0]]}: {meaning(row)}."
        supported.append(Remark("Neurons that fire together", text))
    firing = Remark(
        "Firing together is no wiring",
        "An edge says that two neurons exceed their means on the same samples, not that one drives the other. "
        "Neurons of one class have edges because they were chosen for it: compare a modularity with its null model, "
        "not with zero.",
    )
    return supported, [firing]


def z_text(z: float | None) -> str:
    """A z-score as a table has it."""
    if z is None or not math.isfinite(z):
        return "not defined"
    if abs(z) > FAR:
        return f"above {signed(FAR, 0)}" if z > 0 else f"below {signed(-FAR, 0)}"
    return signed(z, 0 if abs(z) >= 10 else 1)


def share_text(inside: float, total: float) -> str:
    """A share, or a dash where there is nothing to share."""
    return percent(inside / total, 0) if total > 0 else "–"
