"""`cofire follow`: what the neurons did over a training run that somebody else made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cofire.activations.batches import classes_of
from cofire.cli.options import DATA, LabelledDataOptions, Output
from cofire.cli.terminal import claim, note
from cofire.cli.trajectories import line, reported
from cofire.errors import OptionError
from cofire.images.classes import known_names
from cofire.images.preparation import PreparationOptions
from cofire.options import option
from cofire.reading import read_json
from cofire.scale.ray_engine import EngineOptions
from cofire.study.analysis_options import AnalysisOptions
from cofire.study.checkpoint_files import checkpoint_files
from cofire.study.data import open_data
from cofire.study.follow import follow_asked
from cofire.study.sources import outputs_of


class Follow(EngineOptions, AnalysisOptions, LabelledDataOptions):
    """Which checkpoints are followed, on which data, and what is analysed."""

    files: tuple[Path, ...] = option(
        ...,
        "Checkpoints",
        "Files of weights, or folders of them, in the order of the numbers in their names.",
    )
    data: str = option(..., "Training data", DATA, panel="Data")
    test: str | None = option(
        None,
        "Test data",
        "For test accuracy, boosting and explanations, of the same kinds; a torchvision set's test part.",
        panel="Data",
    )
    held_out: str | None = option(
        None,
        "Held-out data",
        "Neither trained nor tested on, for boosters; a part of the training data unless given.",
        panel="Data",
    )
    epochs: tuple[float, ...] | None = option(
        None, "Epochs", "When each checkpoint was taken; as the names say, else 1, 2, 3 …"
    )
    out: Path = option(
        Path("cofire-follow"), "Folder", "Folder for the results.", panel=Output.panel
    )


def follow(options: Follow) -> dict[str, Any]:
    """What the neurons did over the checkpoints of a finished training run, next to its accuracy.

    Checkpoints are state dicts, or what Lightning and Hugging Face's Trainer write. Stopped at any
    moment and started again with the same options, it goes on where it was.
    """
    found = checkpoint_files(options.files)
    epochs = found.epochs if options.epochs is None else options.epochs
    if epochs is not None and len(epochs) != len(found.paths):
        raise OptionError(
            f"{len(epochs)} epochs for {len(found.paths)} checkpoints",
            "one for each",
            "leave --epochs out, or pass one number for each",
        )
    if options.weights is not None:
        raise OptionError(
            f"--weights {options.weights}", "checkpoints without a flag", "name it among them"
        )
    if found.left_out:
        note(f"left out, as their names have no number: {', '.join(map(str, found.left_out))}")
    claim(options.out, "layers.parquet", "a trajectory", quiet=True)
    options = options.model_copy(update=_as_trained(options, found.paths[0]))
    parts: list[tuple[str, str | Sequence[str]]] = [(options.data, "train")]
    if options.test is not None:
        parts.append((options.test, "test"))
    if options.held_out is not None:
        parts.append((options.held_out, ("validation", "test")))
    # Weights of its own would be loaded for nothing, and outputs are as many as the data's classes.
    first = options.model_copy(
        update={"weights": str(found.paths[0]), "num_classes": _outputs(options)}
    )
    network, opened, preparation = first.opened_with(*parts)
    train, others = opened[0], [options.loader(one) for one in opened[1:]]
    for path in found.paths:  # what does not fit is told before hours are lost
        network.with_weights(path, weights_key=options.weights_key)
    names = None if classes_of(train) else known_names(options.model, network.num_classes)

    with options.each() as each:
        trajectory = follow_asked(
            AnalysisOptions(
                **{
                    name: getattr(options, name)
                    for name in options.model_fields_set & AnalysisOptions.model_fields.keys()
                }
            ),
            network,
            found.paths,
            options.loader(train),
            others[0] if options.test is not None else None,
            held_out=others[-1] if options.held_out is not None else None,
            epochs=epochs,
            steps=found.steps,
            class_names=names,
            outputs=outputs_of(train, options.model, network.num_classes),
            weights_key=options.weights_key,
            batch_size=options.batch_size,
            folder=options.out,
            told={
                "model": options.model,
                "data": options.data,
                "test_data": options.test or "none",
                "held_out_data": options.held_out or "none",
                **options.prepared(preparation),
            },
            report=line,
            each=each,
        )
    return reported(trajectory, options.out) | {
        "checkpoints": [str(path) for path in found.paths],
        "network": trajectory.network().to_pylist(),
    }


def _as_trained(options: Follow, checkpoint: Path) -> dict[str, Any]:
    """How a study whose checkpoint this is prepared its images, where nothing is said of it here."""
    about = checkpoint.absolute().parent.parent / "study.json"
    if options.model_fields_set & PreparationOptions.model_fields.keys() or not about.exists():
        return {}
    told = read_json(about)
    known = told.get("preparation") if isinstance(told, dict) else None
    if not isinstance(known, dict) or told.get("transform"):
        return {}
    channels, height, width = known["input_shape"]
    return {
        "image_size": width if height == width else None,
        "resize": None if known["squash"] else known["resize"],
        "crop": 0 if known["squash"] else None,
        "mean": tuple(known["mean"]),
        "std": tuple(known["std"]),
        "grey": channels == 1,
    }


def _outputs(options: Follow) -> int | None:
    """How many outputs a published architecture has here, unless that is given; None where it says so itself."""
    if options.num_classes is not None or not options.model.startswith(("torchvision:", "timm:")):
        return options.num_classes
    data = open_data(
        options.data,
        root=options.data_root,
        part="train",
        model=options.model,
        own_weights=True,
        **options.asked,
    )
    names = classes_of(data)
    return None if names is None else len(names)
