"""The options of a study, from a file, from flags, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from cofire.boost import METHODS
from cofire.boost.reading import DEFAULT_UNIT, BoosterUnit
from cofire.errors import OptionError
from cofire.limits import LARGEST
from cofire.reading import read_toml, reader
from cofire.study.datasets import DATASETS


class StudyOptions(BaseModel):
    """What a study does; everything that its numbers depend on.

    Attributes:
        dataset: One of `cofire.study.DATASETS`.
        network: "fcnn" (fully connected, as in P2 Table 1) or "cnn" (see `cofire.study.training`).
        hidden: Units of the fully connected hidden layers: 512, 512 (P2 Table 1) unless given, of a
            cnn 128.
        epochs: Passes over the training data.
        checkpoints: How many are kept, at uniform intervals.
        batch_size: Of training.
        optimizer: "adam", "rmsprop" or "sgd".
        learning_rate: Of the optimiser.
        dropout: After each fully connected hidden layer; 0 for none.
        seed: Of weights, order, dropout and label permutation.
        bins: Bins R of the entropy's histograms.
        range: Their range.
        threshold: A neuron is active above it.
        pairs: Which pairs of neurons the activation pattern graph counts, "class" or "union";
            "none" for no graph.
        top: Representative neurons per class at the most (P2: 50); fewer in narrow layers (see
            `cofire.summarize`).
        resolution: γ of Louvain's method; 2 is Gephi's 0.5, which P2 used.
        community_runs: With how many seeds communities are found, and how often weights are
            shuffled.
        null_graphs: How many graphs with random labels each graph is held against; 0 for none.
        boost: The booster's method at every checkpoint (see `cofire.Booster`), or "auto"; "none"
            for no boosting.
        boost_layers: Activation layers that it reads: "all", "L2L" (the last two), "LL" (the last),
            or a name.
        boost_unit: What a neuron of a feature map is to the booster: "channel-mean", "channel-max"
            or "element".
        boost_threshold: Above what a neuron is active to the booster, a number or "mean", each
            neuron's own; `threshold` unless given.
        validation: Share of the training data that is held out: nothing is trained or observed on
            it, boosters are fitted and chosen by it. A tenth unless given where there is boosting,
            else 0.
        explain: How many test images of each kind, predicted right and misclassified, are explained
            at the last checkpoint at the most; 0 for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str = "digits"
    network: Literal["fcnn", "cnn"] = "fcnn"
    hidden: tuple[int, ...] = (512, 512)
    epochs: int = Field(default=20, ge=1, le=LARGEST["epochs"])
    checkpoints: int = Field(default=20, ge=1, le=LARGEST["checkpoints"])
    batch_size: int = Field(default=128, ge=1, le=LARGEST["batch_size"])
    optimizer: Literal["adam", "rmsprop", "sgd"] = "adam"
    learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    seed: int = Field(default=0, ge=0, le=LARGEST["seed"])
    bins: int = Field(default=100, ge=1, le=1 << 20)
    range: Literal["own", "zero-to-max", "global"] = "own"
    threshold: float = Field(default=0.0, allow_inf_nan=False)
    pairs: Literal["class", "union", "none"] = "class"
    top: int = Field(default=50, ge=1, le=LARGEST["top"])
    resolution: float = Field(default=2.0, gt=0, allow_inf_nan=False)
    community_runs: int = Field(default=10, ge=2, le=1000)
    null_graphs: int = Field(default=10, ge=0, le=1000)
    boost: str = "none"
    boost_layers: str = "all"
    boost_unit: BoosterUnit = DEFAULT_UNIT
    boost_threshold: Literal["mean"] | Annotated[float, Field(allow_inf_nan=False)] | None = None
    validation: float = Field(default=0.0, ge=0, le=0.9, allow_inf_nan=False)
    explain: int = Field(default=0, ge=0, le=100)

    @model_validator(mode="before")
    @classmethod
    def _dependent(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        if given.get("network") == "cnn":
            given = {"hidden": (128,), **given}
        if given.get("boost", "none") != "none":
            return {"validation": 0.1, **given}
        unset = {"boost_layers": "all", "boost_unit": DEFAULT_UNIT, "boost_threshold": None}
        for name, value in unset.items():
            if given.get(name, value) != value:
                raise ValueError(f"{name} needs boost")
        return given

    @field_validator("boost")
    @classmethod
    def _method(cls, value: str) -> str:
        if value not in ("none", "auto", *METHODS):
            raise ValueError(f"must be none, auto, {', '.join(METHODS)}")
        return value

    @field_validator("null_graphs")
    @classmethod
    def _spread(cls, value: int) -> int:
        if value == 1:
            raise ValueError("must be 0, or two at least, which have a spread")
        return value

    @field_validator("dataset")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in DATASETS:
            raise ValueError(f"must be one of {', '.join(DATASETS)}")
        return value

    @field_validator("hidden")
    @classmethod
    def _layers(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if (
            not value
            or not all(1 <= units <= LARGEST["hidden"] for units in value)
            or len(value) > 100
        ):
            raise ValueError(
                "must name at least one layer and at most 100, each of 1 to 2**24 units"
            )
        return value

    @classmethod
    def of(cls, file: str | Path | None = None, **flags: Any) -> Self:
        """Options from a TOML file, overridden by those given by name (None: not given).

        Raises:
            OptionError: The file cannot be read, or an option is unknown or has a value it cannot
                have.

        Example:
            >>> StudyOptions.of(dataset="mnist", epochs=None).epochs
            20
        """
        given: dict[str, Any] = {}
        if file is not None:
            given = _from_toml(file)
        given |= {name: value for name, value in flags.items() if value is not None}
        try:
            return cls(**given)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"]) or "options"
            raise OptionError(
                f"option {name} = {first['input']!r}: {first['msg']}",
                f"options among {', '.join(cls.model_fields)}, each within its bounds",
                "correct it in the file or on the command line",
            ) from error


@reader(OptionError, "a readable TOML file", "correct it or leave --config out")
def _from_toml(file: str | Path) -> dict[str, Any]:
    return read_toml(file)
