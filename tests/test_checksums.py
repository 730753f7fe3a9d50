"""A flipped bit in a file of ours is told, or changes nothing that is read."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

import cofire
from cofire import evaluate
from cofire.errors import CofireError, ResultError, WeightsError
from cofire.evaluate.bandit import BanditRun
from cofire.evaluate.measures import records_schema
from cofire.storage import load_result, read_schema, read_table, write_table
from cofire.study import StudyOptions
from cofire.study.networks import fcnn
from cofire.study.samples import Samples
from cofire.study.training import Course, Training
from tests.conftest import Tiny

FLIPS = 60
"""Bits of each file that are flipped, one at a time, evenly over its length and over the bits of a byte."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Every kind of file that is written and read again, with what reads it into something that can be compared."""
    torch.manual_seed(0)
    place, tiny = tmp_path_factory.mktemp("files"), Tiny()
    network, weights = tiny.network, tiny.model.state_dict()
    summary = cofire.summarize(network, tiny.data, by_class=True, pairs="class", top=2, bins=4)
    found = cofire.explain(network, tiny.inputs[:2])
    booster = cofire.Booster(network).fit(tiny.data, (torch.randn(30, 5), torch.arange(30) % 3))
    confidence = cofire.PatternConfidence(network).fit(tiny.data)
    cofire.follow(
        network,
        [weights] * 3,
        tiny.data,
        top=2,
        null_graphs=0,
        community_runs=2,
        folder=place / "t",
    )
    cofire.save_weights(weights, place / "weights.safetensors")
    summary.save(place / "summary.safetensors")
    summary.graph("3").save(place / "graph.safetensors")
    found.save(place / "explanation.safetensors")
    booster.save(place / "booster.safetensors")
    confidence.save(place / "confidence.safetensors")
    evaluate.ucb1(3, torch.rand(10, 3), 10).save(place / "bandit.json")

    def tensors(kind):
        def plain(note, held):
            return json.dumps(note, sort_keys=True), {
                name: held[name].tolist() for name in sorted(held)
            }

        return lambda path: load_result(path, kind, plain)

    def trajectory(path):
        whole = cofire.Trajectory.load(path.parent)
        return {
            name: getattr(whole, name).to_pylist()
            for name in ("layers", "classes", "edges", "graphs", "neurons")
        }

    return {
        place / "weights.safetensors": lambda path: [
            v.tolist() for v in cofire.load_weights(path).values()
        ],
        place / "summary.safetensors": tensors("summary"),
        place / "graph.safetensors": tensors("graph"),
        place / "explanation.safetensors": tensors("explanation"),
        place / "booster.safetensors": tensors("booster"),
        place / "confidence.safetensors": tensors("pattern confidence"),
        place / "bandit.json": lambda path: BanditRun.load(path).described(),
        **{
            place / "t" / f"{name}.parquet": trajectory
            for name in ("layers", "edges", "graphs", "neurons")
        },
    }


KINDS = [
    "weights",
    "summary",
    "graph",
    "explanation",
    "booster",
    "confidence",
    "bandit",
    "layers",
    "edges",
    "graphs",
    "neurons",
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_told_or_changes_nothing(files, kind):
    ((path, read),) = ((path, read) for path, read in files.items() if path.stem == kind)
    whole, expected = path.read_bytes(), repr(read(path))
    told = 0
    try:
        for number in range(FLIPS):
            spoiled = bytearray(whole)
            spoiled[number * len(whole) // FLIPS] ^= 1 << number % 8
            path.write_bytes(spoiled)
            try:
                same = repr(read(path)) == expected
            except CofireError as error:
                same = path.name in str(error) or str(path.parent) in str(error)
                told += 1
            assert same, number
    finally:
        path.write_bytes(whole)
    assert told > FLIPS / 3


def test_files_without_a_checksum_still_open(tmp_path, tiny):
    weights = tiny.model.state_dict()
    save_file(weights, tmp_path / "old.safetensors", metadata={"format": "pt"})
    assert torch.equal(
        cofire.load_weights(tmp_path / "old.safetensors")["0.weight"], weights["0.weight"]
    )
    cofire.save_weights(weights, tmp_path / "new.safetensors")
    assert load_file(tmp_path / "new.safetensors").keys() == weights.keys()
    table = pa.table({"a": [1, 2]})
    pq.write_table(table, tmp_path / "old.parquet")
    assert read_table(tmp_path / "old.parquet").equals(table)
    evaluate.ucb1(3, torch.rand(10, 3), 10).save(tmp_path / "bandit.json")
    held = json.loads((tmp_path / "bandit.json").read_text())
    (tmp_path / "old.json").write_text(
        json.dumps({name: value for name, value in held.items() if name != "sha256"})
    )
    assert (
        BanditRun.load(tmp_path / "old.json").described()
        == BanditRun.load(tmp_path / "bandit.json").described()
    )


def test_what_changed_is_said(tmp_path, tiny):
    path = tmp_path / "weights.safetensors"
    cofire.save_weights(tiny.model.state_dict(), path)
    spoiled = bytearray(path.read_bytes())
    spoiled[-2] ^= 0x40
    path.write_bytes(spoiled)
    with pytest.raises(
        WeightsError, match=r"weights\.safetensors.*bits have changed.*copy or download it again"
    ):
        tiny.network.with_weights(path)
    held = cofire.summarize(tiny.network, tiny.data)
    held.save(tmp_path / "summary.safetensors")
    content = json.loads(
        evaluate.ucb1(3, torch.rand(10, 3), 10).save(tmp_path / "bandit.json").read_text()
    )
    content["pulled"][0] = (content["pulled"][0] + 1) % 3
    (tmp_path / "bandit.json").write_text(json.dumps(content))
    with pytest.raises(ResultError, match=r"bandit\.json.*bits have changed"):
        BanditRun.load(tmp_path / "bandit.json")


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"a": pa.array([1, None, 3], pa.int32()), "b": pa.array(["x", None, "é"])}),
        pa.table({"a": pa.array([0.5, float("nan"), None]), "b": pa.array([True, None, False])}),
        pa.table(
            {
                "a": pa.array([[1, 2], [], None], pa.list_(pa.int64())),
                "b": pa.array([b"x", b"", None]),
            }
        ),
        pa.table({"a": pa.array([["x"], None, [None, "y"]], pa.list_(pa.string()))}),
        pa.table({"a": pa.chunked_array([[1.0], [2.0, None], []])}),
        pa.table({"a": pa.array([1, 2])}).slice(1).replace_schema_metadata({"cofire": "{}"}),
        pa.table({"a": pa.array([], pa.float64())}),
        records_schema().empty_table(),
    ],
)
def test_tables_of_all_kinds_come_back_as_they_were(tmp_path, table):
    write_table(table, tmp_path / "a.parquet", compression="zstd")
    found = read_table(tmp_path / "a.parquet")
    assert repr(found.to_pylist()) == repr(table.to_pylist())
    assert (found.schema.metadata or {}) == (table.schema.metadata or {})
    assert found.schema.equals(table.schema)
    # Another value of the same kind has another checksum.
    pq.write_table(
        pa.concat_tables([found, found]).replace_schema_metadata(
            pq.read_schema(tmp_path / "a.parquet").metadata
        ),
        tmp_path / "a.parquet",
    )
    if table.num_rows:
        with pytest.raises(pa.ArrowInvalid, match="bits have changed"):
            read_table(tmp_path / "a.parquet")


def test_a_flipped_bit_in_the_state_of_an_optimiser_is_told(tmp_path, tiny):
    options = StudyOptions.of(data="digits", hidden=(4,), epochs=1, checkpoints=2)

    def training():
        return Training(
            fcnn(5, (4,), 3), options, Samples(*tiny.data, "abc"), Course(2, [1, 2]), tmp_path
        )

    training().advance()
    (path,) = (file for file in tmp_path.iterdir() if file.is_file())
    whole = path.read_bytes()
    moments = next(iter(torch.load(path, weights_only=True)["optimizer"]["state"].values()))[
        "exp_avg"
    ]
    place = whole.index(moments.numpy().tobytes())
    path.write_bytes(whole[: place + 1] + bytes([whole[place + 1] ^ 4]) + whole[place + 2 :])
    with pytest.raises(WeightsError, match="not what was written"):
        training()
    path.write_bytes(whole)
    assert training().done == 1


def test_files_that_ask_for_more_than_any_result_needs_are_refused_before_they_are_read(tmp_path):
    rows = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"a": pa.array([1, 2, 3])}), rows)
    assert read_table(rows).num_rows == read_schema(rows).names.count("a") * 3
    pq.write_table(pa.table({f"c{number}": [0] for number in range(1025)}), rows)
    for read in (read_table, read_schema):
        with pytest.raises(pa.ArrowInvalid, match="1,025 columns, more than 1,024"):
            read(rows)
    rows.write_bytes(b"PAR1" + (1 << 30).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(pa.ArrowInvalid, match="a footer of"):
        read_table(rows)
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes((1 << 30).to_bytes(8, "little") + b"{}")
    with pytest.raises(WeightsError, match=r"a header of 1,073,741,824 bytes, more than"):
        cofire.load_weights(weights)
    with pytest.raises(ResultError, match="a header of"):
        load_result(weights, "summary", lambda note, tensors: None)


def test_a_number_that_repeats_takes_no_space_but_counts(tmp_path, monkeypatch):
    monkeypatch.setattr("cofire.storage._VALUES", 1000)
    rows = tmp_path / "rows.parquet"
    for table in (pa.table({"a": [0] * 1001}), pa.table({"a": [[0] * 1001]})):
        pq.write_table(table, rows)
        with pytest.raises(pa.ArrowInvalid, match=r"more than 1,000"):
            read_table(rows)
