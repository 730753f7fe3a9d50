"""Commands that write, each as small as it can be, and what they wrote."""

import hashlib
import json
import re
import shutil

import pyarrow.parquet as pq

from tests.golden.place import build
from tests.golden.running import run

_PLAIN = "--resize 0 --mean 0.5 --std 0.25"
_BOXES = f"--data images --boxes boxes.json --model net.pt2 {_PLAIN}"
_FEW = "--bins 5 --community-runs 2 --null-graphs 2"
_STUDY = f"study digits --batch-size 256 --epochs 1 --checkpoints 2 {_FEW}"
_TRUST = (
    f"trust make {_BOXES} --against net.pt2 --against-mean 0.4 --against-std 0.25 "
    "--count 3 --checks 1 --repeats 1"
)

VERBS = {
    "study": f"{_STUDY} --hidden 8 --boost readout --explain 1 --out out",
    "follow": f"follow done/checkpoints --model own:small --data mine:train --test mine:test {_FEW} --out out",
    "summarize": "summarize --model mine:digits_network --data mine:test --by-class full --pairs class "
    f"{_FEW} --out out",
    "report": "report done",
    "graph": "graph done --out out.gexf",
    "neurons": f"neurons --model net.pt2 {_PLAIN} --data imagefolder:by_class --layer 1 --neuron 0,1 --out out",
    "boost": "boost --model mine:digits_network --train mine:train --test mine:test "
    "--validation mine:held_out --booster readout --out out",
    "explain": f"explain images/000.png images/001.png --model net.pt2 {_PLAIN} --top 2 --out out",
    "evaluate": f"evaluate {_BOXES} --method centre,discernible --measures localisation,soft --limit 3 --out out",
    "tune": f"tune {_BOXES} --trials 3 --try contrast=0,0.7 --try sigma=0.05,0.2 "
    "--try threshold=0.3,0.5 --exact --out out",
    "trust make": f"{_TRUST} --out out",
    "trust report": "trust report asked --simulated 12",
}
"""What each verb is given; all but two write to `out`."""

_IN_SHARDS = {verb: VERBS[verb] for verb in ("summarize", "evaluate", "explain", "boost")}
_AGAIN = "--ranges summarize0/ranges.safetensors --out"
SHARDS = {
    **{
        f"{v} --shard": line.replace("--out", "--shard 2/2 --out") for v, line in _IN_SHARDS.items()
    },
    "merge ranges": "merge ranges1 ranges2 --out out",
    **{f"merge {verb}": f"merge {verb}1 {verb}2 --out out" for verb in _IN_SHARDS},
}
VERBS["summarize --shard"] = SHARDS.pop("summarize --shard")
SHARDS["summarize --ranges"] = VERBS["summarize --shard"].replace("--out", _AGAIN)
"""The same for parts of the data, and for what puts them together."""

DEMO = "demo --out out"

_OWN = """
def small():
    from cofire.study import fcnn

    return fcnn(64, (8,), 10)
"""

_CHANGING = {"format", "seconds", "sha256", "forward_pass", "versions"}
_SPEED = re.compile("× [0-9.]+ in batches".encode())
_TIMES = re.compile(r"seconds|forward_pass")


def prepared(place):
    """A user's folder with finished results that some verbs read."""
    build(place)
    (place / "own.py").write_text(_OWN, encoding="utf-8")
    for line in (f"{_STUDY} --hidden 8 --out done", f"{_TRUST} --out asked"):
        _give(line, place)
    return place


def shards_prepared(place):
    """The same with parts, of each pass."""
    prepared(place)
    for verb, line in _IN_SHARDS.items():
        for part in (1, 2):
            _give(line.replace("--out out", f"--shard {part}/2 --out {verb}{part}"), place)
    for part in (1, 2):
        shutil.copytree(place / f"summarize{part}", place / f"ranges{part}")
    _give("merge ranges1 ranges2 --out summarize0", place)
    for part in (1, 2):
        shard = f"--shard {part}/2 {_AGAIN} summarize{part}"
        _give(_IN_SHARDS["summarize"].replace("--out out", shard), place)
    return place


def _give(line, place):
    told = run(tuple(line.split()), place)
    assert not told.exit, told.err


def rows_in(place):
    """Names of all files, and a hash of the rows of each, without durations."""
    return {
        path.relative_to(place).as_posix(): hashlib.sha256(_rows(path)).hexdigest()
        for path in sorted(place.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def _rows(path):
    """What a file holds; fails if it is not whole."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        return repr(
            table.drop([n for n in table.column_names if _TIMES.search(n)]).to_pylist()
        ).encode()
    content = _SPEED.sub(b"", path.read_bytes())
    if path.suffix == ".safetensors":
        length = 8 + int.from_bytes(content[:8], "little")
        return repr(_lasting(json.loads(content[8:length]))).encode() + content[length:]
    if path.suffix == ".json" and path.name != "bad.json":
        return repr(_lasting(json.loads(content))).encode()
    return content


def _lasting(value):
    if isinstance(value, dict):
        return {k: _lasting(v) for k, v in sorted(value.items()) if k not in _CHANGING}
    return [_lasting(one) for one in value] if isinstance(value, list) else value
