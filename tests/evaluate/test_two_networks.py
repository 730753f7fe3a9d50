"""Two networks on the same photos: who is right, what they share, and the result's means and file."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from cofire.errors import BatchError, DataError, LabelError, OptionError, ResultError
from cofire.evaluate.localisation import area_overlap, share_inside
from cofire.evaluate.results import TwoNetworks
from cofire.evaluate.two_networks import Side, compare_networks
from cofire.explain import explain
from cofire.network import Network
from tests.evaluate.seen import (
    network_row,
    small_boxes,
    small_comparison,
    small_network,
    small_photos,
)


@pytest.fixture(scope="module")
def sides():
    inputs, images = small_photos(8)
    # The second wants its inputs otherwise, as networks do.
    return (
        Side(small_network(0), inputs, images, "one", small_boxes(8)),
        Side(small_network(5), 0.5 * inputs, images, "two", small_boxes(8)),
    )


@pytest.fixture(scope="module")
def labels(sides):
    """So that each of the two is right about some photos."""
    first, second = (side.network.run(side.inputs).argmax(1) for side in sides)
    return torch.where(torch.arange(8) % 2 == 0, first, second)


def test_every_number_is_that_of_the_explanations(sides, labels):
    found = compare_networks(*sides, labels, names=list("abcd"), batch_size=3)
    predicted = [side.network.run(side.inputs).argmax(1) for side in sides]
    own = [
        explain(side.network, side.inputs, classes)
        for side, classes in zip(sides, predicted, strict=True)
    ]
    true = [explain(side.network, side.inputs, labels) for side in sides]
    overlap = area_overlap(own[0].heatmap(), own[1].heatmap())
    of_truth = area_overlap(true[0].heatmap(), true[1].heatmap())
    inside = [share_inside(each.heatmap(), small_boxes(8)) for each in own]
    for at, row in enumerate(found.rows):
        assert row.predicted == (int(predicted[0][at]), int(predicted[1][at]))
        assert (
            row.kind
            == {(True, True): "both", (True, False): "first", (False, True): "second"}[
                (row.predicted[0] == row.label, row.predicted[1] == row.label)
            ]
        )
        assert row.overlap == pytest.approx(float(overlap.values[at]), abs=1e-6)
        assert row.overlap_of_truth == pytest.approx(float(of_truth.values[at]), abs=1e-6)
        assert [value is not None for value in row.inside] == [
            bool(each.counted[at]) for each in inside
        ]
        if at % 2 == 0:
            assert row.inside[1] == pytest.approx(float(inside[1].values[at]), abs=1e-6)
            assert row.covered == pytest.approx(42 / 144)
    assert found.of_kind("first")
    assert found.of_kind("second")


def test_cases_are_those_that_one_alone_gets_right(sides, labels):
    found = compare_networks(*sides, labels, cases=2, batch_size=3)
    alone = sorted(
        (row.overlap if row.overlap is not None else 2.0, at)
        for at, row in enumerate(found.rows)
        if row.kind in ("first", "second")
    )
    assert [case.image for case in found.cases] == [at for _, at in alone[:2]]
    case = found.cases[0]
    for network, (own, true) in enumerate(case.explanations):
        assert int(own.target[0, 0]) == found.rows[case.image].predicted[network]
        assert int(true.target[0, 0]) == found.rows[case.image].label
        assert len(own) == 1


def test_networks_of_other_sizes_are_compared_on_the_first_ones_pixels():
    inputs, images = small_photos(3)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 4),
    )
    from cofire.network import Network

    wide = Side(
        Network(model, torch.zeros(1, 3, 24, 24)),
        torch.rand(3, 3, 24, 24),
        torch.zeros(3, 24, 24, 3).byte(),
        "wide",
    )
    found = compare_networks(
        Side(small_network(), inputs, images, "one"), wide, torch.zeros(3).long()
    )
    assert all(row.overlap is None or 0 <= row.overlap <= 1 for row in found.rows)
    assert all(row.covered is None for row in found.rows)


def test_networks_of_one_name_are_told_apart(sides, labels):
    found = compare_networks(sides[0], sides[0], labels, cases=0)
    assert found.networks == ("one (first)", "one (second)")
    assert all(row.overlap == 1.0 for row in found.rows)


def test_means_are_over_photos_of_a_kind(tmp_path):
    found = small_comparison()
    assert repr(found) == "TwoNetworks(5 images, right: both 2, first 1, second 1, neither 1)"
    assert found.mean("both", "overlap").value == pytest.approx(0.625)
    assert found.mean(("first", "second"), "overlap").value == pytest.approx(0.125)
    assert found.mean("both", "inside", 1).value == 0.75
    assert found.mean("both", "inside").value == -0.25
    assert found.mean("neither", "overlap") is None
    assert (found.correct(0), found.correct(1)) == (0.6, 0.6)
    again = TwoNetworks.load(found.save(tmp_path / "two.json"))
    assert (again.rows, again.networks, again.classes) == (
        found.rows,
        found.networks,
        found.classes,
    )
    with pytest.raises(OptionError):
        found.of_kind("all")
    with pytest.raises(OptionError):
        found.mean("both", "file")


def test_a_file_of_something_else_is_refused(tmp_path):
    file = tmp_path / "a.json"
    for text in ("", "[]", json.dumps({"format": 1, "kind": "robustness"})):
        file.write_text(text)
        with pytest.raises(ResultError):
            TwoNetworks.load(file)


def test_who_is_right_is_told_by_the_predictions():
    kinds = [network_row(predicted).kind for predicted in ((1, 1), (1, 0), (0, 1), (0, 0))]
    assert kinds == ["both", "first", "second", "neither"]


def test_what_does_not_fit_is_refused(sides, labels):
    other = Side(small_network(classes=5), sides[0].inputs, sides[0].images, "five")
    with pytest.raises(DataError):
        compare_networks(sides[0], other, labels)
    with pytest.raises(BatchError):
        compare_networks(*sides, labels[:3])
    with pytest.raises(LabelError):
        compare_networks(*sides, labels + 4)
    with pytest.raises(OptionError):
        compare_networks(*sides, labels, area=0)


def test_sides_are_networks_of_images_with_a_label_each(sides, labels):
    with pytest.raises(OptionError, match=r"network='resnet18'.*pass a Network"):
        replace(sides[0], network="resnet18")
    with pytest.raises(BatchError, match=r"labels of shape \(0,\).*pass one for each image"):
        compare_networks(*sides, labels[:0])
    flat = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, sides[0].network.num_classes))
    rows = torch.zeros(len(labels), 4)
    side = replace(sides[0], network=Network(flat, rows[:2]), inputs=rows, name="flat")
    with pytest.raises(BatchError, match=r"inputs of shape \(4,\).*that take images"):
        compare_networks(side, sides[1], labels)
