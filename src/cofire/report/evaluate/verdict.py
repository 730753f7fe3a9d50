"""What an evaluation says in plain words, and no more than its intervals and tests do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cofire.evaluate.evaluation import Difference, Evaluation
from cofire.evaluate.measures import MEASURES, Criterion
from cofire.explain import BASELINES
from cofire.report.evaluate.tables import margin_told, method_name, span_told, value_told
from cofire.report.notation import count, joined, plural
from cofire.statistics import Interval, Outcome

SAME_MAP = 0.9
"""From this rank correlation on, maps of two classes are called nearly the same."""

_CENTRE = "centre"
_BY_NAME = MEASURES


@dataclass(frozen=True)
class Told:
    """One thing that was found.

    Attributes:
        lead: In a few words, a sentence.
        text: With the numbers.
    """

    lead: str
    text: str

    def __str__(self) -> str:
        return f"{self.lead} {self.text}"


@dataclass(frozen=True)
class _Contest:
    """How methods stand at one criterion: the best, those equal to it, those of which that is undecided, the others."""

    criterion: Criterion
    best: str
    estimate: Interval
    equal: tuple[str, ...]
    undecided: tuple[str, ...]
    behind: tuple[str, ...]
    needed: int | None

    @property
    def alike(self) -> tuple[str, ...]:
        """Those that the best is not shown to be ahead of."""
        return *self.equal, *self.undecided


class _Judged:
    """An evaluation with what its sentences ask for more than once."""

    def __init__(self, evaluation: Evaluation, estimates: dict[str, dict[str, Interval]]) -> None:
        self.evaluation = evaluation
        self.estimates = estimates
        self._differences: dict[str, dict[str, dict[str, Difference]]] = {}
        explaining = [method for method in evaluation.methods if method not in BASELINES]
        self.contenders = explaining or list(evaluation.methods)

    def against(self, first: str) -> dict[str, dict[str, Difference]]:
        """By how much a method lies above the others."""
        if first not in self._differences:
            self._differences[first] = self.evaluation.differences(first=first)
        return self._differences[first]

    def contest(self, name: str) -> _Contest | None:
        """How the methods stand at a criterion, None where it was not measured."""
        criterion = _BY_NAME[name]
        means = {
            method: self.estimates[method][name].mean
            for method in self.contenders
            if name in self.estimates[method]
        }
        if not means:
            return None
        best = (max if criterion.better == "higher" else min)(
            means, key=lambda method: means[method]
        )
        gaps = self.against(best)
        order = sorted(
            (m for m in means if m != best),
            key=lambda m: means[m],
            reverse=criterion.better == "higher",
        )
        stands = {
            method: gaps[method][name].verdict if name in gaps[method] else "undecided"
            for method in order
        }
        equal, behind = (
            tuple(m for m in order if stands[m] == found) for found in ("equal", "better")
        )
        rest = tuple(method for method in order if method not in (*equal, *behind))
        asked = [gaps[method][name].needed if name in gaps[method] else None for method in rest]
        known = [number for number in asked if number is not None]
        needed = max(known) if known and len(known) == len(asked) else None
        return _Contest(criterion, best, self.estimates[best][name], equal, rest, behind, needed)

    def by_centre(self, method: str, name: str) -> Outcome | None:
        """How a method does against the centre at a criterion, None where there is nothing to hold it against."""
        gap = None if method == _CENTRE else self.against(method).get(_CENTRE, {}).get(name)
        return None if gap is None else gap.verdict

    def told(self, method: str, name: str) -> str:
        """A method with its mean: "LRP (71.0 %)"."""
        return f"{method_name(method)} ({self.mean(method, name)})"

    def mean(self, method: str, name: str) -> str:
        """A mean with its unit."""
        criterion = _BY_NAME[name]
        return value_told(self.estimates[method][name].mean, criterion) + (
            "\u00a0%" if criterion.percent else ""
        )

    def span(self, estimate: Interval, name: str) -> str:
        """An interval with its brackets."""
        return f"[{span_told(estimate.low, estimate.high, _BY_NAME[name])}]"


def judged_told(evaluation: Evaluation) -> str:
    """What was judged on what, in a sentence or two."""
    held = evaluation.chosen()
    photos, right = int(held.sum()), int(evaluation.chosen("correct").sum())
    methods = plural(len(evaluation.methods), "method")
    told = (
        f"{methods} judged on {plural(photos, 'photo')} of the {evaluation.split} split, of which the network "
        f"classifies {count(right)} correctly."
    )
    if draws := draws_told(evaluation):
        told += f" {draws}"
    if evaluation.split == "tuning":
        told += " Options may have been learned on these very photos: the figures flatter whatever was tuned."
    return told


def draws_told(evaluation: Evaluation) -> str:
    """What the tables are means of where photos were drawn more than once, in a sentence; "" where not."""
    draws = evaluation.options.get("draws", 1)
    if draws < 2:
        return ""
    return (
        f"The photos come from {draws} draws of {count(evaluation.options['samples'])} photos each: tables are about "
        "all that were drawn, each photo once, and the mean of the draws stands in tables of its own."
    )


def verdict_told(evaluation: Evaluation, estimates: dict[str, dict[str, Interval]]) -> list[Told]:
    """Which method localises, whether any beats the centre, which is faithful, and which depends on the class.

    Args:
        evaluation: What was judged.
        estimates: Its table of all photos.

    Returns:
        A finding for each question that the evaluation can answer.
    """
    if not estimates:
        return []
    judged = _Judged(evaluation, estimates)
    found = [
        _points(judged),
        _boxes(judged),
        _centre(judged),
        _faithful(judged),
        _sensitive(judged),
    ]
    return [told for told in found if told is not None]


def _lead(judged: _Judged, title: str, contest: _Contest) -> str:
    """Who is the best at something, and whether that is clear."""
    best = method_name(contest.best)
    if judged.by_centre(contest.best, contest.criterion.name) == "worse":
        return f"{title}: none; the centre does better."
    if len(judged.contenders) == 1:
        return f"{title}: {best}."
    if not contest.behind:
        return f"{title}: nobody clearly."
    if not contest.alike:
        return f"{title}: {best}."
    if len(contest.alike) == 1:
        return f"{title}: {best}, not clearly ahead of {method_name(contest.alike[0])}."
    return f"{title}: {best}, not clearly ahead of all."


def _standing(judged: _Judged, contest: _Contest) -> str:
    """Who is equal to the best, of whom that is undecided, and who is clearly behind, each with the mean."""
    name, words = contest.criterion.name, []
    if contest.equal:
        within = margin_told(judged.evaluation.margin, contest.criterion)
        words.append(f"Equal {within}: {_listed(judged, contest.equal, name)}.")
    if contest.undecided:
        needed = f" (about {count(contest.needed)} photos would decide)" if contest.needed else ""
        words.append(f"Undecided: {_listed(judged, contest.undecided, name)}{needed}.")
    if contest.behind:
        words.append(f"Clearly behind: {_listed(judged, contest.behind, name)}.")
    return "".join(f" {told}" for told in words)


def _listed(judged: _Judged, methods: Sequence[str], name: str) -> str:
    return joined([judged.told(method, name) for method in methods])


def _of(method: str) -> str:
    """Whose: "Grad-CAM’s", "Edges’"."""
    name = method_name(method)
    return f"{name}’" if name.endswith("s") else f"{name}’s"


def _points(judged: _Judged) -> Told | None:
    contest = judged.contest("pointing")
    if contest is None:
        return None
    return Told(
        _lead(judged, "Best at pointing", contest),
        f"The hottest spot of {_of(contest.best)} map lies on the object in {judged.mean(contest.best, 'pointing')} of "
        f"{plural(contest.estimate.images, 'photo')} {judged.span(contest.estimate, 'pointing')}."
        f"{_standing(judged, contest)}",
    )


def _boxes(judged: _Judged) -> Told | None:
    contest = judged.contest("iou")
    if contest is None:
        return None
    return Told(
        _lead(judged, "Best boxes", contest),
        f"{_of(contest.best)} boxes overlap the object’s by {judged.mean(contest.best, 'iou')} on average "
        f"(intersection over union) {judged.span(contest.estimate, 'iou')}; {judged.mean(contest.best, 'iou_50')} of "
        f"them reach one half.{_standing(judged, contest)}",
    )


def _centre(judged: _Judged) -> Told | None:
    if "pointing" not in judged.estimates[judged.contenders[0]] or set(judged.contenders) <= set(
        BASELINES
    ):
        return None
    if _CENTRE not in judged.estimates:
        return Told(
            "Better than the centre: not judged.",
            "Objects tend to lie in the middle of photos: without the centre nobody can say what a method shows beyond "
            "that.",
        )
    stands = {
        method: {name: judged.by_centre(method, name) for name in ("pointing", "iou")}
        for method in judged.contenders
    }
    beaten = {
        method: tuple(name for name in own if own[name] == "better")
        for method, own in stands.items()
    }
    winners = [method_name(method) for method, at in beaten.items() if at]
    groups = (
        ("Clearly better at both", ("pointing", "iou")),
        ("Only at pointing", ("pointing",)),
        ("Only with boxes", ("iou",)),
        ("At neither, so that nothing is shown", ()),
    )
    told = [
        f"{words}: {joined([method_name(method) for method in methods])}."
        for words, where in groups
        if (methods := [method for method, at in beaten.items() if at == where])
    ]
    for name, where in (("pointing", "at pointing"), ("iou", "with boxes")):
        if worse := [method_name(method) for method, own in stands.items() if own[name] == "worse"]:
            told.append(f"Clearly worse than it {where}: {joined(worse)}.")
    who = (
        "nobody clearly"
        if not winners
        else "all"
        if len(winners) == len(beaten)
        else joined(winners)
    )
    return Told(
        f"Better than the centre: {who}.",
        f"The centre of the photo, which looks at nothing, points at the object in {judged.mean(_CENTRE, 'pointing')} "
        f"of the photos, and boxes around it overlap by {judged.mean(_CENTRE, 'iou')}. {' '.join(told)}",
    )


def _faithful(judged: _Judged) -> Told | None:
    for name, told in (
        ("equal_drop", "When all of the photo is hidden but the quarter that holds most of {} map"),
        ("soft_drop", "When each pixel is kept as far as {} map says"),
        ("deletion", ""),
    ):
        contest = judged.contest(name)
        if contest is None:
            continue
        centre, best = "", contest.best
        verdict = judged.by_centre(best, name)
        if verdict is not None:
            within = margin_told(judged.evaluation.margin, contest.criterion)
            clear: dict[Outcome, str] = {
                "better": "clearly worse",
                "worse": "clearly better",
                "equal": f"equal {within}",
                "undecided": "undecided",
            }
            centre = f" The centre: {judged.mean(_CENTRE, name)}, {clear[verdict]}."
        span = judged.span(contest.estimate, name)
        loses = f"{told.format(_of(best))}, the network loses {judged.mean(best, name)} of its confidence {span}."
        if name == "deletion":
            loses = (
                f"The area under {_of(best)} deletion curve is {judged.mean(best, name)} {span}."
            )
        lead = _lead(judged, "Most faithful", contest)
        return Told(lead, f"{loses}{_standing(judged, contest)}{centre}")
    return None


def _sensitive(judged: _Judged) -> Told | None:
    contest = judged.contest("rank_correlation")
    if contest is None:
        return None
    name = "rank_correlation"
    same = [
        m
        for m in judged.contenders
        if name in judged.estimates[m] and judged.estimates[m][name].mean >= SAME_MAP
    ]
    more = ""
    if same:
        names = joined([method_name(method) for method in same])
        more = f" Nearly the same map for both, which explains the photo and not the decision: {names}."
    return Told(
        _lead(judged, "Most sensitive to the class", contest),
        f"{_of(contest.best)} maps of the predicted class and of the next probable one correlate by "
        f"{judged.mean(contest.best, name)} {judged.span(contest.estimate, name)}; 1 is the same map."
        f"{_standing(judged, contest)}{more}",
    )
