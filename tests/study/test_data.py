"""The data of a study: found by name, split and sampled by class, from memory or from disk."""

import shutil
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader, Dataset, TensorDataset
from typer.testing import CliRunner

from cofire import Network, summarize
from cofire.cli.main import app
from cofire.errors import (
    BatchError,
    DataError,
    ImageError,
    LabelError,
    MissingExtraError,
    NonFiniteError,
    OptionError,
)
from cofire.study import StudyOptions, Trajectory, load_dataset, run_study
from cofire.study import data as study_data
from cofire.study.data import open_data, open_study_data
from cofire.study.samples import Samples, stratified
from cofire.study.sources import build_model, open_network


def images(folder, classes=("cat", "dog"), each=6, size=(8, 8)):
    """A folder of classes, each image of its own."""
    draw = np.random.default_rng(len(str(folder)))
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(each):
            shades = draw.integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(shades).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture
def own(monkeypatch):
    """Adds a function of the user's own, and gives its name."""
    module = ModuleType("own_data")
    monkeypatch.setitem(sys.modules, "own_data", module)

    def add(found):
        name = f"made{len(vars(module))}"
        setattr(module, name, lambda: found)
        return f"own_data:{name}"

    return add


def run(*arguments):
    found = CliRunner().invoke(app, [str(one) for one in arguments])
    assert found.exit_code == 0, found.output


def tensors(samples, classes=2, start=0):
    inputs = torch.arange(start, start + samples, dtype=torch.float32)[:, None]
    return TensorDataset(inputs, torch.arange(samples) % classes)


def test_held_out_samples_are_neither_trained_nor_observed_on():
    data, found = load_dataset("digits"), open_study_data("digits", validation=0.25, seed=3)
    inputs, labels = found.held_out.batch(range(len(found.held_out)))
    rest, rest_labels = found.train.batch(range(len(found.train)))
    assert len(rest_labels) + len(labels) == len(data.train_labels)
    rows = {tuple(row.flatten().tolist()) for row in rest}
    # Two, which the set itself holds twice.
    assert sum(tuple(row.flatten().tolist()) in rows for row in inputs) <= 2
    assert torch.bincount(labels).min() >= 30
    with pytest.raises(OptionError, match="validation"):
        open_study_data("digits", validation=0.001)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_read_from_disk_is_what_is_kept_in_memory(tmp_path, monkeypatch, workers):
    for part in ("train", "test"):
        images(tmp_path / part)
    spec = f"imagefolder:{tmp_path}"
    kept = open_study_data(spec, validation=0.5, mean=(0.5,), std=(0.25,))
    monkeypatch.setattr(study_data, "IN_MEMORY", 100)
    read = open_study_data(spec, validation=0.5, mean=(0.5,), std=(0.25,), workers=workers)
    for name in ("train", "held_out", "test"):
        one, other = getattr(kept, name), getattr(read, name)
        assert (one.in_memory, other.in_memory) == (True, False)
        lists = [[0, 3], [5, 1, 2]] if name == "test" else [[1, 0], [2]]
        for left, right in zip(one.batches(lists), other.batches(lists), strict=True):
            assert left[0].dtype == torch.float32
            assert torch.equal(left[0], right[0])
            assert torch.equal(left[1], right[1])
        assert torch.equal(one[1][0], other[1][0])
    network = Network(
        torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(192, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)
        ),
        kept.train.batch([0])[0].repeat(2, 1, 1, 1),
    )
    state = torch.random.get_rng_state()
    left, right = (
        summarize(network, one.test, by_class=True, batch_size=4) for one in (kept, read)
    )
    assert torch.equal(left["2"].entropy(), right["2"].entropy())
    assert left.options.class_names == ("cat", "dog")
    assert torch.equal(torch.random.get_rng_state(), state)


def test_no_more_than_a_batch_is_held_of_what_is_read_from_disk(tmp_path, monkeypatch):
    for part in ("train", "test"):
        images(tmp_path / part)
    monkeypatch.setattr(study_data, "IN_MEMORY", 100)
    opened = []
    read = study_data.folder_of_classes.__globals__["read_image"]
    monkeypatch.setattr(
        "cofire.images.datasets.read_image", lambda path: (opened.append(path), read(path))[1]
    )
    train = open_study_data(f"imagefolder:{tmp_path}").train
    opened.clear()
    for number, _ in enumerate(train.batches([[0, 1], [2, 3]]), start=1):
        assert len(opened) == 2 * number


def test_parts_of_a_folder_are_found(tmp_path):
    for part in ("train", "val", "test"):
        images(tmp_path / "both" / part, each={"train": 6, "val": 2, "test": 3}[part])
    for part in ("training", "validation"):
        images(tmp_path / "two" / part, each=4 if part == "training" else 2)
    found = open_study_data(f"imagefolder:{tmp_path / 'both'}", validation=0.1)
    assert [len(part) for part in (found.train, found.held_out, found.test)] == [12, 4, 6]
    assert "in place of a share" in found.notes[0]
    found = open_study_data(f"imagefolder:{tmp_path / 'two'}", validation=0.25)
    assert [len(part) for part in (found.train, found.held_out, found.test)] == [6, 2, 4]
    assert len(open_data(f"imagefolder:{tmp_path / 'both'}", split="test", image_size=8)) == 6
    assert len(open_data(f"imagefolder:{tmp_path / 'both'}", image_size=8)) == 12


def test_a_folder_of_classes_needs_test_data(tmp_path):
    folder = images(tmp_path / "all", classes=("train", "tram"), each=10)
    spec = f"imagefolder:{folder}"
    with pytest.raises(OptionError, match=r"without test data.*--test 0\.2"):
        open_study_data(spec)
    found = open_study_data(spec, test="0.2", seed=1)
    assert torch.bincount(found.test.labels).tolist() == [2, 2]
    assert len(found.train) == 16
    assert "4 of 20 samples" in found.notes[0]
    assert torch.equal(found.test.chosen, open_study_data(spec, test=0.2, seed=2).test.chosen)
    other = images(tmp_path / "other", classes=("train", "tram"), each=1)
    assert len(open_study_data(spec, test=f"imagefolder:{other}").test) == 2


def test_functions_give_one_part_or_several(own):
    one, other = tensors(8), tensors(4, start=100)
    for given_ in ({"train": one, "val": other}, (one, other)):
        found = open_study_data(own(given_))
        assert [len(part) for part in (found.train, found.test)] == [8, 4]
    found = open_study_data(own(one), test=own(other), validation=own(tensors(2, start=200)))
    assert found.test[0][0].item() == 100
    assert found.held_out[1][0].item() == 201
    assert found.classes == ("0", "1")
    with pytest.raises(OptionError, match=r"give.*\{'train'"):
        open_study_data(own(one))


class Listed(Dataset):
    def __init__(self, labels, told):
        self.labels, self.targets = labels, told

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, at):
        return torch.full((3,), float(at)), self.labels[at]


def test_labels_are_those_that_samples_have(own):
    told = Listed([0, 1, 1, 0], [0, 1, 1, 0])
    assert open_study_data(own((told, told))).train.labels.tolist() == [0, 1, 1, 0]
    del told.targets
    told.labels = np.array([0, 1, 1, 0])
    assert open_study_data(own((told, told))).train.labels.tolist() == [0, 1, 1, 0]
    with pytest.raises(LabelError, match="sample 0 of class 0, which was of class 1"):
        open_study_data(own((Listed([0, 1, 0, 1], [1, 0, 1, 0]), told)))


def test_classes_that_stand_in_another_order_are_put_right(own):
    one, other = tensors(4), tensors(4)
    one.classes, other.classes = ["cat", "dog"], ["dog", "cat"]
    assert open_study_data(own((one, other))).test.labels.tolist() == [1, 0, 1, 0]
    other.classes = ["dog", "cow"]
    with pytest.raises(LabelError, match="'cat' is in one alone"):
        open_study_data(own((one, other)))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 2**40), st.data())
def test_samples_have_the_same_share_of_each_class(sizes, seed, data):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    least = np.minimum(sizes, 2)
    count = data.draw(st.integers(int(least.sum()), len(labels)))
    chosen = stratified(labels, count, seed)
    assert len(chosen) == count == len(set(chosen.tolist()))
    assert (np.diff(chosen) > 0).all()
    taken = np.bincount(labels[chosen], minlength=len(sizes))
    wanted = count * np.array(sizes) / len(labels)
    assert (taken >= least).all()
    if (wanted >= least).all():
        assert (np.abs(taken - wanted) < 1).all()
    assert np.array_equal(chosen, stratified(labels, count, seed))


def test_samples_too_large_or_too_small_are_refused():
    samples = Samples(torch.zeros(4, 1), torch.tensor([0, 1, 0, 1]), ("a", "b"))
    for count in (3, 5):
        with pytest.raises(OptionError, match=f"train_samples={count} of 4 samples of 2 classes"):
            samples.sample(count, 0, "train_samples")


def test_a_sample_that_cannot_be_read_is_named(tmp_path):
    for part in ("train", "test"):
        images(tmp_path / part)
    (tmp_path / "train" / "dog" / "3.png").write_bytes(b"no image")
    for workers in (0, 1):
        with pytest.raises(ImageError, match=r"^'[^']*3\.png' cannot be read.*replace the file"):
            open_study_data(f"imagefolder:{tmp_path}", workers=workers)


def test_a_class_needs_two_training_samples(own):
    with pytest.raises(LabelError, match=r"1 training samples of class '1'\. Expected: at least 2"):
        open_study_data(own((Listed([0, 0, 1], [0, 0, 1]), tensors(4))))
    two = tensors(4)
    two.classes = ["cat", "dog", "cow"]
    with pytest.raises(LabelError, match="0 training samples of class 'cow'"):
        open_study_data(own((two, two)))
    with pytest.raises(LabelError, match="4 samples of 1 classes"):
        open_study_data(own((tensors(4, classes=1), two)))
    with pytest.raises(LabelError, match=r"label 2 at position 2 in test data.*from 0 to 1"):
        open_study_data(own((tensors(4), tensors(6, classes=3))))
    labels = [0] * 20 + [1]
    few = Listed(labels, labels)
    for options in ({"validation": 0.1}, {"test": 0.1}):
        with pytest.raises(OptionError, match=r"0\.1 of 21 samples, 1 of class '1'"):
            open_study_data(own({"train": few, "test": tensors(4)}), **options)


def test_inputs_must_be_finite_and_of_one_shape(own):
    with pytest.raises(BatchError, match=r"sample 1 is \(2,\), others are \(1,\)"):
        open_study_data(own((Growing([0, 1, 0, 1], [0, 1, 0, 1]), tensors(4))))
    wrong = tensors(4)
    wrong.tensors[0][2] = torch.nan
    with pytest.raises(NonFiniteError, match="sample 2 with NaN"):
        open_study_data(own((wrong, tensors(4))))
    with pytest.raises(BatchError, match=r"test data whose inputs are \(2,\), and \(1,\)"):
        open_study_data(own((tensors(4), TensorDataset(torch.zeros(2, 2), torch.tensor([0, 1])))))


class Growing(Listed):
    def __getitem__(self, at):
        return torch.zeros(at + 1), self.labels[at]


class Ragged(Listed):
    def __getitem__(self, at):
        return torch.full((3,), torch.nan if at == 2 else 1.0), self.labels[at]


def test_what_is_on_disk_is_checked_batch_by_batch(own, monkeypatch):
    monkeypatch.setattr(study_data, "IN_MEMORY", 1)
    found = open_study_data(own((Ragged([0, 1, 0, 1], [0, 1, 0, 1]), Listed([0, 1], [0, 1]))))
    assert found.train.batch([3])[1].tolist() == [1]
    with pytest.raises(NonFiniteError, match="sample 2 with NaN"):
        found.train.batch([0, 2])
    found.train.source.labels = [0, 1]
    with pytest.raises(DataError, match="sample 3 cannot be loaded: IndexError"):
        list(found.train.batches([[3]]))


def test_image_files_are_looked_at_before_they_are_needed(tmp_path, monkeypatch):
    for part in ("train", "test"):
        images(tmp_path / part)
    monkeypatch.setattr(study_data, "IN_MEMORY", 1)
    (tmp_path / "train" / "dog" / "3.png").write_bytes(b"no image")
    Image.new("RGB", (9, 8)).save(tmp_path / "train" / "dog" / "4.png")
    with pytest.raises(ImageError, match=r"images \(2\).*3\.png.*4\.png' is 9 × 8"):
        open_study_data(f"imagefolder:{tmp_path}")
    (tmp_path / "train" / "dog" / "3.png").unlink()
    assert len(open_study_data(f"imagefolder:{tmp_path}", image_size=4).train) == 11


@pytest.mark.parametrize("limit", [1, 10**9])
def test_samples_in_two_parts_are_counted(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(study_data, "IN_MEMORY", limit)
    for part in ("train", "test"):
        images(tmp_path / part, each=30)
    assert open_study_data(f"imagefolder:{tmp_path}").notes == ()
    for name in ("1.png", "2.png", "3.png", "4.png"):
        shutil.copy(tmp_path / "train" / "cat" / name, tmp_path / "test" / "cat" / f"as-{name}")
    found = open_study_data(f"imagefolder:{tmp_path}")
    assert found.notes == ("4 of 64 samples of the test data are in the training data as well",)
    assert found.record["test_shared"] == 4
    options = {
        "data": f"imagefolder:{tmp_path}",
        "hidden": (4,),
        "boost": "readout",
        "validation": 0.0,
    }
    with pytest.raises(DataError, match=r"test data of which 4 of 64 .*leave boost out"):
        run_study(StudyOptions(**options), tmp_path / "study")
    assert not (tmp_path / "study" / "checkpoints").exists()


def test_classes_without_images_are_named(tmp_path):
    images(tmp_path)
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=r"no image of class 'ant', nor of 1 more.*remove its"):
        open_study_data(f"imagefolder:{tmp_path}", test=0.5)


def test_loaders_give_their_data_set(own):
    one = DataLoader(tensors(8), batch_size=2, shuffle=True)
    found = open_study_data(own((one, [(torch.ones(2, 1), torch.tensor([1, 0]))])))
    assert found.train.batch([5])[0].item() == 5
    assert found.test.labels.tolist() == [1, 0]
    with pytest.raises(DataError, match="collate_fn of its own"):
        open_study_data(own((DataLoader(tensors(8), collate_fn=list), one)))


def test_shares_are_below_one():
    for options in ({"test": "1.5"}, {"test": 0}, {"validation": 1.0}):
        with pytest.raises(OptionError, match="a share below 1, or data by name"):
            open_study_data("digits", **options)
    with pytest.raises(OptionError, match="no validation data in 'digits'"):
        open_study_data("digits", validation="digits")


def test_summaries_take_the_same_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for part, each in (("train", 6), ("test", 4)):
        images(tmp_path / "data" / part, each=each)
    (tmp_path / "net.py").write_text(
        "import torch\n"
        "def small():\n"
        "    torch.manual_seed(0)\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3), torch.nn.ReLU(), "
        "torch.nn.Linear(3, 2))\n"
        "def grey():\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3), torch.nn.ReLU(), "
        "torch.nn.Linear(3, 10))\n"
    )
    usual = ["summarize", "--model", "net:small", "--image-size", "8", "--data"]
    for more, samples in (([], 12), (["--split", "test"], 8)):
        out = f"out{samples}"
        run(*usual, "imagefolder:data", *more, "--out", out)
        assert Trajectory.load(out).options["samples"] == samples
    run("summarize", "--model", "net:grey", "--data", "digits", "--split", "test", "--out", "d")
    assert Trajectory.load("d").options["samples"] == 360


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"weights": "none"}, "--weights none with 'mine:model'.*the weights are its own"),
        ({"weights_key": "ema"}, "--weights-key ema without a file.*leave the key out"),
    ],
)
def test_options_of_weights_that_do_nothing_are_refused(given, said):
    with pytest.raises(OptionError, match=said):
        open_network("mine:model", torch.zeros(2, 4), **given)


def test_a_data_set_of_no_such_name_is_told_with_the_nearest():
    with pytest.raises(OptionError, match=r"data set='digit'.*pass 'digits'"):
        load_dataset("digit")


def test_timm_is_asked_for_where_it_is_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"'timm:resnet18' without timm.*pip install timm"):
        build_model("timm:resnet18")
