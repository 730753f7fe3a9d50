"""Studies: repeatable, resumable after a kill at any moment, never half-written."""

import json
import multiprocessing
import shutil
import signal
import time

import pyarrow.parquet as pq
import pytest
import torch

from cofire import StudyOptions, Trajectory, run_study
from cofire.errors import CofireError, MergeError, OptionError, ResultError, WeightsError
from cofire.patterns import MEASURES
from cofire.storage import write_table
from cofire.study import follow, load_dataset
from cofire.study.tables import TABLES
from cofire.study.training import checkpoint_steps

SMALL = {
    "data": "digits",
    "hidden": (24, 16),
    "epochs": 12,
    "checkpoints": 5,
    "bins": 20,
    "dropout": 0.1,
}
SMALL |= {"top": 5, "community_runs": 3, "null_graphs": 3}


def rows(folder):
    return {name: pq.read_table(folder / f"{name}.parquet").to_pylist() for name in TABLES}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "run"
    trajectory = run_study(StudyOptions(**SMALL), folder)
    return folder, trajectory


def test_a_study_leaves_checkpoints_and_its_tables(undisturbed):
    folder, trajectory = undisturbed
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == [
        f"{k:04d}.safetensors" for k in range(1, 6)
    ]
    assert trajectory.checkpoints == (1, 2, 3, 4, 5)
    assert trajectory.layers.num_rows == 5 * 2
    assert trajectory.classes.num_rows == 5 * 10
    assert trajectory.neurons.num_rows == 5 * (24 + 16)
    saved = Trajectory.load(folder)
    correlations = pq.read_table(folder / "correlations.parquet").to_pylist()
    assert [row["scope"] for row in correlations].count("class") == 20
    assert [row["scope"] for row in correlations].count("layer") == 2 * 2 * (len(MEASURES) + 1 + 5)
    assert (
        correlations[0]["pearson_low"]
        < correlations[0]["pearson"]
        < correlations[0]["pearson_high"]
    )
    assert saved.layers.equals(trajectory.layers)
    assert saved.options == trajectory.options
    assert not [p for p in folder.rglob("*") if "partial" in p.name]


def test_sums_over_neurons_layers_and_network_agree(undisturbed):
    _, trajectory = undisturbed
    for checkpoint in trajectory.checkpoints:
        by_neuron = sum(
            r["entropy"] for r in trajectory.neurons.to_pylist() if r["checkpoint"] == checkpoint
        )
        by_layer = sum(
            r["entropy"] for r in trajectory.layers.to_pylist() if r["checkpoint"] == checkpoint
        )
        network = trajectory.network().to_pylist()[checkpoint - 1]
        assert by_neuron == pytest.approx(by_layer, rel=1e-12)
        assert network["entropy"] == pytest.approx(by_layer, rel=1e-12)
        assert network["neurons"] == 40


def test_training_learns(undisturbed):
    table = undisturbed[1].network().to_pylist()
    assert table[-1]["train_accuracy"] > 0.7
    assert table[-1]["test_accuracy"] > 0.65


def test_the_same_seed_gives_the_same_rows_and_another_seed_others(undisturbed, tmp_path):
    folder, _ = undisturbed
    run_study(StudyOptions(**SMALL), tmp_path / "again")
    assert rows(tmp_path / "again") == rows(folder)
    run_study(StudyOptions(**SMALL, seed=1), tmp_path / "other")
    assert rows(tmp_path / "other") != rows(folder)


def test_a_finished_study_is_not_computed_again(undisturbed):
    folder, _ = undisturbed
    before = {p: p.stat().st_mtime_ns for p in (folder / "rows").rglob("*.parquet")}
    run_study(StudyOptions(**SMALL), folder)
    assert {p: p.stat().st_mtime_ns for p in (folder / "rows").rglob("*.parquet")} == before


@pytest.mark.parametrize(
    "lost", ["rows/0003", "training.pt", "layers.parquet", "checkpoints/0005.safetensors"]
)
def test_what_is_lost_is_made_again_the_same(undisturbed, tmp_path, lost):
    folder, _ = undisturbed
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    if lost == "checkpoints/0005.safetensors":
        (copy / "training.pt").unlink()  # as after a kill between the two writes
    if (copy / lost).is_dir():
        shutil.rmtree(copy / lost)
    else:
        (copy / lost).unlink(missing_ok=True)
    run_study(StudyOptions(**SMALL), copy)
    assert rows(copy) == rows(folder)


def study_and_tell(folder, told):
    """A study in a process of its own, which says when a checkpoint is done."""
    run_study(
        StudyOptions(**SMALL), folder, report=lambda so_far, _: told.send(so_far.checkpoints[-1])
    )


@pytest.mark.slow
def test_kills_in_the_middle_and_restarts_give_the_rows_of_an_undisturbed_run(
    undisturbed, tmp_path
):
    folder, _ = undisturbed
    target = tmp_path / "killed"
    context = multiprocessing.get_context("forkserver")  # torch is imported once for all of them
    context.set_forkserver_preload(["cofire.study", "tests.study.test_study"])
    for checkpoint in (1, 2, 4):
        heard, told = context.Pipe(duplex=False)
        process = context.Process(target=study_and_tell, args=(target, told))
        process.start()
        told.close()
        while heard.recv() != checkpoint:
            pass
        time.sleep(0.01 * checkpoint)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    run_study(StudyOptions(**SMALL), target)
    assert rows(target) == rows(folder)


def test_stopping_a_finished_study_leaves_its_tables_whole(undisturbed, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(undisturbed[0], copy)
    shutil.rmtree(copy / "rows" / "0004")

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(StudyOptions(**SMALL), copy, report=stop)
    assert rows(copy) == rows(undisturbed[0])


def test_a_kill_before_the_first_file_does_not_spoil_the_folder(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".study.json.abcd.partial").write_text("{")
    run_study(StudyOptions(**{**SMALL, "epochs": 1, "checkpoints": 1}), tmp_path / "run")
    assert Trajectory.load(tmp_path / "run").checkpoints == (1,)


def test_options_that_cannot_be_met_do_not_claim_the_folder(tmp_path):
    with pytest.raises(OptionError, match="at least one step for each"):
        run_study(StudyOptions(**{**SMALL, "epochs": 1, "checkpoints": 1000}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="is a file"):
        run_study(StudyOptions(**SMALL), tmp_path / "file")


def test_tables_that_were_not_written_together_are_refused(undisturbed, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(undisturbed[0], copy)
    shutil.copy(copy / "rows" / "0002" / "layers.parquet", copy / "layers.parquet")
    with pytest.raises(ResultError, match="not written together"):
        Trajectory.load(copy)


def test_a_folder_of_other_weights_is_refused(tiny, tmp_path):
    follow(tiny.network, [tiny.model.state_dict()], tiny.data, bins=10, folder=tmp_path / "f")
    other = {name: value * 2 for name, value in tiny.model.state_dict().items()}
    with pytest.raises(MergeError, match="weights"):
        follow(tiny.network, [other], tiny.data, bins=10, folder=tmp_path / "f")
    with pytest.raises(MergeError, match="test_data"):
        follow(
            tiny.network,
            [tiny.model.state_dict()],
            tiny.data,
            tiny.data,
            bins=10,
            folder=tmp_path / "f",
        )


def test_a_folder_of_another_study_is_refused_and_kept(undisturbed, tmp_path):
    folder, _ = undisturbed
    before = rows(folder)
    with pytest.raises(OptionError, match="bins 20 there, 30 now"):
        run_study(StudyOptions(**{**SMALL, "bins": 30}), folder)
    assert rows(folder) == before
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OptionError, match="holds other files"):
        run_study(StudyOptions(**SMALL), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    "file",
    ["training.pt", "checkpoints/0005.safetensors", "rows/0002/layers.parquet", "study.json"],
)
def test_a_truncated_file_is_one_clear_error(undisturbed, tmp_path, file):
    copy = tmp_path / "copy"
    shutil.copytree(undisturbed[0], copy)
    whole = (copy / file).read_bytes()
    (copy / file).write_bytes(whole[: len(whole) // 2])
    shutil.rmtree(copy / "rows" / "0005")  # something is left to do
    with pytest.raises((WeightsError, ResultError)) as caught:
        run_study(StudyOptions(**SMALL), copy)
    assert file.split("/")[-1] in str(caught.value) or "0002" in str(caught.value)
    assert "elete" in str(caught.value) or "0005" in str(caught.value)


def test_options_nested_without_end_are_one_clear_error(tmp_path):
    (tmp_path / "study.json").write_text("[" * 100_000)
    with pytest.raises(ResultError, match=r"study\.json"):
        run_study(StudyOptions(**SMALL), tmp_path)


def test_the_global_random_state_is_left_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run_study(StudyOptions(**{**SMALL, "epochs": 1, "checkpoints": 1}), tmp_path / "run")
    assert torch.equal(torch.rand(3), expected)


def test_checkpoints_are_uniform_and_need_a_step_each():
    assert checkpoint_steps(9380, 20) == [469 * k for k in range(1, 21)]
    assert checkpoint_steps(7, 3) == [2, 5, 7]
    with pytest.raises(OptionError, match="at least one step"):
        checkpoint_steps(3, 4)


def test_training_that_diverges_is_said_and_leaves_no_checkpoint_of_it(tmp_path):
    options = StudyOptions(**{**SMALL, "learning_rate": 1e30, "optimizer": "sgd", "epochs": 60})
    with pytest.raises(ResultError, match="smaller learning rate"):
        run_study(options, tmp_path / "run")


def test_following_ones_own_checkpoints(tiny, tmp_path):
    states = [
        {k: v * scale for k, v in tiny.model.state_dict().items()} for scale in (1.0, 2.0, 3.0)
    ]
    trajectory = follow(
        tiny.network,
        states,
        tiny.data,
        tiny.data,
        bins=10,
        folder=tmp_path / "f",
        epochs=[5, 10, 15],
    )
    assert trajectory.network()["epoch"].to_pylist() == [5.0, 10.0, 15.0]
    assert (
        trajectory.network()["train_accuracy"].to_pylist()
        == trajectory.network()["test_accuracy"].to_pylist()
    )
    again = follow(
        tiny.network,
        states,
        tiny.data,
        tiny.data,
        bins=10,
        folder=tmp_path / "f",
        epochs=[5, 10, 15],
    )
    assert again.neurons.equals(trajectory.neurons)
    with pytest.raises(MergeError, match="step"):
        follow(
            tiny.network,
            states,
            tiny.data,
            tiny.data,
            bins=10,
            folder=tmp_path / "f",
            epochs=[5, 10, 15],
            steps=[1, 2, 3],
        )
    with pytest.raises(MergeError, match="bins"):
        follow(tiny.network, states, tiny.data, bins=11, folder=tmp_path / "f", epochs=[5, 10, 15])
    with pytest.raises(OptionError, match="list of state dicts"):
        follow(tiny.network, tmp_path, tiny.data)
    with pytest.raises(OptionError, match="no checkpoints"):
        follow(tiny.network, [], tiny.data)
    with pytest.raises(OptionError, match="2 epochs, no steps, 3 checkpoints"):
        follow(tiny.network, states, tiny.data, epochs=[1, 2])
    with pytest.raises(WeightsError, match=r"absent\.safetensors"):
        follow(tiny.network, [tmp_path / "absent.safetensors"], tiny.data)


def test_a_checkpoint_that_is_missing_is_told_before_any_is_analysed(tiny, tmp_path):
    states = [tiny.model.state_dict(), tmp_path / "absent.safetensors"]
    with pytest.raises(WeightsError):
        follow(tiny.network, states, tiny.data, bins=10, folder=tmp_path / "f")
    assert not (tmp_path / "f" / "rows" / "0001").exists()


def test_finished_checkpoints_survive_a_bad_one(tiny, tmp_path):
    good = tiny.model.state_dict()
    states = [good, {name: values * 1e30 for name, values in good.items()}]
    with pytest.raises(CofireError):
        follow(tiny.network, states, tiny.data, bins=10, folder=tmp_path / "f")
    assert (tmp_path / "f" / "rows" / "0001" / "layers.parquet").exists()


def test_trajectories_merge_in_order_and_refuse_overlap(undisturbed):
    folder, trajectory = undisturbed
    parts = [Trajectory.load(folder / "rows" / f"{k:04d}") for k in (4, 1, 5, 2, 3)]
    assert Trajectory.concat(parts).neurons.equals(trajectory.neurons)
    with pytest.raises(MergeError, match="checkpoint 4 in two"):
        Trajectory.concat([*parts, parts[0]])
    with pytest.raises(ResultError, match="no trajectories"):
        Trajectory.concat([])


@pytest.mark.parametrize("content", [None, b"", b"PAR1 half a file"])
def test_a_missing_or_damaged_table_is_one_clear_error(undisturbed, tmp_path, content):
    copy = tmp_path / "copy"
    shutil.copytree(undisturbed[0], copy)
    (copy / "classes.parquet").unlink()
    if content is not None:
        (copy / "classes.parquet").write_bytes(content)
    with pytest.raises(ResultError, match=r"classes\.parquet"):
        Trajectory.load(copy)


def test_a_foreign_parquet_file_is_refused(tmp_path, undisturbed):
    copy = tmp_path / "copy"
    shutil.copytree(undisturbed[0], copy)
    write_table(pq.read_table(copy / "classes.parquet").select(["epoch"]), copy / "classes.parquet")
    with pytest.raises(ResultError, match="columns"):
        Trajectory.load(copy)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"data": "minst"}, "data"),
        ({"model": "rnn"}, "model"),
        ({"epochs": 0}, "epochs"),
        ({"hidden": ()}, "hidden"),
        ({"hidden": ("many",)}, "hidden"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"dropout": 1.0}, "dropout"),
        ({"optimizer": "adamax"}, "optimizer"),
        ({"range": "mine"}, "range"),
        ({"epoch": 3}, "epoch"),
    ],
)
def test_an_option_out_of_bounds_is_named(given, words):
    with pytest.raises(OptionError, match=words):
        StudyOptions.of(**given)


def test_options_come_from_a_file_and_flags_win(tmp_path):
    file = tmp_path / "study.toml"
    file.write_text('data = "mnist-mixed"\nhidden = [64]\nepochs = 3\n')
    options = StudyOptions.of(file, epochs=7, seed=None)
    assert (options.data, options.hidden, options.epochs, options.seed) == (
        "mnist-mixed",
        (64,),
        7,
        0,
    )
    file.write_text("data = ")
    with pytest.raises(OptionError, match=r"study\.toml"):
        StudyOptions.of(file)
    with pytest.raises(OptionError, match="absent"):
        StudyOptions.of(tmp_path / "absent.toml")


def test_mixed_labels_are_a_seeded_permutation():
    plain, mixed = load_dataset("digits"), load_dataset("digits-mixed", seed=3)
    again, other = load_dataset("digits-mixed", seed=3), load_dataset("digits-mixed", seed=4)
    assert torch.equal(mixed.train_inputs, plain.train_inputs)
    assert torch.equal(mixed.train_labels.bincount(), plain.train_labels.bincount())
    assert torch.equal(mixed.test_labels.bincount(), plain.test_labels.bincount())
    assert torch.equal(mixed.train_labels, again.train_labels)
    assert not torch.equal(mixed.train_labels, other.train_labels)
    assert (mixed.train_labels == plain.train_labels).float().mean() < 0.2


@pytest.mark.slow
def test_the_study_runs_on_mnist(mnist_root, tmp_path):
    options = StudyOptions(data="mnist", hidden=(32,), epochs=1, checkpoints=2, batch_size=512)
    trajectory = run_study(options, tmp_path / "run", data_root=mnist_root)
    table = trajectory.network().to_pylist()
    assert table[-1]["test_accuracy"] > 0.85
    assert json.loads((tmp_path / "run" / "study.json").read_text())["samples"] == 60_000
