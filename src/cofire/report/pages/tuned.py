"""The page of `cofire tune`: what was learnt of each option, and what trying it out cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from cofire.evaluate.measures import MARGIN
from cofire.evaluate.tuned import Learned, Tuned
from cofire.evaluate.tuning import told
from cofire.explain import METHODS, title_of
from cofire.report.notation import joined, number, percent, plural, signed
from cofire.report.pages.page import write_page
from cofire.report.plots import Point, canvas, intervals, plain, series
from cofire.report.section import Section
from cofire.report.table import Cell, Column, Table
from cofire.statistics import Finding, Interval, Level, Outcome, mean_interval, samples_to_decide

_TITLES = {
    "current": "weight of current support",
    "preceding": "weight of preceding support",
    "succeeding": "weight of succeeding support",
    "sigma": "blur of the heat map",
    "min_share": "points near a point that is no outlier",
    "radius": "what is near",
    "threshold": "share of the maximum in the box",
    "connected": "box around what hangs together with the maximum alone",
}
"""Options that are no method's own: parts of the weights of support, and those of heat maps and boxes."""


def option_title(method: str, name: str) -> str:
    """An option in words, with its name.

    Example:
        >>> option_title("discernible", "k"), option_title("discernible", "sigma")
        ('inputs of a convolution (k)', 'blur of the heat map (sigma)')
    """
    fields = METHODS[method].options.model_fields if method in METHODS else {}
    title = _TITLES.get(name) or ((fields[name].title or "").lower() if name in fields else "")
    return f"{title} ({name})" if title not in ("", name) else name


class Learnt(Section):
    """Every option, what it was, what it is now, and how its values did."""

    id, title = "learnt", "What was learnt?"
    label, template = "Options", "pages/learnt.html.j2"

    def __init__(self, tuned: Tuned) -> None:
        self.tuned = tuned

    def figures(self) -> dict[str, go.Figure]:
        points = [
            Point(
                f"{one.name} = {told(value)}",
                mean,
                0 if _is(value, one.chosen) else 6,
                "learnt" if _is(value, one.chosen) else "tried",
                _is(value, one.chosen),
                f"{number(mean.value, 3)} in {plural(int(trials), 'trial')}",
            )
            for one in self.tuned.learned
            for value, mean, trials in zip(
                one.values, mean_rewards(one), one.run.counts, strict=True
            )
        ]
        title = "mean reward"
        return {"rewards": intervals(points, title, line=None, limits=(0.0, 1.0))} if points else {}

    def tables(self) -> dict[str, Table]:
        rows, values = [], []
        for one in self.tuned.learned:
            option = option_title(self.tuned.method, one.name)
            alike = "all values do the same" if one.alike else ""
            judged = "box on the object" if one.judged == "iou" else "map points at the object"
            regret, trials = float(one.run.regret[-1]), len(one.run.pulled)
            chosen = Cell(told(one.chosen), strong=True)
            rows.append([Cell(option, note=alike), told(one.start), chosen, judged, trials, regret])
            for value, mean, count in zip(
                one.values, mean_rewards(one), one.run.counts, strict=True
            ):
                held = Cell(told(value), strong=_is(value, one.chosen))
                values.append([option, held, int(count), mean])
        columns = [Column(head) for head in ("option", "begun with", "learnt", "a reward is for")]
        columns += [Column("trials"), Column("regret", "rewards", 1)]
        return {
            "options": Table("Options, what they began with, and what was learnt.", columns, rows),
            "values": Table(
                "Every value with its trials.",
                [Column("value"), Column("trials"), Column("mean reward")],
                values,
                by=True,
            ),
        }


class Cost(Section):
    """What was lost by trying values that are not the best."""

    id, title = "cost", "What did trying cost?"
    label, template = "Regret", "pages/cost.html.j2"

    def __init__(self, tuned: Tuned) -> None:
        self.tuned = tuned
        self.exact = any(one.run.table is not None and not one.alike for one in tuned.learned)

    def figures(self) -> dict[str, go.Figure]:
        learned = self.tuned.learned
        if not learned:
            return {}
        # A legend of many long names takes several lines.
        lines = -(-len(learned) // 2)
        height = 380 + 12 * len(learned)
        figure = canvas(height, "trial", "regret (rewards)", hovermode="x unified")
        figure.update_layout(margin={"b": 60 + 20 * lines})
        for index, one in enumerate(learned):
            figure.add_scatter(
                x=list(range(1, len(one.run.regret) + 1)),
                y=one.run.regret,
                name=plain(one.name),
                hovertemplate="%{y:.2f}",
                **series(index, muted=one.alike),
            )
        figure.update_xaxes(showgrid=False, tickformat=",d")
        figure.update_yaxes(rangemode="tozero")
        return {"regret": figure}


def tuned_figures(tuned: Tuned) -> dict[str, go.Figure]:
    """The figures by name: mean reward of every value, and regret over the trials."""
    return Learnt(tuned).figures() | Cost(tuned).figures()


def write_tuned(tuned: Tuned, path: str | Path, *, title: str | None = None) -> Path:
    """Write what was learnt as one HTML file that loads nothing from anywhere.

    Args:
        tuned: What was learnt.
        path: Where to; the file appears whole or not at all.
        title: Heading of the page.

    Returns:
        The path.
    """
    method = title_of(tuned.method)
    return write_page(
        path,
        [Learnt(tuned), *([Cost(tuned)] if tuned.learned else [])],
        findings(tuned),
        name="tuned",
        title=title or f"Options of {method}, learnt",
        options={
            "method": method,
            "tuning_images": tuned.images,
            "rewarded_from_an_intersection_over_union_of": tuned.least_iou,
            "seed": tuned.seed,
            **tuned.setup,
        },
    )


def findings(tuned: Tuned) -> list[Finding]:
    """Whether learning helped, as far as the images that it was learnt on can tell."""
    before, after, gain = tuned.before, tuned.after, tuned.gain
    shares = (
        f"{percent(after.reached)} of the boxes lie on the object, {percent(before.reached)} before"
    )
    points = f"{signed(100 * gain.value, 1)} points"
    if gain.known:
        points += f" ({signed(100 * gain.low, 1)} to {signed(100 * gain.high, 1)})"
    said = gain.says(MARGIN)
    own = all(_is(one.chosen, one.start) for one in tuned.learned)
    needed = samples_to_decide(gain, MARGIN) if said == "undecided" and not own else None
    more = f"about {needed:,} tuning images would decide" if needed else "tune on more images"
    words: dict[Outcome, tuple[str, Level, str]] = {
        "better": ("Use what was learnt", "fine", "cofire explain --weights-of-layers"),
        "worse": ("Use the method’s own options: they do better", "problem", ""),
        "equal": ("Either: what was learnt is equal", "fine", ""),
        "undecided": ("Whether what was learnt is better is undecided", "note", more),
    }
    what, level, advice = words[said]
    if own:
        what, level, advice = "What was learnt are the method’s own options", "fine", ""
    sure = f"On {plural(tuned.images, 'tuning image')} {shares}: {points}"
    flatters = (
        "The options were chosen on these very images, so that they do a little too well on them"
    )
    judge = "judge them on other images with cofire evaluate --weights-of-layers"
    overlap = f"Boxes overlap the object’s by {number(after.iou)}, {number(before.iou)} before"
    pointing = f"Maps point at it in {percent(after.pointing)}, {percent(before.pointing)} before"
    lines = [
        Finding(level, what, "", sure, advice, "learnt"),
        Finding("note", flatters, advice=judge),
        Finding("fine", overlap, sure=pointing, about="learnt"),
    ]
    if alike := [option_title(tuned.method, one.name) for one in tuned.learned if one.alike]:
        why = "A weight that multiplies every score alike changes nothing"
        lines.append(Finding("note", f"Nothing to learn of {joined(alike)}", sure=why))
    if tuned.without_box:
        count = plural(tuned.without_box, "tuning image")
        lines.append(Finding("note", f"{count} without a box were left out"))
    return lines


def mean_rewards(learned: Learned) -> list[Interval]:
    """The mean reward of each value with its 95 % interval, of the rewards that are known."""
    run = learned.run
    return [
        mean_interval(run.rewards[run.pulled == arm] if run.table is None else run.table[:, arm])
        for arm in range(len(run.names))
    ]


def _is(value: Any, other: Any) -> bool:
    """Whether two values are one: True is not 1."""
    return bool(value == other and type(value) is type(other))
