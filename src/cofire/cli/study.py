"""`cofire demo` and `cofire study`: train, watch the neurons, report."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import typer

from cofire.cli.options import DATA_ROOT, Output
from cofire.cli.terminal import claim
from cofire.cli.trajectories import line, reported
from cofire.options import option
from cofire.scale.ray_engine import EngineOptions
from cofire.study import StudyOptions, run_study
from cofire.study.options import over_recipe
from cofire.study.recipes import read_recipe, recipe_names


class Demo(Output):
    """The demo's own options."""

    out: Path = option(Path("cofire-demo"), "Folder", "Folder for the results.", panel=Output.panel)
    seed: int = option(0, "Seed", "Of weights, order and dropout.", ge=0)


class Study(EngineOptions, StudyOptions, Output):
    """A study's options, and where its data and results lie."""

    out: Path | None = option(
        None,
        "Folder",
        "Folder for the results; runs/RECIPE-seedSEED unless given.",
        panel=Output.panel,
    )
    config: Path | None = option(
        None,
        "Options",
        "TOML file of options, or of a recipe; it wins over the named recipe, flags win over it.",
        panel=Output.panel,
    )
    data_root: Path | None = DATA_ROOT

    def __init__(self, **given: Any) -> None:
        if (file := given.get("config")) is not None:
            given = over_recipe(self.told_in(read_recipe(file)), given)
        super().__init__(**given)


def demo(options: Demo) -> dict[str, Any]:
    """The study on scikit-learn's digits: train, watch the neurons, boost, explain, report.

    Then the same of a small CNN, without boosting and graphs, in the folder cnn below.
    """
    out, seed = options.out, options.seed
    dense = StudyOptions(data="digits", seed=seed, boost="readout", explain=8)
    # No graph: top neurons per class say nothing of a layer that has no more channels than those.
    cnn: dict[str, Any] = {
        "model": "cnn",
        "epochs": 10,
        "checkpoints": 10,
        "batch_size": 32,
        "pairs": "none",
    }
    convolutional = StudyOptions(data="digits", seed=seed, explain=8, **cnn)
    first = _run(dense, out, None, EngineOptions(), where=False)
    typer.echo()
    second = _run(convolutional, out / "cnn", None, EngineOptions(), where=False)
    typer.echo(f"\nReports: {first['report']} (fully connected), {second['report']} (CNN)")
    return {"fcnn": first, "cnn": second}


def study(options: Study) -> dict[str, Any]:
    """Train a classifier, keep checkpoints, and hold what its neurons do against its accuracy.

    Stopped at any moment and started again with the same options, it goes on where it was.
    """
    if not options.model_fields_set & {"data", "config"}:
        raise typer.BadParameter(
            f"no data: name a recipe, one of {', '.join(recipe_names())}, or give --data",
            param_hint="RECIPE",
        )
    own = StudyOptions(**{name: getattr(options, name) for name in StudyOptions.model_fields})
    out = options.out or Path("runs") / f"{_named(own)}-seed{own.seed}"
    return _run(own, out, options.data_root, options)


def _named(options: StudyOptions) -> str:
    """A study in a word: its recipe or data, and the network if that is not what the recipe has."""
    plain = StudyOptions(recipe=options.recipe)
    words = [_last_word(options.recipe or options.data).removesuffix(".toml")]
    if options.data != plain.data and options.recipe:
        words.append(_last_word(options.data))
    if options.model != plain.model:
        words.append(_last_word(options.model))
    return "-".join(words)


def _last_word(spec: str) -> str:
    """What tells a data set or network from others: the last part of its name, or of its path without "train"."""
    parts = [part for part in re.split(r"[:/\\]", spec) if part.strip(".")]
    last = parts[-2] if len(parts) > 2 and parts[-1] in ("train", "training") else parts[-1]
    return re.sub(r"[^\w.-]+", "-", last)


def _run(
    options: StudyOptions,
    out: Path,
    data_root: Path | None,
    engine: EngineOptions,
    *,
    where: bool = True,
) -> dict[str, Any]:
    """Run a study, write its page and print its digest."""
    claim(out, "study.json", "a study", quiet=True)
    with engine.each() as each:
        trajectory = run_study(options, out, data_root=data_root, report=line, each=each)
    found = reported(trajectory, out, where=where)
    return found | {"network": trajectory.network().to_pylist()}
