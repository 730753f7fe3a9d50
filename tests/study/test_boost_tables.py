"""Boosting in a trajectory: its tables save, load and merge, and older results do without them."""

import shutil

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from cofire.errors import ResultError
from cofire.report import write_report
from cofire.storage import write_table
from cofire.study.tables import TABLES
from cofire.study.trajectory import Trajectory

from ..report import synthetic
from ..report.synthetic_boost import with_boost

LATER = ("boosts", "boost_classes", "flips")


def at(trajectory, number):
    parts = {
        name: getattr(trajectory, name).filter(pc.field("checkpoint") == number) for name in TABLES
    }
    return Trajectory(**parts, options=trajectory.options)


@pytest.fixture
def run():
    return with_boost(synthetic.trajectory(layers=(6,), checkpoints=3))


def saved(run, folder, *, without=()):
    run.save(folder)
    for name in without:
        (folder / f"{name}.parquet").unlink()
    return folder


def test_the_tables_come_back_as_they_were_saved(run, tmp_path):
    again = Trajectory.load(run.save(tmp_path / "run"))
    for name in LATER:
        assert getattr(again, name).equals(getattr(run, name))
        assert getattr(again, name).schema.equals(TABLES[name].schema)


def test_they_are_empty_unless_asked_for(tmp_path):
    plain = synthetic.trajectory(layers=(6,), checkpoints=2)
    again = Trajectory.load(plain.save(tmp_path / "run"))
    assert [len(getattr(again, name)) for name in LATER] == [0, 0, 0]
    assert [len(getattr(Trajectory.empty(), name)) for name in LATER] == [0, 0, 0]


def test_checkpoints_merge_in_order(run):
    whole = Trajectory.concat([at(run, 3), at(run, 1), at(run, 2)])
    for name in LATER:
        keys = TABLES[name].keys.split()
        rows = [tuple(row[key] for key in keys) for row in getattr(whole, name).to_pylist()]
        assert rows == sorted(rows)
        assert len(rows) == len(getattr(run, name))


def test_results_from_before_load_with_empty_tables(tmp_path):
    plain = synthetic.trajectory(layers=(6,), checkpoints=2)
    again = Trajectory.load(saved(plain, tmp_path / "old", without=LATER))
    assert again.layers.equals(plain.layers)
    assert again.boosts.equals(TABLES["boosts"].table())
    assert again.flips.equals(TABLES["flips"].table())


def test_results_from_before_a_column_was_added_load_with_nulls(run, tmp_path):
    folder = saved(run, tmp_path / "old")
    table = pq.read_table(folder / "boosts.parquet")
    write_table(table.drop_columns(TABLES["boosts"].schema.names[-5:]), folder / "boosts.parquet")
    again = Trajectory.load(folder)
    assert again.boosts.schema.equals(TABLES["boosts"].schema)
    assert again.boosts.drop_columns(TABLES["boosts"].schema.names[-5:]).equals(
        run.boosts.drop_columns(TABLES["boosts"].schema.names[-5:])
    )
    assert all(
        again.boosts[name].null_count == len(run.boosts)
        for name in TABLES["boosts"].schema.names[-5:]
    )
    assert write_report(again, tmp_path / "page.html").exists()


@pytest.mark.parametrize("name", LATER)
def test_one_of_them_missing_is_an_error(run, tmp_path, name):
    with pytest.raises(ResultError, match=rf"{name}\.parquet"):
        Trajectory.load(saved(run, tmp_path / "run", without=[name]))


def test_all_missing_though_asked_for_is_an_error(run, tmp_path):
    asked = Trajectory(
        **{n: getattr(run, n) for n in TABLES}, options={**run.options, "boost": "readout"}
    )
    with pytest.raises(ResultError, match=r"no boosts\.parquet.*readout"):
        Trajectory.load(saved(asked, tmp_path / "run", without=LATER))
    declined = Trajectory(
        **{n: getattr(run, n) for n in TABLES}, options={**run.options, "boost": "none"}
    )
    assert len(Trajectory.load(saved(declined, tmp_path / "none", without=LATER)).boosts) == 0


@pytest.mark.parametrize("name", ["boosts", "boost_classes"])
def test_tables_of_other_checkpoints_are_refused(run, tmp_path, name):
    folder, other = saved(run, tmp_path / "run"), saved(at(run, 2), tmp_path / "other")
    shutil.copy(other / f"{name}.parquet", folder / f"{name}.parquet")
    with pytest.raises(ResultError, match="not written together"):
        Trajectory.load(folder)


def test_a_checkpoint_may_have_no_flips_but_none_of_another(run, tmp_path):
    some = Trajectory(
        **{n: getattr(run, n) for n in TABLES if n != "flips"}, flips=at(run, 2).flips
    )
    assert len(Trajectory.load(some.save(tmp_path / "some")).flips) == 25
    folder = saved(at(run, 1), tmp_path / "one")
    table = pq.read_table(folder / "flips.parquet")
    rows = [{**row, "checkpoint": 9} for row in table.to_pylist()]
    write_table(pa.Table.from_pylist(rows, schema=table.schema), folder / "flips.parquet")
    with pytest.raises(ResultError, match="not written together"):
        Trajectory.load(folder)


def test_other_columns_are_refused(run):
    with pytest.raises(ResultError, match="table 'boosts': no column role"):
        Trajectory(run.layers, run.classes, run.neurons, boosts=run.boosts.drop_columns(["role"]))
