"""What `cofire evaluate` does beside its tables: attacked photos, and the same photos through two networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cofire.activations.progress import progress_over
from cofire.errors import DataError
from cofire.evaluate.evaluation import Evaluation
from cofire.evaluate.judging import Judge
from cofire.evaluate.robustness import run_robustness
from cofire.evaluate.two_networks import Side, compare_networks
from cofire.explain import BASELINES
from cofire.images.collection import Collection, sample
from cofire.images.preparation import Preparation
from cofire.images.seen import SeenBatch, read_batches
from cofire.network import Network
from cofire.report.evaluate.robustness import write_robustness
from cofire.report.evaluate.two_networks import write_two_networks
from cofire.report.explain.page import Setup

_MOST_COMPARED = 300
"""Photos that go through two networks at the most: all of them are held at once."""


def check_against(network: Network, other: Network, model: str) -> None:
    """Refuse a network that cannot be compared with the first one.

    Raises:
        DataError: It has another number of classes.
    """
    if network.num_classes != other.num_classes:
        raise DataError(
            f"--against {model}, a network of {other.num_classes:,} classes",
            f"{network.num_classes:,}, as --model has",
            "name another network with --against, or its own trained weights with --against-weights",
        )


def photos_of(collection: Collection, evaluation: Evaluation) -> Collection:
    """The photos that the tables of an evaluation are about, as far as a collection has them."""
    held = evaluation.chosen().repeat(len(evaluation.methods))
    files = {
        file
        for file, shown in zip(evaluation.records["file"].to_pylist(), held, strict=True)
        if shown
    }
    return replace(collection, images=tuple(photo for photo in collection if photo.name in files))


def write_attacked(
    out: Path,
    judge: Judge,
    photos: Collection,
    preparation: Preparation,
    methods: Sequence[str],
    setup: Setup,
    names: Sequence[str] | None,
    count: int,
    batch_size: int,
) -> tuple[str, str]:
    """Attack some of the photos and write what became of their explanations.

    Returns:
        The page's name below `out`, and what it is.
    """
    batch = _all(_some(photos, count, judge.seed), preparation)
    asked = [method for method in methods if method not in BASELINES] or list(methods)
    with progress_over(f"Attacking {len(batch.images)} photos", len(batch.images)) as advance:
        found = run_robustness(
            judge.network,
            batch.inputs,
            batch.pictures,
            batch.labels,
            asked,
            names,
            judge.seed,
            files=[photo.name for photo in batch.images],
            preparation=preparation,
            boxes=batch.boxes,
            options={method: judge.options_of(method) for method in asked},
            batch_size=batch_size,
            advance=advance,
        )
    found.save(out / "robustness.json")
    write_robustness(out / "robustness.html", found, setup)
    return "robustness.html", "Attacked photos"


def write_compared(
    out: Path,
    judge: Judge,
    photos: Collection,
    sides: Sequence[tuple[Network, Preparation, Setup]],
    names: Sequence[str] | None,
    method: str,
    batch_size: int,
) -> tuple[str, str]:
    """Show photos to two networks and write where one is right and the other wrong.

    Args:
        out: The folder.
        judge: Whose options and seed the method is called with.
        photos: To show.
        sides: Each network with its preparation and what the page says of it.
        names: Of all classes.
        method: That explains.
        batch_size: Photos at a time.

    Returns:
        The page's name below `out`, and what it is.
    """
    chosen = _some(photos, _MOST_COMPARED, judge.seed)
    seen = [_all(chosen, preparation) for _, preparation, _ in sides]
    # A model's own name is enough, unless both have the same.
    short = [setup.network.split(":")[-1] for _, _, setup in sides]
    told = short if len(set(short)) == len(short) else [setup.network for _, _, setup in sides]
    first, second = (
        Side(network, batch.inputs, batch.pictures, name, boxes=batch.boxes)
        for (network, _, _), batch, name in zip(sides, seen, told, strict=True)
    )
    with progress_over(f"Comparing two networks on {len(chosen)} photos", len(chosen)) as advance:
        found = compare_networks(
            first,
            second,
            seen[0].labels,
            method=method,
            names=names,
            files=[photo.name for photo in chosen],
            options=judge.options_of(method),
            seed=judge.seed,
            batch_size=batch_size,
            advance=advance,
        )
    found.save(out / "two-networks.json")
    write_two_networks(out / "two-networks.html", found, setups=(sides[0][2], sides[1][2]))
    return "two-networks.html", "Networks compared"


def _some(photos: Collection, count: int, seed: int) -> Collection:
    return sample(photos, count, seed) if len(photos) > count else photos


def _all(photos: Collection, preparation: Preparation) -> SeenBatch:
    """All photos as one batch."""
    (batch,) = read_batches(photos, preparation, len(photos))
    return batch
