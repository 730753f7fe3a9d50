"""Boosters held against controls: rows, verdicts, flips, and data that must not be shared."""

import copy
import dataclasses
import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cofire.boost import CONTROLS, METHODS, Interval, compare
from cofire.boost.comparison import cost_of_boosting
from cofire.boost.heads import (
    choose_readout,
    fit_affine,
    fit_auxiliary,
    fit_readouts,
    fit_scaling,
    fit_temperature,
)
from cofire.boost.measures import FlipCollector, calibration_error, negative_log_likelihood
from cofire.errors import DataError, NonFiniteError, OptionError
from cofire.network import Network
from cofire.statistics import mean_interval
from tests.boost.examples import images, toy


@pytest.fixture(scope="module")
def compared():
    _, network, (train, held, test) = toy()
    return network, test, compare(network, train, held, test, progress=False)


def test_all_methods_and_controls_are_judged_on_the_same_samples(compared):
    network, test, found = compared
    assert set(found.judged) == {*METHODS, *CONTROLS}
    base = network.run(test[0])
    row = found.judged["base"]
    assert torch.equal(found.predicted["base"], base.argmax(dim=1))
    assert row.test_accuracy == pytest.approx(float((base.argmax(1) == test[1]).double().mean()))
    assert row.test_loss == pytest.approx(negative_log_likelihood(base, test[1]), abs=1e-6)
    assert row.test_calibration == pytest.approx(
        calibration_error(base.softmax(1), test[1]), abs=1e-6
    )
    assert row.gain is None
    assert row.base_gain is None
    assert row.parameters == 0


def test_gains_flips_and_counts_agree(compared):
    _, test, found = compared
    base = found.predicted["base"] == test[1]
    for name, row in found.judged.items():
        own = found.predicted[name] == test[1]
        positives, negatives = found.false_counts(name)
        assert int(positives.sum()) == int(negatives.sum()) == int((~own).sum())
        if name == "base":
            continue
        assert row.repaired == int((own & ~base).sum())
        assert row.broken == int((base & ~own).sum())
        assert row.base_gain.value == pytest.approx((row.repaired - row.broken) / len(test[1]))
        assert row.base_gain.low <= row.base_gain.value <= row.base_gain.high
        assert (row.gain is None) == (row.kind == "control")
        assert (row.values_gain is None) == (row.kind == "control" or name == "values")
    assert found.judged[found.best_control].kind == "control"
    assert found.verdict in ("better", "worse", "equal", "undecided")
    assert all(flip.base != flip.boosted for flip in found.flips)


@pytest.mark.parametrize(
    ("over_base", "over_control", "said"),
    [
        ((0.01, 0.03), (0.01, 0.02), "better"),
        ((0.01, 0.03), (-0.01, 0.02), "undecided"),
        ((0.01, 0.03), (-0.002, 0.001), "equal"),
        ((-0.002, 0.001), (0.01, 0.03), "equal"),
        ((-0.01, 0.01), (0.01, 0.03), "undecided"),  # the control did harm: beating it is no merit
        ((-0.03, -0.01), (0.01, 0.03), "worse"),
        ((0.01, 0.03), (-0.03, -0.01), "worse"),
    ],
)
def test_a_booster_helps_if_it_beats_model_and_control(compared, over_base, over_control, said):
    _, _, found = compared
    own = found.judged[found.chosen]
    gains = {
        "base_gain": Interval(sum(over_base) / 2, *over_base),
        "gain": Interval(sum(over_control) / 2, *over_control),
    }
    judged = {**found.judged, found.chosen: dataclasses.replace(own, **gains)}
    assert dataclasses.replace(found, judged=judged).verdict == said


def test_the_lead_over_the_best_control_is_split_into_layers_and_patterns(compared):
    _, test, found = compared
    lead = found.judged["readout"].gain.value
    assert found.layers_gain.value + found.patterns_gain.value == pytest.approx(lead)
    values, own = (found.predicted[name] == test[1] for name in ("values", "readout"))
    assert found.patterns_gain.value == pytest.approx(
        float((own.double() - values.double()).mean())
    )
    assert found.patterns_gain.low <= found.patterns_gain.value <= found.patterns_gain.high
    assert found.judged["values"].kind == found.judged["patterns"].kind == "ablation"
    assert "patterns on top of values" in repr(found)
    judged = {
        **found.judged,
        "readout": dataclasses.replace(
            found.judged["readout"],
            gain=Interval(0.02, 0.01, 0.03),
            base_gain=Interval(0.02, 0.01, 0.03),
            values_gain=Interval(0.0, -0.001, 0.001),
        ),
    }
    helped = dataclasses.replace(found, judged=judged)
    assert (helped.verdict, helped.patterns_verdict) == ("better", "equal")


def told_apart(values, patterns):
    """Accuracies of the two halves' readouts where labels hang on how strongly neurons fire, or on which do."""
    draw = torch.Generator().manual_seed(0)
    fires = torch.rand(3000, 6, generator=draw) < 0.5
    strength = torch.rand(3000, 6, generator=draw) + 0.5
    activations = fires * strength
    by_value = ((activations > 1) & fires)[:, 0].long()
    labels = by_value if values else fires[:, 1].long()
    found = {}
    for name, read in (("values", (True, False)), ("patterns", (False, True))):
        seen = activations[:2000], torch.zeros(2000, 2), labels[:2000]
        evidence = fit_readouts(*seen, [6], values=read[0], patterns=read[1])
        added = [one((activations[2000:],)) for one in evidence]
        assert [(one.has_values, one.has_patterns) for one in evidence] == [read] * 3
        found[name] = max(float((one.argmax(1) == labels[2000:]).double().mean()) for one in added)
    return found


def test_each_half_of_the_readout_reads_its_own():
    of_values, of_patterns = told_apart(True, False), told_apart(False, True)
    assert of_values["values"] > 0.85 > 0.8 > of_values["patterns"]
    assert of_patterns["patterns"] > 0.99


def test_boosters_say_where_almost_every_neuron_is_always_active():
    model, _, (train, held, test) = images()
    model[0].bias.data += 3
    network = Network(model, test[0][:2])
    found = compare(network, train, held, test, methods=["readout"], progress=False)
    first = network.activation_layers[0].name
    activations = []
    network.run(
        train[0], lambda layer, values: activations.append(values.clone().mean(dim=(2, 3)) > 0)
    )
    shares = [
        float(
            (torch.stack([one[train[1] == c].double().mean(0) for c in range(3)]) > 0.99)
            .double()
            .mean()
        )
        for one in activations
    ]
    assert list(found.always_active.values()) == pytest.approx(shares)
    assert found.always_active[first] > 0.8
    assert "almost every neuron is always active" in found.told_of_always_active
    assert found.told_of_always_active in repr(found)
    by_mean = compare(
        network, train, held, test, methods=["readout"], threshold="mean", progress=False
    )
    assert by_mean.told_of_always_active == ""


def test_the_comparisons_booster_is_the_judged_one(compared):
    _, test, found = compared
    assert torch.equal(found.booster(test[0]).argmax(dim=1), found.predicted[found.chosen])


def test_temperature_leaves_predictions_as_they_are(compared):
    _, _, found = compared
    assert torch.equal(found.predicted["temperature"], found.predicted["base"])


def test_choices_do_not_depend_on_test_labels():
    _, network, (train, held, test) = toy()
    first = compare(network, train, held, test, method="auto", progress=False, train_accuracy=False)
    turned = (test[0], (test[1] + 1) % 3)
    second = compare(
        network, train, held, turned, method="auto", progress=False, train_accuracy=False
    )
    assert (first.chosen, first.best_control) == (second.chosen, second.best_control)
    assert all(torch.equal(first.predicted[n], second.predicted[n]) for n in first.predicted)


def test_test_data_in_the_training_data_is_refused():
    _, network, (train, held, _) = toy()
    with pytest.raises(DataError, match="test data"):
        compare(network, train, held, train, progress=False)


def test_a_control_is_no_booster():
    _, network, (train, held, test) = toy()
    with pytest.raises(OptionError, match="a control"):
        compare(network, train, held, test, method="temperature", progress=False)
    with pytest.raises(OptionError, match="an ablation"):
        compare(network, train, held, test, method="values", progress=False)
    with pytest.raises(OptionError, match="among no methods"):
        compare(network, train, held, test, method="auto", methods=["temperature"], progress=False)


def test_feature_maps_without_held_out_data():
    _, network, (train, _, test) = images()
    found = compare(network, train, None, test, progress=False)
    assert found.judged["readout"].fitted_on == "training data set aside"
    assert found.judged["auxiliary"].fitted_on == "training data"
    assert cost_of_boosting(found.booster, test[0], repeats=2).time > 0


def test_flips_keep_images_that_can_be_looked_at():
    collector = FlipCollector()
    inputs = torch.stack([torch.full((1, 4, 4), -1.0), torch.rand(1, 4, 4), torch.rand(1, 4, 4)])
    inputs[0, 0, 0, 0] = 3.0
    sure = torch.full((3,), 0.75)
    labels = torch.tensor([1, 0, 0])
    collector.update(
        inputs, labels, (torch.tensor([0, 0, 1]), sure, sure), (torch.tensor([1, 0, 2]), sure, sure)
    )
    found = collector.examples()
    assert [(flip.index, flip.base, flip.boosted) for flip in found] == [(0, 0, 1), (2, 1, 2)]
    image = Image.open(io.BytesIO(found[0].image))
    assert image.size == (4, 4)
    assert image.getpixel((0, 0)) == 255
    collector.update(
        torch.rand(3, 7), labels, (torch.tensor([0, 0, 1]), sure, sure), (labels, sure, sure)
    )
    assert collector.examples()[-1].image is None


def problem(seed, classes=3, samples=200):
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (samples,), generator=draw)
    logits = torch.randn(samples, classes, generator=draw)
    logits[torch.arange(samples), labels] += 1.0
    return logits, labels


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_heads_never_lose_to_what_they_contain(seed):
    """On the data they are fitted to, richer convex heads have no more loss than poorer ones, but for the penalty."""
    logits, labels = problem(seed)
    temperature = fit_temperature(logits, labels)
    plain = negative_log_likelihood(logits, labels)
    tempered = negative_log_likelihood(logits / temperature, labels)
    vector = negative_log_likelihood(
        fit_scaling(logits, None, labels, per_class=True)(logits), labels
    )
    matrix = negative_log_likelihood(fit_affine(logits, None, labels, penalty=1e-6)(logits), labels)
    assert tempered <= plain + 1e-6
    assert vector <= tempered + 1e-3
    assert matrix <= vector + 1e-3


def test_the_auxiliary_networks_gradient_is_that_of_autograd():
    """Written-out steps against the same network trained by PyTorch, on one batch."""
    logits, labels = problem(1, samples=100)
    head = fit_auxiliary(logits, None, labels, standardise=False, epochs=3, seed=4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        other = type(head)(3, proposes=False, probabilities=True)
    optimizer = torch.optim.Adam(other.parameters(), 1e-3)
    for _ in range(300):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(other(logits), labels).backward()
        optimizer.step()
    assert torch.allclose(head(logits), other(logits), atol=2e-3)


def test_a_readout_finds_what_logits_lack():
    draw = torch.Generator().manual_seed(0)
    activations = torch.randn(3000, 5, generator=draw).relu()
    labels = (activations[:, 0] > 0).long()
    logits = torch.zeros(3000, 2)
    found = fit_readouts(activations, logits, labels, [5], patterns=True)
    added = [evidence((activations,)) for evidence in found]
    which, head = choose_readout(logits, added, labels)
    assert float((head(logits, added[which]).argmax(1) == labels).double().mean()) > 0.99


def test_nothing_is_added_where_nothing_helps():
    logits, labels = problem(3)
    noise = torch.randn(200, 3, generator=torch.Generator().manual_seed(1)) * 50
    _, head = choose_readout(logits, [noise], labels)
    assert float(head.scale[1]) == 0


def test_values_that_are_not_finite_are_refused():
    logits, labels = problem(0)
    logits[3, 1] = float("nan")
    with pytest.raises(NonFiniteError):
        fit_temperature(logits, labels)
    with pytest.raises(NonFiniteError):
        calibration_error(logits, labels)


def test_test_data_that_choices_were_made_by_is_refused():
    _, network, (train, held, _) = toy()
    with pytest.raises(DataError, match="held-out data"):
        compare(network, train, held, held, progress=False)


def test_what_learnt_labels_by_heart_is_not_taken_for_good():
    """Random labels without held-out data: no method's accuracy on what is set aside is far from chance."""
    _, network, _ = toy()
    draw = torch.Generator().manual_seed(3)
    train = torch.randn(600, 6, generator=draw), torch.randint(3, (600,), generator=draw)
    test = torch.randn(300, 6, generator=draw), torch.randint(3, (300,), generator=draw)
    found = compare(network, train, None, test, progress=False)
    assert all(row.held_out_accuracy < 0.46 for row in found.judged.values())


def test_a_handful_of_repairs_is_no_proof():
    change = torch.zeros(360, dtype=torch.int8)
    change[:5] = 1
    for seed in range(4):
        found = mean_interval(change, differences=True, seed=seed)
        assert found.value == pytest.approx(5 / 360)
        assert found.low <= 0
    none = mean_interval(torch.zeros(9, dtype=torch.int8), differences=True)
    assert none.low < -0.2
    assert none.high > 0.2
    change[:40] = 1
    assert mean_interval(change, differences=True).low > 0


def test_classifiers_of_double_precision_are_compared():
    model, _, (train, held, test) = toy()
    network = Network(copy.deepcopy(model).double(), test[0][:2].double())
    assert compare(network, train, held, test, progress=False).judged["readout"].test_accuracy > 0.8


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (torch.zeros(3), r"scores of shape \(3,\).*one row a sample"),
        (torch.tensor([[2.0, 3.0]]), r"do not sum to one.*logits\.softmax\(1\)"),
    ],
)
def test_calibration_is_of_probabilities(rows, said):
    with pytest.raises(DataError, match=said):
        calibration_error(rows, torch.zeros(len(rows), dtype=torch.int64))
    assert 0 <= calibration_error(rows.reshape(1, -1).softmax(1), torch.tensor([0])) <= 1


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_a_training_that_diverges_is_told_and_standardised_it_does_not():
    logits, labels = torch.rand(20, 3) * 1e30, torch.arange(20) % 3
    with pytest.raises(NonFiniteError, match=r"diverged.*on standardised inputs"):
        fit_auxiliary(logits, None, labels, standardise=False, probabilities=False)
    head = fit_auxiliary(logits, None, labels, probabilities=False, epochs=1)
    assert bool(torch.isfinite(head.hidden.weight).all())
