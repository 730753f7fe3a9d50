"""Photos attacked, explained before and after: every number against one made by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cofire.errors import BatchError, DataError, ExplanationError, OptionError
from cofire.evaluate import robustness
from cofire.evaluate.deepfool import deepfool, fitting_noise
from cofire.evaluate.localisation import share_inside
from cofire.evaluate.results import COMPARISONS, MethodShift, Robustness
from cofire.evaluate.robustness import run_robustness
from cofire.evaluate.sensitivity import shift
from cofire.explain import explain
from cofire.network import Network
from tests.evaluate.seen import PREPARATION, attacked, small_boxes, small_network, small_photos


@pytest.fixture(scope="module")
def network():
    return small_network()


def run(network, count=5, **given):
    inputs, images = small_photos(count)
    names = ["a", "b", "c", "d"]
    chosen = {"preparation": PREPARATION, "boxes": small_boxes(count), "seed": 3, **given}
    return run_robustness(
        network, inputs, images, torch.arange(count) % 4, ["discernible"], names, **chosen
    )


def test_shifts_are_those_between_the_explanations_of_the_photos(network):
    found = run(network, batch_size=2)
    inputs, _ = small_photos()
    mean, std = (
        torch.tensor(values)[:, None, None] for values in (PREPARATION.mean, PREPARATION.std)
    )
    bounds = (-mean / std, (1 - mean) / std)
    attacked = deepfool(network, inputs, bounds=bounds)
    assert bool(attacked.fooled.all())
    noise, _ = fitting_noise(inputs, attacked.norm, bounds=bounds, seed=3)
    first = explain(network, inputs, attacked.before)
    others = {
        "noise": explain(network, noise, attacked.before),
        "attack": explain(network, attacked.images, attacked.before),
        "decision": explain(network, attacked.images, attacked.after),
        "classes": explain(network, inputs, attacked.after),
    }
    held = share_inside(first.heatmap(), small_boxes())
    for comparison in COMPARISONS:
        apart = shift(first, others[comparison])
        rows = [row for row in found.shifts if row.comparison == comparison]
        assert [row.image for row in rows] == list(range(5))
        for measure in ("centroid", "box_iou", "rank_correlation"):
            wanted = getattr(apart, measure)
            for at, row in enumerate(rows):
                value = getattr(row, measure)
                assert (value is not None) == bool(wanted.counted[at])
                assert value is None or value == pytest.approx(float(wanted.values[at]), abs=1e-3)
        assert [row.inside_before is not None for row in rows] == held.counted.tolist()
        assert rows[0].inside_before == pytest.approx(float(held.values[0]), abs=1e-6)
        after = share_inside(others[comparison].heatmap(), small_boxes()).values
        gaps = [float(after[at] - held.values[at]) for at in (0, 2, 4)]
        change = found.change("discernible", comparison)
        assert (change.value, change.counted) == (pytest.approx(sum(gaps) / 3, abs=1e-3), 3)
    assert [image.covered for image in found.images] == [pytest.approx(42 / 144), None] * 2 + [
        pytest.approx(42 / 144)
    ]
    assert found.covered.value == pytest.approx(42 / 144)
    for at, image in enumerate(found.images):
        assert image.norm == pytest.approx(float(attacked.norm[at]), rel=1e-4)
        change = ((attacked.images[at] - inputs[at]) * std * 255).double()
        assert image.levels == pytest.approx(float(change.square().mean().sqrt()), rel=1e-4)
        assert (image.before, image.after) == (int(attacked.before[at]), int(attacked.after[at]))
        assert image.kept <= image.confidence_after
        assert image.label == at % 4


def test_how_much_of_a_map_stays_on_the_object_is_told_pair_by_pair():
    # Shares in the box before and after, by hand: 0.75 → 0.5, 0.5 → 0.5, and one without a box.
    shares = {0: (0.75, 0.5), 1: (0.5, 0.5), 2: (None, None)}
    images = tuple(replace(attacked(), covered=0.25 if at < 2 else None) for at in shares)
    shifts = tuple(
        MethodShift(at, "gradcam", "decision", None, None, None, *pair)
        for at, pair in shares.items()
    )
    found = Robustness(("gradcam",), images, shifts, {}, {})
    change = found.change("gradcam", "decision")
    assert (change.value, change.counted, change.left_out) == (-0.125, 2, 1)
    assert found.covered.value == 0.25
    assert found.change("gradcam", "attack") is None


def test_cases_are_those_that_moved_most_and_show_what_changed(network):
    found = run(network, cases=2)
    moved = found.values("discernible", "attack", "centroid")
    assert [case.image for case in found.cases] == sorted(moved, key=lambda image: -moved[image])[
        :2
    ]
    case = found.cases[0]
    _, images = small_photos()
    assert np.array_equal(case.images[0], images[case.image].numpy())
    change = case.images[2].astype(int) - case.images[0].astype(int)
    assert np.abs(change).max() > 0
    assert np.corrcoef(change.ravel(), case.difference.astype(int).ravel())[0, 1] > 0.5
    assert [int(each.target[0, 0]) for each in case.explanations["discernible"]] == [
        *[found.images[case.image].before] * 3,
        found.images[case.image].after,
    ]


def test_it_is_the_same_in_other_batches_and_after_a_file(network, tmp_path):
    found, parted = run(network, cases=0), run(network, cases=0, batch_size=1)
    for one, other in zip(found.shifts, parted.shifts, strict=True):
        assert one.centroid == pytest.approx(other.centroid, abs=1e-4)
    again = Robustness.load(found.save(tmp_path / "robustness.json"))
    assert (again.images, again.shifts, again.classes, again.options) == (
        found.images,
        found.shifts,
        found.classes,
        found.options,
    )
    assert repr(again) == "Robustness(5 of 5 images fooled, 1 methods)"


def test_without_a_preparation_there_are_no_bounds_and_no_grey_levels(network):
    done = []
    found = run(network, preparation=None, boxes=None, advance=done.append, batch_size=2)
    assert all(image.levels is None and image.rounded is None for image in found.images)
    assert not found.options["bounded"]
    assert all(row.inside_before is None for row in found.shifts)
    assert done == [2, 2, 1]


def test_a_photo_that_is_not_fooled_is_not_explained():
    moving = small_network()
    frozen = {name: torch.zeros_like(value) for name, value in moving.state_dict().items()}
    still = moving.with_weights({**frozen, "6.bias": torch.tensor([3.0, 0, 0, 0])})
    found = run(still)
    assert found.fooled == 0
    assert found.shifts == ()
    assert found.cases == ()
    assert found.mean("discernible", "attack", "centroid") is None


def test_what_does_not_fit_is_refused(network):
    inputs, images = small_photos()
    with pytest.raises(BatchError, match="labels"):
        run_robustness(network, inputs, images, torch.zeros(3).long(), ["discernible"])
    with pytest.raises(BatchError, match="preparation"):
        run_robustness(
            network,
            inputs,
            images,
            None,
            ["discernible"],
            preparation=type(PREPARATION)((3, 8, 8), 0, (0.0,) * 3, (1.0,) * 3),
        )
    with pytest.raises(DataError):
        run_robustness(network, inputs, images, None, ["gradcam", "gradcam"])
    with pytest.raises(OptionError):
        run_robustness(network, inputs, images, None, ["nothing"])
    flat = Network(torch.nn.Linear(4, 2), torch.zeros(1, 4))
    with pytest.raises(ExplanationError):
        run_robustness(
            flat, torch.zeros(1, 4), torch.zeros(1, 1, 4, 3).byte(), None, ["discernible"]
        )


def test_noise_is_made_for_fooled_photos_alone_and_left_out_where_it_cannot_fit(
    network, monkeypatch, tmp_path
):
    def attack(network, images, **given):
        found = deepfool(network, images, **given)
        # The first was not fooled however far it went; the second needs more than its bounds hold.
        norm = torch.where(torch.arange(len(images)) < 2, torch.tensor(1e4), found.norm.cpu())
        return replace(found, norm=norm, fooled=torch.arange(len(images)) > 0)

    monkeypatch.setattr(robustness, "deepfool", attack)
    found = run(network, count=4)
    assert found.fooled == 3
    assert {row.image for row in found.shifts} == {2, 3}
    assert [image.noisy is None for image in found.images] == [True, True, False, False]
    assert found.mean("discernible", "attack", "centroid").left_out >= 1
    assert Robustness.load(found.save(tmp_path / "robustness.json")).images == found.images
