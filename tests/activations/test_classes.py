"""Classes come from the data: what is kept by class follows the classes that occur, whatever the network's outputs."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset

from cofire import ActivationSummary, Network, functional, summarize
from cofire.activations.batches import classes_of, name_of
from cofire.activations.labelling import ClassRows, Labelling
from cofire.activations.neurons import Grouping, NeuronView
from cofire.activations.statistics import ActivationStatistics
from cofire.errors import BudgetError, DataError, LabelError, MergeError, OptionError, ResultError

OCCURRING = torch.tensor([3, 17, 998])


class Wide:
    """A classifier of a thousand outputs, and data of three of these classes."""

    def __init__(self):
        generator = torch.Generator().manual_seed(5)
        self.model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 1000))
        self.inputs = torch.randn(60, 5, generator=generator)
        self.rows = torch.arange(60) % 3
        self.labels = OCCURRING[self.rows]
        self.network = Network(self.model, self.inputs[:2])
        self.data = (self.inputs, self.labels)


@pytest.fixture
def wide():
    return Wide()


class Named(Dataset):
    """Samples whose data set names their classes."""

    def __init__(self, inputs, labels, classes, target_transform=None):
        self.inputs, self.labels, self.classes, self.target_transform = (
            inputs,
            labels,
            classes,
            target_transform,
        )

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.inputs[index], int(self.labels[index])


def forms(data, size=7):
    """The same data in memory, by a loader, and in an order in which new classes come late."""
    inputs, labels = data
    order = torch.argsort(labels, descending=True, stable=True)
    yield data
    yield DataLoader(TensorDataset(inputs, labels), batch_size=size)
    yield [(inputs[part], labels[part]) for part in order.split(size)]


def test_only_classes_that_occur_are_kept(wide):
    hidden = torch.relu(wide.model[0](wide.inputs)).detach()
    for form in forms(wide.data):
        summary = summarize(
            wide.network, form, by_class=True, pairs="class", top=3, null_graphs=2, bins=10
        )
        layer = summary["1"]
        assert summary.options.classes == (3, 17, 998)
        assert summary.options.class_names == ("3", "17", "998")
        assert summary.class_samples.tolist() == [20, 20, 20]
        assert layer.class_entropy().shape == (3, 8)
        assert layer.statistics.classes.tolist() == [3, 17, 998]
        assert torch.allclose(
            layer.class_mean(), functional.mean_activation(hidden.double(), wide.rows, 3), atol=1e-6
        )
        assert set(layer.preferred_class().tolist()) <= {3, 17, 998}
        graph = summary.graph("1")
        whole = functional.activation_pattern_graph(hidden, wide.rows, 3, graph.top)
        assert torch.allclose(graph.adjacency, whole[graph.neurons[:, None], graph.neurons])
        assert len(graph.by_chance) == 2


def test_accuracy_of_a_thousand_outputs_is_that_of_the_classes_that_occur(wide):
    right = (wide.model(wide.inputs).argmax(dim=1) == wide.labels).double().mean().item()
    assert summarize(wide.network, wide.data, by_class="statistics").accuracy == pytest.approx(
        right
    )


def test_memory_follows_the_classes_that_occur(wide):
    for form in forms(wide.data):
        summarize(wide.network, form, by_class=True, max_bytes=40_000)
    many = wide.inputs.repeat(4, 1), torch.arange(240) % 120
    for form in forms(many):
        with pytest.raises(BudgetError, match=r"at most 40\.0 kB"):
            summarize(wide.network, form, by_class=True, max_bytes=40_000)


@pytest.mark.parametrize("wrap", ["data set", "loader", "part", "part of a loader's", "joined"])
def test_a_data_set_names_its_classes(wide, wrap):
    data = Named(wide.inputs, wide.rows, ["ant", "bee", "cat"])
    wrapped = {
        "data set": data,
        "loader": DataLoader(data, batch_size=8),
        "part": Subset(data, range(30)),
        "part of a loader's": DataLoader(Subset(data, range(30)), batch_size=8),
        "joined": ConcatDataset([data, Subset(data, range(30))]),
    }[wrap]
    summary = summarize(wide.network, wrapped, by_class="statistics")
    assert summary.options.class_names == ("ant", "bee", "cat")
    assert name_of(wrapped) == "Named"


def test_names_that_mean_nothing_are_not_taken(wide):
    data = Named(wide.inputs, wide.rows, ["ant", "bee", "cat"])
    other = Named(wide.inputs, wide.rows, ["dog", "eel", "fox"])
    changed = Named(
        wide.inputs, wide.rows, ["ant", "bee", "cat"], target_transform=lambda label: label % 2
    )
    assert classes_of(ConcatDataset([data, other])) is None
    assert classes_of(changed) is None
    assert classes_of(DataLoader(changed)) is None
    assert classes_of(Named(wide.inputs, wide.rows, ["alone"])) is None
    assert classes_of(Named(wide.inputs, wide.rows, [None, object()])) is None


def test_hugging_faces_names_are_those_of_the_label():
    class Label:
        names = ("cat", "dog")

    class Faces:
        features = {"image": object(), "label": Label()}

    assert classes_of(Faces()) == ("cat", "dog")


def test_without_outputs_of_their_own_classes_have_no_accuracy(wide, tmp_path, capsys):
    data = Named(wide.inputs, wide.rows, ["ant", "bee", "cat"])
    summary = summarize(wide.network, data, by_class=True, progress=True)
    assert (
        "accuracy is left out: the data has 3 classes and the network 1000 outputs"
        in capsys.readouterr().err
    )
    again = ActivationSummary.load(summary.save(tmp_path / "summary.safetensors"))
    for one in (summary, again):
        assert (one.accuracy, one.class_correct, one.options.outputs) == (None, None, "none")
        assert "no accuracy" in repr(one)
        assert one["1"].selectivity().shape == (8,)
        with pytest.raises(DataError, match="outputs=…"):
            one.class_accuracy()
    assert again.options == summary.options


def test_outputs_say_whose_each_is(wide):
    data = Named(wide.inputs, wide.rows, ["ant", "bee", "cat"])
    summary = summarize(wide.network, data, by_class=True, outputs=OCCURRING.tolist())
    expected = summarize(wide.network, wide.data, by_class=True)
    assert summary.options.outputs == "name"
    assert summary.options.classes == (0, 1, 2)
    assert torch.equal(summary.class_correct, expected.class_correct)
    assert torch.equal(summary["1"].class_mean(), expected["1"].class_mean())


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"outputs": [1, 2]}, OptionError, "2 outputs for 3 classes"),
        ({"outputs": [1, 2, 1000]}, OptionError, "outputs=1000"),
        ({"class_names": "abc"}, OptionError, "a sequence"),
        ({"class_names": ["a", "b"]}, LabelError, "label 2"),
    ],
)
def test_classes_that_cannot_be_are_refused(wide, options, error, words):
    data = Named(wide.inputs, wide.rows, ["ant", "bee", "cat"])
    with pytest.raises(error, match=words):
        summarize(wide.network, data, by_class=True, **options)


def test_photos_of_some_of_many_classes_may_show_a_class_once(wide, tiny):
    once = torch.arange(60) * 7
    summary = summarize(wide.network, (wide.inputs, once), by_class=True)
    assert summary.class_samples.tolist() == [1] * 60
    with pytest.raises(LabelError, match="too few samples"):
        summarize(wide.network, (wide.inputs, once), by_class=True, min_class_samples=2)
    with pytest.raises(LabelError, match="too few samples"):
        summarize(tiny.network, (tiny.inputs[:4], tiny.labels[:4]), by_class=True)
    with pytest.raises(LabelError, match="class '7' alone"):
        summarize(wide.network, (wide.inputs, torch.full((60,), 7)), by_class=True)


def test_a_class_that_occurs_in_one_reading_alone_is_refused(wide):
    class Changing:
        readings = 0

        def __iter__(self):
            self.readings += 1
            yield wide.inputs, wide.labels + (self.readings > 1)

    with pytest.raises(DataError, match="the reading before had not"):
        summarize(wide.network, Changing(), by_class=True)


def statistics_of(values, labels, classes):
    state = ActivationStatistics.empty(values.shape[1], classes=len(classes))
    state.update(
        NeuronView(values[:, :, None], False), Grouping(torch.searchsorted(classes, labels))
    )
    return state.rows(torch.arange(len(classes)), classes)


def test_states_of_other_classes_merge_to_those_of_both():
    values, labels = torch.randn(40, 6).double(), torch.tensor([2, 5, 5, 9]).repeat(10)
    low, high = labels < 9, labels > 2

    def part(chosen):
        return statistics_of(values[chosen], labels[chosen], torch.unique(labels[chosen]))

    whole = part(low | high)
    one, two, three = (part(labels == number) for number in (2, 5, 9))
    for merged in (
        one.merge(two).merge(three),
        three.merge(one.merge(two)),
        part(low).merge(three),
    ):
        assert merged.classes.tolist() == [2, 5, 9]
        for name in ("samples", "nonzero", "active", "minimum", "maximum"):
            assert torch.equal(getattr(merged, name), getattr(whole, name))
        assert torch.allclose(merged.mean(), whole.mean())
    # As many classes in both, but not the same ones: rows must not be added one by one.
    assert part(low).merge(part(high)).samples.tolist() == [10, 40, 10]
    with pytest.raises(MergeError):
        whole.merge(whole.over_classes())


def test_rows_are_given_to_classes_as_they_come():
    rows = ClassRows(10)
    assert rows.of(torch.tensor([7, 2, 7])).tolist() == [1, 0, 1]
    assert rows.capacity == 2
    assert rows.of(torch.tensor([1, 2])).tolist() == [2, 0]
    assert rows.capacity == 4
    assert ClassRows(10, torch.tensor([4, 5, 6])).capacity == 3


def test_a_summary_from_before_there_were_numbers_of_classes_opens(tiny, tmp_path):
    summary = summarize(tiny.network, tiny.data, by_class=True, pairs="class", top=2)
    path = summary.save(tmp_path / "summary.safetensors")
    with safe_open(path, framework="pt") as file:
        note = json.loads(file.metadata()["cofire.summary"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    note["options"] = {k: v for k, v in note["options"].items() if k not in ("classes", "outputs")}
    older = {
        name: value for name, value in tensors.items() if not name.endswith("statistics.classes")
    }
    assert len(older) == len(tensors) - 2
    layers = [{**layer, "by_chance": 10**15} for layer in note["layers"]]
    save_file(older, path, metadata={"cofire.summary": json.dumps({**note, "layers": layers})})
    with pytest.raises(ResultError, match="no summary of this version"):
        ActivationSummary.load(path)  # at once
    save_file(older, path, metadata={"cofire.summary": json.dumps(note)})
    again = ActivationSummary.load(path)
    assert again.options == summary.options
    assert again.accuracy == summary.accuracy
    assert torch.equal(again["3"].preferred_class(), summary["3"].preferred_class())
    merged = again["1"].statistics.merge(summary["1"].statistics)
    assert torch.equal(merged.samples, 2 * summary["1"].statistics.samples)


def test_further_data_of_other_classes_is_noticed(wide):
    data = Named(wide.inputs, wide.rows, ["ant", "bee", "cat"])
    labelling = Labelling.of(wide.network, data)
    labelling.check_same(data, "the test data")
    labelling.check_same(wide.data, "the test data")
    with pytest.raises(LabelError, match="'ant' is in one alone"):
        labelling.check_same(Named(wide.inputs, wide.rows, ["bee", "cat"]), "the test data")
    with pytest.raises(LabelError, match="in another order"):
        labelling.check_same(Named(wide.inputs, wide.rows, ["bee", "ant", "cat"]), "the test data")
