"""UCB1 as it is written in the paper, regret as it is defined, and runs that come back from their files."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cofire.errors import DataError, NonFiniteError, OptionError, ResultError
from cofire.evaluate.bandit import BanditRun, ucb1


def by_definition(table, trials):
    """Auer et al. (2002), Figure 1, in plain Python."""
    arms = len(table[0])
    given_out = [[] for _ in range(arms)]
    pulled = []
    for trial in range(trials):
        if trial < arms:
            arm = trial
        else:
            index = [sum(r) / len(r) + math.sqrt(2 * math.log(trial) / len(r)) for r in given_out]
            arm = index.index(max(index))
        given_out[arm].append(table[trial][arm])
        pulled.append(arm)
    return pulled


def test_a_run_worked_out_by_hand():
    # At trial 6: √(2 ln 6) = 1.893 for the arm tried once, 1 + √(2 ln 6 / 5) = 1.847 for the one
    # tried five times.
    run = ucb1(2, lambda arm, trial: float(arm), 7)
    assert run.pulled.tolist() == [0, 1, 1, 1, 1, 1, 0]
    assert run.counts.tolist() == [2, 5]
    assert run.means.tolist() == [0.0, 1.0]
    assert run.regret.tolist() == [1, 1, 1, 1, 1, 1, 2]
    assert run.arm == 1


@given(st.data())
def test_it_is_the_published_strategy(data):
    arms, trials = data.draw(st.integers(1, 5)), data.draw(st.integers(5, 60))
    rows = data.draw(
        st.lists(
            st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=arms, max_size=arms),
            min_size=trials,
            max_size=trials,
        )
    )
    run = ucb1(arms, np.array(rows))
    assert run.pulled.tolist() == by_definition(rows, trials)
    asked = []
    again = ucb1(arms, lambda arm, trial: asked.append((trial, arm)) or rows[trial][arm], trials)
    assert asked == list(enumerate(run.pulled.tolist()))
    assert again.rewards.tolist() == run.rewards.tolist()


@given(st.integers(2, 6), st.integers(0, 1000))
def test_regret_is_what_the_best_arm_would_have_given_besides(arms, seed):
    table = np.random.default_rng(seed).integers(0, 2, (50, arms)).astype(float)
    run = ucb1(arms, table)
    best = max(range(arms), key=lambda arm: sum(table[:, arm]))
    assert run.arm == best
    assert run.regret[-1] == pytest.approx(sum(table[:, best]) - sum(run.rewards))
    guessed = ucb1(arms, lambda arm, trial: table[trial, arm], 50)
    lost = [max(guessed.means) - guessed.means[arm] for arm in guessed.pulled]
    assert guessed.regret == pytest.approx(np.cumsum(lost))


def test_arms_that_are_the_same_lose_nothing_and_the_first_wins():
    table = np.repeat(np.random.default_rng(0).integers(0, 2, (60, 1)), 4, axis=1)
    run = ucb1(["a", "b", "c", "d"], table)
    assert run.regret.tolist() == [0.0] * 60
    assert (run.arm, run.bound.tolist()) == (0, [0.0] * 60)
    assert ucb1(3, lambda arm, trial: 0.5, 9).arm == 0


def test_regret_stays_below_the_proved_bound_and_flattens():
    chances, rounds, trials = np.array([0.2, 0.5, 0.8]), 20, 2000
    draw = np.random.default_rng(1)
    runs = [ucb1(3, (draw.random((trials, 3)) < chances).astype(float)) for _ in range(rounds)]
    lost = np.mean([np.cumsum(0.8 - chances[run.pulled]) for run in runs], axis=0)
    gaps = np.array([0.6, 0.3])
    bound = 8 * math.log(trials) * (1 / gaps).sum() + (1 + math.pi**2 / 3) * gaps.sum()
    assert lost[-1] < bound
    assert lost[-1] - lost[trials // 2] < 0.5 * lost[trials // 2]
    assert all(run.arm == 2 for run in runs)
    assert runs[0].bound[-1] == pytest.approx(bound, rel=0.2)


@pytest.mark.parametrize("reward", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_not_finite_is_an_error(reward):
    with pytest.raises(NonFiniteError):
        ucb1(2, lambda arm, trial: reward, 5)


@pytest.mark.parametrize("reward", [-0.1, 1.1, "much", None])
def test_a_reward_that_is_none_is_an_error(reward):
    with pytest.raises(DataError):
        ucb1(2, lambda arm, trial: reward, 5)


@pytest.mark.parametrize(
    ("arms", "pull", "trials", "error"),
    [
        (0, lambda a, t: 0.0, 5, OptionError),
        ([], lambda a, t: 0.0, 5, OptionError),
        (6, lambda a, t: 0.0, 5, OptionError),
        (2, lambda a, t: 0.0, None, OptionError),
        (2, np.zeros((5, 2)), 6, OptionError),
        (2, np.zeros((1, 2)), None, OptionError),
        (3, np.zeros((5, 2)), None, DataError),
        (2, np.full((5, 2), 2.0), None, DataError),
        (2, np.full((5, 2), np.nan), None, NonFiniteError),
        (2, [["x"]], None, DataError),
    ],
)
def test_what_is_no_bandit_is_an_error(arms, pull, trials, error):
    with pytest.raises(error):
        ucb1(arms, pull, trials)


@pytest.mark.parametrize("exact", [True, False])
def test_a_run_comes_back_from_its_file(tmp_path, exact):
    table = np.random.default_rng(0).random((30, 3))
    run = ucb1(
        ["k=1", "k=5", "k=all"], table if exact else lambda arm, trial: table[trial, arm], 30
    )
    again = BanditRun.load(run.save(tmp_path / "run.json"))
    assert repr(again) == repr(run)
    assert again.regret.tolist() == run.regret.tolist()
    assert (again.table is None) == (not exact)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"pulled": [0, 7]},
        {"pulled": [0, 0]},
        {"rewards": [0.0]},
        {"rewards": [0.0, 3.0]},
        {"rewards": ["x", 1]},
        {"table": [[0.0, 1.0]]},
        {"table": [[1.0, 1.0], [0.0, 0.0]]},
        {"names": []},
        {"rewards": [float("nan"), 0.0]},
    ],
)
def test_a_damaged_run_is_an_error(tmp_path, change):
    whole = ucb1(2, np.array([[0.0, 1.0], [1.0, 1.0]])).described()
    (tmp_path / "run.json").write_text(json.dumps(whole | change))
    with pytest.raises(ResultError):
        BanditRun.load(tmp_path / "run.json")


@pytest.mark.parametrize("text", ["", "[]", "3", "{}", '{"format": 1', "[" * 100_000])
def test_what_is_no_run_is_an_error(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ResultError):
        BanditRun.load(tmp_path / "run.json")
    with pytest.raises(ResultError):
        BanditRun.load(tmp_path / "none.json")


def test_rewards_of_a_type_that_numpy_lacks_are_numbers_as_well():
    table = torch.tensor([[0.25, 1.0], [0.5, 0.75], [0.0, 1.0]])
    halved, plain = ucb1(2, table.bfloat16()), ucb1(2, table)
    assert halved.rewards.tolist() == plain.rewards.tolist()
