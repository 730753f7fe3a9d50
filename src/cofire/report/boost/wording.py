"""Sentences about boosting that follow from the gains and their intervals, and never say more than they do."""

from __future__ import annotations

from dataclasses import dataclass

from cofire.report.boost.facts import BoostFacts
from cofire.report.notation import count, plural, signed
from cofire.report.wording import Remark
from cofire.study.gains import Boost, Conclusion, Gain, decimals

__all__ = [
    "PAPER",
    "Told",
    "course_told",
    "flips_told",
    "gain_text",
    "points",
    "remarks",
    "span",
    "verdict_told",
]

PAPER = (
    "The paper from which this comes reports gains over the model of 0.4 to 5.4 points on test data (its Tables 2 "
    "and 3, means over checkpoints). It holds its auxiliary network against the model alone, so that it leaves open "
    "whether a network that sees only the predictions, or more training of the last layer, would gain as much."
)

_CONCLUSIONS: dict[Conclusion, str] = {
    "helps": "It helps.",
    "no more than a control": "Activation patterns make no clear difference.",
    "less than a control": "Activation patterns do not help: the control does better.",
    "no difference": "It makes no clear difference.",
    "hurts": "It hurts.",
}


@dataclass(frozen=True)
class Told:
    """What boosting did.

    Attributes:
        text: Sentences with the numbers.
        conclusion: The last and shortest one.
    """

    text: str
    conclusion: str

    def __str__(self) -> str:
        return f"{self.text} {self.conclusion}"


def points(share: float, digits: int = 1) -> str:
    """The size of a difference of accuracies in percentage points, without its sign.

    Example:
        >>> points(0.0063), points(-0.01)
        ('0.6 points', '1.0 points')
    """
    return f"{abs(100 * share):.{digits}f} points"


def span(gain: Gain, digits: int = 1) -> str:
    """The interval of a gain in points, or "" where there is none.

    Example:
        >>> span(Gain(0.006, -0.001, 0.008))
        '[−0.1, +0.8]'
    """
    if gain.low is None or gain.high is None:
        return ""
    return f"[{signed(100 * gain.low, digits)}, {signed(100 * gain.high, digits)}]"


def gain_text(gain: Gain, digits: int = 1, unit: str = " points") -> str:
    """A gain with its sign and interval.

    Example:
        >>> gain_text(Gain(0.006, 0.004, 0.008)), gain_text(Gain(-0.006))
        ('+0.6 points [+0.4, +0.8]', '−0.6 points')
    """
    return f"{signed(100 * gain.value, digits)}{unit} {span(gain, digits)}".rstrip()


def verdict_told(facts: BoostFacts) -> Told:
    """Whether activation patterns improve the model at the last checkpoint, with all that it hangs on."""
    boost = facts.last
    digits = decimals(boost.over_base, boost.over_control)
    when = "The" if facts.single else "At the last checkpoint the"
    subject = f"{when} booster ({boost.booster['title']})"
    tell = {"helps": _better, "no difference": _alike, "hurts": _worse}[boost.over_base.verdict]
    return Told(f"{subject} {tell(boost, digits)}", _CONCLUSIONS[boost.conclusion])


def _own(boost: Boost, digits: int) -> str:
    """What the best control does by itself: "gains 0.2", "loses 0.1" or "changes nothing"."""
    value = signed(100 * boost.of_control.value, digits)
    if value[0] not in "+−":
        return "changes nothing"
    return f"{'gains' if value[0] == '+' else 'loses'} {value[1:]}"


def _better(boost: Boost, digits: int) -> str:
    base, gain, title = boost.over_base, boost.over_control, boost.control["title"]
    told = f"classifies {points(base.value, digits)} better than the model {span(base, digits)}".rstrip()
    own = _own(boost, digits)
    if gain.verdict == "hurts":
        return (
            f"{told}. But the best control without activation patterns ({title}) {own}: the booster lies "
            f"{points(gain.value, digits)} behind it {span(gain, digits)}."
        )
    if gain.verdict == "no difference":
        return (
            f"{told}. But the gain needs no activation patterns: the best control without them ({title}) {own} and "
            f"does as well (difference {gain_text(gain, digits)})."
        )
    if own.startswith("gains"):
        return (
            f"{told}; {f'{points(gain.value, digits)} {span(gain, digits)}'.rstrip()} of that are due to activation "
            f"patterns: the best control without them ({title}) {own}."
        )
    return (
        f"{told}. All of that is due to activation patterns: the best control without them ({title}) {own}, "
        f"{points(gain.value, digits)} less than the booster {span(gain, digits)}."
    )


def _alike(boost: Boost, digits: int) -> str:
    gain, title = boost.over_control, boost.control["title"]
    told = f"classifies about as well as the model ({gain_text(boost.over_base, digits)})"
    if gain.verdict == "no difference":
        return (
            f"{told}, and as the best control without activation patterns ({title}; difference "
            f"{gain_text(gain, digits)})."
        )
    if gain.verdict == "hurts":
        return (
            f"{told} and {points(gain.value, digits)} worse than the best control without activation patterns "
            f"({title}) {span(gain, digits)}, which {_own(boost, digits)}."
        )
    return (
        f"{told}. It does better than the best control without activation patterns ({title}) by "
        f"{points(gain.value, digits)} {span(gain, digits)}, but that one {_own(boost, digits)}: what is not better "
        "than the model itself is no improvement."
    )


def _worse(boost: Boost, digits: int) -> str:
    gain, title = boost.over_control, boost.control["title"]
    told = f"classifies {points(boost.over_base.value, digits)} worse than the model {span(boost.over_base, digits)}"
    own = _own(boost, digits)
    if gain.verdict == "helps":
        return f"{told}. The best control without activation patterns ({title}) {own}, but that is no merit."
    if gain.verdict == "hurts":
        return (
            f"{told}, and {points(gain.value, digits)} worse than the best control without activation patterns "
            f"({title}) {span(gain, digits)}, which {own}."
        )
    return (
        f"{told}. The best control without activation patterns ({title}) {own} and differs little "
        f"({gain_text(gain, digits)})."
    )


def course_told(facts: BoostFacts) -> str:
    """In how many checkpoints the booster is clearly better than the best control; "" for a single one."""
    if facts.single:
        return ""
    gains = [boost.over_control for boost in facts.boosts]
    total, verdicts = len(gains), [gain.verdict for gain in gains]
    above, below = verdicts.count("helps"), verdicts.count("hurts")
    digits = max(decimals(*gains) - 1, 1) if total > 3 else decimals(*gains)
    lies = f"; in {count(below)} it lies below" if below else ""
    chance = " (about one in forty would by chance alone)" if total >= 20 else ""
    means = [sum(values) / total for values in ([g.value for g in gains], [b.over_base.value for b in facts.boosts])]
    over_control, over_base = (signed(100 * mean, max(digits, 2 if abs(mean) < 0.001 else 1)) for mean in means)
    return (
        f"In {count(above)} of {count(total)} checkpoints the interval of the gain over the best control lies above "
        f"zero{chance}{lies}. The mean gain over checkpoints is {over_control} points over the best control and "
        f"{over_base} over the model."
    )


def flips_told(facts: BoostFacts) -> str:
    """How many predictions the booster repairs and breaks at the last checkpoint."""
    row = facts.last.booster
    repaired, broken = row["repaired"], row["broken"]
    if repaired is None or broken is None:
        return "How many predictions change was not counted."
    net = repaired - broken
    rest = "as many as it breaks" if net == 0 else f"{count(abs(net))} {'more' if net > 0 else 'fewer'} than it breaks"
    return (
        f"On test data the booster puts {plural(repaired, 'wrong prediction')} of the model right and "
        f"{plural(broken, 'right one')} wrong: it repairs {rest}."
    )


def remarks(facts: BoostFacts) -> tuple[list[Remark], list[Remark]]:
    """What may be concluded from boosting, and what may not."""
    shown = Remark("Boosting by activation patterns", str(verdict_told(facts)))
    other = Remark(
        "The gain of one fit",
        "The intervals say how far the gain may vary with other test samples. They do not say what another seed, "
        "another split of the data or another network gives"
        + ("." if facts.single else ", and the checkpoints of one run are no independent repeats."),
    )
    return [shown], [other]
