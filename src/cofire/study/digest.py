"""A trajectory in a few lines, for the terminal."""

from __future__ import annotations

import pyarrow as pa

from cofire.boost import MARGIN
from cofire.errors import ResultError
from cofire.statistics import Interval
from cofire.study.boosts import boost_at, decimals, margin_of
from cofire.study.trajectory import Trajectory


def digest(trajectory: Trajectory) -> list[str]:
    """What a trajectory shows, in five lines, and one more each where it has graphs, was boosted, or explained.

    Args:
        trajectory: Of one checkpoint or more.

    Returns:
        What was analysed, accuracy, entropy, its correlation with accuracy (of one checkpoint
        alone: activity), dead neurons, how far the neurons of the last layer's graph keep to their
        classes, what a booster gains at the last checkpoint and how much of it patterns add, and
        whether explanations depend on the class.

    Raises:
        ResultError: There is no checkpoint.
    """
    if not trajectory.checkpoints:
        raise ResultError(
            "a trajectory without checkpoints", "at least one", "analyse a checkpoint first"
        )
    table = trajectory.network().to_pylist()
    first, last = table[0], table[-1]
    options = trajectory.options
    layers = len(set(trajectory.layers["layer"].to_pylist()))
    about = options.get("dataset") or options.get("data") or "the data"
    if options.get("network") == "cnn":
        about = f"{about} by a small CNN"
    many = len(table) > 1

    def change(name: str, shown: str) -> str:
        before, after = (format(row[name], shown) for row in (first, last))
        return f"{before} → {after}" if many else after

    tested = "" if last["test_accuracy"] is None else f", test {change('test_accuracy', '.1%')}"
    silent = f"{last['dead']} of {last['neurons']:,} neurons are dead, {last['always_active']} always active"
    return [
        f"Analysed     {about}: {f'{len(table)} checkpoints, ' if many else ''}{layers} "
        f"layer{'s' if layers > 1 else ''}, {last['neurons']:,} neurons, R = {options.get('bins')} bins",
        f"Accuracy     {'train ' if many or tested else ''}{change('train_accuracy', '.1%')}{tested}"
        if last["train_accuracy"] is not None
        else "Accuracy     left out: the network's outputs are not the data's classes",
        f"Entropy      {change('entropy', ',.0f')} nats over all neurons",
        f"Correlation  {_correlation(trajectory)}"
        if many
        else f"Activity     {_activity(trajectory)}",
        f"Silence      {silent}" + (" at the last checkpoint" if many else ""),
        *_communities(trajectory),
        *(_boosted(trajectory) if len(trajectory.boosts) else []),
        *([_explained(trajectory.tracings)] if len(trajectory.tracings) else []),
    ]


def boost_line(boosts: pa.Table, samples: int = 0, margin: float = MARGIN) -> str:
    """What boosting gains at the last checkpoint, and how much of it activation patterns add, in a line.

    Args:
        boosts: A table of `boosts` with rows.
        samples: Of the test data; 0 where that is not known.
        margin: A difference of test accuracy below it counts as none.
    """
    boost = boost_at(boosts, max(boosts["checkpoint"].to_pylist()), samples, margin)
    digits = decimals(boost.over_base, boost.over_control)

    def told(gain: Interval, over: str) -> str:
        ends = ", ".join(f"{100 * end:+.{digits}f}" for end in (gain.low, gain.high))
        return f"{100 * gain.value:+.{digits}f} {over}" + (f" [{ends}]" if gain.known else "")

    over_base = told(boost.over_base, "points over the model")
    over_control = told(boost.over_control, f"over the best control ({boost.control['title']})")
    more = f", about {boost.needed:,} test samples would decide" if boost.needed else ""
    line = f"Boost        {over_base}, {over_control}: {boost.verdict} (margin {100 * margin:g} points{more})"
    layers, patterns = boost.of_layers, boost.of_patterns
    if layers is None or patterns is None:
        return line
    return (
        f"{line}; {told(layers, 'by all layers instead of the last')}: {layers.says(margin)}, "
        f"{told(patterns, 'by patterns on top of values')}: {patterns.says(margin)}"
    )


def _boosted(trajectory: Trajectory) -> list[str]:
    rows = trajectory.boost_classes.to_pylist()
    samples = sum(row["samples"] for row in rows if row["checkpoint"] == trajectory.checkpoints[-1])
    return [boost_line(trajectory.boosts, samples, margin_of(trajectory.options))]


def _explained(tracings: pa.Table) -> str:
    row = max(tracings.to_pylist(), key=lambda row: row["checkpoint"])
    if row["error"] is not None:
        return f"Explained    nothing: {row['error']}"
    told = f"{row['right_explained']} right, {row['mistakes_explained']} of {row['mistakes']:,} mistakes"
    if row["jaccard"] is None:
        return f"Explained    {told}"
    return (
        f"Explained    {told}; overlap with other classes {row['jaccard']:.2f} of points, {row['jaccard_heat']:.2f} of "
        "heat maps (1: the same for every class)"
    )


def _communities(trajectory: Trajectory) -> list[str]:
    rows = [
        row for row in trajectory.modularities.to_pylist() if row["measure"] == "weighted-overlap"
    ]
    if not rows:
        return []
    rows = [row for row in rows if row["layer_index"] == rows[-1]["layer_index"]]
    ends = rows if len(rows) == 1 else [rows[0], rows[-1]]
    shown = " → ".join(f"{row['modularity']:.2f}" for row in ends)
    chance = rows[-1]["labels_mean"]
    return [
        f"Communities  modularity {shown} of the classes in {rows[-1]['layer']} (Eq. 4)"
        + ("" if chance is None else f"; with random labels {chance + 0.0:.2f}")
    ]


def _activity(trajectory: Trajectory) -> str:
    rows = trajectory.layers.to_pylist()
    least, most = (pick(rows, key=lambda row: row["activity"]) for pick in (min, max))
    if least is most:
        return f"neurons fire in {most['activity']:.0%} of the observations"
    span = " to ".join(f"{row['activity']:.0%} ({row['layer']})" for row in (least, most))
    return f"neurons fire in {span} of the observations"


def _correlation(trajectory: Trajectory) -> str:
    if len(trajectory.checkpoints) < 3:
        return "needs at least 3 checkpoints"
    row = trajectory.correlations().to_pylist()[0]
    if row["pearson"] is None:
        return "not defined: entropy or accuracy did not change"
    text = f"entropy and training accuracy: Pearson {row['pearson']:+.2f}"
    if row["pearson_serial_low"] is not None:
        text += f" [{row['pearson_serial_low']:+.2f}, {row['pearson_serial_high']:+.2f}]"
    text += f", Spearman {row['spearman']:+.2f}"
    if row["pearson_serial_low"] is not None and row["effective"] < row["points"] - 0.05:
        text += f" ({row['points']} dependent checkpoints, worth {row['effective']:.1f})"
    return text
