"""cofire: which neurons of a classifier fire, which fire together, and which carried a decision.

Names are imported when they are first used, so that `import cofire` and the command line's help
need not wait for torch.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from cofire import errors
from cofire.renamed import removed

if TYPE_CHECKING:
    from cofire import evaluate, functional, live, scale
    from cofire.activations import ActivationSummary, LayerSummary, summarize
    from cofire.boost import Boosted, Booster, Comparison, PatternConfidence, compare
    from cofire.explain import Explanation, Rule, explain, register_method, register_rule
    from cofire.graphs import ActivationPatternGraph, Communities
    from cofire.live import EntropyPenalty
    from cofire.network import ActivationLayer, Network, load_weights, receptive_field, save_weights
    from cofire.patterns import register_measure
    from cofire.report import write_figures, write_report
    from cofire.study import StudyOptions, Trajectory, run_study
    from cofire.study.follow import follow

__version__ = "0.1.0"

__all__ = [
    "ActivationLayer",
    "ActivationPatternGraph",
    "ActivationSummary",
    "Boosted",
    "Booster",
    "Communities",
    "Comparison",
    "EntropyPenalty",
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
    "live",
    "load_weights",
    "receptive_field",
    "register_measure",
    "register_method",
    "register_rule",
    "run_study",
    "save_weights",
    "scale",
    "summarize",
    "write_figures",
    "write_report",
]

_FROM = {
    "activations": ("ActivationSummary", "LayerSummary", "summarize"),
    "boost": ("Boosted", "Booster", "Comparison", "PatternConfidence", "compare"),
    "explain": ("Explanation", "Rule", "register_method", "register_rule"),
    "graphs": ("ActivationPatternGraph", "Communities"),
    "live": ("EntropyPenalty",),
    "network": ("ActivationLayer", "Network", "load_weights", "receptive_field", "save_weights"),
    "patterns": ("register_measure",),
    "report": ("write_figures", "write_report"),
    "study": ("StudyOptions", "Trajectory", "follow", "run_study"),
}
_FOLDER = {name: folder for folder, names in _FROM.items() for name in names}
_MODULES = ("evaluate", "functional", "scale", "statistics", *_FROM)


def __getattr__(name: str) -> Any:
    if name in _FOLDER:
        found = getattr(import_module(f"cofire.{_FOLDER[name]}"), name)
    elif name in _MODULES:
        found = import_module(f"cofire.{name}")
    else:
        return removed(__name__)(name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """`cofire.explain` is the function, also once the folder of this name is imported."""

    @property
    def explain(self) -> Any:
        return import_module("cofire.explain").explain

    @explain.setter
    def explain(self, folder: ModuleType) -> None:
        """Importing the folder would put it here."""


sys.modules[__name__].__class__ = _Package
