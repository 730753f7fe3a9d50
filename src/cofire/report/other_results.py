"""Pages of results that are no summary and no trajectory: `write_report` takes them all."""

from __future__ import annotations

from pathlib import Path

from cofire.boost import Comparison
from cofire.errors import OptionError
from cofire.evaluate import Evaluation, Robustness, Tuned
from cofire.evaluate.results import TwoNetworks
from cofire.explain import Explanation
from cofire.report.boost.page import write_boost_report
from cofire.report.evaluate.page import write_evaluation
from cofire.report.evaluate.regret import write_regret_page
from cofire.storage import versions
from cofire.study.boosts import boost_tables

OtherResult = Explanation | Comparison | Evaluation | Tuned | Robustness | TwoNetworks
"""What else has a page of its own."""

_MODULE = "cofire.report.evaluate"


def write_other_result(
    result: OtherResult, path: Path, title: str | None, command: str | None
) -> Path:
    """Write the page of a result.

    Args:
        result: What to show.
        path: Where to.
        title: Heading of the page; the page's own unless given.
        command: What makes a comparison again.

    Raises:
        OptionError: The page needs to know more than the result does; the message names the
            function that asks for it.
    """
    if isinstance(result, Explanation):
        return result.write_html(path, title=title)
    if isinstance(result, Comparison):
        return _comparison(result, path, title, command)
    if isinstance(result, Evaluation):
        return write_evaluation(path, result, title=title)
    if isinstance(result, Tuned):
        return write_regret_page(result, path, title=title)
    attacked = isinstance(result, Robustness)
    raise OptionError(
        f"a result of type {type(result).__name__}",
        "a result that knows all that its page tells",
        f"call {_MODULE}.robustness.write_robustness(path, result, setup)"
        if attacked
        else f"call {_MODULE}.two_networks.write_two_networks(path, result, setups)",
    )


def _comparison(found: Comparison, path: Path, title: str | None, command: str | None) -> Path:
    names = [str(number) for number in range(found.booster.network.num_classes)]
    tables = boost_tables(found, {"checkpoint": 1, "epoch": 1.0, "step": None}, names)
    options = {
        "boost": found.chosen,
        "boost_layers": ", ".join(found.booster.layers),
        "boost_margin": found.margin,
        "test_samples": len(found.labels),
        "classes": names,
        "versions": versions(),
    }
    return write_boost_report(
        tables["boosts"],
        tables["boost_classes"],
        tables["flips"],
        path,
        class_names=names,
        options=options,
        title=title,
        command=command,
    )
