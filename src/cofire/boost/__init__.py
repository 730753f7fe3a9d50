"""Turn activation patterns into a better classifier, and say honestly whether they helped."""

from cofire.boost.baselines import Energy, MaxSoftmax, ReAct
from cofire.boost.booster import Boosted, Booster
from cofire.boost.comparison import MARGIN, Comparison, Cost, Judged, compare, cost_of_boosting
from cofire.boost.confidence import PatternConfidence, judge
from cofire.boost.methods import CONTROLS, DEFAULT_METHOD, METHODS
from cofire.statistics import Interval, paired_bootstrap, verdict

__all__ = [
    "CONTROLS",
    "DEFAULT_METHOD",
    "MARGIN",
    "METHODS",
    "Boosted",
    "Booster",
    "Comparison",
    "Cost",
    "Energy",
    "Interval",
    "Judged",
    "MaxSoftmax",
    "PatternConfidence",
    "ReAct",
    "compare",
    "cost_of_boosting",
    "judge",
    "paired_bootstrap",
    "verdict",
]
