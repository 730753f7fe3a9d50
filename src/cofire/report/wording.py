"""Sentences that follow from the numbers, and never say more than they do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from cofire.report.facts import Facts, Floats, Subject
from cofire.report.notation import count, interval, joined, number, percent, plural, signed
from cofire.statistics import Interval, verdicts
from cofire.study.correlation import Correlation

NOTEWORTHY = 0.005
"""A relative change below half a percent is told as no change."""


@dataclass(frozen=True)
class Remark:
    """One thing to conclude or not to conclude.

    Attributes:
        lead: What it is about, in a few words.
        text: One to three sentences.
    """

    lead: str
    text: str


_AGAINST = (
    "The papers report that entropy falls as accuracy rises (Pearson −0.87 on MNIST, −0.95 on Fashion-MNIST). "
    "Here it rises with accuracy. Checkpoints from early in training and few samples are where this has been seen."
)


def is_clear(found: Correlation | None) -> bool:
    """Whether the interval of Pearson's r that allows for serial dependence lies on one side of zero.

    Example:
        >>> from cofire.study.correlation import correlate
        >>> is_clear(correlate([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8], [4, 1, 4, 2, 6, 9, 2, 5, 5, 3, 6, 8]))
        True
        >>> is_clear(correlate([1, 2, 3, 4, 5, 6], [2, 1, 4, 3, 6, 5]))
        False
    """
    if found is None or found.pearson_serial_low is None or found.pearson_serial_high is None:
        return False
    return found.pearson_serial_low > 0 or found.pearson_serial_high < 0


def worth(found: Correlation) -> str:
    """What the deciding interval takes the checkpoints for: "as dependent as they are (worth 6.2 independent ones)"."""
    if found.effective is None or found.effective > found.points - 0.05:
        return "as they do not depend on each other"
    return f"as dependent as they are, worth {number(found.effective, 1)} independent ones"


def moves_together(found: Correlation) -> bool:
    """Whether the step-to-step changes correlate more than unrelated changes would by chance."""
    steps = found.points - 1
    if found.changes is None or steps < 4:
        return False
    if abs(found.changes) == 1.0:
        return True
    bound = NormalDist().inv_cdf((1 + found.confidence) / 2) / math.sqrt(steps - 3)
    return abs(math.atanh(found.changes)) > bound


def labels_are_random(options: dict[str, Any]) -> bool:
    """Whether the options say that the run was trained on randomised labels, the control.

    Example:
        >>> labels_are_random({"labels": "random"}), labels_are_random({"dataset": "mnist"})
        (True, False)
    """
    named = (
        "random_labels",
        "randomised_labels",
        "randomized_labels",
        "randomise_labels",
        "shuffle_labels",
        "mixed",
    )
    if any(options.get(name) for name in named):
        return True
    labels, dataset = (
        str(options.get("labels", "")).lower(),
        str(options.get("dataset", "")).lower(),
    )
    return any(word in labels for word in ("random", "shuffle", "mixed")) or dataset.endswith(
        "mixed"
    )


def movement(values: Floats) -> str:
    """How a quantity went from first checkpoint to last: "rose", "fell" or "stayed about the same"."""
    first, last = float(values[0]), float(values[-1])
    size = max(abs(first), abs(last))
    if size == 0 or abs(last - first) < NOTEWORTHY * size:
        return "stayed about the same"
    return "rose" if last > first else "fell"


def _strength(r: float) -> str:
    return "strongly" if abs(r) >= 0.7 else "moderately" if abs(r) >= 0.4 else "weakly"


def relation(subject: Subject) -> str:
    """What the correlation of entropy with training accuracy says, in one or two sentences."""
    found = subject.train
    if found is None or found.pearson is None:
        return f"A correlation of entropy with training accuracy is not defined here ({subject.constant})."
    if found.pearson_serial_low is None:
        return (
            f"Pearson’s r of entropy and training accuracy is {signed(found.pearson)} over "
            f"{found.points} checkpoints, too few for an interval: nothing can be concluded from it."
        )
    level = f"{100 * found.confidence:g}\N{NO-BREAK SPACE}% interval"
    span = interval(found.pearson_serial_low, found.pearson_serial_high)
    if not is_clear(found):
        narrow = ""
        if found.pearson_low is not None and (
            found.pearson_low > 0 or (found.pearson_high or 0) < 0
        ):
            narrow = f" Taken as independent they would give {interval(found.pearson_low, found.pearson_high)}."
        return (
            f"Over the {found.points} checkpoints Pearson’s r of entropy and training accuracy is "
            f"{signed(found.pearson)}, but its {level}, {span}, with checkpoints taken {worth(found)}, includes 0: "
            f"nothing can be concluded about whether the two are related.{narrow}"
        )
    way = "negatively" if found.pearson < 0 else "positively"
    return (
        f"Over the {found.points} checkpoints entropy and training accuracy are {_strength(found.pearson)} "
        f"{way} correlated: Pearson’s r is {signed(found.pearson)}, with a {level} of {span}, checkpoints taken "
        f"{worth(found)}."
    )


def steps(found: Correlation) -> str:
    """What is left of a correlation without its trend, in one sentence."""
    if found.changes is None:
        return "The changes from one checkpoint to the next have no defined correlation."
    value = f"the changes from one checkpoint to the next correlate with {signed(found.changes)}"
    if not moves_together(found):
        weak = "too little to tell from 0 with so few changes"
        return f"But {value}, {weak}: both may merely drift as training goes on."
    if found.pearson is not None and found.changes * found.pearson < 0:
        return f"Yet {value}, the other way round: the common trend and the single steps disagree."
    return (
        f"And {value}: the two also move together step by step, if not because their trends bend alike, as those of "
        "two curves that level off do."
    )


def _accuracy(facts: Facts) -> str:
    if facts.without_outputs:
        return "accuracy is left out: the network’s outputs are not the classes of the data"
    if facts.train is None:
        return "no accuracy was measured"
    way = movement(facts.train)
    if way == "stayed about the same":
        told = f"training accuracy stayed near {percent(facts.train[-1])}"
    else:
        told = (
            f"training accuracy {way} from {percent(facts.train[0])} to {percent(facts.train[-1])}"
        )
    if facts.test is not None:
        told += f" (test: {percent(facts.test[0])} to {percent(facts.test[-1])})"
    return told


def headline(facts: Facts) -> list[str]:
    """What the run shows, in two or three sentences with numbers."""
    if facts.single:
        return _headline_of_one(facts)
    first, last = float(facts.entropy[0]), float(facts.entropy[-1])
    way = movement(facts.entropy)
    ends = f"{number(first, 0)} to {number(last, 0)} nats"
    if way == "stayed about the same":
        told = f"stayed about the same ({ends})"
    elif first == 0:
        told = f"{way} from {ends}"
    else:
        told = f"{way} by {percent(abs(last - first) / abs(first))} (from {ends})"
    where = f"From checkpoint {facts.checkpoints[0]} to {facts.checkpoints[-1]}"
    sentences = [
        f"{where} the network’s activation pattern entropy {told}, while {_accuracy(facts)}."
    ]
    if network := facts.of("network"):
        said = relation(network[0])
        if is_clear(network[0].train) and network[0].train is not None:
            said += " " + steps(network[0].train)
        sentences.append(said)
    if labels_are_random(facts.options):
        sentences.append(
            "The labels were randomised: this run is the control, to be held against a run with real labels."
        )
    return sentences


def _headline_of_one(facts: Facts) -> list[str]:
    dead, always = int(facts.network("dead")[-1]), int(facts.network("always_active")[-1])
    sentences = [
        f"The {plural(facts.neurons, 'neuron')} in {plural(len(facts.layers), 'layer')} have an activation "
        f"pattern entropy of {number(float(facts.entropy[-1]), 0)} nats in sum, "
        f"{number(float(facts.entropy[-1]) / max(1, facts.neurons), 2)} nats on average."
    ]
    idle = (
        "None of them is dead" if dead == 0 else f"{count(dead)} of them never fired on this data"
    )
    busy = "none is always active" if always == 0 else f"{count(always)} fired on every observation"
    sentences.append(f"{idle} and {busy}.")
    if facts.train is not None:
        known = f"The network classifies {percent(facts.train[-1])} of these samples correctly"
        if facts.test is not None:
            known += f", and {percent(facts.test[-1])} of the test samples"
        sentences.append(f"{known}.")
    if facts.without_outputs:
        sentences.append(
            "Accuracy is left out: the network’s outputs are not the classes of the data."
        )
    return sentences


def limits(facts: Facts) -> tuple[list[Remark], list[Remark]]:
    """What may be concluded from this run, and what may not.

    Returns:
        The conclusions, then the reservations.
    """
    options = facts.options
    bins = options.get("bins")
    resolution = Remark(
        "The number of bins decides the number",
        (
            f"Entropy was computed with R = {bins} bins"
            if bins
            else "Entropy depends on the number of bins R"
        )
        + (f" over the range “{options['range']}”" if bins and options.get("range") else "")
        + ". Another R or range gives other values: only compare entropies computed under the same options"
        + (
            "."
            if facts.single
            else ", and repeat the study with another R before you rely on a sign. On randomised labels the "
            "sign of the correlation is known to flip with R."
        ),
    )
    data = Remark(
        "Dead means dead on this data",
        "A neuron that never fired on these samples may fire on others. The reverse also holds: one that "
        "fires need not matter for any decision.",
    )
    few = _few_samples(facts)
    if facts.single:
        firm = [
            Remark(
                "It describes one network on one data set",
                "It says which neurons fire, how often and how predictably. Nothing here says why, or "
                "whether the network is good.",
            )
        ]
        trend = Remark(
            "One checkpoint shows no trend",
            "To see how entropy moves with accuracy, follow a training run over its checkpoints.",
        )
        return firm, [trend, *few, resolution, data]
    return _supported(facts), [*_reservations(facts), *few, resolution, _control(facts), data]


def _few_samples(facts: Facts) -> list[Remark]:
    once = facts.classes_of_one_sample
    if not once:
        return []
    have = "has" if once == 1 else "have"
    text = (
        f"{count(once)} of {plural(facts.classes, 'class', 'classes')} {have} a single sample. What is said by class, "
        "selectivity and information too, then tells that sample as much as the class."
    )
    return [Remark("Classes of one sample", text)]


def _supported(facts: Facts) -> list[Remark]:
    if not facts.of("network"):
        return [Remark("Without accuracies", "only the course of the entropy can be described.")]
    subject = facts.of("network")[0]
    found = subject.train
    remarks = [Remark("Entropy and accuracy", relation(subject))]
    if found is not None and is_clear(found):
        remarks.append(Remark("Trend or link", steps(found)))
        if found.pearson is not None and found.pearson > 0 and not labels_are_random(facts.options):
            remarks.append(Remark("Against the papers", _AGAINST))
    if subject.test is not None and subject.test.pearson is not None:
        clear = is_clear(subject.test)
        text = f"Against test accuracy Pearson’s r is {signed(subject.test.pearson)}"
        if subject.test.pearson_serial_low is not None:
            text += (
                f" ({interval(subject.test.pearson_serial_low, subject.test.pearson_serial_high)})"
            )
        text += "." if clear else ", from which nothing can be concluded."
        remarks.append(Remark("On unseen data", text))
    layers = facts.of("layer")
    if len(layers) > 1:
        remarks.append(Remark("Across layers", _spread(layers, "layer", "layers")))
    if classes := facts.of("class"):
        remarks.append(Remark("Across classes", _spread(classes, "class", "classes")))
    return remarks


def _spread(subjects: tuple[Subject, ...], singular: str, several: str) -> str:
    told = verdicts([_interval_of(subject.train) for subject in subjects])
    negative, positive = told.count("worse"), told.count("better")
    unclear = len(subjects) - negative - positive
    parts = []
    if negative:
        parts.append(f"{count(negative)} {'is' if negative == 1 else 'are'} clearly negative")
    if positive:
        parts.append(f"{count(positive)} {'is' if positive == 1 else 'are'} clearly positive")
    if unclear:
        parts.append(f"of {count(unclear)} the sign is undecided")
    held = ", all held to 5\N{NO-BREAK SPACE}% together (Holm)" if negative or positive else ""
    return f"Of {plural(len(subjects), singular, several)}, {joined(parts)}{held}."


def _interval_of(found: Correlation | None) -> Interval:
    """Fisher's z of Pearson's r, which is nearly normal, with the interval that decides; without ends where none is."""
    if (
        found is None
        or found.pearson is None
        or found.pearson_serial_low is None
        or found.pearson_serial_high is None
    ):
        return Interval(0.0)
    ends = (found.pearson, found.pearson_serial_low, found.pearson_serial_high)
    value, low, high = (
        math.atanh(end) if abs(end) < 1 else math.copysign(math.inf, end) for end in ends
    )
    return Interval(value, low, high)


def _reservations(facts: Facts) -> list[Remark]:
    points = len(facts.checkpoints)
    few = "are few points" if points < 50 else "are still one run only"
    return [
        Remark(
            f"{points} checkpoints {few}",
            "Checkpoints of one run are not independent: each starts where the last one ended. The interval that "
            "decides counts them as fewer (Bartlett’s effective number); of unrelated random walks it still excludes 0 "
            "in 6 of 100 cases. The other one, which takes them as independent, does so in about half and decides "
            "nothing. Neither knows of a common trend.",
        ),
        Remark(
            "Whatever drifts, correlates",
            "Any two quantities that rise or fall throughout training correlate strongly, related or not. "
            "Look at the column “changes” before you believe a large r.",
        ),
        Remark(
            "Association, not cause",
            "A network need not be better because its entropy is. Entropy is measured on the training samples and "
            "says nothing by itself about unseen data; another seed may give another picture.",
        ),
    ]


def _control(facts: Facts) -> Remark:
    if labels_are_random(facts.options):
        text = (
            "This run was trained on randomised labels, where there is nothing to learn but the samples "
            "themselves. The claim to test is that its correlation is clearly less negative than with the "
            "real labels. Its sign depends on the bins and the training recipe: read no meaning into it."
        )
        return Remark("This is the control", text)
    text = (
        "Run the same study with randomised labels. If its correlation is like this one, entropy "
        "follows training time and not what is learned."
    )
    return Remark("The control is missing here", text)


def trend_of_steps(values: Floats) -> tuple[int, int]:
    """In how many steps a series falls, and in how many it rises."""
    difference = np.diff(values)
    return int((difference < 0).sum()), int((difference > 0).sum())
