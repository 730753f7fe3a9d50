"""`cofire neurons`: what some neurons of a layer fire for, as a page and as a sheet of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import Field, NonNegativeInt, PositiveInt

from cofire import __version__
from cofire.activations import ActivationSummary, LayerSummary
from cofire.activations import summarize as run_summary
from cofire.activations.batches import classes_of
from cofire.atomic import atomic_path
from cofire.cli.options import DATA, LabelledDataOptions, NetworkOptions, Output
from cofire.cli.terminal import claim, command_line
from cofire.errors import LabelError, OptionError, ResultError
from cofire.explain.drawing.paper import PixelPaper, shortened
from cofire.images.classes import known_names
from cofire.images.pictures import Picture, neuron_pictures
from cofire.images.preparation import Preparation, PreparationOptions
from cofire.network import Network, Unit
from cofire.options import option
from cofire.reading import named
from cofire.report.pages.page import Setup, write_page
from cofire.report.sections.strips import Strip, Strips, tile
from cofire.statistics import Finding
from cofire.study import open_study
from cofire.study.sources import outputs_of

_CELL, _GAP, _LINE = 150, 12, 22
_CLASSES = 12
"""Strips of so many classes at the most, those that the neuron fires most for."""
_MOST = 6000
"""Pictures of a page, which is 60 MB at the most then."""
_OPEN = 4
"""Strips that are seen without unfolding."""


class Neurons(LabelledDataOptions):
    """Which neurons, of which network, on which data."""

    model: str = option(
        ...,
        "Network",
        f"{NetworkOptions.model_fields['model'].description} | the folder of a study",
        panel=NetworkOptions.panel,
    )
    data: str | None = option(None, "Data", f"{DATA} A study has its own.", panel="Data")
    split: Literal["train", "test", "validation"] | None = option(
        None, "Split", "Which part of data that have several; train unless given.", panel="Data"
    )
    layer: str = option(..., "Layer", "The neurons' layer, by its name.", panel="Neurons")
    neuron: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1, max_length=50)] = option(
        ..., "Neurons", "Number of a neuron; several with commas.", panel="Neurons"
    )
    unit: Unit | None = option(
        None, "Unit", "What a neuron is; channel, or as in --summary.", panel="Neurons"
    )
    top_samples: PositiveInt = option(
        9, "Samples", "Pictures of each neuron, and of each class.", panel="Neurons"
    )
    summary: Path | None = option(
        None,
        "Summary",
        "summary.safetensors of cofire summarize, of this network and data; made anew unless given.",
        panel="Neurons",
    )
    no_images: bool = option(
        False, "No images", "Numbers of the samples alone: no picture of the data.", panel="Neurons"
    )
    out: Path = option(
        Path("cofire-neurons"), "Folder", "Folder for the results.", panel=Output.panel
    )


def neurons(options: Neurons) -> dict[str, Any]:
    """What neurons of a layer fire for: pictures of the samples with their highest activations."""
    claim(options.out, "neurons.html", "pictures of neurons")
    network, source, preparation = _opened(options)
    names = classes_of(source) or known_names(options.model, network.num_classes)
    (chosen,) = _one(network.select(options.layer), options.layer)
    given = None if options.summary is None else _given(options.summary, options.model, network)
    of_unit = options.unit or ("channel" if given is None else given.options.unit)
    if given is not None and of_unit != given.options.unit:
        raise OptionError(
            f"unit='{of_unit}', and a summary whose neurons are of unit='{given.options.unit}'",
            "the same in both",
            "leave unit out, or leave summary out",
        )
    if (largest := max(options.neuron)) >= (count := chosen.neurons(of_unit)):
        raise OptionError(
            f"neuron={largest} of layer '{chosen.name}'",
            f"a number below {count}, as many neurons as it has",
            f"pass neuron={count - 1} or less",
        )
    strips_of = 1 + min(_CLASSES, network.num_classes)
    if (pictures := strips_of * options.top_samples * len(options.neuron)) > _MOST:
        raise OptionError(
            f"{pictures:,} pictures: top_samples={options.top_samples} for {len(options.neuron)} neurons",
            f"at most {_MOST:,} on a page",
            f"pass top_samples={max(1, _MOST // (strips_of * len(options.neuron)))}",
        )
    summary = given
    if summary is None:
        summary = _made(options, network, source, chosen.name, of_unit, names)
    layer = summary[chosen.name]
    called = f"layer {chosen.name}" if chosen.name[0].isdigit() else chosen.name
    told = {number: str(number) for number in range(network.num_classes)}
    told |= dict(enumerate(names or ()))
    told |= dict(zip(summary.options.classes, summary.options.class_names, strict=True))
    by_class = len(layer.statistics.samples) > 1
    parts, rows, sheets = [], [], []
    loader = options.loader(source)
    for number in dict.fromkeys(options.neuron):
        tops = {"": layer.top_samples()}
        if by_class:
            order = layer.class_values()[:, number].argsort(descending=True, stable=True)
            labels = layer.statistics.classes[order[:_CLASSES]].tolist()
            tops |= {told[label]: layer.top_samples(label) for label in labels}
        found: dict[str, list[Picture]] = {}
        for name, top in tops.items():
            found[name] = neuron_pictures(
                network,
                source if hasattr(source, "__getitem__") else loader,
                chosen,
                top,
                [number],
                unit=of_unit,
                most=options.top_samples,
                num_classes=max(told) + 1,
            )[number]
        facts = _facts(layer, number, told)
        strips = [
            Strip(
                f"Class {name}" if name else "All samples",
                "" if name else "the highest activations of all",
                [
                    tile(one, told[one.label], images=not options.no_images, whole=not name)
                    for one in pictures
                ],
            )
            for name, pictures in found.items()
        ]
        section = Strips(facts, strips[:_OPEN], strips[_OPEN:], "more classes")
        section.id = f"neuron-{number}"  # type: ignore[misc]
        section.title = f"{called}, neuron {number}"  # type: ignore[misc]
        section.label = f"Neuron {number}"  # type: ignore[misc]
        parts.append(section)
        rows += [_row(number, name, one, told) for name, own in found.items() for one in own]
        if not options.no_images:
            path = options.out / f"neuron-{number}.png"
            _sheet(path, f"{called}, neuron {number}", facts, found, told)
            sheets.append(path)
        typer.echo(f"{called}, neuron {number}: {facts}")
        typer.echo(f"  fires most for {_listed(found[''], told)}")
    findings = [
        Finding("fine", section.answer, f"neuron {number}", about=section.id)
        for number, section in zip(dict.fromkeys(options.neuron), parts, strict=True)
    ]
    setup = Setup(
        options.model,
        options.own_weights,
        preparation.told if preparation else "as the data has them",
        command_line(),
        __version__,
    )
    page = write_page(
        options.out / "neurons.html",
        parts,
        findings,
        name="neurons",
        title=f"What do neurons of {called} fire for?",
        options={
            k: v for k, v in options.record().items() if k not in ("as_json", "quiet", "verbose")
        },
        setups=[("", setup)],
    )
    typer.echo(f"Page: {named(page)}")
    for path in sheets:
        typer.echo(f"Sheet: {named(path)}")
    return {"page": page, "sheets": sheets, "pictures": rows}


def _one(layers: Sequence[Any], asked: str) -> Sequence[Any]:
    if len(layers) != 1:
        raise OptionError(
            f"layer='{asked}', which {len(layers)} layers are called",
            "the name of one layer",
            f"pass layer={layers[0].name}",
        )
    return layers


def _opened(options: Neurons) -> tuple[Network, Any, Preparation | None]:
    """The network, the data, and how images are prepared, which a study says itself."""
    folder = Path(options.model)
    if not (folder / "study.json").exists():
        if options.data is None:
            raise OptionError(
                f"model='{options.model}' without --data",
                "the data that its neurons are looked at on; a study's folder has its own",
                "pass data=test=imagefolder:photos, say, or the folder of a study as model",
            )
        network, (source,), preparation = options.opened_with(
            (options.data, "train"), split=options.split
        )
        return network, source, preparation
    idle = {
        "data",
        "weights",
        "weights_key",
        "num_classes",
        "capture",
        *PreparationOptions.model_fields,
    }
    if told := sorted(options.model_fields_set & idle):
        raise OptionError(
            f"{told[0]}={getattr(options, told[0])!r} beside a study",
            "its own network and data",
            f"leave {told[0]} out",
        )
    network, data, _ = open_study(folder, data_root=options.data_root, device=options.device)
    parts = {"train": data.train, "test": data.test, "validation": data.held_out}
    source = parts[options.split or "train"]
    if source is None:
        raise OptionError(
            "split='validation' of a study without validation data",
            "train or test",
            "pass split=test",
        )
    return network, source, data.preparation


def _made(
    options: Neurons,
    network: Network,
    source: Any,
    layer: str,
    unit: Unit,
    names: Sequence[str] | None,
) -> ActivationSummary:
    summed = partial(
        run_summary,
        network,
        options.loader(source),
        layers=layer,
        unit=unit,
        top_samples=options.top_samples,
        class_names=names,
        outputs=outputs_of(source, options.model, network.num_classes),
        min_class_samples=1,
        batch_size=options.batch_size,
    )
    try:
        return summed(by_class="statistics")
    except LabelError:  # of data of one class there is nothing to tell by class
        return summed()


def _given(path: Path, model: str, network: Network) -> ActivationSummary:
    found = ActivationSummary.load(path)
    if found.options.fingerprint != network.fingerprint:
        raise ResultError(
            f"'{path}', a summary of another network",
            f"one of {model}",
            "pass the network that it is of, or leave summary out",
        )
    return found


def _facts(layer: LayerSummary, number: int, told: dict[int, str]) -> str:
    """What is known of a neuron, in a sentence."""
    active = float(layer.probability()[number])
    if bool(layer.dead()[number]) and not layer.layer.signed:
        return "It never fires on this data"
    words = [f"active in {100 * active:.3g} % of the observations"]
    if len(layer.statistics.samples) > 1:
        best = int(layer.preferred_class()[number])
        words.append(f"selectivity {float(layer.selectivity()[number]):.2f}, for {told[best]} most")
    return ", ".join(words).capitalize()


def _listed(pictures: Sequence[Picture], told: dict[int, str]) -> str:
    return ", ".join(
        f"{told[one.label]} (sample {one.sample}: {one.activation:.3g})" for one in pictures[:3]
    )


def _row(number: int, name: str, one: Picture, told: dict[int, str]) -> dict[str, Any]:
    return {
        "neuron": number,
        "of_class": name or None,
        "sample": one.sample,
        "label": one.label,
        "class": told[one.label],
        "activation": one.activation,
        "window": list(one.window),
    }


def _sheet(
    path: Path, title: str, facts: str, found: dict[str, list[Picture]], told: dict[int, str]
) -> None:
    """A neuron's pictures as one PNG, a row for all samples and for each class."""
    across = max(len(own) for own in found.values())
    step = _CELL + 2 * _LINE + _GAP
    width = max(520, 2 * _GAP + across * (_CELL + _GAP))
    paper = PixelPaper(width, 84 + len(found) * (step + _LINE + _GAP))
    paper.text(_GAP, 24, shortened(title, 24, width - 2 * _GAP), 24)
    paper.text(_GAP, 54, shortened(facts, 17, width - 2 * _GAP), 17, muted=True)
    y = 84
    for name, pictures in found.items():
        paper.text(_GAP, y, f"Class {name}" if name else "All samples", 17)
        y += _LINE
        for at, one in enumerate(pictures):
            x, (wide, high) = _GAP + at * (_CELL + _GAP), one.crop.size
            scale = _CELL / max(wide, high)
            size = (wide * scale, high * scale)
            area = (x + (_CELL - size[0]) / 2, y + (_CELL - size[1]) / 2, *size)
            paper.pixels(area, one.crop, smooth=max(one.crop.size) > 32)
            paper.text(x, y + _CELL + 14, shortened(told[one.label], 15, _CELL), 15)
            paper.text(x, y + _CELL + 34, f"{one.activation:.3g}", 14, muted=True)
        y += step + _GAP
    with atomic_path(path) as partial:
        paper.image.save(partial, "PNG", optimize=True)
