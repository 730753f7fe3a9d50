"""Commands with shards, merged, leave the files of one command: any number of shards, in any order."""

import json
import random
import shutil

import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file

from cofire.storage import load_json, read_tensors, save_json, save_result, versions
from tests.crash.verbs import rows_in
from tests.golden.place import build
from tests.golden.running import run

_PLAIN = "--resize 0 --mean 0.5 --std 0.25"
_BOXES = f"--data images --boxes boxes.json --model net.pt2 {_PLAIN}"
VERBS = {
    "evaluate": f"evaluate {_BOXES} --method centre,discernible --measures localisation,soft "
    "--split all --limit 10 --batch-size 3",
    "explain": f"explain images --model net.pt2 {_PLAIN} --method discernible,gradcam --batch-size 4",
    "boost": "boost --model mine:digits_network --train mine:train --test mine:test "
    "--validation mine:held_out --booster readout",
}
"""What each verb is asked; evaluate has four batches of images, the last one of one."""
CUTS = {"evaluate": (2, 3, 7), "explain": (3, 5), "boost": (4,)}
"""Into how many shards: as many as are equal, ragged ones, and some that have nothing to do."""
OTHERWISE = {"evaluate": "--fill black", "explain": "--top 2", "boost": "--unit element"}

QUICK = {verb: () if verb == "evaluate" else (pytest.mark.slow,) for verb in VERBS}
EVERY = pytest.mark.parametrize("verb", [pytest.param(v, marks=QUICK[v]) for v in VERBS])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A user's folder."""
    place = build(tmp_path_factory.mktemp("shards") / "user")
    with pytest.MonkeyPatch.context() as patch:
        # Pages and records tell the command, which is another one.
        for module in ("explain", "boost"):
            patch.setattr(f"cofire.cli.{module}.command_line", lambda: "cofire")
        # So few digits would be one block of a network as small as this.
        patch.setattr("cofire.activations.chunks._MANY", 256)
        yield place


def called(place, line):
    told = run(tuple(line.split()), place)
    assert told.exit == 0, (line, told.err)
    return told


def refused(place, line):
    told = run(tuple(line.split()), place)
    assert told.exit == 1, (line, told.out)
    assert "Traceback" not in told.err
    assert "Error:" not in told.err
    return told.err


def shards_of(place, verb, count, name="part", more=""):
    """The folders of all shards, each made once."""
    folders = [f"{verb}-{name}{part}of{count}" for part in range(1, count + 1)]
    for part, folder in enumerate(folders, start=1):
        if not (place / folder).exists():
            called(place, f"{VERBS[verb]} {more} --shard {part}/{count} --out {folder}")
    return folders


@pytest.mark.parametrize(
    ("verb", "count"),
    [pytest.param(*(v, cut), marks=QUICK[v]) for v in VERBS for cut in CUTS[v]],
)
def test_merged_shards_are_the_files_of_one_command(place, verb, count):
    if not (place / verb).exists():
        called(place, f"{VERBS[verb]} --out {verb}")
    folders = shards_of(place, verb, count)
    random.Random(count).shuffle(folders)
    whole = f"{verb}-whole{count}"
    said = called(place, f"merge {' '.join(folders)} --out {whole}").out
    assert files_in(place / whole) == files_in(place / verb)
    assert whole in said


def files_in(folder):
    """Names and contents; an exported program numbers what its process has traced before."""
    found = rows_in(folder)
    return {name: "" if name == "boosted.pt2" else content for name, content in found.items()}


@EVERY
def test_a_shard_that_is_missing_or_there_twice_or_another_is_refused(place, verb):
    one, two = shards_of(place, verb, 2)
    assert "no pass 1 of shard 2 of 2" in refused(place, f"merge {one} --out x")
    shutil.copytree(place / one, place / "again", dirs_exist_ok=True)
    assert "shard 1/2 twice" in refused(place, f"merge {one} {two} again --out x")
    shutil.rmtree(place / "again")
    (other, _) = shards_of(place, verb, 2, "other", OTHERWISE[verb])
    told = OTHERWISE[verb].split()[0].removeprefix("--")
    assert f"other values of {told}" in refused(place, f"merge {other} {two} --out x")
    assert "one of the parts" in refused(place, f"merge {one} {two} --out {one}")
    assert "holds" in refused(place, f"summarize --model net.pt2 --data digits --out {one}")
    assert not (place / "x").exists()


@EVERY
def test_shards_of_other_weights_are_refused(place, verb):
    one, two = shards_of(place, verb, 2)
    kept = (place / "net.pt2").read_bytes(), (place / "mine.py").read_bytes()
    try:
        change_weights(place)
        called(place, f"{VERBS[verb]} --shard 2/2 --out {verb}-weights")
        told = refused(place, f"merge {one} {verb}-weights --out x")
        assert f"{verb}-weights': counts of a network with other weights" in told
        told = refused(place, f"merge {one} {two} --out x")
        assert "parts that do not fit the data and network here" in told
    finally:
        (place / "net.pt2").write_bytes(kept[0])
        (place / "mine.py").write_bytes(kept[1])
        shutil.rmtree(place / "x", ignore_errors=True)


@pytest.mark.slow
def test_a_shard_that_was_begun_in_other_blocks_is_not_gone_on_with(place, monkeypatch):
    one, _ = shards_of(place, "boost", 2)
    begun = shutil.copytree(place / one, place / "boost-blocks")
    for file in begun.glob("boost-pass*"):
        file.unlink()
    monkeypatch.setattr("cofire.activations.chunks._MANY", 1024)
    told = refused(place, f"{VERBS['boost']} --shard 1/2 --out boost-blocks")
    assert "samples of a block 256 there, 1024 now" in told


@EVERY
def test_shards_of_other_data_are_refused(place, verb):
    one, _ = shards_of(place, verb, 2)
    image, module = place / "images/000.png", place / "mine.py"
    kept = image.read_bytes(), module.read_text()
    try:
        image.write_bytes((place / "images/001.png").read_bytes())
        module.write_text(kept[1].replace("return IMAGES[800:1100]", "return 1 - IMAGES[800:1100]"))
        called(place, f"{VERBS[verb]} --shard 2/2 --out {verb}-data")
        told = refused(place, f"merge {one} {verb}-data --out x")
        assert f"{verb}-data': counts of other data" in told
    finally:
        image.write_bytes(kept[0])
        module.write_text(kept[1])


def change_weights(place):
    program = torch.export.load(place / "net.pt2")
    for value in program.state_dict.values():
        if value.is_floating_point():
            value.data *= 1.01
    torch.export.save(program, place / "net.pt2")
    text = (place / "mine.py").read_text()
    (place / "mine.py").write_text(
        text.replace(
            "torch.optim.SGD(model.parameters(), 0.2)", "torch.optim.SGD(model.parameters(), 0.1)"
        )
    )


def test_shards_of_other_versions_are_refused(place, monkeypatch):
    one, two = shards_of(place, "evaluate", 2)
    monkeypatch.setattr("cofire.cli.sharing.versions", lambda: {**versions(), "torch": "2.9.0"})
    called(place, f"{VERBS['evaluate']} --shard 2/2 --out older")
    told = refused(place, f"merge {one} older --out x")
    assert "other values of versions" in told
    assert "'torch': '2.9.0'" in told
    monkeypatch.undo()
    monkeypatch.setattr("cofire.cli.merge.versions", lambda: {**versions(), "torch": "2.9.0"})
    told = refused(place, f"merge {one} {two} --out x")
    assert "other values of versions" in told
    assert not (place / "x").exists()


@pytest.mark.slow
def test_parts_of_two_verbs_are_refused(place):
    parts = [shards_of(place, verb, 2)[at] for at, verb in enumerate(list(VERBS)[:2])]
    if len(parts) == 2:
        assert "other values of" in refused(place, f"merge {' '.join(parts)} --out x")


def test_a_shard_goes_on_and_one_that_was_begun_is_not_merged(place):
    folders = shards_of(place, "evaluate", 3)
    killed = place / "killed"
    shutil.copytree(place / folders[0], killed)
    (killed / "evaluate-pass1.safetensors").unlink()
    (killed / ".cofire.json").write_text('{"kind": "an evaluation", "by": "process 1"}')
    assert "begun and has not ended" in refused(place, "merge killed --out x")
    called(place, f"{VERBS['evaluate']} --shard 1/3 --out killed")
    assert rows_in(killed) == rows_in(place / folders[0])
    (killed / "rows/000000.parquet").write_bytes(b"PAR1")
    told = refused(place, f"merge killed {folders[1]} {folders[2]} --out x")
    assert "killed/rows/000000.parquet" in told


@pytest.mark.slow
def test_readings_that_a_killed_shard_left_are_kept_and_damaged_ones_refused(place):
    one, two = shards_of(place, "boost", 2)
    killed = place / "killed-boost"
    shutil.copytree(place / two, killed)
    left = sorted((killed / "readings").glob("*.safetensors"))
    for file in (*killed.glob("boost-pass*"), *left[1:]):
        file.unlink()
    before = left[0].stat().st_mtime_ns
    called(place, f"{VERBS['boost']} --shard 2/2 --out killed-boost")
    assert rows_in(killed) == rows_in(place / two)
    assert left[0].stat().st_mtime_ns == before
    found = load_file(left[0])
    note = json.loads(read_tensors(left[0])[1]["cofire.readings"])
    for name, value, told in (
        ("layer0", found["layer0"][1:], {}),
        ("layer0", _bytes(pa.compress(b"few", "zstd", asbytes=True)), {}),
        ("labels", found["labels"] + 99, {}),
        ("labels", found["labels"].float(), {}),
        ("hashes", found["hashes"], {"head": "layer9"}),
        ("hashes", found["hashes"], {"shapes": {}}),
    ):
        save_result(left[0], "readings", note | told, found | {name: value.contiguous()})
        told = refused(place, f"merge killed-boost {one} --out damaged")
        assert f"{left[0].name} is no readings of this version" in told


def _bytes(content):
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def test_evaluations_that_learned_other_boxes_are_refused(place):
    one, two = shards_of(place, "evaluate", 2)
    shutil.copytree(place / two, place / "boxes")
    file = place / "boxes/rows/boxes.json"
    found = load_json(file)
    (method,) = list(found)[:1]
    save_json(file, {name: rule for name, rule in found.items() if name != method})
    told = refused(place, f"merge {one} boxes --out x")
    assert "'boxes', whose boxes were learned otherwise than those of" in told


def test_a_shard_of_a_loader_that_has_no_length_is_refused(place):
    (place / "endless.py").write_text(
        "from mine import test, digits_network\n"
        "class Batches:\n"
        "    def __iter__(self):\n"
        "        return iter([test()])\n"
    )
    line = VERBS["boost"].replace("--test mine:test", "--test endless:Batches")
    assert "data whose size is not known" in refused(place, f"{line} --shard 1/2 --out y")


def test_shards_on_a_cluster_are_refused(place):
    told = refused(place, f"{VERBS['evaluate']} --shard 1/2 --engine ray --out x")
    assert "--shard 1/2 with --engine 'ray'" in told
