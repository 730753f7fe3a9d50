"""Following checkpoints that somebody else trained, from files and on the command line."""

import contextlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import nn

import cofire
from cofire.errors import MergeError, OptionError, ResultError, WeightsError
from cofire.references import imported
from cofire.study import Trajectory, follow
from cofire.study.analysis_options import AnalysisOptions
from cofire.study.checkpoint_files import checkpoint_files
from tests.golden.place import build
from tests.golden.running import forget_modules_of, run

QUICK = {"bins": 10, "community_runs": 2, "null_graphs": 2, "progress": False}


def names(found):
    return [str(path.relative_to(path.parents[1])) for path in found.paths]


def touch(folder, *files):
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_checkpoints_come_in_the_order_of_their_numbers(tmp_path):
    touch(tmp_path / "run", "epoch_10.pt", "epoch_9.pt", "best.pt", "optimizer.pt", "notes.txt")
    found = checkpoint_files([tmp_path / "run"])
    assert names(found) == ["run/epoch_9.pt", "run/epoch_10.pt"]
    assert (found.epochs, found.steps) == ((9.0, 10.0), None)
    assert [path.name for path in found.left_out] == ["best.pt"]


def test_folders_of_a_trainer_say_steps(tmp_path):
    touch(
        tmp_path / "out",
        "checkpoint-1000/model.safetensors",
        "checkpoint-500/pytorch_model.bin",
        "checkpoint-500/optimizer.pt",
    )
    found = checkpoint_files([tmp_path / "out"])
    assert found.steps == (500, 1000)
    assert found.epochs is None


def test_names_without_numbers_are_taken_as_they_come(tmp_path):
    touch(tmp_path / "run", "late.pt", "early.pt")
    found = checkpoint_files([tmp_path / "run" / "early.pt", tmp_path / "run" / "late.pt"])
    assert names(found) == ["run/early.pt", "run/late.pt"]
    assert (found.epochs, found.steps) == (None, None)


def test_no_checkpoints_is_one_clear_error(tmp_path):
    with pytest.raises(WeightsError, match="no file of weights in"):
        checkpoint_files([tmp_path])
    with pytest.raises(WeightsError, match=r"no file '.*absent\.pt'"):
        checkpoint_files([tmp_path / "absent.pt"])


def lightning(module, folder):
    """Checkpoints as Lightning writes them, and the last one once more."""
    folder.mkdir()
    for epoch in range(3):
        with torch.no_grad():
            module[1].weight.mul_(1.5)
        state = {f"model.{name}": value.clone() for name, value in module.state_dict().items()}
        torch.save(
            {"state_dict": state, "epoch": epoch}, folder / f"epoch={epoch}-step={epoch}0.ckpt"
        )
    torch.save({"state_dict": state}, folder / "last.ckpt")


def mine(place):
    with contextlib.chdir(place):
        module = imported("mine")
    forget_modules_of(place)
    return module


def test_lightnings_checkpoints_are_followed_on_the_command_line(tmp_path):
    place = build(tmp_path / "place")
    lightning(mine(place).digits_network(), place / "run")
    line = (
        "follow run --model mine:digits_network --data mine:train --test mine:test --bins 5 "
        "--top 2,3 --community-runs 2 --null-graphs 0 --out out"
    )
    told = run(tuple(line.split()), place)
    assert told.exit == 0, told.err
    assert "last.ckpt" in told.err
    first = Trajectory.load(place / "out")
    assert first.network()["epoch"].to_pylist() == [1.0, 2.0, 3.0]
    assert first.network()["step"].to_pylist() == [0, 10, 20]
    assert set(first.modularities["top"].to_pylist()) == {2, 3}
    assert (place / "out" / "report.html").exists()
    shutil.rmtree(place / "out" / "rows" / "0002")  # killed there
    told = run(tuple(line.split()), place)
    assert told.exit == 0, told.err
    assert told.err.count("checkpoint ") == 1
    assert Trajectory.load(place / "out").layers.equals(first.layers)
    for wrong, said in {
        "--epochs 1,2": "2 epochs for 3 checkpoints",
        "--weights run/last.ckpt": "checkpoints without a flag",
        "--held-out mine:held_out": "held_out without boost",
    }.items():
        told = run((*line.split(), *wrong.split()), place)
        assert told.exit != 0
        assert (
            said.replace("held_out", "--held-out").replace("---", "-") in told.err
            or said in told.err
        )


def test_a_checkpoint_of_another_network_is_told_before_the_first_is_analysed(tmp_path):
    place = build(tmp_path / "place")
    torch.save(mine(place).digits_network().state_dict(), place / "1.pt")
    torch.save(nn.Linear(3, 2).state_dict(), place / "2.pt")
    told = run(
        (
            "follow",
            "1.pt",
            "2.pt",
            "--model",
            "mine:digits_network",
            "--data",
            "mine:train",
            "--out",
            "out",
        ),
        place,
    )
    assert told.exit != 0
    assert "2.pt" in told.err
    assert not (place / "out").exists()


def test_a_published_architecture_has_as_many_outputs_as_the_data_has_classes(tmp_path):
    from torchvision.models import resnet18

    draw = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(3):
            shades = draw.integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(shades).save(tmp_path / "images" / name / f"{number}.png")
    torch.save(resnet18(num_classes=2).state_dict(), tmp_path / "epoch_1.pt")
    line = (
        "follow epoch_1.pt --model torchvision:resnet18 --data imagefolder:images --image-size 32 "
        "--layer relu --bins 5 --pairs none --out out"
    )
    told = run(tuple(line.split()), tmp_path)
    assert told.exit == 0, told.err
    assert Trajectory.load(tmp_path / "out").classes["class_name"].to_pylist() == ["cat", "dog"]


def test_checkpoints_of_a_study_are_followed_on_images_prepared_as_its_own(tmp_path):
    draw = np.random.default_rng(0)
    for place in ("train/dark", "train/light", "test/dark", "test/light"):
        (tmp_path / "images" / place).mkdir(parents=True)
        for number in range(4):
            shades = draw.integers(0, 255, (34, 36, 3), dtype=np.uint8)
            Image.fromarray(shades).save(tmp_path / "images" / place / f"{number}.png")
    same = "--data imagefolder:images --model torchvision:squeezenet1_1 --bins 5 --pairs none"
    study = "--image-size 33 --epochs 2 --checkpoints 2 --batch-size 4 --out study"
    for line in (f"study {same} {study}", f"follow study/checkpoints {same} --out followed"):
        told = run(tuple(line.split()), tmp_path)
        assert told.exit == 0, told.err
        assert "33 × 33, x from 0 to 1" in told.err
    there, here = (Trajectory.load(tmp_path / name) for name in ("study", "followed"))
    assert here.layers["entropy"].to_pylist() == there.layers["entropy"].to_pylist()


def shaken(tiny, count):
    draw = torch.Generator().manual_seed(0)
    return [
        {
            n: v + 0.1 * torch.randn(v.shape, generator=draw)
            for n, v in tiny.model.state_dict().items()
        }
        for _ in range(count)
    ]


@pytest.mark.parametrize("pairs", ["class", "union"])
def test_several_numbers_of_representatives_give_the_graphs_of_runs_of_their_own(tiny, pairs):
    states = shaken(tiny, 1)
    together = follow(tiny.network, states, tiny.data, top=(4, 2), pairs=pairs, **QUICK)
    for top in (2, 4):
        alone = follow(tiny.network, states, tiny.data, top=top, pairs=pairs, **QUICK)
        one = together.chosen(top)
        for name in ("graphs", "modularities", "vertices", "edges"):
            columns = [c for c in getattr(alone, name).column_names if c != "top_asked"]
            assert getattr(one, name).select(columns).equals(getattr(alone, name).select(columns))
        layer = alone.graphs["layer"][0].as_py()
        assert torch.equal(together.graph(layer, top=top).adjacency, alone.graph(layer).adjacency)
    with pytest.raises(OptionError, match="top=3"):
        together.chosen(3)


def test_correlations_are_apart_by_the_number_of_representatives(tiny):
    found = follow(tiny.network, shaken(tiny, 3), tiny.data, top=(2, 3), **QUICK).correlations()
    rows = found.filter(pc.field("measure") == "louvain").to_pylist()
    assert {row["top"] for row in rows} == {2, 3}
    assert {row["top"] for row in found.to_pylist() if row["measure"] == "entropy"} == {None}


def test_several_choices_of_layers_are_boosters_of_their_own(tiny, tmp_path):
    states, options = shaken(tiny, 1), {"pairs": None, "boost": "readout", **QUICK}
    for name in ("community_runs", "null_graphs"):
        options.pop(name)
    draw = torch.Generator().manual_seed(3)
    test = torch.randn(40, *tiny.data[0].shape[1:], generator=draw), torch.arange(40) % 3
    last = tiny.network.activation_layers[-1].name
    both = follow(
        tiny.network,
        states,
        tiny.data,
        test,
        boost_layers=("all", "LL"),
        folder=tmp_path,
        **options,
    )
    assert set(both.boosts["layers"].to_pylist()) == {"all", "LL"}
    named = follow(tiny.network, states, tiny.data, test, boost_layers=last, **options)
    # A title says the layers in the words they were asked for by.
    last_layer, by_name = (
        one.drop_columns(["layers", "title"])
        for one in (both.chosen(boost_layers="LL").boosts, named.boosts)
    )
    assert last_layer.equals(by_name)
    assert Trajectory.load(tmp_path).boosts.equals(both.boosts)
    with pytest.raises(OptionError, match="layers='relu9'"):
        both.chosen(boost_layers="relu9")


def test_a_folder_of_an_earlier_version_goes_on(tiny, tmp_path):
    states = shaken(tiny, 2)
    draw = torch.Generator().manual_seed(3)
    test = torch.randn(40, *tiny.data[0].shape[1:], generator=draw), torch.arange(40) % 3
    asked = {"top": 3, "boost": "readout", "folder": tmp_path / "run", **QUICK}
    whole = follow(tiny.network, states, tiny.data, test, **asked)
    shutil.rmtree(tmp_path / "run" / "rows" / "0002")
    place = tmp_path / "run" / "rows" / "0001"
    part = Trajectory.load(place)
    gone = {"min_class_samples", "explain"}
    older = {name: value for name, value in part.options.items() if name not in gone}
    older |= {"by_class": True, "top": 3}
    older["boost_layers"] = [layer.name for layer in tiny.network.activation_layers]
    kept = json.loads((place / "checkpoint.json").read_text())
    replace(part, options=older).save(place)
    again = follow(tiny.network, states, tiny.data, test, **asked)
    assert again.layers.equals(whole.layers)
    assert again.boosts.equals(whole.boosts)
    assert kept == json.loads((place / "checkpoint.json").read_text())
    with pytest.raises(MergeError, match="top"):
        follow(tiny.network, states, tiny.data, test, **{**asked, "top": 2})


def test_a_graph_of_fewer_representatives_comes_out_of_a_summary(tiny):
    whole = cofire.summarize(tiny.network, tiny.data, by_class=True, pairs="class", top=4)
    less = cofire.summarize(tiny.network, tiny.data, by_class=True, pairs="class", top=2)
    for layer in whole:
        one, other = (each.graph(layer.layer.name, top=2) for each in (whole, less))
        assert torch.equal(one.adjacency, other.adjacency)
        assert torch.equal(one.representatives, other.representatives)
    with pytest.raises(OptionError, match="top=5"):
        whole.graph(layer.layer.name, top=5)


def test_tables_of_somebody_else_are_no_trajectory(tiny, tmp_path):
    found = cofire.follow(tiny.network, [tiny.model.state_dict()], tiny.data, pairs=None)
    found.save(tmp_path)
    for file in tmp_path.glob("*.parquet"):
        pq.write_table(pq.read_table(file).replace_schema_metadata(None), file)
    with pytest.raises(ResultError, match=r"tables without cofire's options.*a folder of a study"):
        Trajectory.load(tmp_path)


@pytest.mark.parametrize("value", [{}, [], [[]]])
def test_a_damaged_record_is_read_as_far_as_it_goes(value):
    read = AnalysisOptions.completed({"pairs": None, "by_class": value})
    assert (read["pairs"], read["by_class"]) == ("none", value)
    assert AnalysisOptions.completed({"by_class": True})["by_class"] == "full"
