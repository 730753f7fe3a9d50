"""A study: train, keep checkpoints, follow the neurons over them, hold entropy against accuracy."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import PositiveInt
from torch import Tensor, nn

from cofire.activations.progress import announce, progress_over
from cofire.activations.together import Each
from cofire.arguments import validated
from cofire.atomic import claimed
from cofire.errors import OptionError, ResultError
from cofire.images.preparation import PreparationOptions
from cofire.marks import LATER
from cofire.network import Network
from cofire.patterns import information_floor
from cofire.reading import named, read_json, reading
from cofire.remote import in_urls
from cofire.storage import begin, versions
from cofire.study.analyse import Analysis, Moment, analysed
from cofire.study.augmentation import black_of
from cofire.study.data import StudyData, open_study_data
from cofire.study.fragments import Fragments
from cofire.study.networks import build, load_start
from cofire.study.options import StudyOptions, of_now
from cofire.study.rehearsal import LONG, Rehearsal
from cofire.study.sources import OF_OBSERVED, drawn_seed, place
from cofire.study.training import Course, Training, checkpoint_path, seeded
from cofire.study.trajectory import Trajectory

_ABOUT = "study.json"


@validated
def run_study(
    options: StudyOptions,
    folder: str | Path,
    *,
    data_root: str | Path | None = None,
    progress: bool | None = None,
    report: Callable[[Trajectory, int], None] | None = None,
    each: Annotated[Each, LATER] = map,
) -> Trajectory:
    """Train a classifier, keep checkpoints, and say at each what its neurons do.

    Everything is written under `folder` as soon as it is known, each file whole or not at all:
    `study.json` (the options), `checkpoints/`, `rows/` (per checkpoint) and one Parquet file per
    table of the trajectory, with `correlations.parquet`. Stopped at any moment and called again, it
    goes on where it was and ends with the same rows.

    Args:
        options: What to do.
        folder: Where results go; a folder of another study is refused.
        data_root: Where data sets lie (see `cofire.study.data_root`).
        progress: Show progress bars; None shows them on a terminal.
        report: Called after every checkpoint that was not known before, with the trajectory so far
            and the number of checkpoints in all.
        each: What analyses the checkpoints: `map` in this process, one after the other as training
            goes on, or `RayEngine.each` on a cluster, all at once after it; the folder is then one
            that all machines see, or a URL.

    Returns:
        The trajectory over all checkpoints.

    Raises:
        OptionError: The folder holds other files or a study with other options, or there are more
            checkpoints than steps.
        DataError: The data set is not there.
        WeightsError: A checkpoint in the folder is damaged.
        ResultError: Training diverged, results in the folder are damaged, another run writes there,
            or the disk is full.
    """
    with claimed(folder, "a study", [_ABOUT]):
        return _run(options, Path(folder), data_root, progress, report, each)


@validated
def open_study(
    folder: str | Path,
    checkpoint: PositiveInt | None = None,
    *,
    data_root: str | Path | None = None,
    device: str = "cpu",
) -> tuple[Network, StudyData, StudyOptions]:
    """The network of a study at a checkpoint, its data, and its options.

    A study of `package.module:function` runs that code: open only those that you trust.

    Args:
        folder: What `run_study` wrote.
        checkpoint: Which, from 1; the last one unless given.
        data_root: Where data sets lie (see `cofire.study.data_root`).
        device: Where the network runs.

    Raises:
        ResultError: The folder holds no study, or a damaged one, or has no such checkpoint.
        DataError: The data set is not there.

    Example:
        >>> import tempfile
        >>> asked = StudyOptions(data="digits", hidden=(4,), epochs=1, checkpoints=1, null_graphs=0)
        >>> folder = tempfile.mkdtemp()
        >>> _ = run_study(asked, folder, progress=False)
        >>> network, data, options = open_study(folder)
        >>> network.num_classes, len(data.test), options.hidden
        (10, 360, (4,))
    """
    about = Path(folder) / _ABOUT
    with reading(about, ResultError, "study.json, as cofire study writes it"):
        record = of_now(read_json(about))
        known = {name: record[name] for name in StudyOptions.model_fields if name in record}
        options = StudyOptions(**known | {"device": device})
    there = sorted(
        int(path.stem)
        for path in checkpoint_path(Path(folder), 1).parent.glob("[0-9]*.safetensors")
        if path.stem.isdecimal()
    )
    number = checkpoint or max(there, default=0)
    if number not in there:
        raise ResultError(
            f"checkpoint {number} of '{folder}'",
            f"one of {there[0]} to {there[-1]}" if there else "a study that has checkpoints",
            "name another checkpoint" if there else "run the study to its end",
        )
    data = _opened(options, data_root, None)
    now = json.loads(
        json.dumps({name: data.record[name] for name in data.record if name in record})
    )
    if now != (then := {name: record[name] for name in now}):
        other = [name for name in now if now[name] != then[name]]
        raise ResultError(
            f"{', '.join(f'{name}={now[name]!r}' for name in other)} for the study in '{folder}'",
            f"its data: {', '.join(f'{name}={then[name]!r}' for name in other)}",
            "put its data back where they were, or pass data_root",
        )
    network = Network(_fresh(options, data), _example(data))
    return network.with_weights(checkpoint_path(Path(folder), number)), data, options


def _fresh(options: StudyOptions, data: StudyData) -> nn.Module:
    """The network with the seed's random weights."""
    with seeded(options.seed, "weights"):
        model = build(options, _example(data).shape[1:], len(data.classes))
    place(model, options.device)
    return model


def _example(data: StudyData) -> Tensor:
    return data.train.batch([0, min(1, len(data.train) - 1)])[0]


def _run(
    options: StudyOptions,
    target: Path,
    data_root: str | Path | None,
    progress: bool | None,
    report: Callable[[Trajectory, int], None] | None,
    each: Each,
) -> Trajectory:
    data = _opened(options, data_root, progress)
    observed = data.train
    if options.observe is not None:
        seed = drawn_seed(options.seed, OF_OBSERVED)
        observed = observed.sample(options.observe, seed, "observe")
    described = _described(options, data, len(observed))
    course = Course.of(options, len(data.train))
    analysis = Analysis(
        options, observed, data.test, data.classes, described, data.held_out, seed=options.seed
    )

    def read(record: Mapping[str, Any]) -> dict[str, Any]:
        # A recipe is a name for options, which are compared themselves; what is shared was not told once.
        shared = {name: described[name] for name in described if "_shared" in name}
        return {**shared, **StudyOptions.completed(record), "recipe": options.recipe}

    def start() -> None:
        begin(target / _ABOUT, described, read=read, error=OptionError)

    if (target / _ABOUT).exists():
        start()
    fragments = Fragments(target, described, read)
    moments = [
        Moment(number, step / course.epoch, step)
        for number, step in enumerate(course.checkpoints, start=1)
    ]
    parts = {
        m.checkpoint: part
        for m in moments
        if (part := fragments.get(m.checkpoint, vars(m))) is not None
    }
    missing = [moment for moment in moments if moment.checkpoint not in parts]
    if missing:
        model = _fresh(options, data)
        black = black_of(data.preparation)
        training = Training(model, options, data.train, course, target, black)
        if not training.done:
            load_start(model, options)
        left = len(moments) - training.done
        rehearsal = Rehearsal(options, data, model, course, left)
        rehearsal.check(target)
        network = Network(model, _example(data))
        rehearsal.check_network(network)
        expected = rehearsal.expected(network, analysis)
        if expected.training > LONG:
            announce(f"Expected: {expected}.", True)
        start()

    def trained() -> Iterator[tuple[str, Moment, bool]]:
        for moment in missing:
            while training.done < moment.checkpoint:
                title = f"checkpoint {training.done + 1}/{len(moments)}: training"
                with progress_over(title, training.samples_ahead, progress) as advance:
                    training.advance(advance)
            weights = in_urls(str(checkpoint_path(target, moment.checkpoint)))
            yield weights, moment, moment is moments[-1]

    # Here each checkpoint is analysed before training goes on; a cluster analyses them all at once.
    if missing:
        work = functools.partial(analysed, analysis, network, None, progress)
    for moment, part in zip(missing, each(work, trained()) if missing else (), strict=True):
        fragments.put(moment.checkpoint, part, vars(moment))
        parts[moment.checkpoint] = part
        so_far = Trajectory.concat(parts.values())
        so_far.save(target)
        if report is not None:
            report(so_far, len(moments))
    whole = Trajectory.concat(parts.values())
    if not missing:
        whole.save(target)  # in case a kill came between the last rows and the tables
    return whole


def _opened(
    options: StudyOptions, data_root: str | Path | None, progress: bool | None
) -> StudyData:
    data = open_study_data(
        options.data,
        test=options.test,
        validation=options.validation,
        train_samples=options.train_samples,
        model=options.model,
        pretrained=options.weights == "published",
        seed=options.seed,
        root=data_root,
        workers=options.workers,
        progress=progress,
        **{name: getattr(options, name) for name in PreparationOptions.model_fields},
    )
    for note in data.notes:
        announce(f"Note: {note}", True)
    if data.preparation is not None:
        announce(f"Images: {named(data.preparation.told)}", True)
    return data


def _described(options: StudyOptions, data: StudyData, observed: int) -> dict[str, Any]:
    return {
        **options.record(),
        **data.record,
        "information_floor": information_floor(observed, len(data.classes)),
        # Other versions may round otherwise: rows of two of them do not belong in one table.
        "versions": versions(),
    }
