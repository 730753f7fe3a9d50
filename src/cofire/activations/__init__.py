"""Run data through a network and keep small mergeable summaries of what fires."""

from cofire.activations.cofiring import CofiringCounts, Pairs
from cofire.activations.histograms import ActivationHistograms, Range
from cofire.activations.statistics import ActivationStatistics
from cofire.activations.summarize import DEFAULT_CAP, DEFAULT_TOP, Cost, cost_of, summarize
from cofire.activations.summary import ActivationSummary, ByClass, LayerSummary, SummaryOptions

__all__ = [
    "DEFAULT_CAP",
    "DEFAULT_TOP",
    "ActivationHistograms",
    "ActivationStatistics",
    "ActivationSummary",
    "ByClass",
    "CofiringCounts",
    "Cost",
    "LayerSummary",
    "Pairs",
    "Range",
    "SummaryOptions",
    "cost_of",
    "summarize",
]
