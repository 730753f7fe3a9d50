"""The options of a study, from a file, from flags, checked."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from cofire.boost import METHODS
from cofire.boost.reading import DEFAULT_UNIT, BoosterUnit
from cofire.marks import choice
from cofire.options import Options, option
from cofire.study.sources import DATASETS

_TRAINING = "Training"


_GRAPH = "Activation pattern graph"


_BOOSTING = "Boosting"


class StudyOptions(Options):
    """What a study does; everything that its numbers depend on.

    Of a cnn, `hidden` is 128 unless given; with a booster, `validation` is a tenth unless given.

    Example:
        >>> StudyOptions.of(dataset="mnist", epochs=None).epochs
        20
    """

    dataset: Annotated[str, choice(DATASETS)] = option(
        "digits", "Data set", f"One of {', '.join(DATASETS)}."
    )
    network: Literal["fcnn", "cnn"] = option(
        "fcnn",
        "Network",
        "fcnn, fully connected (P2 Table 1), or cnn, two small convolutions.",
        panel=_TRAINING,
    )
    hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=100)] = option(
        (512, 512),
        "Hidden units",
        "Units of the fully connected hidden layers; of a cnn 128 unless given.",
        panel=_TRAINING,
    )
    epochs: PositiveInt = option(20, "Epochs", "Passes over the training data.", panel=_TRAINING)
    checkpoints: PositiveInt = option(
        20, "Checkpoints", "How many are kept, at uniform intervals.", panel=_TRAINING
    )
    batch_size: PositiveInt = option(128, "Batch size", "Of training.", panel=_TRAINING)
    optimizer: Literal["adam", "rmsprop", "sgd"] = option(
        "adam", "Optimiser", "Of training.", panel=_TRAINING
    )
    learning_rate: float = option(1e-3, "Learning rate", "Of the optimiser.", panel=_TRAINING, gt=0)
    dropout: float = option(
        0.5,
        "Dropout",
        "After each fully connected hidden layer; 0 for none.",
        panel=_TRAINING,
        ge=0,
        lt=1,
    )
    seed: NonNegativeInt = option(0, "Seed", "Of weights, order, dropout and label permutation.")
    bins: PositiveInt = option(100, "Bins", "Bins R of the entropy's histograms.")
    range: Literal["own", "zero-to-max", "global"] = option("own", "Range", "Of the histograms.")
    threshold: float = option(0.0, "Threshold", "A neuron is active above it.")
    pairs: Literal["class", "union", "none"] = option(
        "class",
        "Pairs",
        "Which pairs of neurons the graph counts; none for no graph.",
        panel=_GRAPH,
    )
    top: PositiveInt = option(
        50,
        "Representatives",
        "Representative neurons per class at the most (P2: 50); fewer in narrow layers.",
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
    boost: Annotated[str, choice(("none", "auto", *METHODS))] = option(
        "none",
        "Booster",
        "The booster's method at every checkpoint, or auto; none for no boosting.",
        panel=_BOOSTING,
    )
    boost_layers: str = option(
        "all",
        "Booster's layers",
        "Layers the booster reads: all, L2L (the last two), LL (the last), or a name.",
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
    validation: float = option(
        0.0,
        "Held out",
        "Share of the training data that boosters are fitted and chosen by; with boost 0.1 unless given.",
        panel=_BOOSTING,
        ge=0,
        le=0.9,
    )
    explain: int = option(
        0,
        "Explained images",
        "Test images predicted right, and mistakes, explained at the last checkpoint at the most.",
        ge=0,
        le=100,
    )

    @model_validator(mode="before")
    @classmethod
    def _dependent(cls, given: dict[str, Any]) -> dict[str, Any]:
        if given.get("network") == "cnn":
            given = {"hidden": (128,), **given}
        if given.get("boost", "none") != "none":
            given = {"validation": 0.1, **given}
        else:
            unset = {"boost_layers": "all", "boost_unit": DEFAULT_UNIT, "boost_threshold": None}
            for name, value in unset.items():
                if given.get(name, value) != value:
                    raise ValueError(f"{name} needs boost")
        if given.get("null_graphs") == 1:
            raise ValueError("null_graphs of 0, or of two at least, which have a spread")
        return given
