"""Data sets whose samples have columns, as those of Hugging Face, are taken as they are."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import cofire
from cofire.errors import BatchError
from cofire.study.samples import samples_of

INPUTS, LABELS = (
    torch.randn(12, 4, generator=torch.Generator().manual_seed(0)),
    torch.arange(12) % 2,
)


class Label:
    names = ("cat", "dog")


class Columns:
    """What `datasets.Dataset` looks like from outside: rows by number, each a dict."""

    features = {"image": None, "label": Label}
    column_names = ("image", "label")
    names = ("image", "label")

    def __len__(self):
        return len(LABELS)

    def __getitem__(self, at):
        if not 0 <= at < len(self):
            raise IndexError(at)
        return {**dict(zip(self.names, (INPUTS[at], int(LABELS[at])), strict=True)), "id": f"n{at}"}


class TorchColumns(Columns, Dataset):
    names = ("pixel_values", "labels")


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    return cofire.Network(model, INPUTS[:2])


@pytest.mark.parametrize(
    "data", [Columns(), TorchColumns(), DataLoader(TorchColumns(), batch_size=5)]
)
def test_rows_with_columns_are_inputs_and_labels(data, network):
    expected = cofire.summarize(network, (INPUTS, LABELS), by_class=True, progress=False)
    found = cofire.summarize(network, data, by_class=True, progress=False)
    assert found.accuracy == expected.accuracy
    assert found.class_samples.tolist() == [6, 6]
    assert found.options.class_names == ("cat", "dog")


def test_a_study_reads_them_by_number():
    samples = samples_of(TorchColumns(), "training data")
    inputs, labels = samples.batch([3, 0])
    assert torch.equal(inputs, INPUTS[[3, 0]])
    assert labels.tolist() == [1, 0]


def test_columns_of_other_names_are_told_as_what_they_are(network):
    class Texts(TorchColumns):
        names = ("text", "labels")

    with pytest.raises(BatchError, match=r"batch 0 is a dict.*choose the two parts in collate_fn"):
        cofire.summarize(network, Texts(), progress=False)
