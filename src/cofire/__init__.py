"""cofire: which neurons of a classifier fire, which fire together, and which carried a decision."""

from cofire import errors, evaluate, functional
from cofire.activations import ActivationSummary, LayerSummary, summarize
from cofire.boost import Boosted, Booster, Comparison, PatternConfidence, compare
from cofire.explain import Explanation, Rule, explain, register_rule
from cofire.graphs import ActivationPatternGraph, Communities
from cofire.network import ActivationLayer, Network, load_weights, save_weights
from cofire.renamed import removed
from cofire.report import write_figures, write_report
from cofire.study import StudyOptions, Trajectory, follow, run_study

__version__ = "0.1.0"
__getattr__ = removed(__name__)

__all__ = [
    "ActivationLayer",
    "ActivationPatternGraph",
    "ActivationSummary",
    "Boosted",
    "Booster",
    "Communities",
    "Comparison",
    "Explanation",
    "LayerSummary",
    "Network",
    "PatternConfidence",
    "Rule",
    "StudyOptions",
    "Trajectory",
    "compare",
    "errors",
    "evaluate",
    "explain",
    "follow",
    "functional",
    "load_weights",
    "register_rule",
    "run_study",
    "save_weights",
    "summarize",
    "write_figures",
    "write_report",
]
