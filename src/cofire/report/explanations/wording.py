"""Sentences about explanations: how to read them, how much evidence arrived, and whether they depend on the class."""

from __future__ import annotations

from cofire.explain.drawing.captions import NO_EVIDENCE, percent
from cofire.report.explanations.facts import Example, ExplanationFacts, Traced
from cofire.report.notation import count, number, plural
from cofire.report.wording import Remark
from cofire.study.explanations import heat_overlap

_SAME, _ALIKE = 0.95, 0.75
"""From where on points count as the same for every class, and as much alike."""
_WHOLE = 0.9995


def mistakes_told(facts: ExplanationFacts) -> str:
    """How often the model is wrong on test data, and what of it is shown."""
    samples, mistakes = facts.tracing["samples"], facts.tracing["mistakes"]
    what = "test sample" if facts.vectors else "test image"
    if not mistakes:
        return f"The model gets all {plural(samples, what)} right: there is no mistake to explain."
    told = f"The model gets {count(mistakes)} of {plural(samples, what)} wrong ({percent(mistakes / samples)})."
    if len(facts.wrong) == mistakes:
        return f"{told} All of them are explained." if mistakes > 1 else f"{told} It is explained."
    return f"{told} The {count(len(facts.wrong))} mistakes that it makes most confidently are explained."


def arrived_told(traced: Traced) -> str:
    r"""How much of the evidence for a class reached the input, or that there was none.

    Example:
        >>> import torch
        >>> from cofire.explain.result.regions import Points
        >>> at = torch.tensor([0, 1], dtype=torch.int32)
        >>> arrived_told(Traced("cat", 0.9, Points(at, at, torch.tensor([0.25, 0.5]))))
        '75.0\xa0% arrived, at 2 points'
        >>> arrived_told(Traced("cat", 0.9, Points(at[:0], at[:0], torch.zeros(0))))
        'no evidence found'
    """
    if not len(traced.points):
        return NO_EVIDENCE
    # Sums of shares in single precision miss 1 by a rounding.
    share = 1.0 if traced.evidence > _WHOLE else traced.evidence
    return f"{percent(share)} arrived, at {plural(len(traced.points), 'point')}"


def shared_told(example: Example) -> str:
    """How much of the evidence for the two classes lies in the same places; where a class has none, that."""
    if example.true is None:
        return ""
    empty = [traced.name for traced in (example.predicted, example.true) if not len(traced.points)]
    if empty:
        return f"nothing to compare: no evidence for {' or '.join(empty)}"
    both = heat_overlap(example.predicted.points, example.true.points, example.size)
    return f"{percent(both, 0)} lies {'on the same features' if example.values is not None else 'in the same places'}"


def all_arrived(facts: ExplanationFacts) -> bool:
    """Whether all evidence of every explained class reached the input."""
    classes = [
        traced
        for e in (*facts.right, *facts.wrong)
        for traced in (e.predicted, e.true)
        if traced is not None
    ]
    return all(traced.evidence > _WHOLE for traced in classes)


def sensitivity_told(facts: ExplanationFacts) -> tuple[str, str]:
    """Whether explanations depend on the class that is explained: the answer, and what it follows from."""
    row = facts.tracing
    if row["jaccard"] is None:
        return "Not known.", "There was no pair of classes to compare."
    where, what = ("features", "sample") if facts.vectors else ("pixels", "image")
    shown = "bars" if facts.vectors else "heat maps"
    told = (
        f"Of the {where} that are points for the predicted class or for another one, a mean share of "
        f"{number(row['jaccard'])} are points for both (Jaccard, {plural(row['compared'], 'pair')} of classes on the "
        f"same {what}); as many of the {where} that are not zero, drawn at random, would give "
        f"{number(row['jaccard_chance'])}. Near 1, the points show the {what} and not the decision. The {shown}, in "
        f"which strong points count more, overlap by {number(row['jaccard_heat'])}: "
    )
    if row["jaccard_heat"] >= _SAME:
        return (
            "No.",
            f"{told}they do not depend on the class either. Such explanations explain no decision.",
        )
    if row["jaccard_heat"] >= _ALIKE:
        return "Hardly.", f"{told}they change little from class to class, too."
    if row["jaccard"] >= _ALIKE:
        return (
            "In part.",
            f"{told}the decision shows in how strong the points are, little in where they are.",
        )
    return "Yes.", f"{told}they depend on the class as well."


def remarks(facts: ExplanationFacts) -> tuple[list[Remark], list[Remark]]:
    """What may be concluded from the explanations, and what may not."""
    if facts.error is not None or facts.tracing["jaccard"] is None:
        return [], []
    row = facts.tracing
    found = Remark(
        "Explanations and the class",
        f"Points of the predicted class and of others overlap by {number(row['jaccard'])} (Jaccard), their "
        f"{'bars' if facts.vectors else 'heat maps'} by {number(row['jaccard_heat'])}. Near 1, an explanation shows "
        f"the {'sample' if facts.vectors else 'image'} and not the decision.",
    )
    limit = Remark(
        "An explanation is no proof",
        "It shows which way evidence took through the network by one rule. Nothing was changed in the "
        f"{'samples' if facts.vectors else 'images'} to see whether the decision changes with it, and a few examples, "
        "chosen for the network’s confidence, stand for no average.",
    )
    return [found], [limit]
