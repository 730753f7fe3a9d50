"""Ray as an engine: results as `map` gives them, whatever dies on the way."""

import functools
import os
import signal
import sys
from pathlib import Path

import pytest
import torch

from cofire.errors import DataError, MissingExtraError, OptionError
from cofire.scale.ray_engine import EngineOptions, RayEngine, cluster
from cofire.study.analysis_options import AnalysisOptions
from cofire.study.follow import follow_asked
from cofire.study.tables import TABLES
from tests.cli.test_cli import SMALL, cofire
from tests.scale.clusters import ray_cluster

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def machines():
    with ray_cluster() as found:
        yield found


def squared(number):
    return number * number


def dying(place, number):
    """The square, and the death of the first process that is asked for 3."""
    mark = Path(place, "died")
    if number == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def failing(number):
    if number == 2:
        raise DataError("a", "b", "c")
    return number


@pytest.mark.parametrize("actors", [2, 3, 5])
def test_results_come_in_order(machines, actors):
    assert list(RayEngine(actors).each(squared, range(7))) == [n * n for n in range(7)]
    assert list(RayEngine().each(squared, [])) == []


def test_what_a_killed_process_was_at_is_done_again(machines, tmp_path):
    work = functools.partial(dying, str(tmp_path))
    assert list(RayEngine(2).each(work, range(6))) == [n * n for n in range(6)]
    assert (tmp_path / "died").exists()


def test_an_error_of_ours_comes_as_it_was_raised(machines):
    with pytest.raises(DataError, match=r"^a\. Expected: b\. To fix it: c\.$"):
        list(RayEngine(2).each(failing, range(4)))


def test_actors_that_do_not_fit_are_refused(machines):
    with pytest.raises(OptionError, match="in a cluster of"):
        list(RayEngine(gpus=4).each(squared, range(4)))


def test_options_of_a_cluster_need_one():
    with (
        pytest.raises(OptionError, match="actors=2 without engine='ray'"),
        EngineOptions(actors=2).each(),
    ):
        pass
    with EngineOptions().each() as each:
        assert each is map


def test_checkpoints_are_followed_on_a_cluster_as_here(machines, tiny):
    torch.manual_seed(1)
    states = [{name: w * k for name, w in tiny.model.state_dict().items()} for k in (1.0, 1.5, 2.0)]
    asked = AnalysisOptions(bins=8, top=(4,), null_graphs=2, community_runs=2)
    given = (asked, tiny.network, states, (tiny.inputs, tiny.labels))
    here = follow_asked(*given)
    there = follow_asked(*given, each=RayEngine(3).each)
    for name in TABLES:
        assert getattr(there, name).equals(getattr(here, name)), name


def test_a_study_is_the_same_on_a_cluster(machines, tmp_path):
    run_on = ("--engine", "ray", "--actors", "2")
    small = (*SMALL, "--checkpoints", "2", "--epochs", "1", "--null-graphs", "0")
    cofire(*small, "--out", "here", cwd=tmp_path)
    cofire(*small, "--out", "there", *run_on, cwd=tmp_path)
    for name in ("layers", "neurons"):
        one, two = (
            (tmp_path / place / f"{name}.parquet").read_bytes() for place in ("here", "there")
        )
        assert one == two, name


def test_an_address_nobody_answers_at_is_told_in_seconds():
    with (
        pytest.raises(OptionError, match=r"no Ray cluster at '127\.0\.0\.1:9'"),
        cluster("127.0.0.1:9"),
    ):
        pass


def test_a_cluster_without_ray_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'cofire\[ray\]'"), cluster():
        pass
