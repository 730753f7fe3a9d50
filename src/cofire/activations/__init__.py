"""Run data through a network and keep small mergeable summaries of what fires."""

from cofire.activations.cofiring import CofiringCounts, Pairs
from cofire.activations.histograms import ActivationHistograms, Range
from cofire.activations.statistics import ActivationStatistics
from cofire.activations.summarize import DEFAULT_CAP, DEFAULT_TOP, Cost, cost_of, summarize
from cofire.activations.summary import ActivationSummary, ByClass, LayerSummary, SummaryOptions
from cofire.activations.top_samples import DEFAULT_SAMPLES, NeuronSamples, TopSamples

__all__ = [
    "DEFAULT_CAP",
    "DEFAULT_SAMPLES",
    "DEFAULT_TOP",
    "ActivationHistograms",
    "ActivationStatistics",
    "ActivationSummary",
    "ByClass",
    "CofiringCounts",
    "Cost",
    "LayerSummary",
    "NeuronSamples",
    "Pairs",
    "Range",
    "SummaryOptions",
    "TopSamples",
    "cost_of",
    "summarize",
]
