"""Trace a prediction back to the neurons and pixels that carried it."""

from cofire.explain.attribution import explain
from cofire.explain.methods import METHODS, register_method
from cofire.explain.methods.registry import BASELINES, Found, Method, title_of
from cofire.explain.result.explanation import Explanation
from cofire.explain.result.neurons import LayerNeurons, Neurons, Site
from cofire.explain.rules.registry import Rule, Step, register_rule

__all__ = [
    "BASELINES",
    "METHODS",
    "Explanation",
    "Found",
    "LayerNeurons",
    "Method",
    "Neurons",
    "Rule",
    "Site",
    "Step",
    "explain",
    "register_method",
    "register_rule",
    "title_of",
]
