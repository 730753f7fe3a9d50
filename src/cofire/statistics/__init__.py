"""How sure a number is: intervals, tests, and the verdict that they allow.

All intervals are of 95 %. Which one is right depends on what was measured:

- a share of samples, 0 or 1 each: Wilson's (`wilson`), which has a width even where all samples
  agree;
- a mean of other numbers: the percentile bootstrap over samples (`mean_interval` chooses between
  the two);
- the difference of two measurements of each sample: the bootstrap of the differences, where each is
  -1, 0 or 1 at
  least as wide as Tango's (`tango`; `mean_interval(..., differences=True)`);
- an area under the ROC curve: the bootstrap over samples (`cofire.boost.judge`), Newcombe's where
  nothing overlaps
  (`newcombe`);
- several runs over the same samples: the bootstrap of both (`paired_bootstrap`), and beside it
  Student's t over the
  runs (`seed_interval`), as a bootstrap of three runs knows too little of how runs differ;
- what many people say of the same things: the bootstrap of both (`crossed_interval`), and beside it the
  exact binomial one (`exact_interval`), as though all answers were independent;
- a correlation over the checkpoints of one run: `cofire.study.correlate`.

What an interval says is one of four words, told by `verdict`: "better" or "worse" than 0, "equal"
within a margin, or "undecided", for which `samples_to_decide` says about how many samples would
decide.
"""

from cofire.statistics.crossed import crossed_interval, exact_interval
from cofire.statistics.resampling import mean_interval, mean_intervals, paired_bootstrap, sign_flip
from cofire.statistics.verdict import (
    Finding,
    Interval,
    Level,
    Outcome,
    holm,
    newcombe,
    samples_to_decide,
    seed_interval,
    tango,
    verdict,
    verdicts,
    weakest,
    wilson,
)

__all__ = [
    "Finding",
    "Interval",
    "Level",
    "Outcome",
    "crossed_interval",
    "exact_interval",
    "holm",
    "mean_interval",
    "mean_intervals",
    "newcombe",
    "paired_bootstrap",
    "samples_to_decide",
    "seed_interval",
    "sign_flip",
    "tango",
    "verdict",
    "verdicts",
    "weakest",
    "wilson",
]
