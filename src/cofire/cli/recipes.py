"""`cofire recipes`: the papers' experiments by name, and one of them with all that belongs to it."""

from __future__ import annotations

from typing import Annotated, Any, get_args

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cofire.cli.options import Output
from cofire.cli.terminal import print_table
from cofire.errors import BudgetError
from cofire.options import option
from cofire.study import StudyOptions
from cofire.study.cost import expected_cost
from cofire.study.options import RECIPE
from cofire.study.recipes import PAPERS, Numbers, Recipe, Statistic, recipe, recipe_names

_SHAPES = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "fashion-mnist": (1, 28, 28)}


class Recipes(Output):
    """Which recipe is shown."""

    recipe: Annotated[str, RECIPE] | None = option(
        None,
        "Recipe",
        "To be shown whole, by name or from a TOML file; all are listed unless given.",
    )


def recipes(options: Recipes) -> dict[str, Any]:
    """The experiments that a study has by name, with their options, the papers' numbers and their cost."""
    if options.recipe is not None:
        return _show(recipe(options.recipe))
    rows = [_listed(recipe(name)) for name in recipe_names()]
    table = _table("recipe", "experiment", "tables", "data", "network", "training")
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row.values()))
    print_table(table)
    typer.echo(
        "\nRun one: cofire study NAME. Its options, the paper's numbers and its cost here: cofire recipes NAME."
    )
    return {"recipes": rows}


def _listed(one: Recipe) -> dict[str, Any]:
    asked = StudyOptions(**one.options)
    return {
        "name": one.name,
        "title": one.title,
        "tables": _tables(one),
        "data": asked.data,
        "model": asked.model,
        "training": f"{asked.epochs} epochs" + (f" of {one.samples:,}" if one.samples else ""),
    }


def _tables(one: Recipe) -> str:
    """The tables that there are numbers of: "P1 Tables 1, 2; P2 Table 1"."""
    papers: dict[str, list[str]] = {}
    for table in one.tables:
        paper, _, number = table.partition(" Table ")
        papers.setdefault(paper, []).append(number)
    return "; ".join(
        f"{paper} Table{'s' * (len(numbers) > 1)} {', '.join(numbers)}"
        for paper, numbers in papers.items()
    )


def _show(one: Recipe) -> dict[str, Any]:
    asked = StudyOptions(**one.options)
    typer.echo(f"{one.name}: {one.title}")
    if one.paper:
        typer.echo(f"{one.paper} is {PAPERS.get(one.paper, one.paper)}.")
    if one.assumed:
        typer.echo("\nChosen where the paper leaves it open:")
        for line in one.assumed:
            typer.echo(f"- {line}")
    own = _table("option", "value")
    rest = []
    for (name, _), (title, value, _) in zip(
        StudyOptions.model_fields.items(), asked.labelled(), strict=True
    ):
        if name in one.options:
            own.add_row(escape(f"{title} (--{name.replace('_', '-')})"), escape(value))
        elif value not in ("–", ""):
            rest.append(f"{title} {value}")
    typer.echo("")
    print_table(own)
    Console(soft_wrap=True).print(escape(f"As usual: {', '.join(rest)}."), highlight=False)
    if one.numbers:
        typer.echo("")
        numbers = _table("table", "the paper's number", "values")
        for part in one.numbers:
            for statistic in get_args(Statistic):
                if values := getattr(part, statistic):
                    numbers.add_row(
                        part.table, _about(part, statistic), " ".join(f"{v:g}" for v in values)
                    )
        print_table(numbers)
    cost = _cost(one, asked)
    typer.echo(f"\nCost here: {cost['said']}.")
    return {
        "name": one.name,
        "title": one.title,
        "paper": one.paper,
        "assumed": one.assumed,
        "options": asked.record(),
        "numbers": [vars(number) for number in one.printed()],
        "cost": cost,
    }


def _about(part: Numbers, statistic: str) -> str:
    words = [part.quantity, f"({statistic})"]
    if part.layers:
        words.append(f"of layers {part.layers}")
    if part.scope != "network":
        words.append(f"by {part.scope}" if part.scope == "class" or not part.layer else "")
    if part.layer:
        words.append(f"in layer {part.layer}")
    if part.checkpoint:
        words.append(f"at iteration {part.checkpoint}")
    return " ".join(filter(None, words))


def _cost(one: Recipe, asked: StudyOptions) -> dict[str, Any]:
    """What it takes on all of the paper's data, measured with images of noise."""
    shape = _SHAPES.get(asked.data.removesuffix("-mixed"))
    if asked.image_size is not None:
        shape = (1 if asked.grey else 3, asked.image_size, asked.image_size)
    if shape is None or one.samples is None or one.classes is None:
        return {"said": "unknown, as the recipe does not say on what and how many samples"}
    samples = asked.train_samples or one.samples
    try:
        cost = expected_cost(asked, shape, one.classes, samples, one.test_samples or 0)
    except BudgetError as error:
        return {"said": f"not measured: {error.given}"}
    told = f"{cost}" if cost.analysis is not None else f"{cost}; what is analysed comes on top"
    return {"said": told, **vars(cost)}


def _table(*titles: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 3, 0, 0))
    for title in titles:
        table.add_column(title, overflow="fold")
    return table
