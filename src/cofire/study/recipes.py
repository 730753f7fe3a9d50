"""Recipes: experiments under a name, each a TOML file of options with the numbers that its paper prints."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, PositiveInt

from cofire.arguments import validated
from cofire.errors import OptionError, near_matches
from cofire.options import Options
from cofire.reading import read_toml, reader
from cofire.study.sources import DATASETS

PAPERS = {
    "P1": "Leveraging Neuron Activation Patterns to Explain and Improve Deep Learning Classifiers",
    "P2": "Mostafa & Mondal 2021, On the Evolution of Neuron Communities in a Deep Learning Architecture",
}

ITERATIONS = 20
"""At how many checkpoints both papers look."""

Statistic = Literal["pearson", "spearman", "percent", "points", "count"]

_FOLDER = Path(__file__).with_suffix("")
_Values = Annotated[tuple[float, ...], Field(max_length=1000)]


@dataclass(frozen=True)
class Printed:
    """A number that a paper prints.

    Attributes:
        table: Of the paper.
        quantity: "entropy" or a measure of modularity (its correlation with training accuracy),
            "train accuracy", "boosted test accuracy", "test gain", "unique neurons" and so on.
        statistic: "pearson", "spearman", "percent", "points" (of accuracy) or "count".
        value: What is printed.
        scope: "network", "layer" or "class".
        number: Of the layer or class, from 1 in the paper's order; 0 of the network.
        checkpoint: From 1 to `ITERATIONS`; 0 of what is about all of them.
        layer: The number of the layer that the neurons of a class are in, or 0.
        layers: Which the booster reads: "all", "L2L" or "LL"; "" of all else.
    """

    table: str
    quantity: str
    statistic: Statistic
    value: float
    scope: str
    number: int
    checkpoint: int
    layer: int
    layers: str


class Numbers(Options):
    """Numbers of one quantity in a table of a paper: a part `[[numbers]]` of a recipe.

    Those of scope "layer" and "class" are in the paper's order. Those in percent are of the
    checkpoints in turn; a single one is of the last.
    """

    table: str
    quantity: Literal[
        "entropy",
        "kernighan-lin",
        "no-overlap",
        "unweighted-overlap",
        "weighted-overlap",
        "train accuracy",
        "test accuracy",
        "boosted train accuracy",
        "boosted test accuracy",
        "train gain",
        "test gain",
        "unique neurons",
        "shared neurons",
    ]
    scope: Literal["network", "layer", "class"] = "network"
    layer: int = 0
    layers: Literal["", "all", "L2L", "LL"] = ""
    checkpoint: int = 0
    pearson: _Values = ()
    spearman: _Values = ()
    percent: _Values = ()
    points: _Values = ()
    count: _Values = ()

    def printed(self) -> Iterator[Printed]:
        """Each of them."""
        for statistic in get_args(Statistic):
            values = getattr(self, statistic)
            for at, value in enumerate(values, start=1):
                number, checkpoint = (0 if self.scope == "network" else at), self.checkpoint
                if statistic == "percent":
                    checkpoint = at if len(values) > 1 else ITERATIONS
                yield Printed(
                    self.table,
                    self.quantity,
                    statistic,
                    value,
                    self.scope,
                    number,
                    checkpoint,
                    self.layer,
                    self.layers,
                )


class Recipe(Options):
    """An experiment: a study's options, what of them its paper leaves open, and what it prints.

    Attributes:
        name: Under which it is asked for.
        title: In a few words.
        paper: "P1" or "P2" (see `PAPERS`), another one, or "".
        assumed: What the paper does not say, or says in two ways, and how it is read here.
        samples: Training samples in the paper; None where that is not known.
        test_samples: Test samples there.
        classes: Classes there.
        options: Of `cofire.study.StudyOptions`.
        numbers: What the paper prints.
    """

    name: str
    title: str
    paper: str = ""
    assumed: tuple[str, ...] = ()
    samples: PositiveInt | None = None
    test_samples: PositiveInt | None = None
    classes: PositiveInt | None = None
    options: dict[str, Any]
    numbers: tuple[Numbers, ...] = ()

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that there are numbers of."""
        return tuple(sorted({part for one in self.numbers for part in one.table.split(", ")}))

    def printed(self) -> list[Printed]:
        """The paper's numbers, one by one.

        Example:
            >>> first = recipe("p1-cifar10-resnet50").printed()[0]
            >>> first.table, first.quantity, first.statistic, first.value
            ('P1 Table 1', 'entropy', 'pearson', -0.68)
        """
        return [one for numbers in self.numbers for one in numbers.printed()]


@functools.cache
def recipe_names() -> tuple[str, ...]:
    """The names of all recipes: those of the papers, and each data set's own."""
    return (*sorted(path.stem for path in _FOLDER.glob("*.toml")), *DATASETS)


def recipes() -> list[Recipe]:
    """All recipes of the package."""
    return [recipe(name) for name in recipe_names()]


@validated
def recipe(name: str) -> Recipe:
    """A recipe by its name, or from a file.

    Args:
        name: One of `recipe_names()`, or the path of a TOML file: of a recipe, or of options alone.

    Raises:
        OptionError: There is none of this name, or the file cannot be read.

    Example:
        >>> found = recipe("p2-cifar10")
        >>> found.title, found.options["epochs"], found.tables[:2]
        ('Six-layer FCNN on CIFAR-10', 40, ('P2 Table 1', 'P2 Table 4'))
        >>> recipe("p2-cifar20")
        Traceback (most recent call last):
        cofire.errors.OptionError: recipe 'p2-cifar20'. Expected: one that cofire recipes lists, or...
    """
    if name.endswith(".toml"):
        return read_recipe(name)
    if name in DATASETS:
        return _of_data(name)
    if name not in recipe_names():
        raise OptionError(
            f"recipe '{name}'",
            "one that cofire recipes lists, or a TOML file",
            f"try {near_matches(name, recipe_names())}",
        )
    return read_recipe(_FOLDER / f"{name}.toml", name)


@reader(OptionError, "a readable TOML file", "correct it or leave it out")
def read_recipe(path: str | Path, name: str | None = None) -> Recipe:
    """The recipe in a TOML file; a file without a part `[options]` is of options alone.

    Args:
        path: Of the file.
        name: Of the recipe; the path unless given.

    Raises:
        OptionError: It cannot be read, or is no recipe.
    """
    given = read_toml(path)
    if "options" not in given:
        given = {"options": given}
    if isinstance(parts := given.get("numbers"), list):
        given["numbers"] = [Numbers(**one) if isinstance(one, dict) else one for one in parts]
    return Recipe(**{"title": Path(path).stem, **given, "name": name or str(path)})


def _of_data(name: str) -> Recipe:
    """The recipe that a data set has as its own, with what P2 prints of it."""
    options = {"data": name}
    if f"p2-{name}" not in recipe_names():
        return Recipe(name=name, title=f"FCNN on {name}", options=options)
    alike = read_recipe(_FOLDER / f"p2-{name}.toml", name)
    return alike.model_copy(update={"options": options})
