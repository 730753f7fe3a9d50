"""What was learnt of a method's options, in words and rows."""

from __future__ import annotations

from typing import Any

from cofire.evaluate.measures import MARGIN
from cofire.evaluate.tuned import Learned, Tuned
from cofire.evaluate.tuning import told
from cofire.explain import title_of
from cofire.report.notation import number, percent, plural, signed
from cofire.statistics import Interval, mean_interval, samples_to_decide

_TOLD = {
    "current": "α of current support",
    "preceding": "α of preceding support",
    "succeeding": "α of succeeding support",
    "k": "inputs per neuron of a convolution (k)",
    "k_linear": "inputs per neuron of a linear layer (k_linear)",
    "most": "neurons that go on from one place (most)",
    "contrast": "what is taken away for the rival (contrast)",
    "sigma": "blur of the heat map (sigma)",
    "min_share": "points near a point that is no outlier (min_share)",
    "radius": "what is near (radius)",
    "threshold": "share of the maximum in the box (threshold)",
    "connected": "box around what hangs together with the maximum alone (connected)",
}


def option_told(name: str) -> str:
    """An option in words.

    Example:
        >>> option_told("current"), option_told("counted")
        ('α of current support', 'counted')
    """
    return _TOLD.get(name, name)


def verdict(tuned: Tuned) -> str:
    """Whether learning helped, as far as the photos that it was learnt on can tell."""
    before, after = tuned.before, tuned.after
    reached = f"an intersection over union of {tuned.least_iou:g} with the object’s"
    words = (
        f"On {plural(tuned.photos, 'tuning photo')} the box of {title_of(tuned.method)} reaches {reached} in "
        f"{percent(before.reached)} with the method’s own options and in {percent(after.reached)} with those learnt: "
        f"{signed(100 * tuned.gain.value, 1)} points"
    )
    if all(one.chosen == one.start for one in tuned.learned):
        return f"{words}. What was learnt are the method’s own options: nothing changes."
    words += f" ({signed(100 * tuned.gain.low, 1)} to {signed(100 * tuned.gain.high, 1)})."
    outcome = tuned.gain.says(MARGIN)
    if outcome == "better":
        return f"{words} Learning helps here; by how much elsewhere, photos that it has not seen have to tell."
    if outcome == "worse":
        return f"{words} The method’s own options do better: do not use those learnt."
    if outcome == "equal":
        return f"{words} The two are equal within ±{100 * MARGIN:g} points."
    needed = samples_to_decide(tuned.gain, MARGIN)
    more = (
        f"about {needed:,} tuning photos would decide"
        if needed
        else "more photos would have to decide"
    )
    return f"{words} Which of the two is better is undecided: {more}."


def notes_of(tuned: Tuned) -> list[str]:
    """What has to be known beside the verdict."""
    found = [
        "The options were chosen on these very photos, so that they do a little too well on them. Photos for "
        "evaluation are others: which is which follows from the hash of a photo’s name.",
        f"The mean intersection over union goes from {number(tuned.before.iou)} to {number(tuned.after.iou)}, and the "
        f"heat map’s maximum lies on the object in {percent(tuned.after.pointing)} of the photos, before in "
        f"{percent(tuned.before.pointing)}.",
    ]
    if tuned.without_box:
        found.append(
            f"{plural(tuned.without_box, 'tuning photo')} show the network no box and were left out."
        )
    if alike := [option_told(one.name) for one in tuned.learned if one.alike]:
        found.append(
            f"All values of {', '.join(alike)} give the same explanations, as a weight does that multiplies every "
            "score alike: there is nothing to learn."
        )
    return found


def reading(tuned: Tuned) -> str:
    """What regret is, and where it is known."""
    known = [one for one in tuned.learned if one.run.table is not None and not one.alike]
    exact = (
        "Here every value was tried on every photo, and regret is known: what the best value earns less what was "
        "earned."
        if known
        else "What values would have earned on photos that they were not tried on is not known: regret is estimated "
        "from the mean rewards."
    )
    return (
        "An option’s values are the arms of a bandit. At each trial one is tried on the next photo, by UCB1: the one "
        "with the highest mean reward plus √(2 ln n / n of its own trials). Regret is what is lost by not trying the "
        f"best value alone; a line that flattens has found it. {exact}"
    )


def intervals_of(learned: Learned) -> list[Interval]:
    """The mean reward of each value with its 95 % interval, of the rewards that are known."""
    run = learned.run
    each = [
        run.rewards[run.pulled == arm] if run.table is None else run.table[:, arm]
        for arm in range(len(run.names))
    ]
    return [mean_interval(rewards) for rewards in each]


def rows_of(tuned: Tuned) -> list[dict[str, Any]]:
    """The rows of the table: an option and its values each."""
    found = []
    for learned in tuned.learned:
        run = learned.run
        values = [
            {
                "value": told(value),
                "trials": int(run.counts[arm]),
                "mean": number(float(run.means[arm])),
                "interval": f"{number(each.low)} to {number(each.high)}",
                "chosen": value == learned.chosen and type(value) is type(learned.chosen),
                "start": value == learned.start and type(value) is type(learned.start),
            }
            for arm, (value, each) in enumerate(
                zip(learned.values, intervals_of(learned), strict=True)
            )
        ]
        found.append(
            {
                "option": option_told(learned.name),
                "start": told(learned.start),
                "chosen": told(learned.chosen),
                "judged": "box on the object"
                if learned.judged == "iou"
                else "map points at the object",
                "trials": len(run.pulled),
                "regret": number(float(run.regret[-1]), 1),
                "alike": learned.alike,
                "values": values,
            }
        )
    return found
