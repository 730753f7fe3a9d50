"""Ray as an engine: results as `map` gives them, whatever dies on the way."""

import functools
import os
import re
import signal
import sys
from pathlib import Path

import pytest
import torch

from cofire.errors import DataError, MissingExtraError, OptionError, ResultError
from cofire.evaluate.running import run_evaluation
from cofire.scale.ray_engine import EngineOptions, RayEngine, cluster
from cofire.study.analysis_options import AnalysisOptions
from cofire.study.follow import follow_asked
from cofire.study.tables import TABLES
from tests.cli.test_cli import SMALL, cofire
from tests.evaluate.judged import PREPARATION, tiny_collection, tiny_network, write_photos
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


class Judging:
    """Judges batches of images, notes on which machine, and dies once."""

    def __init__(self, work, place):
        self.work, self.place = work, str(place)

    def __call__(self, images):
        import ray

        Path(self.place, f"on-{ray.get_runtime_context().get_node_id()}").touch()
        if images[0].name == "006.png":
            dying(self.place, 3)
        return self.work(images)


def exiting(number):
    sys.exit(number)


class Unsendable(Exception):  # noqa: N818  no error of ours
    def __reduce__(self):
        raise TypeError


def raising(number):
    raise Unsendable("odd")


def test_results_come_in_order(machines):
    assert list(RayEngine(5).each(squared, range(7))) == [n * n for n in range(7)]
    assert list(RayEngine().each(squared, [])) == []


def test_what_a_killed_process_was_at_is_done_again(machines, tmp_path):
    work = functools.partial(dying, str(tmp_path))
    assert list(RayEngine(2).each(work, range(6))) == [n * n for n in range(6)]
    assert (tmp_path / "died").exists()


def test_an_error_of_ours_comes_as_it_was_raised(machines):
    with pytest.raises(DataError, match=r"^a\. Expected: b\. To fix it: c\.$"):
        list(RayEngine(2).each(failing, range(4)))


def test_whatever_else_is_raised_ends_the_work_too(machines):
    with pytest.raises(RuntimeError, match="SystemExit: 4"):
        list(RayEngine(2).each(exiting, [4]))
    with pytest.raises(RuntimeError, match="Unsendable: odd"):
        list(RayEngine(2).each(raising, [4]))


def always_dying(number):
    os._exit(1)


def test_work_that_ends_its_process_each_time_is_given_up(machines, monkeypatch):
    monkeypatch.setattr("cofire.scale.ray_engine._RETRIES", 1)
    with pytest.raises(ResultError, match="work on the cluster that failed: Actor"):
        list(RayEngine(2).each(always_dying, [4]))


def test_explanations_are_judged_on_two_machines_as_here_also_where_a_process_dies(
    machines, tmp_path
):
    place = write_photos(tmp_path)
    methods = ("discernible", "gradcam", "random")

    def judged(out, each=map):
        given = (tiny_network(), tiny_collection(place), PREPARATION, methods, tmp_path / out)
        how = {"batch_size": 3, "split": "all", "measures": ("localisation", "sensitivity")}
        return run_evaluation(*given, progress=False, each=each, **how).records

    # Neither machine has room for both.
    engine = RayEngine(2, cpus=3)
    here = judged("here")
    there = judged("there", lambda work, items: engine.each(Judging(work, tmp_path), items))
    assert (tmp_path / "died").exists()
    assert len(list(tmp_path.glob("on-*"))) == 2
    lasting = [name for name in here.column_names if not re.search("seconds|forward_pass", name)]
    assert there.select(lasting).equals(here.select(lasting))
    assert len(there) == 14 * len(methods)


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
