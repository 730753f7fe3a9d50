"""Learn the weights of P3's Eq. 1, and what else a method can be told, on images whose objects have boxes (§3.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt
from torch import nn

from cofire.arguments import validated
from cofire.errors import DataError, OptionError
from cofire.evaluate.bandit import ucb1
from cofire.evaluate.methods import kind_for, regions_for
from cofire.evaluate.rewards import Rewards, samples_of
from cofire.evaluate.running import Tell, duration_told, seconds_of
from cofire.evaluate.tuned import (
    WEIGHTS,
    Dimension,
    Learned,
    Score,
    Tuned,
    alike,
    defaults_of,
    search_space,
)
from cofire.explain.drawing.captions import plural
from cofire.explain.methods.registry import METHODS, method_of
from cofire.explain.result.regions import Kind
from cofire.images.collection import Collection, sample
from cofire.images.preparation import Preparation
from cofire.marks import check_whole, choice
from cofire.network import Network, classifier
from cofire.options import Options, option
from cofire.statistics import mean_interval


class LearningOptions(Options):
    """How options are learnt; the command line reads it too.

    Attributes:
        samples: How many images to draw at the most, None for all.
        trials: For each option; as many as there are images unless given, and at least one for each
            value.
        least_iou: Above 0 and up to 1.
        exact: Try every value on every trial's image, so that regret is known and the best value is
            that of all rewards. It takes as many times as long as there are values.
        seed: Of the draw of images and their order.
    """

    samples: PositiveInt | None = option(1000, "Images", "Tuning images to draw at the most.")
    trials: PositiveInt | None = option(
        None, "Trials", "For each option; as many as images unless given."
    )
    least_iou: float = option(
        0.5,
        "Least IoU",
        "A box earns a reward from this overlap with the object's up.",
        gt=0,
        le=1,
    )
    exact: bool = option(
        False, "Exact", "Try every value on every image, so that regret is known; takes longer."
    )
    seed: int = option(0, "Seed", "Of the draw of images and their order.", ge=0)


class TuningOptions(LearningOptions):
    """What is learnt of a method, and how; more in `LearningOptions`.

    Attributes:
        candidates: Values by name of the option in place of the usual ones, see
            `cofire.evaluate.tuned.search_space`.
        start: Options to begin with; else the method's own, with all weights of Eq. 1 at 1 where
            they are learnt. A `contrast` of None makes heat maps and boxes of points.
        batch_size: Images at a time where several are explained together.

    Raises:
        OptionError: An option has a value it cannot have.
    """

    candidates: Mapping[str, Sequence[Any]] | None = option(None, "Values", "To try, by option.")
    start: Mapping[str, Any] = option({}, "Start", "Options to begin with.")
    batch_size: PositiveInt = option(16, "Batch size", "Images at a time.")


@validated
def tune(
    network: Network | nn.Module,
    collection: Collection,
    preparation: Preparation,
    method: str = "discernible",
    *,
    advance: Callable[[int, int], None] = lambda done, total: None,
    tell: Tell | None = None,
    **options: Any,
) -> Tuned:
    """Learn a method's options, one after the other, each as a bandit whose arms are the values it can have.

    At each trial the next image is explained for its own class with the value that UCB1 chooses,
    and the reward is 1 if the explanation's box reaches an intersection over union of `least_iou`
    with the object's. What was learnt before stays. A blur's reward is that the map points at the
    object.

    Where heat maps and boxes are made of points, α_cur, α_pre and α_suc of Eq. 1 come first, each
    separately as in P3, then how many inputs are chosen, then the box, then the blur. Where they
    are made of layers, the contrast with the rival comes first, then the blur, then the box: how
    points are traced changes neither. A network without layers that have places has points alone.

    Of values with equal means the one is kept that was there before. Values that what was learnt
    before rules out, as a weight of 0 beside another of 0, are not tried; an option that has one
    value left then stays as it is.

    Only images of the tuning split are used, in an order drawn by the seed, the same for every
    option.

    Args:
        network: That is explained; a module is read with an image of the preparation's shape.
        collection: Images with boxes, of which those of the split "tuning" are taken.
        preparation: What is done to images.
        method: Whose options; of methods that give maps those of the box alone are learnt.
        advance: Called with how many explanations were judged since the last call, and how many
            there will be.
        tell: Called with lines that say what learning costs: before anything is computed, and when
            the first explanations have told how long one takes.
        options: See `TuningOptions`.

    Returns:
        What was learnt.

    Raises:
        OptionError: A value cannot be, the method has no such option, or there are fewer trials
            than values.
        DataError: There is no tuning image, or none has a box that the network sees.
        LabelError: An image is of a class that the network has not.
    """
    choice(METHODS).of("method", method)
    asked = TuningOptions(**options)
    network = classifier(network, lambda: torch.zeros(1, *preparation.shape))
    kind = kind_for(network, method, asked.start)
    space = search_space(method, asked.candidates, kind)
    now = _start(method, space, asked.start, kind)
    if asked.trials is not None:
        check_whole("trials", asked.trials, least=max(len(one.values) for one in space))
    tuning = collection.split("tuning")
    if not len(tuning):
        raise DataError(
            f"no image of the tuning half among {len(collection):,}",
            "at least one, by the hash of its name",
            "add images",
        )
    if asked.samples is not None and asked.samples < len(tuning):
        tuning = sample(tuning, asked.samples, asked.seed)

    def planned(count: int) -> tuple[list[int], int]:
        each = [asked.trials or max(count, len(one.values)) for one in space]
        times = [len(one.values) if asked.exact else 1 for one in space]
        return each, sum(a * b for a, b in zip(each, times, strict=True)) + 2 * count

    if tell is not None:
        tell(
            f"Cost: {plural(len(space), 'option')} of {method} learnt on {plural(len(tuning), 'image')}: "
            f"{planned(len(tuning))[1]:,} explanations judged at the most"
        )
    samples, without = samples_of(network, tuning, preparation, asked.batch_size)
    rewards = Rewards(
        network,
        samples,
        preparation,
        method,
        least_iou=asked.least_iou,
        batch_size=asked.batch_size,
    )
    each, total = planned(len(samples))
    if tell is not None:
        # Explained anew each time: what rewards remember costs nothing when it is asked for again.
        seconds = seconds_of(
            lambda: Rewards(network, samples[:1], preparation, method).reward(0, now)
        )
        tell(
            f"Time: {duration_told(seconds * total)} at the most on {network.device}, as the first image tells"
        )
    learned: list[Learned] = []
    for dimension, number in zip(space, each, strict=True):
        shown = _order(len(samples), number, asked.seed)
        found = _learn(
            rewards,
            dimension,
            now,
            shown,
            exact=asked.exact,
            advance=lambda done: advance(done, total),
        )
        if found is not None:
            learned.append(found)
            now = dimension.with_value(now, found.chosen)
    before = _judged(
        rewards,
        defaults_of(method, kind_for(network, method, {})),
        lambda done: advance(done, total),
    )
    after = _judged(rewards, now, lambda done: advance(done, total))
    regions, own = method_of(method).regions_of(now, kind)
    better = torch.from_numpy(
        (after[0] >= asked.least_iou).astype(np.float64) - (before[0] >= asked.least_iou)
    )
    return Tuned(
        method=method,
        options={
            name: list(value) if isinstance(value, tuple) else value for name, value in own.items()
        },
        regions=regions,
        network=network.digest(),
        architecture=network.fingerprint,
        images=len(samples),
        without_box=without,
        least_iou=asked.least_iou,
        seed=asked.seed,
        learned=tuple(learned),
        before=_score(before, asked.least_iou),
        after=_score(after, asked.least_iou),
        gain=mean_interval(better, differences=True, seed=asked.seed),
    )


def _start(
    method: str, space: Sequence[Dimension], given: Mapping[str, Any] | None, kind: Kind
) -> dict[str, Any]:
    options = defaults_of(method, kind)
    if any(dimension.name in WEIGHTS for dimension in space):
        # With a weight of 0 in the equation the others would make no difference, and nothing could
        # be learnt.
        options["alpha"] = (1.0, 1.0, 1.0)
    for name in given or {}:
        choice(options).of(f"start of {method}", name)
    options |= dict(given or {})
    if kind == "points" and "contrast" in options:
        # Without layers that have places there is nothing to contrast.
        options["contrast"] = None
    alike(method, options)
    return options


def _order(count: int, trials: int, seed: int) -> list[int]:
    """Which image each trial shows: all in an order at random, then all in another."""

    def rounds() -> Iterator[int]:
        draw = torch.Generator().manual_seed(seed)
        while True:
            yield from torch.randperm(count, generator=draw).tolist()

    endless = rounds()
    return [next(endless) for _ in range(trials)]


def _learn(
    rewards: Rewards,
    dimension: Dimension,
    options: Mapping[str, Any],
    shown: Sequence[int],
    *,
    exact: bool,
    advance: Callable[[int], None],
) -> Learned | None:
    """What the trials of one option give; None where what was learnt before leaves it no choice."""
    turned = [(value, dimension.with_value(options, value)) for value in dimension.values]
    possible = [(value, own) for value, own in turned if _fits(rewards.method, own)]
    spared = len(turned) - len(possible)
    if len(possible) < 2:
        advance(len(shown) * (len(turned) if exact else 1))
        return None
    values = [value for value, _ in possible]
    names = [told(value) for value in values]
    same = {
        (alike(rewards.method, own), regions_for(rewards.network, rewards.method, own))
        for _, own in possible
    }
    if exact:
        table = np.zeros((len(shown), len(possible)))
        for arm, (_, own) in enumerate(possible):
            # What is given out at once must be remembered at once: a stretch of trials at a time.
            for first in range(0, len(shown), rewards.batch_size):
                part = shown[first : first + rewards.batch_size]
                rewards.explain_all(sorted(set(part)), own)
                table[first : first + len(part), arm] = [
                    rewards.reward(image, own, dimension.judged) for image in part
                ]
                advance(len(part))
        advance(spared * len(shown))
        run = ucb1(names, table)
    elif len(same) == 1:
        # One value's rewards are those of all, so that nothing has to be estimated.
        column = []
        for image in shown:
            column.append(rewards.reward(image, possible[0][1], dimension.judged))
            advance(1)
        run = ucb1(names, np.repeat(np.array(column)[:, None], len(possible), axis=1))
    else:

        def pull(arm: int, trial: int) -> float:
            advance(1)
            return rewards.reward(shown[trial], possible[arm][1], dimension.judged)

        run = ucb1(names, pull, len(shown))
    start = dimension.now(options)
    kept = start in values and (
        len(same) == 1 or bool(run.means[values.index(start)] == run.means.max())
    )
    chosen = start if kept or len(same) == 1 else values[run.arm]
    return Learned(
        dimension.name, tuple(values), start, chosen, dimension.judged, len(same) == 1, run
    )


def told(value: Any) -> str:
    """A value of an option in words.

    Example:
        >>> told(None), told(20 / 224), told(True), told(5)
        ('all', '0.0893', 'yes', '5')
    """
    if value is None:
        return "all"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _fits(method: str, options: Mapping[str, Any]) -> bool:
    try:
        alike(method, options)
    except OptionError:
        return False
    return True


def _judged(
    rewards: Rewards, options: Mapping[str, Any], advance: Callable[[int], None]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Intersection over union and pointing of every image."""
    count = len(rewards.samples)
    found = np.zeros((2, count))
    for first in range(0, count, rewards.batch_size):
        part = range(first, min(first + rewards.batch_size, count))
        rewards.explain_all(part, options)
        for image in part:
            found[:, image] = [
                rewards.value(image, options, judged) for judged in ("iou", "pointing")
            ]
        advance(len(part))
    return found[0], found[1]


def _score(judged: tuple[NDArray[np.float64], NDArray[np.float64]], least_iou: float) -> Score:
    return Score(
        float(judged[0].mean()), float((judged[0] >= least_iou).mean()), float(judged[1].mean())
    )
