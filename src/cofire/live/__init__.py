"""While a network trains: a monitor for any loop, its callbacks, where its numbers go, and entropy as a penalty.

`cofire.live.lightning` and `cofire.live.transformers` hold `ActivationMonitor`, the callback of each.
"""

from cofire.live.loggers import Log, logger
from cofire.live.monitor import Monitor
from cofire.live.penalty import EntropyPenalty, soft_entropy

__all__ = ["EntropyPenalty", "Log", "Monitor", "logger", "soft_entropy"]
