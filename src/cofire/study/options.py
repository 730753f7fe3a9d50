"""The options of a study, from a recipe, a file and flags, checked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from cofire.errors import OptionError, near_matches
from cofire.images.preparation import PreparationOptions
from cofire.marks import Mark, Refused
from cofire.options import option
from cofire.study.analysis_options import AnalysisOptions, Needs, idle
from cofire.study.recipes import Recipe, recipe, recipe_names
from cofire.study.sources import DATASETS, DEVICE, WEIGHTS_KEY, WORKERS

SMALL_NETWORKS = ("fcnn", "cnn")
"""Networks of cofire's own, with `hidden` and `dropout`."""

_DATA = "Data"
_NETWORK = "Network"
_TRAINING = "Training"


def _named(names: Iterable[str], *kinds: str) -> Mark:
    """One of a few names, or a longer one that says its kind before a colon."""
    known = tuple(names)
    expected = f"{', '.join((*known, *kinds[:-1]))} or {kinds[-1]}"

    def check(value: Any) -> Any:
        if not isinstance(value, str):
            raise TypeError
        if value in known or re.fullmatch(r"[\w.]+:\S.*", value):
            return value
        raise Refused(expected, f"pass {near_matches(value, known, most=1)}")

    return Mark(expected, check, repr(known[0]))


_FUNCTION = "package.module:function"
DATA_NAME = _named(
    DATASETS, "imagefolder:DIR", "parquet:PATH", "webdataset:PATH", "torchvision:NAME", _FUNCTION
)
_MODEL_NAME = _named(SMALL_NETWORKS, "torchvision:NAME", "timm:NAME", _FUNCTION)


def _share_or_data(value: Any) -> Any:
    try:
        share = float(value)
    except ValueError:
        return DATA_NAME.check(value)
    if isinstance(value, bool) or not 0 <= share <= 0.9:
        raise ValueError
    return share


def _interval(value: Any) -> str:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *(step|epoch)s?", value)
    if found is None or not 0 < float(found[1]) < 1e9 or (found[2] == "step" and "." in found[1]):
        raise ValueError
    return f"{float(found[1]):g} {found[2]}s"


_SHARE_OR_DATA = Mark("a share from 0 to 0.9, or data by name", _share_or_data, "0.1")
_INTERVAL = Mark("steps or epochs", _interval, "'500 steps'")


RECIPE = Mark("a recipe's name, or a TOML file", str, "'mnist'", recipe_names())


class StudyOptions(AnalysisOptions, PreparationOptions):
    """What a study does; everything that its numbers depend on, and where they are computed.

    A recipe's options are defaults, which those given win over. `hidden` is 512,512 of an fcnn and
    128 of a cnn unless given, `dropout` 0.5; with a booster, `validation` is a tenth; weight decay
    of adamw is 0.01.

    Example:
        >>> StudyOptions.of(recipe="mnist", epochs=None).epochs
        20
        >>> StudyOptions(optimizer="adam", momentum=0.9)
        Traceback (most recent call last):
        cofire.errors.OptionError: momentum=0.9 with optimizer='adam'. Expected: optimizer of sgd or rmsprop...
    """

    renamed: ClassVar[Mapping[str, str]] = {"dataset": "data", "network": "model"}
    elsewhere: ClassVar[tuple[str, ...]] = ("device", "workers")
    """Where a study is computed, which is no part of what it is."""

    needs: ClassVar[Needs] = {
        **AnalysisOptions.needs,
        "hidden": ("model", SMALL_NETWORKS),
        "dropout": ("model", SMALL_NETWORKS),
        "momentum": ("optimizer", ("sgd", "rmsprop")),
        "decay": ("schedule", ("step",)),
        "decay_every": ("schedule", ("step",)),
        "warmup": ("schedule", ("one-cycle",)),
    }

    recipe: Annotated[str, RECIPE] | None = option(
        None, "Recipe", "Options under one name, or a TOML file; others win over them."
    )
    data: Annotated[str, DATA_NAME] = option(
        "digits", "Data", f"{DATA_NAME.expected}.", panel=_DATA
    )
    test: Annotated[float | str, _SHARE_OR_DATA] | None = option(
        None,
        "Test data",
        "Data by name, or a share of the training data; found beside the data unless given.",
        panel=_DATA,
    )
    validation: Annotated[float | str, _SHARE_OR_DATA] = option(
        0.0,
        "Held out",
        "Share of the training data that boosters are fitted and chosen by, or data by name; "
        "with boost 0.1 unless given.",
        panel=_DATA,
    )
    train_samples: PositiveInt | None = option(
        None,
        "Training samples",
        "How many are trained on, the same share of each class; all unless given.",
        panel=_DATA,
    )
    model: Annotated[str, _MODEL_NAME] = option(
        "fcnn",
        "Network",
        "fcnn, fully connected (P2 Table 1), cnn, two small convolutions, "
        f"torchvision:NAME, timm:NAME or {_FUNCTION}.",
        panel=_NETWORK,
    )
    weights: str = option(
        "none",
        "Weights",
        "To start from: a file, published (torchvision's or timm's own), or none, random ones by the seed.",
        panel=_NETWORK,
    )
    weights_key: str | None = WEIGHTS_KEY
    hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=100)] | None = option(
        None,
        "Hidden units",
        "Units of the fully connected hidden layers: of an fcnn 512,512, of a cnn 128 unless given.",
        panel=_NETWORK,
    )
    dropout: float | None = option(
        None,
        "Dropout",
        "After each fully connected hidden layer of fcnn and cnn; 0.5 unless given.",
        panel=_NETWORK,
        ge=0,
        lt=1,
    )
    epochs: PositiveInt = option(20, "Epochs", "Passes over the training data.", panel=_TRAINING)
    checkpoints: PositiveInt | None = option(
        20, "Checkpoints", "How many are kept, at uniform intervals.", panel=_TRAINING
    )
    checkpoint_every: Annotated[str, _INTERVAL] | None = option(
        None,
        "Checkpoint every",
        "In place of a number of checkpoints: '500 steps' or '2 epochs'.",
        panel=_TRAINING,
    )
    batch_size: PositiveInt = option(128, "Batch size", "Of training.", panel=_TRAINING)
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] = option(
        "adam", "Optimiser", "Of training.", panel=_TRAINING
    )
    learning_rate: float = option(1e-3, "Learning rate", "Of the optimiser.", panel=_TRAINING, gt=0)
    momentum: float = option(0.0, "Momentum", "Of sgd and rmsprop.", panel=_TRAINING, ge=0, lt=1)
    weight_decay: float = option(
        0.0, "Weight decay", "Of the optimiser; of adamw 0.01 unless given.", panel=_TRAINING, ge=0
    )
    label_smoothing: float = option(
        0.0, "Label smoothing", "Of the loss.", panel=_TRAINING, ge=0, lt=1
    )
    schedule: Literal["constant", "step", "cosine", "one-cycle"] = option(
        "constant", "Schedule", "Of the learning rate, step by step.", panel=_TRAINING
    )
    decay: float = option(
        0.1,
        "Decay",
        "Of schedule step: what the rate is multiplied by.",
        panel=_TRAINING,
        gt=0,
        lt=1,
    )
    decay_every: float | None = option(
        None,
        "Decay every",
        "Of schedule step: so many epochs; a third of all unless given.",
        panel=_TRAINING,
        gt=0,
    )
    warmup: float = option(
        0.3,
        "Warm-up",
        "Of schedule one-cycle: share of training in which the rate rises.",
        panel=_TRAINING,
        gt=0,
        lt=1,
    )
    clip: float | None = option(
        None, "Clip", "Largest norm of the gradient of a step.", panel=_TRAINING, gt=0
    )
    augment: tuple[Literal["crop", "flip"], ...] = option(
        (),
        "Augmentation",
        "Of images in training: crop (shifted by up to an eighth of the side), flip (left for right).",
        panel=_TRAINING,
    )
    precision: Literal["fp32", "bf16", "fp16"] = option(
        "fp32", "Precision", "Of training; weights are kept in fp32.", panel=_TRAINING
    )
    channels_last: bool = option(
        False, "Channels last", "How images lie in memory in training.", panel=_TRAINING
    )
    device: str = DEVICE
    workers: int = WORKERS
    seed: NonNegativeInt = option(0, "Seed", "Of weights, order, dropout and label permutation.")

    def __init__(self, **given: Any) -> None:
        given = {name: value for name, value in given.items() if value is not None}
        given |= self._several(given)
        if (name := given.get("recipe")) is not None:
            given = over_recipe(self.told_in(recipe(name)), given)
        super().__init__(**given)

    @classmethod
    def told_in(cls, one: Recipe) -> dict[str, Any]:
        """The options of a recipe or a file.

        Raises:
            OptionError: It has one that there is not.
        """
        for name in one.options.keys() - cls.model_fields.keys():
            right = cls.renamed.get(name) or near_matches(name, cls.model_fields, 1).strip("'")
            raise OptionError(
                f"'{one.name}' with an option {name}",
                "options of a study, as cofire study --help lists them",
                f"write {right} in its place",
            )
        return one.options

    def record(self) -> dict[str, Any]:
        """What is stored of them, as JSON holds it: not where they are computed."""
        return self.model_dump(mode="json", exclude=set(self.elsewhere))

    @model_validator(mode="before")
    @classmethod
    def _dependent(cls, given: dict[str, Any]) -> dict[str, Any]:
        model = given.get("model", "fcnn")
        if model in SMALL_NETWORKS:
            given = {"hidden": (512, 512) if model == "fcnn" else (128,), "dropout": 0.5, **given}
        if given.get("boost", "none") != "none":
            given = {"validation": 0.1, **given}
        if given.get("optimizer") == "adamw":
            given = {"weight_decay": 0.01, **given}
        weights, every = given.get("weights", "none"), given.get("checkpoint_every")
        if given.get("weights_key") is not None and weights in _NO_FILE:
            raise OptionError(
                f"weights_key={given['weights_key']!r} with weights={weights!r}",
                "a file of weights that holds it",
                "leave weights_key out, or pass a file as weights",
            )
        if weights == "published" and not model.startswith(_PUBLISHED):
            raise OptionError(
                f"weights='published' with model={model!r}",
                "a torchvision or timm model, whose weights are published",
                "leave weights out, or pass a file",
            )
        if every is not None and (count := given.get("checkpoints")) is not None:
            raise OptionError(
                f"checkpoints={count} with checkpoint_every={every!r}",
                "one of the two",
                "leave checkpoints out",
            )
        if every is not None:
            given = {**given, "checkpoints": None}
        return given


_NO_FILE = ("none", "published")
_PUBLISHED = ("torchvision:", "timm:")


def over_recipe(recipe: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a recipe or a file below those given, without those of it that do not fit these."""
    kept = dict(recipe)
    if "checkpoint_every" in given or "checkpoints" in given:
        kept.pop("checkpoints", None), kept.pop("checkpoint_every", None)
    if not str(given.get("data", "imagefolder:")).startswith(("imagefolder:", "torchvision:")):
        kept = {n: v for n, v in kept.items() if n not in PreparationOptions.model_fields}
    if "model" in given:
        kept.pop("weights", None), kept.pop("weights_key", None)
        if str(given["model"]).startswith(_PUBLISHED):
            kept.pop("grey", None)  # these networks take colours
    for name, (needed, _) in idle(StudyOptions, {**kept, **given}, StudyOptions.needs).items():
        if needed in given:
            kept.pop(name, None)
    return kept | dict(given)


def of_now(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a study of this version or an earlier one says of itself, in the words of now.

    Example:
        >>> of_now({"dataset": "mnist", "network": "cnn", "top": 50})
        {'data': 'mnist', 'model': 'cnn', 'top': [50]}
    """
    if "dataset" not in record:
        return dict(record)
    return StudyOptions.renamed_in(record)
