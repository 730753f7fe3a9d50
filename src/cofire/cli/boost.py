"""`cofire boost`: a better classifier out of a trained one, and whether it is better."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer
from torch.utils.data import DataLoader, Dataset, Subset

from cofire.atomic import write_text
from cofire.boost import DEFAULT_METHOD, MARGIN, METHODS, compare
from cofire.boost.comparison import cost_of_boosting
from cofire.boost.reading import DEFAULT_UNIT, BoosterUnit, check_firing
from cofire.cli.folders import claim
from cofire.cli.numbers import number_or_word
from cofire.cli.preparation_options import (
    Crop,
    Grey,
    ImageSize,
    Mean,
    Resize,
    Std,
    Transform,
    WeightsKey,
    asked,
    tell,
)
from cofire.errors import ExportError, OptionError
from cofire.images.classes import known_names
from cofire.report import write_boost_report
from cofire.storage import versions, write_table
from cofire.study.boosts import boost_tables
from cofire.study.digest import boost_line
from cofire.study.sources import class_names_of, first_inputs, open_data, open_network

_DATA = "imagefolder:DIR | torchvision:MNIST | package.module:function"


def boost(
    model: Annotated[
        str,
        typer.Option(help="torchvision:resnet50 | timm:NAME | package.module:function | file.pt2"),
    ],
    train: Annotated[str, typer.Option(help=f"What the model was trained on: {_DATA}")],
    test: Annotated[
        str, typer.Option(help=f"What nothing is fitted to; a torchvision set's test part: {_DATA}")
    ],
    validation: Annotated[
        str | None,
        typer.Option(
            help="What the model was not trained on, to fit and choose by; of the same kinds."
        ),
    ] = None,
    validation_from_test: Annotated[
        float | None,
        typer.Option(
            help="In place of it: this share of the test data, which is then not tested on."
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="file.safetensors or file.pt; the model's own trained ones unless given."
        ),
    ] = None,
    weights_key: WeightsKey = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("cofire-boost"),
    method: Annotated[
        str, typer.Option(help=f"{', '.join(METHODS)}; or auto, which validation data choose.")
    ] = DEFAULT_METHOD,
    layers: Annotated[
        list[str] | None,
        typer.Option(
            "--layer",
            help="L2L (last two), LL (last), a name, glob or kind:relu; all unless given.",
        ),
    ] = None,
    unit: Annotated[
        BoosterUnit,
        typer.Option(
            help="What a neuron of a feature map is; element needs room, see --max-bytes."
        ),
    ] = DEFAULT_UNIT,
    threshold: Annotated[
        str, typer.Option(help="A neuron is active above it: a number, or mean, each neuron's own.")
    ] = "0",
    seed: Annotated[int, typer.Option(help="Of networks, orders and draws.")] = 0,
    margin: Annotated[
        float, typer.Option(help="Points of test accuracy; a difference below it counts as none.")
    ] = 100 * MARGIN,
    data_root: Annotated[
        Path | None,
        typer.Option(help="Where torchvision's data sets lie; COFIRE_DATA or ./data unless given."),
    ] = None,
    image_size: ImageSize = None,
    resize: Resize = None,
    crop: Crop = None,
    mean: Mean = None,
    std: Std = None,
    grey: Grey = False,
    transform: Transform = None,
    num_classes: Annotated[
        int | None, typer.Option(help="Outputs of a torchvision or timm model, if not its own.")
    ] = None,
    capture: Annotated[
        Literal["export", "calls"],
        typer.Option(help="How to read the model; calls where it does not export."),
    ] = "export",
    batch_size: Annotated[int, typer.Option(help="Samples at a time.")] = 64,
    workers: Annotated[
        int, typer.Option(help="Processes that load images; 0 loads in this one.")
    ] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 …")] = "cpu",
    max_bytes: Annotated[
        int,
        typer.Option(
            help="Bound for what is kept of the training data; of more, fewer samples are kept."
        ),
    ] = 1_000_000_000,
) -> None:
    """Boost a trained model by what its neurons do, and hold it against controls that see only its last layer.

    The same readout of values alone tells what patterns, who fires, add to values, how strongly.

    Writes booster.safetensors, boosted.pt2 (runs without cofire), tables and report.html.
    """
    limit = check_firing(number_or_word(threshold))
    claim(out, "boost.json", "a booster")
    if validation is not None and validation_from_test is not None:
        raise OptionError(
            "--validation and --validation-from-test", "one of the two", "leave one out"
        )

    opening: dict[str, Any] = {
        "weights": weights,
        "weights_key": weights_key,
        "num_classes": num_classes,
        "capture": capture,
        "device": device,
    }
    # An exported program says itself how large its inputs are.
    network = open_network(model, torch.zeros(0), **opening) if model.endswith(".pt2") else None
    shape = None if network is None else network.input_shape
    wanted = asked(image_size, resize, crop, mean, std, grey, transform)

    def opened(spec: str, split: str) -> Any:
        part = split if spec.startswith("torchvision:") else None
        return open_data(
            spec,
            root=data_root,
            split=part,
            model=model,
            shape=shape,
            own_weights=weights is not None,
            **wanted,
        )

    training, testing = opened(train, "train"), opened(test, "test")
    held_out = (
        None
        if validation is None
        else opened(validation, "test" if validation != test else "train")
    )
    if validation_from_test is not None:
        held_out, testing = _parted(testing, validation_from_test, seed)
    preparation = getattr(training, "preparation", None)
    tell(preparation)
    example = first_inputs(training)
    network = network or open_network(model, example, **opening)
    count = network.num_classes
    names = (
        class_names_of(training, count)
        or known_names(model, count)
        or [str(n) for n in range(count)]
    )
    if held_out is None:
        typer.echo(
            "Note: without --validation a fifth of the training data takes its place. The model has seen it, so that "
            "less is learnt and choices are worse.",
            err=True,
        )

    def loader(data: Any) -> Any:
        if isinstance(data, Dataset) and not isinstance(data, DataLoader):
            return DataLoader(data, batch_size=batch_size, num_workers=workers)
        return data

    selection = layers[0] if layers and len(layers) == 1 else layers or None
    found = compare(
        network,
        loader(training),
        None if held_out is None else loader(held_out),
        loader(testing),
        layers=selection,
        method=method,
        unit=unit,
        threshold=limit,
        seed=seed,
        max_bytes=max_bytes,
        batch_size=batch_size,
        margin=margin / 100,
    )
    cost = cost_of_boosting(
        found.booster, example[:1].repeat(batch_size, *(1 for _ in example.shape[1:]))
    )
    options = {
        "model": model,
        "weights": weights or "as given by the model",
        **({} if weights_key is None else {"weights_key": weights_key}),
        "data": f"trained on {train}, tested on {test}",
        "boost": found.chosen,
        "boost_layers": ", ".join(found.booster.layers),
        "unit": unit,
        "threshold": limit,
        "seed": seed,
        "boost_margin": found.margin,
        "test_samples": len(found.labels),
        "parameters_added": cost.parameters,
        "forward_pass": f"× {cost.time:.2f} in batches of {batch_size}",
        "classes": names,
        **(
            {}
            if preparation is None
            else {"prepared": preparation.told, "preparation": preparation.record}
        ),
        "versions": versions(),
    }
    tables = boost_tables(found, {"checkpoint": 1, "epoch": 1.0, "step": None}, names)
    out.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        write_table(table, out / f"{name}.parquet")
    found.booster.save(out / "booster.safetensors")
    written = [out / "booster.safetensors"]
    try:
        written.append(found.booster.export(out / "boosted.pt2"))
    except ExportError as error:
        typer.echo(f"Note: no boosted.pt2: {error}", err=True)
    write_text(out / "boost.json", json.dumps(options, indent=2) + "\n")
    page = write_boost_report(
        tables["boosts"],
        tables["boost_classes"],
        tables["flips"],
        out / "report.html",
        class_names=names,
        options=options,
        command=shlex.join(["cofire", *sys.argv[1:]]),
    )
    base, own = found.judged["base"], found.judged[found.chosen]
    typer.echo(f"Boosted      {model}: {found.chosen} on {', '.join(found.booster.layers)}")
    typer.echo(
        f"Accuracy     {base.test_accuracy:.2%} → {own.test_accuracy:.2%} of {len(found.labels):,} test samples"
    )
    typer.echo(
        f"Confidence   calibration error {base.test_calibration:.3f} → {own.test_calibration:.3f}, "
        f"negative log-likelihood {base.test_loss:.4f} → {own.test_loss:.4f}"
    )
    typer.echo(boost_line(tables["boosts"], len(found.labels), found.margin))
    if found.told_of_always_active:
        typer.echo(f"Patterns     {found.told_of_always_active}")
    typer.echo(f"Cost         {cost.parameters:,} more parameters, forward pass × {cost.time:.2f}")
    for path in written:
        typer.echo(f"Booster: {path}")
    typer.echo(f"Report: {page}")


def _parted(data: Any, share: float, seed: int) -> tuple[Any, Any]:
    """A share of a data set, and the rest."""
    if not 0 < share < 1:
        raise OptionError(f"--validation-from-test {share}", "a share between 0 and 1", "pass 0.5")
    if not isinstance(data, Dataset) or not hasattr(data, "__len__"):
        raise OptionError(
            f"--validation-from-test with data of type {type(data).__name__}",
            "a data set with a length",
            "name validation data with --validation",
        )
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed)).tolist()
    cut = round(share * len(order))
    return Subset(data, sorted(order[:cut])), Subset(data, sorted(order[cut:]))
