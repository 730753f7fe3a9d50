"""Turn activation patterns into a better classifier, and say honestly whether they helped."""

from cofire.boost.booster import Boosted, Booster
from cofire.boost.bootstrap import Interval, paired_bootstrap
from cofire.boost.comparison import Comparison, Judged, compare
from cofire.boost.methods import CONTROLS, DEFAULT_METHOD, METHODS
from cofire.boost.verdict import verdict

__all__ = [
    "CONTROLS",
    "DEFAULT_METHOD",
    "METHODS",
    "Boosted",
    "Booster",
    "Comparison",
    "Interval",
    "Judged",
    "compare",
    "paired_bootstrap",
    "verdict",
]
