"""The page of an evaluation: which method does best at what, and images on which methods disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import plotly.graph_objects as go

from cofire.evaluate.evaluation import RECORDS, Difference, Evaluation
from cofire.evaluate.measures import GROUPS, Criterion
from cofire.evaluate.verdict import judged, verdict
from cofire.explain import BASELINES, title_of
from cofire.report.notation import number, signed
from cofire.report.pages.cases import Case, counted, of_label
from cofire.report.pages.mistakes import Mistake, Mistakes
from cofire.report.pages.occluded import Occluded, Occlusion
from cofire.report.pages.page import write_page
from cofire.report.plots import Point, intervals
from cofire.report.section import Section
from cofire.report.table import Cell, Column, Table
from cofire.statistics import Finding, Interval

MOST_FIGURES = 6
"""So many criteria are drawn at first sight; the figures of the others are folded."""
OPEN_CASES = 2
"""So many images are shown at first sight, failures first."""
OF_DRAWS = ("pointing", "increase")
"""The criteria that the paper gives as means of draws."""
_ARROWS = {"higher": "↑", "lower": "↓", "neither": ""}
_BETTER = {"higher": "→ better", "lower": "← better", "neither": ""}
_SUBSETS = {
    "correct": "Images that the network classifies correctly",
    "wrong": "Images that it classifies wrongly",
    "small": "Small objects: boxes cover less than 30 % of the view",
}
_ELSEWHERE = ("methods", "measures", "options", "thresholds", "names", "files", "network")


class Methods(Section):
    """How all methods do, and by how much the first lies above the others."""

    id, title = "methods", "Which method does best?"
    label, template, wide = "Methods", "pages/methods.html.j2", True

    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation
        self.first = title_of(evaluation.methods[0])
        self.groups = {
            title: chosen
            for group, title in GROUPS.items()
            if group != "mistakes"
            and (chosen := [one for one in evaluation.criteria if one.group == group])
        }
        held = [one for group in self.groups.values() for one in group]
        counted = [one for one in held if one.better != "neither"]
        first = {one.asks: one for one in reversed(counted) if one.asks}
        asked = [one for one in counted if first.get(one.asks) is one] or counted[:1]
        self.asked = {f"judged-{one.name}": one for one in asked[:MOST_FIGURES]}
        self.drawn_often = len(evaluation.draw_means()) > 1
        self.others = {f"judged-{one.name}": one for one in counted if one not in asked}

    def figures(self) -> dict[str, go.Figure]:
        return {name: self._figure(one) for name, one in (self.asked | self.others).items()}

    def _figure(self, criterion: Criterion) -> go.Figure:
        """All methods with their intervals, and the centre as a line."""
        means = self._means(criterion)
        points = [
            Point(
                title_of(method),
                mean,
                6 if method in BASELINES else 0 if title_of(method) == self.first else 2,
                strong=title_of(method) == self.first,
            )
            for method, mean in means.items()
        ]
        title = f"{'%' if criterion.percent else ''} {_BETTER[criterion.better]}".strip()
        factor = 100 if criterion.percent else 1
        line = means["centre"].value if "centre" in means else None
        return intervals(points, title, factor=factor, digits=criterion.digits, line=line)

    def _means(self, criterion: Criterion, subset: str = "all") -> dict[str, Interval]:
        estimates = self.evaluation.table(subset)
        return {m: own[criterion.name] for m, own in estimates.items() if criterion.name in own}

    def tables(self) -> dict[str, Table]:
        found = {}
        for subset, which in {"all": "", **_SUBSETS}.items():
            if not self.evaluation.chosen(subset).any():
                continue
            for title, chosen in self.groups.items():
                heading = f"{which}. {title}" if which else title
                found[f"means-{subset}-{chosen[0].group}"] = self.means_table(
                    heading, chosen, subset
                )
            found |= self._differences(which, subset)
        return found | self._draws() | self._rules()

    def means_table(self, title: str, chosen: Sequence[Criterion], subset: str = "all") -> Table:
        """The mean of each criterion by each method."""
        means = {one.name: self._means(one, subset) for one in chosen}
        best = {one.name: _best(one, means[one.name]) for one in chosen}
        rows = [
            [
                _method(method),
                *(
                    Cell(held[method], strong=held[method].value == best[name])
                    if method in held
                    else None
                    for name, held in means.items()
                ),
            ]
            for method in self.evaluation.methods
        ]
        missing = [
            f"{one.title} {max(mean.left_out for mean in means[one.name].values())}"
            for one in chosen
            if any(mean.left_out for mean in means[one.name].values())
        ]
        told = f" Images that do not count, at the most: {', '.join(missing)}." if missing else ""
        return Table(f"{title}{told}", [Column("method"), *map(_column, chosen)], rows)

    def _differences(self, which: str, subset: str) -> dict[str, Table]:
        """By how much the first method lies above each rival."""
        found, gaps = {}, self.evaluation.differences(subset)
        for title, group in self.groups.items():
            chosen = [
                one
                for one in group
                if one.better != "neither" and any(one.name in own for own in gaps.values())
            ]
            if not chosen:
                continue
            rows = [
                [_method(rival), *(_gap(own.get(one.name)) for one in chosen)]
                for rival, own in gaps.items()
            ]
            of = f"{which}. {title}" if which else title
            heading = f"{self.first} less each rival. {of}"
            columns = [Column("method"), *(_column(one, gain=True) for one in chosen)]
            found[f"differences-{subset}-{chosen[0].group}"] = Table(heading, columns, rows)
        return found

    def _draws(self) -> dict[str, Table]:
        """The means of each draw by itself and their mean, where images were drawn more than once."""
        each = self.evaluation.draw_means()
        measured = [one for group in self.groups.values() for one in group]
        measured = [one for one in measured if one.better != "neither"]
        chosen = [one for one in measured if one.name in OF_DRAWS] or measured[:1]
        found = {}
        for one in chosen if len(each) > 1 else ():
            rows: list[list[object]] = []
            for method in self.evaluation.methods:
                values = [draw[method].get(one.name) for draw in each]
                known = [value for value in values if value is not None]
                mean = sum(known) / len(known) if known else None
                rows.append([_method(method), *values, mean])
            heads = [*(f"draw {place + 1}" for place in range(len(each))), "mean"]
            unit = "%" if one.percent else ""
            columns = [Column("method"), *(Column(head, unit, one.digits) for head in heads)]
            title = f"{one.title[:1].upper()}{one.title[1:]} of each draw by itself"
            found[f"draws-{one.name}"] = Table(title, columns, rows)
        return found

    def _rules(self) -> dict[str, Table]:
        """The rules of boxes around heat that were learned on tuning images."""
        learned = self.evaluation.options.get("thresholds", {})
        rows = [
            [
                title_of(method),
                rule["threshold"],
                "connected with the maximum" if rule["connected"] else "all that reach it",
                rule["iou"],
                rule["images"] or "none: the method’s own rule",
            ]
            for method, rule in learned.items()
        ]
        columns = [
            Column("method"),
            Column("share of the maximum (threshold)", "%", 0),
            Column("pixels (connected)"),
            Column("mean IoU on tuning images", "%", 1),
            Column("tuning images"),
        ]
        title = "Boxes around heat: their rule, learned for each method from the same choice"
        return {"rules": Table(title, columns, rows)} if rows else {}


class Disagreement(Section):
    """Images on which the first method and its rivals lie furthest apart."""

    id, title = "images", "Where do methods disagree most?"
    label, template, wide = "Images", "pages/disagreement.html.j2", True

    def __init__(self, evaluation: Evaluation, cases: Sequence[Case]) -> None:
        self.cases, self.open = cases, OPEN_CASES
        self.first = title_of(evaluation.methods[0])
        self.criteria = [criterion.title for criterion in counted(evaluation)]
        self.own = of_label(evaluation)


def write_evaluation(
    path: str | Path,
    evaluation: Evaluation,
    cases: Sequence[Case] = (),
    *,
    mistaken: Sequence[Mistake] = (),
    occluded: Sequence[Occluded] = (),
    size: tuple[int, int] = (224, 224),
    links: Sequence[tuple[str, str]] = (),
    title: str | None = None,
) -> Path:
    """Write what was judged as one HTML file that loads nothing from anywhere.

    Args:
        path: Where to; the file appears whole or not at all.
        evaluation: What was judged; its options' "command" is printed.
        cases: Images to look at, as `cofire.report.pages.show_cases` gives them.
        mistaken: Misclassified ones, as `cofire.report.pages.show_mistakes` gives them.
        occluded: Occluded ones, as `cofire.report.pages.show_occluded` gives them.
        size: Height and width of the network's input in pixels.
        links: Other pages of the same run: address and what it is.
        title: Heading of the page.

    Returns:
        The path.
    """
    options = evaluation.options
    called: Mapping[str, Mapping[str, object]] = options.get("options", {})
    methods = Methods(evaluation)
    parts: list[Section] = [methods] if methods.groups else []
    parts += [Disagreement(evaluation, cases)] if cases else []
    if "confidence" in options["measures"]:
        parts.append(Occlusion(evaluation, occluded, toggles=not cases))
    if "mistakes" in options["measures"]:
        toggles = not (cases or occluded)
        parts.append(Mistakes(evaluation, mistaken, toggles=toggles))
    return write_page(
        path,
        parts,
        findings(evaluation),
        name="evaluation",
        title=title or "Which explanation shows what the network saw?",
        size=size,
        options={name: value for name, value in options.items() if name not in _ELSEWHERE},
        links=links,
        judged=judged(evaluation),
        called={title_of(method): own for method, own in called.items() if own},
        kept=RECORDS if (Path(path).parent / RECORDS).is_file() else "",
    )


def findings(evaluation: Evaluation) -> list[Finding]:
    """The verdict as lines of a page: what to use comes first."""
    lines = verdict(evaluation)
    return lines[-1:] + lines[:-1] if len(evaluation.methods) > 1 else lines


def markdown(evaluation: Evaluation) -> str:
    """The verdict and every table, to be quoted.

    Args:
        evaluation: What was judged.
    """
    lines = ["# Explanations judged", judged(evaluation)]
    lines.append("\n".join(f"- **{one.what}.** {one.sure}." for one in verdict(evaluation)))
    lines.append(
        "Means with 95 % intervals over images. ↑ higher is better, ↓ lower is better; the best mean of a column is "
        "bold. Differences are told with p of a two-sided sign-flip test, corrected by Holm’s method over the rivals; "
        f"equal: within ±{100 * evaluation.margin:g} points of a share, ±{evaluation.margin:g} of other measures."
    )
    tables = list(Methods(evaluation).tables().values())
    if "mistakes" in evaluation.options["measures"]:
        tables += Mistakes(evaluation, ()).tables().values()
    for table in tables:
        lines += [f"## {table.title}", table.markdown()]
    return "\n\n".join(lines) + "\n"


def _method(method: str) -> Cell:
    return Cell(title_of(method), note="looks at no network" if method in BASELINES else "")


def _column(criterion: Criterion, gain: bool = False) -> Column:
    unit = ("points" if gain else "%") if criterion.percent else ""
    title = f"{criterion.title} {_ARROWS[criterion.better]}".strip()
    return Column(title, unit, criterion.digits, signed=gain)


def _best(criterion: Criterion, means: Mapping[str, Interval]) -> float | None:
    values = [mean.value for mean in means.values()]
    if not values or criterion.better == "neither":
        return None
    return max(values) if criterion.better == "higher" else min(values)


def _gap(gap: Difference | None) -> Cell | None:
    if gap is None:
        return None
    factor, digits = (100, 1) if gap.criterion.percent else (1, 3)
    ends = f"{signed(factor * gap.low, digits)} to {signed(factor * gap.high, digits)}"
    said = gap.verdict
    clear = said in ("better", "worse")
    p = "p < 0.001" if gap.p_holm < 0.001 else f"p = {number(gap.p_holm, 3)}"
    rest = "" if clear else f", {said}" + (f" (≈ {gap.needed:,})" if gap.needed else "")
    return Cell(gap, f"{ends}, {p}{rest}", tag=said if clear else "", strong=clear)
