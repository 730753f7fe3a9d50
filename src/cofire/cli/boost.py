"""`cofire boost`: a better classifier out of a trained one, and whether it is better."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer
from pydantic import Field
from torch.utils.data import Dataset, Subset

from cofire.activations.chunks import block_of
from cofire.activations.samples_within import digest_of_data
from cofire.activations.sharing import share_files, sharing_now
from cofire.atomic import write_text
from cofire.boost import DEFAULT_METHOD, MARGIN, METHODS, compare, cost_of_boosting
from cofire.boost.fitting import BoostOptions
from cofire.boost.kept_readings import (
    READINGS,
    KeptReadings,
    keep_readings,
    kept_readings,
    samples_of,
)
from cofire.boost.reading import Reader, chosen_layers
from cofire.cli.options import DATA, LabelledDataOptions, Output
from cofire.cli.sharing import ShardOptions, made_with, parts_of, run_shared
from cofire.cli.terminal import claim, command_line, note
from cofire.errors import ExportError, OptionError
from cofire.images.classes import known_names
from cofire.options import option
from cofire.reading import named
from cofire.report import write_boost_report
from cofire.scale.shards import Part, PartWritten
from cofire.storage import begin, versions, write_table
from cofire.study.boosts import boost_tables
from cofire.study.findings import boosted
from cofire.study.sources import class_names_of, first_inputs

STARTED = "options.json"
"""What a shard was started with, below its readings."""


class Boost(ShardOptions, LabelledDataOptions, BoostOptions):
    """What is boosted, by what, and how."""

    train: str = option(
        ..., "Training data", f"What the model was trained on: {DATA}", panel="Data"
    )
    test: str = option(
        ...,
        "Test data",
        "What nothing is fitted to, of the same kinds; the test part of data that have one.",
        panel="Data",
    )
    validation: str | None = option(
        None,
        "Validation data",
        "What the model was not trained on, to fit and choose by; of the same kinds.",
        panel="Data",
    )
    validation_from_test: Annotated[float, Field(gt=0, lt=1)] | None = option(
        None,
        "Validation from test",
        "In place of it: this share of the test data, which is then not tested on.",
        panel="Data",
    )
    out: Path = option(
        Path("cofire-boost"), "Folder", "Folder for the results.", panel=Output.panel
    )
    booster: Literal["auto", *METHODS] = option(  # type: ignore[valid-type]
        DEFAULT_METHOD, "Booster", "How; auto takes what validation data choose."
    )
    layers: list[str] | None = option(
        None, "Layers", "L2L (last two), LL (last), a name, glob or kind:relu; all unless given."
    )
    margin: float = option(
        100 * MARGIN,
        "Margin",
        "Points of test accuracy; a difference below it counts as none.",
        ge=0,
    )


def boost(options: Boost) -> dict[str, Any]:
    """Boost a trained model by what its neurons do, and hold it against controls.

    Controls see only the model's last layer. The same readout of values alone tells what patterns,
    who fires, add to values, how strongly.

    Writes booster.safetensors, boosted.pt2 (runs without cofire), tables and report.html.

    With --shard 3/16, sixteen commands run the network on a part of the data each, anywhere and in
    any order, and keep what a booster reads of it; cofire merge fits and judges on all of that.
    """
    return run_shared("boost", boost_all, options)


def boost_all(options: Boost, parts: Sequence[Sequence[Part]] = ()) -> dict[str, Any]:
    """All of it, or what of it is shared here.

    Args:
        options: As given.
        parts: What shards have read: of training, test and validation data.
    """
    out, model = options.out, options.model
    claim(out, "boost.json", "a booster", *parts_of("boost"), f"{READINGS}/{STARTED}")
    if options.validation is not None and options.validation_from_test is not None:
        raise OptionError(
            "--validation and --validation-from-test", "one of the two", "leave one out"
        )
    held = options.validation
    named_sets: list[tuple[str, str | Sequence[str]]] = [
        (options.train, "train"),
        (options.test, "test"),
    ]
    if held is not None:
        named_sets.append((held, ("validation", "test" if held != options.test else "train")))
    network, (training, testing, *others), preparation = options.opened_with(*named_sets)
    held_out = others[0] if others else None
    if options.validation_from_test is not None:
        held_out, testing = _parted(testing, options.validation_from_test, options.seed)
    example, count = first_inputs(training), network.num_classes
    known = class_names_of(training, count) or known_names(model, count)
    names = known or [str(number) for number in range(count)]
    if held_out is None:
        note(
            "without --validation a fifth of the training data takes its place. The model has seen it, so that "
            "less is learnt and choices are worse."
        )
    layers = options.layers
    chosen = layers[0] if layers and len(layers) == 1 else layers or None
    sets = {"training": options.loader(training), "test": options.loader(testing)}
    if held_out is not None:
        sets["validation"] = options.loader(held_out)
    if sharing_now() is not None:
        reader = Reader(network, chosen_layers(network, chosen), options.unit)
        _share(options, reader, sets)
    every = [
        KeptReadings(name, data, part)
        for (name, data), part in zip(sets.items(), parts, strict=False)
    ]
    with kept_readings(every):
        found = compare(
            network,
            sets["training"],
            sets.get("validation"),
            sets["test"],
            layers=chosen,
            method=options.booster,
            unit=options.unit,
            threshold=options.threshold,
            seed=options.seed,
            max_bytes=options.max_bytes,
            batch_size=options.batch_size,
            margin=options.margin / 100,
        )
    batch = example[:1].repeat(options.batch_size, *(1 for _ in example.shape[1:]))
    cost = cost_of_boosting(found.booster, batch)
    record = {
        "model": model,
        "weights": options.weights or "as given by the model",
        **({} if options.weights_key is None else {"weights_key": options.weights_key}),
        "data": f"trained on {options.train}, tested on {options.test}",
        "boost": found.chosen,
        "boost_layers": ", ".join(found.booster.layers),
        "unit": options.unit,
        "threshold": options.threshold,
        "seed": options.seed,
        "boost_margin": found.margin,
        "test_samples": len(found.labels),
        "parameters_added": cost.parameters,
        "forward_pass": f"× {cost.time:.2f} in batches of {options.batch_size}",
        "classes": names,
        **options.prepared(preparation),
        "versions": versions(),
    }
    moment = {"checkpoint": 1, "epoch": 1.0, "step": None}
    tables = boost_tables(found, moment, names, "+".join(layers) if layers else None)
    out.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        write_table(table, out / f"{name}.parquet")
    written = [found.booster.save(out / "booster.safetensors")]
    try:
        written.append(found.booster.export(out / "boosted.pt2"))
    except ExportError as error:
        note(f"no boosted.pt2: {error}")
    write_text(out / "boost.json", json.dumps(record, indent=2) + "\n")
    page = write_boost_report(
        tables["boosts"],
        tables["boost_classes"],
        tables["flips"],
        out / "report.html",
        class_names=names,
        options=record,
        command=command_line(),
    )
    base, own = found.judged["base"], found.judged[found.chosen]
    samples = len(found.labels)
    verdict = f"Boost        {boosted(tables['boosts'], samples, found.margin)}"
    typer.echo(f"Boosted      {model}: {found.chosen} on {', '.join(found.booster.layers)}")
    typer.echo(
        f"Accuracy     {base.test_accuracy:.2%} → {own.test_accuracy:.2%} of {samples:,} test samples"
    )
    typer.echo(
        f"Confidence   calibration error {base.test_calibration:.3f} → {own.test_calibration:.3f}, "
        f"negative log-likelihood {base.test_loss:.4f} → {own.test_loss:.4f}"
    )
    typer.echo(verdict)
    if found.told_of_always_active:
        typer.echo(f"Patterns     {found.told_of_always_active}")
    typer.echo(f"Cost         {cost.parameters:,} more parameters, forward pass × {cost.time:.2f}")
    for path in written:
        typer.echo(f"Booster: {named(path)}")
    typer.echo(f"Report: {named(page)}")
    return {
        "report": page,
        "boosters": written,
        "verdict": found.verdict,
        "methods": tables["boosts"].to_pylist(),
    }


def _share(options: Boost, reader: Reader, sets: Mapping[str, Any]) -> None:
    """Have a shard read its part of each data set, and end there; or hold what all have read against these."""
    network, out = reader.network.digest(), options.out
    digests = {name: digest_of_data(data, samples_of(reader, data)) for name, data in sets.items()}
    if options.shard is not None:
        begin(
            out / READINGS / STARTED,
            made_with("boost", options)
            | digests
            | {"network": network, "samples of a block": block_of(reader.network)},
        )
        each = 4 * (sum(reader.sizes) + reader.network.num_classes)
        typer.echo(
            f"Kept of each sample: {sum(reader.sizes):,} neurons, {each / 1e3:,.1f} kB before packing",
            err=True,
        )
    done: PartWritten | None = None
    for name, data in sets.items():
        try:
            share_files(
                partial(keep_readings, reader, data, out, name),
                samples_of(reader, data),
                network,
                block_of(reader.network),
                digests[name],
            )
        except PartWritten as part:
            done = part
    if done is not None:
        raise done


def _parted(data: Any, share: float, seed: int) -> tuple[Any, Any]:
    """A share of a data set, and the rest."""
    if not isinstance(data, Dataset) or not hasattr(data, "__len__"):
        raise OptionError(
            f"--validation-from-test with data of type {type(data).__name__}",
            "a data set with a length",
            "name validation data with --validation",
        )
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed)).tolist()
    cut = round(share * len(order))
    return Subset(data, sorted(order[:cut])), Subset(data, sorted(order[cut:]))
