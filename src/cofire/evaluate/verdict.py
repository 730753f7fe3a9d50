"""What an evaluation says in plain words, on page and terminal, and no more than its intervals and tests do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cofire.evaluate.evaluation import Evaluation
from cofire.evaluate.measures import Criterion
from cofire.evaluate.mistakes import mistakes
from cofire.explain import BASELINES, title_of
from cofire.explain.drawing.captions import plural
from cofire.statistics import Finding, Interval, Level, Outcome, verdicts

SAME_MAP = 0.9
"""From this rank correlation on, maps of two classes are called nearly the same."""

_CENTRE = "centre"
_METHODS = "methods"
"""The part of the page that says more."""
_NAMED = 3
"""Methods that a list names; of more it says how many."""


@dataclass(frozen=True)
class _Contest:
    """How methods stand at a criterion, as far as differences to the one with the best mean say."""

    criterion: Criterion
    best: str
    means: dict[str, Interval]
    stands: dict[str, Outcome]
    needed: int | None

    def among(self, *outcomes: Outcome) -> list[str]:
        return [method for method, stand in self.stands.items() if stand in outcomes]

    def told(self, methods: Sequence[str]) -> str:
        more = f" and {len(methods) - _NAMED} more" if len(methods) > _NAMED else ""
        named = [
            f"{title_of(method)} ({self.criterion.told(self.means[method].value)})"
            for method in methods[:_NAMED]
        ]
        return _joined(named) if not more else ", ".join(named) + more


def verdict(evaluation: Evaluation) -> list[Finding]:
    """Which method answers each question best and how sure that is, whether it beats the centre, and what to use.

    Args:
        evaluation: What was judged.

    Returns:
        A finding for each heading of the criteria that were measured (`Criterion.asks`), one on the
        centre of the image, and what to use; none without images.
    """
    estimates = evaluation.table()
    if not estimates:
        return []
    contenders = [method for method in evaluation.methods if method not in BASELINES]
    contenders = contenders or list(evaluation.methods)
    questions: dict[str, Criterion] = {}
    for criterion in evaluation.criteria:
        if criterion.asks and any(criterion.name in estimates[each] for each in contenders):
            questions.setdefault(criterion.asks, criterion)
    contests = [_contest(evaluation, one, contenders, estimates) for one in questions.values()]
    found = [_answer(evaluation, one, estimates) for one in contests]
    located = [one for one in contests if one.criterion.group == "localisation"]
    if located and not set(contenders) <= set(BASELINES):
        found.insert(len(located), _centre(evaluation, contenders, located, estimates))
    if "mistakes" in evaluation.options["measures"]:
        found += _mistaken(evaluation, contenders)
    if len(contenders) > 1 and contests:
        found.append(_use(evaluation, contenders, contests))
    return found


def judged(evaluation: Evaluation) -> str:
    """What was judged on what, in a sentence or two."""
    images, right = (int(evaluation.chosen(part).sum()) for part in ("all", "correct"))
    told = (
        f"{plural(len(evaluation.methods), 'method')} judged on {plural(images, 'image')} of the "
        f"{evaluation.split} split, of which the network classifies {right:,} correctly."
    )
    if drawn := draws(evaluation):
        told += f" {drawn}"
    if evaluation.split == "tuning":
        told += " Options may have been learned on these very images: the figures flatter whatever was tuned."
    return told


def draws(evaluation: Evaluation) -> str:
    """What the tables are means of where images were drawn more than once, in a sentence; "" where not."""
    times = evaluation.options.get("draws", 1)
    if times < 2:
        return ""
    return (
        f"The images come from {times} draws of {evaluation.options['samples']:,} images each: tables are about "
        "all that were drawn, each image once, and the mean of the draws stands in tables of its own."
    )


def _contest(
    evaluation: Evaluation,
    criterion: Criterion,
    contenders: Sequence[str],
    estimates: dict[str, dict[str, Interval]],
) -> _Contest:
    name, sign = criterion.name, -1 if criterion.better == "higher" else 1
    means = {each: estimates[each][name] for each in contenders if name in estimates[each]}
    best, *order = sorted(means, key=lambda method: sign * means[method].value)
    gaps = {method: evaluation.differences(first=best)[method].get(name) for method in order}
    stands: dict[str, Outcome] = {
        method: "undecided" if gap is None else gap.verdict for method, gap in gaps.items()
    }
    needed = [gap and gap.needed for gap in gaps.values() if gap is None or gap.needed]
    most = None if None in needed else max((each for each in needed if each), default=None)
    return _Contest(criterion, best, means, stands, most)


def _answer(
    evaluation: Evaluation, contest: _Contest, estimates: dict[str, dict[str, Interval]]
) -> Finding:
    criterion, best, mean = contest.criterion, contest.best, contest.means[contest.best]
    behind, equal, open_ = (
        contest.among("better"),
        contest.among("equal"),
        contest.among("undecided", "worse"),
    )
    alike, centre = [*equal, *open_], _by_centre(evaluation, best, criterion.name)
    if centre == "worse":
        who = "none; the centre does better"
    elif contest.stands and not behind:
        who = "nobody clearly"
    else:
        others = {0: "", 1: f", not clearly ahead of {title_of(alike[0]) if alike else ''}"}
        who = title_of(best) + others.get(len(alike), ", not clearly ahead of all")
    low, high = criterion.told(mean.low).removesuffix("\u00a0%"), criterion.told(mean.high)
    ahead = "" if title_of(best) in who else f"{title_of(best)} is ahead with "
    words = [
        f"{ahead}{criterion.title} {criterion.told(mean.value)} [{low} to {high}], "
        f"{plural(mean.counted, 'image')}"
    ]
    words[0] = words[0][:1].upper() + words[0][1:]
    within = evaluation.margin * (100 if criterion.percent else 1)
    if equal:
        points = " points" if criterion.percent else ""
        words.append(f"Equal within ±{within:g}{points}: {contest.told(equal)}")
    if open_:
        needed = f" (about {contest.needed:,} images would decide)" if contest.needed else ""
        words.append(f"Undecided: {contest.told(open_)}{needed}")
    if behind:
        words.append(f"Clearly behind: {contest.told(behind)}")
    if centre is not None and criterion.group != "localisation":
        clear = {"better": "clearly worse", "worse": "clearly better", "equal": "equal"}
        value = criterion.told(estimates[_CENTRE][criterion.name].value)
        words.append(f"The centre: {value}, {clear.get(centre, 'undecided')}")
    if criterion.name == "rank_correlation":
        same = [method for method, each in contest.means.items() if each.value >= SAME_MAP]
        if same:
            names = _joined([title_of(method) for method in same])
            words.append(
                f"Nearly the same map for both, which explains the image and not the decision: {names}"
            )
    open_question = alike or (contest.stands and not behind)
    level: Level = "problem" if centre == "worse" else "note" if open_question else "fine"
    return Finding(level, f"{criterion.asks}: {who}", sure=". ".join(words), about=_METHODS)


def _by_centre(evaluation: Evaluation, method: str, name: str) -> Outcome | None:
    """How a method does against the centre at a criterion, None where there is nothing to hold it against."""
    if method == _CENTRE or _CENTRE not in evaluation.methods:
        return None
    gap = evaluation.differences(first=method)[_CENTRE].get(name)
    return None if gap is None else gap.verdict


def _centre(
    evaluation: Evaluation,
    contenders: Sequence[str],
    located: Sequence[_Contest],
    estimates: dict[str, dict[str, Interval]],
) -> Finding:
    if _CENTRE not in evaluation.methods:
        return Finding(
            "note",
            "Better than the centre: not judged",
            sure="Objects tend to lie in the middle of images: without the centre nobody can say what a method shows "
            "beyond that",
            about=_METHODS,
        )
    criteria = [one.criterion for one in located]
    reached = [f"{one.title} {one.told(estimates[_CENTRE][one.name].value)}" for one in criteria]
    stands = {
        method: [_by_centre(evaluation, method, one.name) for one in criteria]
        for method in contenders
    }
    winners = [title_of(method) for method, outcomes in stands.items() if "better" in outcomes]
    nothing = [title_of(method) for method, outcomes in stands.items() if "better" not in outcomes]
    who = "nobody clearly" if not winners else "all" if not nothing else _joined(winners)
    told = [f"It looks at nothing, and reaches {_joined(reached)}"]
    if nothing:
        told.append(f"No better, so that nothing is shown: {_joined(nothing)}")
    for at, criterion in enumerate(criteria):
        worse = [title_of(method) for method, own in stands.items() if own[at] == "worse"]
        if worse:
            told.append(f"Clearly worse than it by {criterion.title}: {_joined(worse)}")
    level: Level = "problem" if not winners else "note" if nothing else "fine"
    return Finding(level, f"Better than the centre: {who}", sure=". ".join(told), about=_METHODS)


def _mistaken(evaluation: Evaluation, contenders: Sequence[str]) -> list[Finding]:
    """Whether the true class's map of misclassified images points at the object more often than the predicted one's."""
    both = {name: one for name, one in mistakes(evaluation).items() if name in contenders}
    if not both:
        return []
    told, clear = [], dict[Outcome, list[str]]()
    said = verdicts([one.difference for one in both.values()], evaluation.margin)
    for (name, one), outcome in zip(both.items(), said, strict=True):
        true, predicted, gap = one.true, one.predicted, one.difference
        ends = " to ".join(map(_points, (gap.low, gap.high)))
        told.append(
            f"{title_of(name)} {100 * true.value:.1f}\u00a0%, for the predicted one "
            f"{100 * predicted.value:.1f}\u00a0% ({_points(gap.value)} points [{ends}])"
        )
        clear.setdefault(outcome, []).append(title_of(name))
    words: dict[Outcome, str] = {"better": "more often by", "worse": "less often by"}
    who = [f"{how} {_joined(clear[each])}" for each, how in words.items() if each in clear]
    counted = max(one.true.counted for one in both.values())
    return [
        Finding(
            "fine" if who else "note",
            "Where the network is wrong, the true class’s map points at the object "
            f"{_joined(who) or 'not clearly more or less often than the predicted one’s'}",
            sure=f"{'; '.join(told)}; {plural(counted, 'image')}",
            about="mistakes",
        )
    ]


def _use(
    evaluation: Evaluation, contenders: Sequence[str], contests: Sequence[_Contest]
) -> Finding:
    """The method that is best, or not clearly behind, most often; one that the centre beats nowhere first."""
    marks = {
        method: (
            sum(
                method in one.means and one.stands.get(method, "equal") != "better"
                for one in contests
            ),
            -sum(_by_centre(evaluation, method, one.criterion.name) == "worse" for one in contests),
            sum(method == one.best for one in contests),
        )
        for method in contenders
    }
    best = max(contenders, key=lambda method: marks[method])
    level: Level = "fine"
    if marks[best][1] < 0:
        level, who = "problem", "none of them yet"
        why = f"{title_of(best)} is ahead, and the centre, which looks at nothing, is clearly better than it"
    elif all(mark[0] == len(contests) for mark in marks.values()):
        level, who = "note", "any of them"
        why = f"These images set none apart; {title_of(best)} is ahead most often"
    else:
        who, of = title_of(best), plural(len(contests), "question")
        why = f"Best, or not clearly behind the best, at {marks[best][0]} of {of}"
    return Finding(level, f"To use: {who}", sure=why, about=_METHODS)


def _points(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "−")


def _joined(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
