"""One rule for each operator: how evidence for its result goes on to its operands."""

from cofire.explain.rules import joining, moving, passing, pooling, weighted
from cofire.explain.rules.registry import Rule, Step, Values, register_rule, rule_of

__all__ = [
    "Rule",
    "Step",
    "Values",
    "joining",
    "moving",
    "passing",
    "pooling",
    "register_rule",
    "rule_of",
    "weighted",
]
