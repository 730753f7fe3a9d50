"""Trace a prediction back to the neurons and pixels that carried it."""

from cofire.explain.explaining import explain
from cofire.explain.explanation import Explanation
from cofire.explain.neurons import LayerNeurons, Neurons, Site
from cofire.explain.options import METHODS
from cofire.explain.rules.registry import Rule, Step, register_rule

__all__ = [
    "METHODS",
    "Explanation",
    "LayerNeurons",
    "Neurons",
    "Rule",
    "Site",
    "Step",
    "explain",
    "register_rule",
]
