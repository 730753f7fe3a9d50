"""One rule for each operator: how evidence for its result goes on to its operands."""

from cofire.explain.rules import attention, binary, elementwise, pooling, reshape, weighted
from cofire.explain.rules.registry import Rule, Step, Values, register_rule, rule_of

__all__ = [
    "Rule",
    "Step",
    "Values",
    "attention",
    "binary",
    "elementwise",
    "pooling",
    "register_rule",
    "reshape",
    "rule_of",
    "weighted",
]
