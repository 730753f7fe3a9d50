"""Shards of any cut, in any order, give the files of one run; what does not belong together is refused."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import cofire
from cofire.activations.sharing import BLOCK, Counted, blocks_of, joined, shared
from cofire.errors import CofireError, DataError, MergeError, OptionError
from cofire.scale.parts import from_bytes, load_counts, save_counts, to_bytes
from cofire.scale.shards import Known, PartWritten, Shard, merged
from cofire.storage import read_tensors, save_result

MADE = {"verb": "summarize", "bins": 20}
HOW = {
    "by_class": True,
    "pairs": "union",
    "top": 3,
    "null_graphs": 2,
    "bins": 20,
    "progress": False,
}


def network(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        return cofire.Network(model, torch.zeros(2, 4))


@pytest.fixture(scope="module")
def data():
    """6,000 samples, of three classes, the last of which comes late."""
    draw = torch.Generator().manual_seed(1)
    labels = torch.randint(2, (6000,), generator=draw)
    labels[5200:] = 2
    return torch.randn(6000, 4, generator=draw), labels


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    """The file of one run."""
    path = tmp_path_factory.mktemp("alone") / "summary.safetensors"
    return cofire.summarize(network(), data, **HOW).save(path).read_bytes()


def shard(data, name, out, known=(), made=MADE, net=None, **how):
    out.mkdir(parents=True, exist_ok=True)
    with pytest.raises(PartWritten) as written, shared(Shard(name, out, made, known)):
        cofire.summarize(net or network(), data, **HOW | how)
    return written.value.path


def two_passes(data, names, place, later=None):
    """All shards' folders, after both passes."""
    folders = [place / name.replace("/", "-of-") for name in names]
    for name, folder in zip(names, folders, strict=True):
        shard(data, name, folder)
    known = merged(folders).passes
    save_counts(place / "ranges.safetensors", known, MADE)
    known, _ = load_counts(place / "ranges.safetensors")
    for name, folder in zip(names, folders, strict=True):
        shard(data if later is None else later, name, folder, known, batch_size=77)
    return folders


@settings(max_examples=4, deadline=None)
@given(parts=st.integers(1, 8), draw=st.randoms(use_true_random=False))
def test_any_cut_merged_in_any_order_gives_the_same_file(
    data, alone, tmp_path_factory, parts, draw
):
    place = tmp_path_factory.mktemp("parts")
    folders = two_passes(data, [f"{part}/{parts}" for part in range(1, parts + 1)], place)
    draw.shuffle(folders)
    passes, made, _ = merged(folders)
    assert made == MADE
    with shared(Known(passes)):
        whole = cofire.summarize(network(), data, **HOW)
    assert whole.save(place / "summary.safetensors").read_bytes() == alone


def test_data_that_comes_in_batches_is_shared_too(data, alone, tmp_path):
    inputs, labels = data
    batches = [(inputs[at : at + 70], labels[at : at + 70]) for at in range(0, 6000, 70)]

    class Listed(list):
        pass

    with pytest.raises(DataError, match="data whose size is not known"):
        shard_of_unknown(Listed(batches), tmp_path)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(inputs, labels), batch_size=70
    )
    folders = two_passes(loader, ["1/2", "2/2"], tmp_path)
    passes = merged(folders).passes
    with shared(Known(passes)):
        whole = cofire.summarize(network(), loader, **HOW)
    assert whole.save(tmp_path / "summary.safetensors").read_bytes() == alone
    shuffling = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(inputs, labels), batch_size=70, shuffle=True
    )
    with pytest.raises(DataError, match="a loader that shuffles"):
        shard_of_unknown(shuffling, tmp_path)


def shard_of_unknown(data, place):
    with shared(Shard("1/2", place, MADE)):
        cofire.summarize(network(), data, progress=False)


def test_parts_that_do_not_belong_together_are_refused(data, tmp_path):
    one, two, again, other = (tmp_path / name for name in ("one", "two", "again", "other"))
    shard(data, "1/2", one)
    shard(data, "1/2", again)
    with pytest.raises(MergeError, match="no pass 1 of shard 2 of 2"):
        merged([one])
    with pytest.raises(MergeError, match="shard 1/2 twice"):
        merged([one, again])
    shard(data, "2/2", other, made=MADE | {"bins": 30})
    with pytest.raises(MergeError, match="other values of bins: bins 30 there, 20 now"):
        merged([one, other])
    shard(data, "2/2", other, net=network(seed=1))
    with pytest.raises(MergeError, match=r"other': counts of a network with other weights"):
        merged([one, other])
    shard((data[0][:5600], data[1][:5600]), "2/2", other)
    with pytest.raises(MergeError, match="counts of data of 5,600 samples, and data of 6,000"):
        merged([one, other])
    shard(data, "1/3", other)
    with pytest.raises(MergeError, match=r"other': block 0 twice"):
        merged([one, other])
    with pytest.raises(MergeError, match="which holds no part"):
        merged([one, tmp_path / "nothing"])
    shard(data, "2/2", two)
    known = merged([one, two]).passes
    shard(data, "1/2", one, known)
    shard(data_with(data, 4001), "2/2", two, known)
    passes = merged([one, two]).passes
    with pytest.raises(DataError, match="second pass saw other data"), shared(Known(passes)):
        cofire.summarize(network(), data, **HOW)


def data_with(data, sample):
    """The data with one sample that is another; every 94th, from 0 on, is looked at before the data is counted."""
    inputs = data[0].clone()
    inputs[sample] += 50
    return inputs, data[1]


def test_shards_of_other_data_are_refused(data, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    shard(data, "1/2", one)
    labels = data[1].clone()
    labels[7] = 1 - labels[7]
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(data[0], labels), batch_size=9
    )
    for other in (data_with(data, 94), (data[0], labels), loader):
        shard(other, "2/2", two)
        with pytest.raises(MergeError, match=r"two': counts of other data"):
            merged([one, two])
    shard(data, "2/2", two)
    known = merged([one, two]).passes
    for other in (data_with(data, 0), loader):
        with pytest.raises(MergeError, match="counts of other data"), shared(Known(known)):
            cofire.summarize(network(), other, **HOW)


def test_a_pass_over_other_ranges_is_refused(data, tmp_path):
    folders = two_passes(data, ["1/2", "2/2"], tmp_path)
    shard(data_with(data, 4001), "2/2", folders[1])
    with pytest.raises(MergeError, match=r"pass 2 of .* made with other ranges"):
        merged(folders)


def test_counts_of_other_data_or_of_a_part_are_not_taken_for_all(data, tmp_path):
    part = shard(data, "1/2", tmp_path)
    (counted,), _ = load_counts(part)
    missing = r"no counts of blocks 3 to 5 \(samples 3,072 to 5,999\)"
    with pytest.raises(MergeError, match=missing), shared(Known([counted])):
        cofire.summarize(network(), data, **HOW)


@pytest.mark.parametrize("name", ["0/2", "3/2", "half", "1/", "1:2"])
def test_shards_that_are_none_are_refused(tmp_path, name):
    with pytest.raises(OptionError):
        Shard(name, tmp_path, MADE)


def test_blocks_are_shared_out_without_gap_or_overlap():
    for samples in (0, 1, BLOCK, BLOCK + 1, 5000):
        for parts in (1, 3, 7, 40):
            ranges = [blocks_of(samples, part, parts) for part in range(1, parts + 1)]
            assert joined(ranges) == joined([blocks_of(samples)])


def test_counts_reach_another_process_as_they_were(data, tmp_path):
    (counted,), _ = load_counts(shard(data, "2/3", tmp_path))
    again = from_bytes(to_bytes(counted))
    assert isinstance(again, Counted)
    assert (again.blocks, again.samples, again.network) == (
        counted.blocks,
        counted.samples,
        counted.network,
    )
    for name, state in counted.states.items():
        for one, two in zip(state.tensors(), again.states[name].tensors(), strict=True):
            assert torch.equal(one, two)


def changed(path, name, value, note=None):
    """The file again with one tensor, or what its note says, made otherwise, and a checksum that fits."""
    tensors, metadata = read_tensors(path)
    told = json.loads(metadata["cofire.counts"])
    if note is not None:
        told["passes"][0] |= note
    save_result(path, "counts", told, tensors | ({name: value(tensors[name])} if name else {}))


def test_crafted_parts_give_an_error_of_the_tree(data, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    shard(data, "1/2", one)
    path = shard(data, "2/2", two)
    whole = path.read_bytes()
    names = [name for name in read_tensors(path)[0] if name != "passes"]
    for name in names:
        for value in (
            lambda t: t[..., :1].clone() if t.ndim else t,
            lambda t: t.flatten(),
            lambda t: t.to(torch.float16),
            lambda t: t.reshape(*t.shape, 1),
            lambda t: torch.zeros(0, dtype=t.dtype),
        ):
            path.write_bytes(whole)
            changed(path, name, value)
            try:
                passes = merged([one, two]).passes
                with shared(Known(passes)):
                    cofire.summarize(network(), data, **HOW)
            except CofireError:
                continue
    for note in (
        {"blocks": [[0, 10**12]]},
        {"blocks": [["a", 1]]},
        {"blocks": [[5, 4]]},
        {"samples": "many"},
        {"samples": -1},
        {"size": 0},
        {"network": None},
        {"states": {}},
        {"states": [{"name": "a", "kind": "Path", "plain": {}}]},
    ):
        path.write_bytes(whole)
        changed(path, "", None, note)
        with pytest.raises(CofireError):
            merged([one, two])


def test_counts_of_other_layers_are_refused(data, tmp_path):
    shard(data, "1/1", tmp_path)
    wide = nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 3))
    other = cofire.Network(wide, torch.zeros(2, 4))
    (counted,) = merged([tmp_path]).passes
    counted = replace(counted, network=other.digest())
    with (
        pytest.raises(MergeError, match="other layers, neurons or classes"),
        shared(Known([counted])),
    ):
        cofire.summarize(other, data, **HOW)
    with pytest.raises(MergeError, match="in which a pass is missing"), shared(Known([])):
        cofire.summarize(other, data, **HOW)
