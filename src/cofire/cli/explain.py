"""`cofire explain`: which pixels of images carried the decisions of a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import create_model
from rich.table import Table
from rich.text import Text

from cofire.activations import ActivationSummary
from cofire.activations.progress import progress_over
from cofire.activations.sharing import blocks_of, share_files, sharing_now
from cofire.cli.options import DATA_ROOT, ImageOptions, Output, ViewOptions, tell
from cofire.cli.sharing import ShardOptions, parts_of, run_shared
from cofire.cli.terminal import claim, command_line, note, print_table, say, without_commands
from cofire.errors import OptionError, near_matches
from cofire.evaluate.tuned import Tuned, read_tuned
from cofire.explain import METHODS, Explanation, title_of
from cofire.explain import explain as run_explain
from cofire.explain.drawing.captions import percent, plural
from cofire.explain.methods.cam import choose_cam_layer
from cofire.explain.methods.registry import kind_of
from cofire.images.classes import class_number, known_names, read_names
from cofire.images.preparation import Preparation, Prepared
from cofire.images.reading import find_images, read_image
from cofire.network import Network
from cofire.options import option
from cofire.reading import named
from cofire.report.pages import (
    IMAGES,
    MARK,
    MOST_IMAGES,
    PAGE,
    Explained,
    Setup,
    Shown,
    join_explained,
    record_of,
    replaced,
    settled,
    shown,
    write_explanations,
    write_png,
    write_records,
)
from cofire.report.pages.carriers import carriers, check_summary
from cofire.scale.shards import Part
from cofire.storage import checksum_of_json, version_of, versions
from cofire.study.data import open_data

OURS = "discernible"
_LONGEST = 200


_NEURONS = "What neurons fire for"


class _Explain(ShardOptions, ViewOptions):
    """What is explained, by what, and how."""

    images: list[Path] = option(
        ..., "Images", "Image files, or folders of them: JPEG, PNG, WebP, TIFF, GIF, BMP."
    )
    out: Path = option(
        Path("cofire-explain"), "Folder", "Folder for the results.", panel=Output.panel
    )
    method: str = option(OURS, "Method", f"Some of {', '.join(METHODS)}, with commas, or all.")
    classes: Path | None = option(
        None,
        "Classes",
        "Names of all classes: one a line, or a JSON list. A torchvision model knows its own.",
    )
    target: str | None = option(
        None,
        "Target",
        "Explain this class, a name or number; else the predicted one (class 1 of a single logit).",
    )
    top: int | None = option(
        None,
        "Most probable",
        "Explain the N most probable classes of each image, each by itself.",
        ge=1,
    )
    weights_of_layers: Path | None = option(
        None, "Learnt options", "What cofire tune learnt; options given here come before it."
    )
    summary: Path | None = option(
        None,
        "Summary",
        "summary.safetensors of cofire summarize: what the neurons that carried a decision fire for.",
        panel=_NEURONS,
    )
    data: str | None = option(
        None, "Data", "That the summary is of, by the same name.", panel=_NEURONS
    )
    split: Literal["train", "test", "validation"] | None = option(
        None, "Split", "As the summary was made with.", panel=_NEURONS
    )
    data_root: Path | None = DATA_ROOT
    no_images: bool = option(
        False, "No images", "No picture of that data on the page.", panel=_NEURONS
    )


def _takers(option: str) -> list[str]:
    """The methods whose own an option is; not those that only inherit it."""
    those = [one for one in METHODS.values() if option in one.options.model_fields]
    first = those[0].options
    owner = [kind for kind in first.__mro__ if option in vars(kind).get("__annotations__", {})][-1]
    inherit = [one for one in those if one.options is not first and issubclass(one.options, owner)]
    return [one.name for one in those if one not in inherit]


def _of_methods() -> dict[str, Any]:
    """An option for each of the methods' own, in a panel that names those that take it."""
    found: dict[str, Any] = {}
    for method in METHODS.values():
        for name, field in method.options.model_fields.items():
            if name not in found and name not in _Explain.model_fields:
                field = copy(field)
                field.json_schema_extra = {"panel": f"Options of {', '.join(_takers(name))}"}
                found[name] = (field.rebuild_annotation(), field)
    return found


if TYPE_CHECKING:
    Explain = _Explain
else:
    Explain = create_model("Explain", __base__=_Explain, **_of_methods())


def explain(options: Explain) -> dict[str, Any]:
    """Which pixels of images carried the decisions of a network: a page, images and numbers.

    Images are turned upright; what is transparent lies on white. Unless said otherwise a
    torchvision model gets them as its trained weights want them, another colour network as
    ImageNet's: shorter side to 256, centre crop of 224, ImageNet's mean and standard deviation.
    Grey inputs and those below 128 pixels get no mean: pass --mean and --std.

    With --shard 3/16, sixteen commands explain a part of the images each, anywhere and in any
    order, and cofire merge puts them together; for the page it explains the first images once more.
    """
    return run_shared("explain", explain_all, options)


def explain_all(options: Explain, parts: Sequence[Sequence[Part]] = ()) -> dict[str, Any]:
    """All of it, or what of it is shared here.

    Args:
        options: As given.
        parts: What shards have explained.
    """
    out, target, top = options.out, options.target, options.top
    methods = asked_methods(options.method)
    learnt = options.weights_of_layers
    tuned = None if learnt is None else read_tuned(learnt)
    given = options.model_fields_set - _Explain.model_fields.keys()
    called = options_of(methods, {name: getattr(options, name) for name in given}, tuned)
    called = options.with_views(called)
    if target is not None and top is not None:
        raise OptionError("--target and --top", "one of the two", "leave one out")
    claim(out, MARK, "explanations", *parts_of("explain"))
    settled(out)
    files = find_images(options.images)
    network, preparation = options.opened()
    tell(preparation)
    check_tuned(tuned, network)
    summarised = _summarised(options, network, methods)
    carried: list[tuple[str, Explanation]] = []
    count = network.num_classes
    names = (
        read_names(options.classes, count) if options.classes else known_names(options.model, count)
    )
    wanted = None if target is None else class_number(target, names, count)
    names = names and [without_commands(name) for name in names]
    if top is not None and top > count:
        raise OptionError(f"--top {top}", f"at most {count} classes", "pass a smaller number")
    for name in methods:
        if name.startswith("gradcam"):
            choose_cam_layer(network, called[name].get("layer"))
    setup = setup_of(options, preparation, f", {count:,} class{'' if count == 1 else 'es'}")
    record = {
        "model": named(options.model),
        "weights": options.weights and named(options.weights),
        "weights_key": options.weights_key,
        "classes": count,
        **preparation.record,
        "command": setup.command,
        "weights_of_layers": learnt and named(learnt),
        "versions": versions(),
    }
    pages: list[Shown] = []
    records: list[dict[str, Any]] = []
    of_page = min(len(files), MOST_IMAGES)
    size = options.batch_size

    def explain_batches(numbers: range, staged: Path | None) -> Explained | None:
        """What the page shows of some batches; images and records as well where there is a folder for them."""
        first = None
        chosen = range(numbers.start * size, min(len(files), numbers.stop * size))
        seen = {at: preparation.crop(read_image(files[at]), str(files[at])) for at in chosen}
        title = f"Explaining {plural(len(chosen), 'image')}"
        with progress_over(title, len(chosen)) as advance:
            every = _all(network, preparation, files, seen, called, wanted, top or 1, size)
            for at, explained in zip(chosen, every, strict=True):
                first = first or explained
                if staged is not None:
                    write_png(explained, staged / IMAGES / f"{explained.name}.png", names)
                    records.append(record_of(explained, names))
                if at < of_page:
                    pages.append(shown(explained, names, of_page))
                    if summarised is not None:
                        carried.append((explained.told, explained.rows[0][methods.index(OURS)]))
                advance(1)
        return first

    def explain_part(numbers: range) -> None:
        with replaced(out) as staged:
            explain_batches(numbers, staged)
            write_records(staged / MARK, record, records)

    if sharing_now() is not None:
        data = checksum_of_json([(named(file), file.stat().st_size) for file in files])
        share_files(explain_part, len(files), network.digest(), size, data)
    with replaced(out) as staged:
        for explained_parts in parts:
            records += join_explained(staged, explained_parts, files, size)
        whole = blocks_of(of_page if parts else len(files), size=size)
        example = explain_batches(whole, None if parts else staged)
        assert example is not None
        images = not options.no_images
        further = summarised and [carriers(network, *summarised, carried, images=images)]
        write_explanations(
            staged / PAGE, pages, example, setup, explained=len(files), further=further or ()
        )
        write_records(staged / MARK, record, records)
    table = _table(methods, one_each=top is None and wanted is None)
    for one in records:
        _add_rows(table, one, len(methods))
    print_table(table)
    height, width = preparation.shape[1:]
    say("Images", preparation.told)
    say(
        "Boxes",
        f"left, top to right, bottom in pixels of the {width} × {height} that the network sees",
    )
    say("Numbers", named(out / MARK))
    say("Drawn", f"{named(out / IMAGES)} ({len(files)})")
    say("Page", named(out / PAGE))
    return {"report": out / PAGE, "numbers": out / MARK, "images": records}


def _summarised(
    options: _Explain, network: Network, methods: Sequence[str]
) -> tuple[ActivationSummary, Any] | None:
    """The summary and its data, checked before anything is explained; None where none is given."""
    if options.summary is None:
        if options.data is not None or options.split is not None or options.no_images:
            raise OptionError(
                "data, split or no_images without a summary",
                "a summary whose data they are",
                "pass --summary, or leave them out",
            )
        return None
    if options.views is not None:
        raise OptionError(
            f"summary={options.summary} and views={options.views}",
            "one of the two: maps of several views have no neurons",
            "leave --views or --summary out",
        )
    if options.data is None or OURS not in methods:
        raise OptionError(
            f"summary={options.summary} {'without data' if options.data is None else f'without {OURS}'}",
            f"the data that it is of, and a decision that {OURS} traces",
            f"pass --data, and --method {OURS}",
        )
    summary = ActivationSummary.load(options.summary)
    check_summary(summary, network)
    files = options.data.startswith(("imagefolder:", "torchvision:"))
    data = open_data(
        options.data,
        root=options.data_root,
        split=options.split,
        model=options.model,
        shape=network.input_shape,
        own_weights=options.weights is not None,
        **options.asked if files else {},
    )
    return summary, data


def setup_of(options: ImageOptions, preparation: Preparation, more: str = "") -> Setup:
    """What pages say of a network, its images and the command."""
    return Setup(
        named(options.model) + more,
        options.own_weights,
        preparation.told,
        named(command_line()),
        version_of("cofire") or "unknown",
    )


def check_tuned(tuned: Tuned | None, network: Network) -> None:
    """Refuse options that were learnt on another network; tell of other weights."""
    if tuned is not None:
        tuned.check(network)
        if told := tuned.note(network):
            note(f"{told}.")


def asked_methods(text: str, known: Sequence[str] = tuple(METHODS)) -> list[str]:
    """The methods of a list such as "discernible,gradcam++", each once; "all" for all.

    Raises:
        OptionError: No such method, or none.

    Example:
        >>> asked_methods("gradcam++, discernible"), len(asked_methods("all"))
        (['gradcam++', 'discernible'], 9)
    """
    if text.strip() == "all":
        return list(known)
    found = list(dict.fromkeys(name.strip().lower() for name in text.split(",") if name.strip()))
    for name in found or [text]:
        if name not in known:
            raise OptionError(
                f"--method '{name}'",
                f"some of {', '.join(known)}, with commas between them, or all",
                f"try {near_matches(name, known, most=1)}",
            )
    return found


def options_of(
    methods: Sequence[str], own: Mapping[str, Any] | None = None, tuned: Tuned | None = None
) -> dict[str, dict[str, Any]]:
    """What each method is called with.

    An option goes to the methods whose own it is: those of tracing to "discernible" alone, as its
    form in the paper and CNN-Fixations are there to be compared with, as they were published. What
    was learnt goes to the method that it was learnt for; what is given by itself comes before it.

    Raises:
        OptionError: An option has no method that takes it, or a value that it cannot have.

    Example:
        >>> options_of(["discernible", "gradcam"], {"k": 3, "layer": "features"})
        {'discernible': {'k': 3}, 'gradcam': {'layer': 'features'}}
    """
    found: dict[str, dict[str, Any]] = {method: {} for method in methods}
    if tuned is not None:
        _need([tuned.method], methods, "weights-of-layers")
        found[tuned.method] = dict(tuned.explain_options)
    for name, value in (own or {}).items():
        takers = _takers(name)
        _need(takers, methods, name.replace("_", "-"))
        for method in set(takers) & set(methods):
            found[method][name] = value
    for method, given in found.items():
        if given and tuned is not None and method == tuned.method:
            if kind_of(method, given) != tuned.kind:
                raise OptionError(
                    f"--contrast {given.get('contrast')} with what was learnt for maps of {tuned.kind}",
                    "a number from 0 to 1" if tuned.kind == "layers" else "none, as it was learnt",
                    "leave --contrast or --weights-of-layers out",
                )
        elif given:
            METHODS[method].options(**given)
    return found


def _need(takers: Sequence[str], methods: Sequence[str], name: str) -> None:
    if not set(takers) & set(methods):
        raise OptionError(
            f"--{name} with --method {','.join(methods)}",
            f"a method that takes it: {takers[0]}",
            f"add {takers[0]} to --method, or leave --{name} out",
        )


def _all(
    network: Network,
    preparation: Preparation,
    files: Sequence[Path],
    seen: Mapping[int, Prepared],
    options: Mapping[str, Mapping[str, Any]],
    wanted: int | None,
    top: int,
    batch_size: int,
) -> Iterator[Explained]:
    """Every image that is given with its explanations, a batch at a time: as many as one likes can be explained."""
    names, plain = _unique([file.stem for file in files]), Counter(file.name for file in files)
    for start in range(min(seen, default=0), max(seen, default=-1) + 1, batch_size):
        part = [seen[at] for at in range(start, start + batch_size) if at in seen]
        inputs, images = preparation.inputs(part), preparation.pixels(part)
        if wanted is None:
            classes = network.run(inputs).topk(top, dim=1).indices.cpu()
        else:
            classes = torch.full((len(part), 1), wanted)
        rows: list[list[Explanation]] = [
            [
                run_explain(network, inputs, column, name, images=images, **own)
                for name, own in options.items()
            ]
            for column in classes.T
        ]
        for at, one in enumerate(part):
            explanations = tuple(tuple(explanation[at] for explanation in row) for row in rows)
            file = files[start + at]
            told = named(file.name if plain[file.name] == 1 else file)
            yield Explained(
                named(file), told, names[start + at], one.size, one.region, explanations
            )


def _unique(stems: Sequence[str]) -> list[str]:
    """Names of files as they are, with a number where one is there already, in whatever letters.

    Long ones are cut: number, ending and what a partial file is named fit into 255 bytes too.
    """
    taken: set[str] = set()
    found = []
    for stem in stems:
        # In some systems a backslash parts folders.
        stem = named(stem).replace("\\", "-").encode()[:_LONGEST].decode(errors="ignore")
        name, number = stem, 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.casefold())
        found.append(name)
    return found


def _table(methods: Sequence[str], *, one_each: bool) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 3, 0, 0))
    heads = ["image", "predicted", *([] if one_each else ["explained"])]
    for head in (*heads, *(f"box by {title_of(method)}" for method in methods)):
        table.add_column(head, overflow="fold")
    return table


def _add_rows(table: Table, record: Mapping[str, Any], methods: int) -> None:
    """The lines of one image: one for each class."""

    def told(of: Mapping[str, Any]) -> str:
        name = f"class {of['class']}" if of["name"] is None else of["name"]
        return f"{name} {percent(of['probability'])}"

    found = record["explanations"]
    for start in range(0, len(found), methods):
        row = found[start : start + methods]
        head = [Path(record["file"]).name, told(record["predicted"])] if start == 0 else ["", ""]
        if len(table.columns) > methods + 2:
            head.append(told(row[0]))
        # As text: brackets in names are no markup.
        table.add_row(*(Text(without_commands(cell)) for cell in (*head, *map(_box_told, row))))


def _box_told(one: Mapping[str, Any]) -> str:
    if not one["evidence"]:
        return "no evidence"
    if one["box"] is None:
        return "no box"
    left, top, right, bottom = (f"{place:.0f}" for place in one["box"])
    return f"{left}, {top} to {right}, {bottom}"
