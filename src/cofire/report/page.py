"""The page: a verdict, then section by section, in one file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pyarrow as pa

from cofire.activations import ActivationSummary
from cofire.arguments import validated
from cofire.atomic import write_text
from cofire.boost import Comparison
from cofire.errors import OptionError, ResultError
from cofire.evaluate import Evaluation, Robustness, Tuned
from cofire.evaluate.results import TwoNetworks
from cofire.explain import Explanation
from cofire.report.notation import is_fingerprint, settings, short, versions
from cofire.report.pages import write_evaluation, write_tuned
from cofire.report.section import Results
from cofire.report.sections import SECTIONS
from cofire.report.sheet import render
from cofire.storage import versions as own_versions
from cofire.study import Moment, Trajectory, trajectory_of
from cofire.study.analyse import classes_told
from cofire.study.boosts import boost_tables
from cofire.study.findings import findings

Result = (
    Trajectory
    | ActivationSummary
    | Explanation
    | Comparison
    | Evaluation
    | Tuned
    | Robustness
    | TwoNetworks
)


@validated
def write_report(
    result: Result, path: str | Path, *, title: str | None = None, command: str | None = None
) -> Path:
    """Write what a result shows as one HTML file that loads nothing from anywhere.

    Args:
        result: A trajectory, or the summary of one network; with one checkpoint, all that needs a
            course of training is left out. An explanation, a comparison, an evaluation and what was
            tuned have pages of their own.
        path: Where to write; the file appears whole or not at all.
        title: Heading of the page; the data set's name is in it unless given.
        command: The command that makes this run again, printed as it is.

    Returns:
        The path.

    Raises:
        ResultError: The trajectory has no checkpoint.
        OptionError: The page needs to know more than the result does; the message names the
            function to call.
    """
    target = Path(path)
    if isinstance(result, Explanation):
        return result.write_html(target, title=title)
    if isinstance(result, Evaluation):
        return write_evaluation(target, result, title=title)
    if isinstance(result, Tuned):
        return write_tuned(result, target, title=title)
    if isinstance(result, Comparison):
        return _write(trajectory_shown(result), target, title, command)
    if isinstance(result, Robustness | TwoNetworks):
        attacked = isinstance(result, Robustness)
        name, given = ("robustness", "setup") if attacked else ("two_networks", "setups")
        raise OptionError(
            f"a result of type {type(result).__name__}",
            "a result that knows all that its page tells",
            f"call cofire.report.pages.write_{name}(path, result, {given})",
        )
    run = result if isinstance(result, Trajectory) else trajectory_shown(result)
    return _write(_checked(run), target, title, command)


def trajectory_shown(result: ActivationSummary | Comparison) -> Trajectory:
    """The tables of one checkpoint that sections of the report read, of a summary or a comparison."""
    return _of_summary(result) if isinstance(result, ActivationSummary) else _of_comparison(result)


def _of_summary(summary: ActivationSummary) -> Trajectory:
    untold = ("fingerprint", "class_names", "classes", "outputs", "top_samples")
    options = {name: v for name, v in asdict(summary.options).items() if name not in untold}
    options |= classes_told(summary)
    return trajectory_of(summary, Moment(1, 1.0, None), None, options)


def _checked(run: Trajectory) -> Trajectory:
    if not run.checkpoints:
        raise ResultError(
            "a trajectory without checkpoints",
            "at least one checkpoint",
            "analyse a checkpoint before reporting",
        )
    return run


@validated
def figures(trajectory: Trajectory) -> dict[str, go.Figure]:
    """The figures of the report in the light theme: those that the page shows, and of graphs still drawings.

    Args:
        trajectory: One checkpoint or more.

    Returns:
        Figures by name. What a trajectory does not have is left out: with one checkpoint there are
        no courses; without a layer that has dead neurons there is no "dead-neurons".

    Raises:
        ResultError: The trajectory has no checkpoint.
    """
    results = Results(_checked(trajectory))
    found = [part for kind in SECTIONS.values() if (part := kind.of(results)) is not None]
    return {
        n: figure for part in found for n, figure in {**part.figures(), **part.stills()}.items()
    }


def _write(run: Trajectory, path: Path, title: str | None, command: str | None) -> Path:
    results = Results(run, path.parent)
    found = [part for kind in SECTIONS.values() if (part := kind.of(results)) is not None]
    parts = [(part, dict(part.figures()), dict(part.tables())) for part in found]
    page = render(
        "report.html.j2",
        {name: figure for _, drawn, _ in parts for name, figure in drawn.items()},
        title=title or _title(results),
        command=command or run.options.get("command"),
        parts=parts,
        results=results,
        findings=findings(results.whole),
        scripts=list(dict.fromkeys(script for part in found for script in part.scripts)),
        settings=settings(run.options),
        versions=versions(run.options),
    )
    write_text(path, page)
    return path


def _title(results: Results) -> str:
    options = results.options
    subject = "What the neurons do" if results.layers else "Boosting a model by what its neurons do"
    # A command names the model as it was given, and its class beside it.
    own = {"fcnn": "a fully connected network", "cnn": "a small CNN"}
    models = [own.get(str(name), name) for name in map(options.get, ("network", "model"))]
    model = next((m for m in models if isinstance(m, str) and m and not is_fingerprint(m)), "")
    data = str(options.get("data") or "")
    if data.startswith("imagefolder:"):
        data = "/".join(Path(data.removeprefix("imagefolder:")).parts[-2:])
    # Tensors in memory have no name of their own.
    data = "" if data == "tensors" else short(data, 60)
    named = " on ".join(part for part in (model, data) if part)
    return f"{subject}: {named}" if named else subject


@validated
def write_boost_report(
    boosts: pa.Table,
    boost_classes: pa.Table,
    flips: pa.Table,
    path: str | Path,
    *,
    class_names: Sequence[str],
    options: Mapping[str, Any],
    title: str | None = None,
    command: str | None = None,
) -> Path:
    """Write what boosting did to one model as one HTML file that loads nothing from anywhere.

    Args:
        boosts: A table of `boosts`, of one checkpoint or more.
        boost_classes: A table of `boost_classes`, which may be without rows.
        flips: A table of `flips`, which may be without rows.
        path: Where to write; the file appears whole or not at all.
        class_names: Name of every class by its number.
        options: How it was made, printed one by one.
        title: Heading of the page; the data set's name is in it unless given.
        command: The command that makes this again, printed as it is; unless given, the options'
            "command".

    Returns:
        The path.

    Raises:
        ResultError: `boosts` has no rows, a table has other columns, or a checkpoint has not one
            row of each role.
    """
    if not len(boosts):
        raise ResultError(
            "a table 'boosts' without rows", "at least one checkpoint", "boost a network first"
        )
    run = Trajectory.empty({"classes": [str(name) for name in class_names], **options})
    run = replace(run, boosts=boosts, boost_classes=boost_classes, flips=flips)
    return _write(run, Path(path), title, command)


def _of_comparison(found: Comparison) -> Trajectory:
    names = [str(number) for number in range(found.booster.network.num_classes)]
    tables = boost_tables(found, {"checkpoint": 1, "epoch": 1.0, "step": None}, names)
    options = {
        "boost": found.chosen,
        "boost_layers": ", ".join(found.booster.layers),
        "boost_margin": found.margin,
        "test_samples": len(found.labels),
        "classes": names,
        "versions": own_versions(),
    }
    return replace(Trajectory.empty(options), **tables)
