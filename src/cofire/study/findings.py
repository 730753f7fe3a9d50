"""What an engineer wants to know of a network first: what is wrong, in which layer, how sure that is, what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cofire.boost import MARGIN
from cofire.boost.reading import SHARED
from cofire.errors import ResultError
from cofire.statistics import Finding, Interval, Level, Outcome, wilson
from cofire.study.boosts import boost_at, decimals, margin_of
from cofire.study.halves import entropy_interval
from cofire.study.trajectory import Trajectory

MOST = 6
"""So many findings are told."""
DEEP, NAMED = 6, 3
"""Of a network of more layers than the first, a finding names up to so many that matter most."""
IDLE, MANY = 0.01, 0.1
"""A share of dead or always active neurons below the one is no finding; from the other on, a problem."""
COLLAPSED = 0.5
"""A layer with at least this share of its neurons dead or always active has collapsed."""
ALIKE = 0.95, 0.75
"""From where on heat maps of different classes count as the same, and as hardly different."""


FINDINGS: list[Callable[[Trajectory], Finding | None]] = []
"""Every check, the most important first."""


def register_finding(
    check: Callable[[Trajectory], Finding | None],
) -> Callable[[Trajectory], Finding | None]:
    """Add a check to the verdict: a function that gives a finding, or None where it cannot say anything."""
    FINDINGS.append(check)
    return check


def findings(trajectory: Trajectory) -> list[Finding]:
    """The verdict: problems first, then what is undecided or worth a look, then what is fine; six at the most."""
    run = trajectory.chosen()
    found = [finding for check in FINDINGS if (finding := check(run)) is not None]
    order = ("problem", "note", "fine")
    return sorted(found, key=lambda finding: order.index(finding.level))[:MOST]


def _last_layers(run: Trajectory) -> list[dict[str, Any]]:
    """The rows of the layers at the last checkpoint, from input to output."""
    if not run.checkpoints:
        return []
    table = run.layers.filter(pc.field("checkpoint") == run.checkpoints[-1])
    rows: list[dict[str, Any]] = table.sort_by("layer_index").to_pylist()
    return rows


def _share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} neurons ({100 * part / whole:.0f}\N{NO-BREAK SPACE}%)"


def _samples(run: Trajectory) -> Any:
    """On how many samples the neurons were observed, as far as is known."""
    return run.options.get("observe") or run.options.get("samples")


def _most(layers: list[dict[str, Any]], column: str) -> str:
    """The layer that has most of something; of a deep network the few that have half of it together."""
    order = sorted(layers, key=lambda row: (-row[column], -row[column] / row["neurons"]))
    whole, held, told = sum(row[column] for row in layers), 0, []
    for row in order[: NAMED if len(layers) > DEEP else 1]:
        held += row[column]
        told.append(f"{row['layer']}: {row[column]:,} of {row['neurons']:,}")
        if 2 * held >= whole:
            break
    return f"most in {', '.join(told)}"


def _few(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


@register_finding
def dead(run: Trajectory) -> Finding | None:
    """Neurons that never fire, and the layer that has most of them."""
    layers = _last_layers(run)
    total = sum(row["neurons"] for row in layers)
    if not total:
        return None
    silent, samples = sum(row["dead"] for row in layers), _samples(run)
    bound = f"on {samples:,} samples" if isinstance(samples, int) else "on this data"
    if silent < IDLE * total:
        return Finding("fine", f"Hardly any neuron is dead: {silent:,} of {total:,}", about="idle")
    first = int(run.network()["dead"][0].as_py())
    course = f"; {first:,} at checkpoint {run.checkpoints[0]}" if len(run.checkpoints) > 1 else ""
    # None of n fired: by the rule of three each fires on less than 3 / n of such data.
    sure = f"They never fired {bound}{course}"
    if isinstance(samples, int) and samples > 30:
        rare = max(1, samples // 3)
        sure += f"; on other such data each fires less than once in {rare:,} samples (95\N{NO-BREAK SPACE}%)"
    grew = first < silent / 2 and len(run.checkpoints) > 1
    cure = "a lower learning rate or a leaky activation keeps them alive"
    advice = (
        f"prune them, or train again: {cure}" if grew else f"prune them, or initialise anew: {cure}"
    )
    where = _most(layers, "dead")
    level: Level = "problem" if silent >= MANY * total else "note"
    return Finding(level, f"{_share(silent, total)} are dead", where, sure, advice, "idle")


@register_finding
def collapsed(run: Trajectory) -> Finding | None:
    """Layers in which most neurons tell nothing by firing: dead or always active ones."""
    layers = _last_layers(run)
    if not layers:
        return None
    idle = {
        row["layer"]: (row["dead"] + row["always_active"]) / row["neurons"]
        for row in layers
        if row["neurons"]
    }
    gone = [name for name, share in idle.items() if share >= COLLAPSED]
    full = sum(row["always_active"] for row in layers)
    total = sum(row["neurons"] for row in layers)
    if gone:
        worst = sorted(gone, key=lambda name: -idle[name])
        others = f"; then {_few(worst[1:])}" if len(idle) > DEEP and worst[1:] else ""
        return Finding(
            "problem",
            f"{len(gone)} of {len(idle)} layers {'is' if len(gone) == 1 else 'are'} saturated: most neurons "
            "always or never fire",
            f"worst in {worst[0]}: {100 * idle[worst[0]]:.0f}\N{NO-BREAK SPACE}%{others}",
            "Who fires tells nothing there; how strongly may",
            "normalise before the activation, or raise the threshold above which a neuron counts as active",
            "idle",
        )
    if full < IDLE * total:
        return Finding("fine", "No layer is saturated", about="idle")
    return Finding(
        "note" if full >= MANY * total else "fine",
        f"{_share(full, total)} fire on every sample",
        _most(layers, "always_active"),
        "No layer is saturated",
        about="idle",
    )


@register_finding
def redundant(run: Trajectory) -> Finding | None:
    """Layers whose firing tells less than a tenth of the class than that of a layer before them.

    Those before the best one are no finding: what a place of a feature map sees tells little of the class.
    """
    layers = [row for row in _last_layers(run) if row["information"] is not None]
    mute, best = [], 0.0
    for row in layers:
        if row["information"] < 0.1 * best:
            mute.append(row["layer"])
        best = max(best, row["information"])
    if not mute:
        return None
    return Finding(
        "note",
        f"{len(mute)} of {len(layers)} layers {'tells' if len(mute) == 1 else 'tell'} next to nothing of "
        "the class by who fires",
        _few(mute),
        "Less than a tenth of what a layer before them tells",
        "try the network without "
        + ("it, or a narrower one" if len(mute) == 1 else "them, or narrower ones"),
        "neurons",
    )


@register_finding
def classes(run: Trajectory) -> Finding | None:
    """Classes without a representative neuron of their own in the last layer whose graph says something."""
    if not len(run.graphs):
        return None
    last = max(run.graphs["checkpoint"].to_pylist())
    rows = run.graphs.filter(pc.field("checkpoint") == last).sort_by("layer_index").to_pylist()
    sizes = {row["layer"]: row["neurons"] for row in _last_layers(run)}
    told = [row for row in rows if 2 * row["top"] <= sizes.get(row["layer"], 2 * row["top"])]
    if not told:
        return Finding(
            "note",
            "Whether classes have neurons of their own cannot be said",
            "layers are narrow for so many representatives per class",
            advice="ask for fewer of them (--top)",
            about="graphs",
        )
    row, vertices = told[-1], run.vertices
    matrix = np.asarray(row["unique_matrix"], dtype=np.int64)
    matrix = matrix.reshape(round(len(matrix) ** 0.5), -1)
    numbers = sorted({c for held in vertices["classes"].to_pylist() for c in held})
    names = run.class_names()
    named = [names.get(number, str(number)) for number in numbers] or list(map(str, names))
    bare = [named[i] for i in np.flatnonzero(np.diag(matrix) == 0).tolist() if i < len(named)]
    upper = np.triu(matrix, 1)
    pair = np.unravel_index(int(upper.argmax()), upper.shape)
    close = [named[int(i)] for i in pair if int(i) < len(named)]
    sure = (
        f"Most alike are {' and '.join(close)}, which share {int(upper.max()):,} of {row['top']:,}"
        if len(close) == 2 and upper.max() > 0
        else ""
    )
    if not bare:
        what = f"Every class has neurons of its own among its {row['top']:,} strongest"
        return Finding("fine", what, f"in {row['layer']}", sure, about="classes")
    return Finding(
        "problem",
        f"{len(bare)} of {len(named)} classes have no neuron of their own: "
        + ", ".join(bare[:4])
        + (" …" if len(bare) > 4 else ""),
        f"in {row['layer']}",
        sure,
        "look for confusions between classes that share neurons; more samples of them or a wider layer tell them apart",
        "classes",
    )


@register_finding
def boosting(run: Trajectory) -> Finding | None:
    """Whether a booster that reads the neurons improves the network, and whether patterns are why."""
    if not len(run.boosts):
        return None
    last = max(run.boosts["checkpoint"].to_pylist())
    rows = run.boost_classes.to_pylist()
    samples = sum(row["samples"] for row in rows if row["checkpoint"] == last)
    return boosted(run.boosts, samples, margin_of(run.options))


def boosted(boosts: pa.Table, samples: int = 0, margin: float = MARGIN) -> Finding:
    """What boosting gains at the last checkpoint, and how much of it activation patterns add.

    Args:
        boosts: A table of `boosts` with rows.
        samples: Of the test data; 0 where that is not known.
        margin: A difference of test accuracy below it counts as none.
    """
    boost = boost_at(boosts, max(boosts["checkpoint"].to_pylist()), samples, margin)
    digits = decimals(boost.over_base, boost.over_control)

    def points(gain: Interval) -> str:
        ends = f" [{100 * gain.low:+.{digits}f}, {100 * gain.high:+.{digits}f}]"
        return f"{100 * gain.value:+.{digits}f}{ends if gain.known else ''}".replace("-", "−")

    layers, patterns, why = boost.of_layers, boost.of_patterns, ""
    if layers is not None and patterns is not None:
        why = f"; {points(layers)} of that by reading {boost.read}, {points(patterns)} by who fires"
    sure = (
        f"{points(boost.over_base)} points of test accuracy over the model, {points(boost.over_control)} over the "
        f"best control ({boost.control['title']}){why}"
    )
    needed = f"about {boost.needed:,} test samples would decide" if boost.needed else ""
    told: dict[Outcome, tuple[Level, str, str]] = {
        "better": ("fine", "Boosting pays", f"use the booster ({boost.booster['title']})"),
        "equal": ("fine", "Boosting makes no difference that matters", "keep the model as it is"),
        "undecided": ("note", "Whether boosting pays is undecided", needed),
        "worse": ("fine", "Boosting does not pay", "keep the model as it is"),
    }
    level, what, advice = told[boost.verdict]
    if boost.verdict == "better" and patterns is not None and patterns.says(margin) != "better":
        what += ", but not shown to by activation patterns"
    if boost.verdict == "worse" and boost.of_control.says(margin) == "better":
        level, what = "note", f"{boost.control['title'].capitalize()} does better than boosting"
        over = f"{points(boost.of_control)} points of test accuracy over the model"
        sure = f"{over}, the booster {points(boost.over_base)}"
        advice = "use that, which is simpler, or train the model on"
    return Finding(level, what, "", sure, advice, "boost")


@register_finding
def explanations(run: Trajectory) -> Finding | None:
    """Whether explanations depend on the class that is explained."""
    if not len(run.tracings):
        return None
    row = max(run.tracings.to_pylist(), key=lambda row: row["checkpoint"])
    if row["error"] is not None:
        return Finding(
            "problem",
            "No prediction could be explained",
            "",
            row["error"].split(". ")[0],
            "see the section for what to change",
            "explanations",
        )
    if row["jaccard_heat"] is None:
        return None
    overlap = row["jaccard_heat"]
    sure = (
        f"Heat maps of two classes on one sample overlap by {100 * overlap:.0f}\N{NO-BREAK SPACE}% "
        f"({row['compared']:,} pairs)"
    )
    if overlap >= ALIKE[0]:
        return Finding(
            "problem",
            "Explanations do not depend on the class",
            "",
            sure,
            "do not read a decision from them; compare methods with cofire evaluate",
            "explanations",
        )
    if overlap >= ALIKE[1]:
        return Finding(
            "note",
            "Explanations hardly depend on the class",
            "",
            sure,
            "look at where two classes differ, not at one map",
            "explanations",
        )
    return Finding("fine", "Explanations depend on the class", "", sure, "", "explanations")


def _by_chance(run: Trajectory) -> float:
    """The accuracy of saying the largest class of the training data of every sample; 0 where sizes are not known."""
    last = run.classes.filter(pc.field("checkpoint") == run.checkpoints[-1])
    sizes: list[int] = last["samples"].to_pylist()
    return max(sizes) / sum(sizes) if sizes and sum(sizes) else 0.0


@register_finding
def generalisation(run: Trajectory) -> Finding | None:
    """How much worse the network is on test data than on what it was trained on."""
    if not run.checkpoints:
        return None
    row = run.network().to_pylist()[-1]
    train, test = row["train_accuracy"], row["test_accuracy"]
    samples = run.options.get("test_samples")
    if train is None or test is None or not isinstance(samples, int) or not samples:
        return None
    held = wilson(test, samples)
    sure = f"{100 * train:.1f}\N{NO-BREAK SPACE}% in training, {100 * test:.1f}\N{NO-BREAK SPACE}% on test data"
    sure += f" [{100 * held.low:.1f}, {100 * held.high:.1f}]"
    if (shared := run.options.get("test_shared") or 0) > SHARED * samples:
        return Finding(
            "problem",
            f"{shared:,} of {samples:,} test samples are in the training data as well",
            "",
            f"{sure}, which says little of other data",
            "test on samples that the network was not trained on",
            "course",
        )
    chance = _by_chance(run)
    if train - held.high > 0.05:
        return Finding(
            "problem",
            f"Overfitted by {100 * (train - test):.0f} points"
            + (", and on test data no better than chance" if held.low <= chance else ""),
            "",
            sure,
            "more data, augmentation or weight decay",
            "course",
        )
    if held.low <= chance:
        return Finding(
            "problem",
            "No better than chance",
            "",
            f"{sure}, where saying the largest class alone gives {100 * chance:.1f}\N{NO-BREAK SPACE}%",
            "train longer or with another learning rate; see that labels belong to their samples",
            "course",
        )
    return Finding("fine", "Hardly overfitted", "", sure, "", "course")


@register_finding
def course(run: Trajectory) -> Finding | None:
    """Whether the network was still learning when training stopped, or was better before."""
    samples = run.options.get("test_samples")
    tested = run.network()["test_accuracy"].to_pylist() if run.checkpoints else []
    if len(tested) < 2 or None in tested or not isinstance(samples, int) or not samples:
        return None
    last, best = tested[-1], int(np.argmax(tested))
    held, before = wilson(last, samples), wilson(tested[best], samples)

    def points(share: float) -> str:
        return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"

    if held.low > tested[-2]:
        return Finding(
            "note",
            "Still learning at the last checkpoint",
            "",
            f"Test accuracy {points(tested[-2])} at the one before, {points(last)} now [{points(held.low)}, "
            f"{points(held.high)}]",
            "train longer: what is found here may change",
            "course",
        )
    if held.high < before.low:
        return Finding(
            "problem",
            f"Better at checkpoint {run.checkpoints[best]} than at the last",
            "",
            f"Test accuracy {points(tested[best])} there, {points(last)} at the last [{points(held.low)}, "
            f"{points(held.high)}]",
            "lower the learning rate towards the end, and choose the checkpoint by held-out data",
            "course",
        )
    return None


def digest(trajectory: Trajectory) -> list[str]:
    """A trajectory in a few lines, for the terminal: what was analysed, and the verdict of its report.

    Args:
        trajectory: Of one checkpoint or more.

    Raises:
        ResultError: There is no checkpoint.
    """
    if not trajectory.checkpoints:
        raise ResultError(
            "a trajectory without checkpoints", "at least one", "analyse a checkpoint first"
        )
    table = trajectory.network().to_pylist()
    first, last = table[0], table[-1]
    options, many = trajectory.options, len(table) > 1
    layers = len(set(trajectory.layers["layer"].to_pylist()))
    about = options.get("data") or "the data"
    if options.get("model") == "cnn":
        about = f"{about} by a small CNN"

    def change(name: str, shown: str) -> str:
        before, after = (format(row[name], shown) for row in (first, last))
        return f"{before} → {after}" if many else after

    tested = "" if last["test_accuracy"] is None else f", test {change('test_accuracy', '.1%')}"
    accuracy = "left out: the network's outputs are not the data's classes"
    if last["train_accuracy"] is not None:
        train = change("train_accuracy", ".1%")
        accuracy = f"{'train ' if many or tested else ''}{train}{tested}"
    held = entropy_interval(trajectory.network(), -1)
    sampled = ""
    if held is not None:
        half = held.high - held.value
        sampled = (
            f", ± {half:,.{0 if half >= 1 else 2}f} for other samples of {options['observe']:,}"
        )
    marks = {"problem": "!", "note": "?", "fine": "-"}
    found = [f"{marks[finding.level]} {finding}" for finding in findings(trajectory)]
    return [
        f"Analysed     {about}: {f'{len(table)} checkpoints, ' if many else ''}{layers} "
        f"layer{'s' if layers > 1 else ''}, {last['neurons']:,} neurons, R = {options.get('bins')} bins",
        f"Accuracy     {accuracy}",
        f"Entropy      {change('entropy', ',.0f')} nats over all neurons{sampled}",
        *(f"{'Verdict' if not i else '':<13}{line}" for i, line in enumerate(found)),
    ]
