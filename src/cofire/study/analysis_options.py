"""What is analysed at a checkpoint: the options that studies, `cofire.follow` and summaries share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from cofire.activations import DEFAULT_SAMPLES, DEFAULT_TOP, ByClass, Range
from cofire.boost import METHODS
from cofire.boost.reading import DEFAULT_UNIT, BoosterUnit
from cofire.errors import OptionError
from cofire.marks import choice, shown
from cofire.network import Unit
from cofire.options import Options, option

ByClassWord = Literal["none", "statistics", "full"]
BY_CLASS: dict[ByClassWord, ByClass] = {"none": False, "statistics": "statistics", "full": True}
"""What is kept by class, in the words of options and as `cofire.summarize` takes it."""

_GRAPH = "Activation pattern graph"
_BOOSTING = "Boosting"
Needs = Mapping[str, tuple[str, tuple[str, ...]]]
"""Options that do nothing but with some values of another."""
_OF_GRAPHS: Needs = dict.fromkeys(
    ("top", "resolution", "community_runs", "null_graphs"), ("pairs", ("class", "union"))
)


def idle(kind: type[Options], given: Mapping[str, Any], needs: Needs) -> Needs:
    """Options of a kind that would do nothing beside the others, each with what it needs."""
    fields = kind.model_fields
    return {
        name: (needed, values)
        for name, (needed, values) in needs.items()
        if name in given
        and given[name] != fields[name].default
        and given.get(needed, fields[needed].default) not in values
    }


def refuse_idle(kind: type[Options], given: Mapping[str, Any], needs: Needs) -> None:
    """Refuse options that would do nothing."""
    for name, (needed, values) in idle(kind, given, needs).items():
        asked = given.get(needed, kind.model_fields[needed].default)
        raise OptionError(
            f"{name}={shown(given[name])} with {needed}={asked!r}",
            f"{needed} of {' or '.join(values)}",
            f"leave {name} out, or choose another {needed}",
        )


class ObservationOptions(Options):
    """What is observed of a network's neurons, and what is made of it.

    Example:
        >>> ObservationOptions(top=(25, 50)).summary["top"]
        50
    """

    layers: list[str] | None = option(
        None, "Layers", "Name, glob or kind:relu; may be repeated. All unless given."
    )
    unit: Unit = option("channel", "Unit", "What a neuron is.")
    bins: PositiveInt = option(100, "Bins", "Bins R of the entropy's histograms.")
    range: Range = option("own", "Range", "Of the histograms.")
    threshold: float = option(0.0, "Threshold", "A neuron is active above it.")
    by_class: ByClassWord = option(
        "full", "By class", "Nothing, statistics (selectivity, information), or histograms as well."
    )
    min_class_samples: PositiveInt | None = option(
        None,
        "Samples of a class",
        "Fewest of a class that occurs; 2 unless given, 1 where not all occur.",
    )
    top_samples: Annotated[int, Field(ge=0, le=1000)] = option(
        DEFAULT_SAMPLES,
        "Top samples",
        "How many samples each neuron fires most for are kept; 0 for none.",
    )
    no_images: bool = option(
        False, "No images", "No picture of the data in the results: numbers of samples alone."
    )
    pairs: Literal["class", "union", "none"] = option(
        "class",
        "Pairs",
        "Which pairs of neurons the graph counts; none for no graph.",
        panel=_GRAPH,
    )
    top: Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=20)] = option(
        (DEFAULT_TOP,),
        "Representatives",
        "Representative neurons per class at the most, fewer in narrow layers; several with commas.",
        panel=_GRAPH,
    )
    resolution: float = option(
        2.0,
        "Resolution",
        "γ of Louvain's method; 2 is Gephi's 0.5, which P2 used.",
        panel=_GRAPH,
        gt=0,
    )
    community_runs: int = option(
        10,
        "Seeds of communities",
        "With how many seeds communities are found, and how often weights are shuffled.",
        panel=_GRAPH,
        ge=2,
        le=1000,
    )
    null_graphs: int = option(
        10,
        "Null graphs",
        "How many graphs with random labels each graph is held against; 0 for none.",
        panel=_GRAPH,
        ge=0,
        le=1000,
    )

    @model_validator(mode="after")
    def _together(self) -> ObservationOptions:
        if self.null_graphs == 1:
            raise ValueError("null_graphs of 0, or of two at least, which have a spread")
        if self.pairs != "none" and self.by_class == "none":
            raise OptionError(
                "pairs without results by class",
                "results by class: neurons represent classes",
                "pass by_class=full, or leave pairs out",
            )
        return self

    def check_used(self) -> None:
        """Refuse options that would do nothing.

        Raises:
            OptionError: There are options of graphs, and no graph.
        """
        refuse_idle(
            type(self), {name: getattr(self, name) for name in self.model_fields_set}, _OF_GRAPHS
        )

    @property
    def summary(self) -> dict[str, Any]:
        """What `cofire.summarize` takes of them, the largest `top` of several."""
        same = ("layers", "unit", "bins", "range", "threshold", "min_class_samples", "top_samples")
        found = {name: getattr(self, name) for name in same}
        found["by_class"] = BY_CLASS[self.by_class]
        counted = self.pairs != "none"
        found |= {"pairs": self.pairs if counted else None}
        found |= {"top": max(self.top), "null_graphs": self.null_graphs} if counted else {}
        return found


class AnalysisOptions(ObservationOptions):
    """What is analysed at every checkpoint of a training run.

    `boost_unit` is `unit` unless given, or where that is "channel", channel-mean. Each of
    `boost_layers` is a booster of its own.

    Example:
        >>> AnalysisOptions(boost="readout", boost_layers=("all", "LL"), unit="element").boost_unit
        'element'
    """

    needs: ClassVar[Needs] = dict.fromkeys(
        ("boost_layers", "boost_unit", "boost_threshold"), ("boost", ("auto", *METHODS))
    )

    observe: PositiveInt | None = option(
        None,
        "Observed samples",
        "On how many training samples neurons are observed and boosters fitted, the same share of each class; all "
        "unless given.",
    )
    boost: Annotated[str, choice(("none", "auto", *METHODS))] = option(
        "none",
        "Booster",
        "The booster's method at every checkpoint, or auto; none for no boosting.",
        panel=_BOOSTING,
    )
    boost_layers: Annotated[tuple[str, ...], Field(min_length=1, max_length=20)] = option(
        ("all",),
        "Booster's layers",
        "all, L2L (the last two), LL (the last), a name, or names with + between; several with commas.",
        panel=_BOOSTING,
    )
    boost_unit: BoosterUnit = option(
        DEFAULT_UNIT,
        "Booster's unit",
        "What a neuron of a feature map is to the booster.",
        panel=_BOOSTING,
    )
    boost_threshold: Literal["mean"] | float | None = option(
        None,
        "Booster's threshold",
        "A neuron is active to it above it; mean for each neuron's own; as threshold unless given.",
        panel=_BOOSTING,
    )
    explain: Annotated[NonNegativeInt, Field(le=100)] = option(
        0,
        "Explained images",
        "Test images predicted right, and mistakes, explained at the last checkpoint at the most.",
    )

    @model_validator(mode="before")
    @classmethod
    def _unit_of_booster(cls, given: dict[str, Any]) -> dict[str, Any]:
        refuse_idle(cls, given, cls.needs)
        unit = given.get("unit", "channel")
        if given.get("boost", "none") != "none" and unit != "channel":
            return {"boost_unit": unit, **given}
        return given

    @property
    def boosting(self) -> dict[str, dict[str, Any]]:
        """What `cofire.compare` takes of them, for each of `boost_layers`."""
        limit = self.threshold if self.boost_threshold is None else self.boost_threshold
        each = {"method": self.boost, "unit": self.boost_unit, "threshold": limit}
        chosen = self.boost_layers if self.boost != "none" else ()
        return {name: {"layers": layers_named(name), **each} for name in chosen}

    @classmethod
    def completed(cls, record: Mapping[str, Any]) -> dict[str, Any]:
        """As of all options; results of `cofire.follow` said `None` and `True` in place of words."""
        words: dict[str, list[tuple[Any, str]]] = {
            "pairs": [(None, "none")],
            "by_class": [(kept, word) for word, kept in BY_CLASS.items()],
        }
        # Of a damaged record a value can be a list, which is no key.
        told = {
            name: next((word for kept, word in words.get(name, ()) if kept == value), value)
            for name, value in record.items()
        }
        return super().completed(told)


def layers_named(words: str) -> str | list[str] | None:
    """The layers of a booster as `cofire.compare` takes them.

    Example:
        >>> layers_named("all"), layers_named("LL"), layers_named("relu1+relu2")
        (None, 'LL', ['relu1', 'relu2'])
    """
    parts = words.split("+")
    return None if words == "all" else words if len(parts) == 1 else parts
