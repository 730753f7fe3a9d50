"""Which of several choices pays best, learnt by trying them: the bandit strategy UCB1 (Auer et al., 2002)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from cofire.arguments import validated
from cofire.errors import DataError, OptionError
from cofire.marks import check_whole
from cofire.stored import Stored
from cofire.tensors import Values

Pull = Callable[[int, int], float]
"""Gives the reward, 0 to 1, of an arm at a trial, both counted from 0."""

Floats = NDArray[np.float64]
_Table = Annotated[Floats, Values("trials arms", least=0.0, most=1.0, array=True)]
_REWARD = Values("", least=0.0, most=1.0)


@validated
@dataclass(frozen=True, eq=False, repr=False)
class BanditRun(Stored):
    """What a bandit tried, and what it got.

    Attributes:
        names: Of the arms.
        pulled: Which arm was tried at each trial, (trials,), int64.
        rewards: What it gave, (trials,), float64, 0 to 1.
        table: What every arm would have given at each trial, (trials, arms), float64; None where
            that is not known.

    Raises:
        DataError: The parts do not fit together.
        NonFiniteError: A reward is NaN or infinite.
    """

    names: tuple[str, ...]
    pulled: Annotated[NDArray[np.int64], Values("trials", "whole", array=True)]
    rewards: Annotated[Floats, Values("trials", least=0.0, most=1.0, array=True)]
    table: _Table | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(map(str, self.names)))
        object.__setattr__(self, "pulled", self.pulled.astype(np.int64))
        object.__setattr__(self, "rewards", self.rewards.astype(np.float64))
        trials, arms = len(self.pulled), len(self.names)
        if not arms or np.unique(self.pulled).tolist() != list(range(arms)):
            raise DataError(
                f"{trials} trials of {arms} arms, not all of them",
                "every arm tried once or more",
                "take a run as ucb1 gave it",
            )
        if self.table is not None:
            object.__setattr__(self, "table", self.table.astype(np.float64))
            if self.table.shape != (trials, arms) or not np.array_equal(
                self.table[range(trials), self.pulled], self.rewards
            ):
                raise DataError(
                    f"a table of shape {self.table.shape} that gives other rewards than the run has",
                    f"({trials}, {arms}) with the same rewards",
                    "take a run as ucb1 gave it",
                )

    @property
    def counts(self) -> NDArray[np.int64]:
        """How often each arm was tried, (arms,)."""
        return np.bincount(self.pulled, minlength=len(self.names)).astype(np.int64)

    @property
    def means(self) -> Floats:
        """The mean reward of each arm, (arms,): of all its rewards where they are known, else of those it gave."""
        if self.table is not None:
            found: Floats = self.table.mean(axis=0)
            return found
        return self.seen

    @property
    def seen(self) -> Floats:
        """The mean of the rewards that each arm gave, (arms,): all that the bandit knew."""
        found: Floats = (
            np.bincount(self.pulled, weights=self.rewards, minlength=len(self.names)) / self.counts
        )
        return found

    @property
    def arm(self) -> int:
        """The arm with the highest mean reward (θ* = max Q(a) of P3 §3.2); of equal ones the first."""
        return int(self.means.argmax())

    @property
    def regret(self) -> Floats:
        """What was lost up to each trial by not trying the best arm alone, (trials,).

        Where all rewards are known: the best arm's rewards less those that were got, which can be
            below 0 for a
        while. Where not, what it is estimated to be: the sum of `max mean - mean` of the arms that
        were tried.
        """
        if self.table is not None:
            lost = self.table[:, self.arm] - self.rewards
        else:
            means = self.means
            lost = means.max() - means[self.pulled]
        found: Floats = np.cumsum(lost)
        return found

    @property
    def bound(self) -> Floats:
        """What the expected regret cannot exceed up to each trial if `means` are true, (trials,) (Auer, Theorem 1).

        `8 · Σ ln(n) / Δ + (1 + π²/3) · Σ Δ` over the arms that are worse than the best by `Δ`.
        """
        gaps = self.means.max() - self.means
        gaps = gaps[gaps > 0]
        trials = np.arange(1, len(self.pulled) + 1, dtype=np.float64)
        found: Floats = 8 * np.log(trials) * (1 / gaps).sum() + (1 + math.pi**2 / 3) * gaps.sum()
        return found

    stored_as = "bandit"

    def described(self) -> dict[str, Any]:
        """As JSON can hold it; `of` reads it."""
        parts = {name: getattr(self, name) for name in ("pulled", "rewards", "table")}
        listed = {name: None if part is None else part.tolist() for name, part in parts.items()}
        return {"format": self.format, "names": list(self.names), **listed}

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> Self:
        """The run that `described` gave.

        Raises:
            ValueError: It is something else, or damaged; so are other errors of Python and of cofire.
        """
        if described["format"] != cls.format:
            raise ValueError(f"format {described['format']!r:.80}")
        return cls(**{name: described[name] for name in ("names", "pulled", "rewards", "table")})

    def __repr__(self) -> str:
        best = self.arm
        return (
            f"BanditRun({len(self.pulled):,} trials of {len(self.names)} arms, best {self.names[best]!r}: "
            f"mean reward {self.means[best]:.3f}, regret {self.regret[-1]:.2f})"
        )


@validated
def ucb1(arms: int | Sequence[str], pull: Pull | _Table, trials: int | None = None) -> BanditRun:
    """Try the arms of a bandit by UCB1: each once, then always the one that could well be the best.

    After `n` trials the arm with the highest `mean + sqrt(2 · ln(n) / n_arm)` is tried next, of
    equal ones the first (Auer, Cesa-Bianchi and Fischer, 2002). There is no chance in it: the same
    rewards give the same run.

    Args:
        arms: Their names, or how many there are.
        pull: Gives the reward of an arm at a trial, 0 to 1; or all rewards, (trials, arms), by
            which regret is known exactly.
        trials: How many, at least one for each arm; of a table all rows unless given.

    Returns:
        What was tried, and what it gave.

    Raises:
        OptionError: No arm, fewer trials than arms, or more than the table has rows.
        DataError: A reward is below 0 or above 1, or the table has another shape.
        NonFiniteError: A reward is NaN or infinite.

    Example:
        The second arm pays more often:

        >>> table = np.array([[0, 1], [1, 0], [0, 1], [0, 1], [0, 1], [1, 1]] * 50, dtype=np.float64)
        >>> run = ucb1(["k=5", "k=10"], table)
        >>> run
        BanditRun(300 trials of 2 arms, best 'k=10': mean reward 0.833, regret 11.00)
        >>> run.counts.tolist()
        [11, 289]
    """
    count = check_whole("arms", arms if isinstance(arms, int) else len(arms))
    names = (
        tuple(str(arm) for arm in range(count)) if isinstance(arms, int) else tuple(map(str, arms))
    )
    table = None
    if not callable(pull):
        table = pull.astype(np.float64)
        if table.shape[1] != count:
            raise DataError(
                f"rewards of shape {table.shape}",
                f"(trials, {count}), one column for each arm",
                "transpose it",
            )
        rows = len(table)
        if rows < count:
            raise OptionError(
                f"{rows} trials of {count} arms", "one or more for each arm", "pass more rows"
            )
        trials = rows if trials is None else check_whole("trials", trials, least=count, most=rows)
        table = table[:trials]
    trials = check_whole("trials", trials, least=count)
    pulled, rewards = np.zeros(trials, dtype=np.int64), np.zeros(trials)
    sums, counts = np.zeros(count), np.zeros(count)
    for trial in range(trials):
        arm = (
            trial
            if trial < count
            else int((sums / counts + np.sqrt(2 * math.log(trial) / counts)).argmax())
        )
        if table is not None:
            reward = float(table[trial, arm])
        else:
            given = cast("Pull", pull)(arm, trial)
            reward = float(_REWARD.of(f"the reward of arm {names[arm]!r} at trial {trial}", given))
        pulled[trial], rewards[trial] = arm, reward
        sums[arm] += reward
        counts[arm] += 1
    return BanditRun(names, pulled, rewards, table)
