"""Scores of trust: by hand, against loops and hand-written models, saved and read, judged, and refused."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from cofire.boost.baselines import Energy, MaxSoftmax, ReAct, _bins, _value
from cofire.boost.confidence import PatternConfidence, judge
from cofire.errors import (
    BatchError,
    BudgetError,
    DataError,
    ExportError,
    LabelError,
    LayerError,
    NonFiniteError,
    OptionError,
    ResultError,
    WeightsError,
)
from cofire.functional import activation_probability
from cofire.network import Network


class Pooled(nn.Module):
    """Feature maps, their mean, dropout and a linear layer, as in a ResNet."""

    def __init__(self, classes=3):
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.last = nn.Conv2d(6, 8, 3)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(8, classes)

    def features(self, x):
        x = torch.relu_(self.norm(self.conv(x)))
        return torch.relu(self.last(x)).mean(dim=(2, 3))

    def forward(self, x):
        return self.head(self.dropout(self.features(x)))


@pytest.fixture
def pooled():
    model = Pooled().eval()
    images = torch.randn(60, 1, 7, 7)
    return model, Network(model, images[:2]), images, torch.arange(60) % 3


def identity_network(classes=2):
    """Neurons are the inputs above 0, and so are the logits."""
    model = nn.Sequential(nn.Linear(classes, classes), nn.ReLU(), nn.Linear(classes, classes))
    for layer in (model[0], model[2]):
        nn.init.eye_(layer.weight)
        nn.init.zeros_(layer.bias)
    return Network(model, torch.zeros(1, classes))


def by_hand():
    """Class 0 activates neuron 0 in 4 of 4 samples and neuron 1 in 1 of 4; class 1 none of 2, and 2 of 2."""
    images = torch.tensor([[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [2.0, 1.0], [0.0, 2.0], [0.0, 2.0]])
    return images, torch.tensor([0, 0, 0, 0, 1, 1])


def test_scores_by_hand():
    scores = (
        PatternConfidence(identity_network())
        .fit(by_hand())
        .scores(torch.tensor([[3.0, 0.0], [3.0, 1.0], [-1.0, 5.0], [-1.0, -1.0]]))
    )
    # p = (5/6, 2/6) for class 0 and (1/4, 3/4) for class 1; predicted are 0, 0, 1 and, of equal
    # logits, 0.
    own = [5 / 6 * 4 / 6, 5 / 6 * 2 / 6, 3 / 4 * 3 / 4, 1 / 6 * 4 / 6]
    other = [1 / 4 * 1 / 4, 1 / 4 * 3 / 4, 1 / 6 * 2 / 6, 3 / 4 * 1 / 4]
    assert scores["likelihood"].tolist() == pytest.approx([-math.log(p) / 2 for p in own])
    assert scores["gap"].tolist() == pytest.approx(
        [math.log(q / p) for p, q in zip(own, other, strict=True)]
    )
    # P · U* is (1, 0), (1.25, 1), (0.25, 1) and, of a sample without active neurons, (0, 0).
    assert scores["overlap"].tolist() == pytest.approx([-2.0, -1.25 / 1.125, -1 / 0.625, 0.0])


@pytest.mark.parametrize("score", ["likelihood", "overlap", "gap"])
@pytest.mark.parametrize("threshold", [0.0, 0.4])
def test_scores_are_those_of_a_loop_over_samples_classes_and_neurons(tiny, score, threshold):
    detector = PatternConfidence(tiny.network, threshold=threshold, score=score).fit(tiny.data)
    found = detector.predict(tiny.inputs).tolist()
    fires = torch.cat(list(tiny.activations().values()), dim=1)
    logits = tiny.model(tiny.inputs)
    for sample in range(0, 90, 7):
        likelihoods, overlaps = [], []
        for c in range(3):
            members = [i for i in range(90) if int(tiny.labels[i]) == c]
            likelihood = overlap = 0.0
            for neuron in range(fires.shape[1]):
                count = sum(bool(fires[i, neuron] > threshold) for i in members)
                p = (count + 1) / (len(members) + 2)
                active = bool(fires[sample, neuron] > threshold)
                likelihood += math.log(p if active else 1 - p)
                overlap += count / len(members) * active
            likelihoods.append(likelihood)
            overlaps.append(overlap)
        c = int(logits[sample].argmax())
        expected = {
            "likelihood": -likelihoods[c] / fires.shape[1],
            "overlap": -overlaps[c] / (sum(overlaps) / 3 or 1.0),  # no active neuron: no overlap
            "gap": max(v for k, v in enumerate(likelihoods) if k != c) - likelihoods[c],
        }[score]
        assert found[sample] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("unit", ["channel-mean", "channel-max", "element"])
def test_feature_maps_are_pooled_to_one_observation_a_sample(pooled, unit):
    _, network, images, labels = pooled
    layer = network.activation_layers[-1]
    detector = PatternConfidence(network, layer, unit, threshold=0.1, score="overlap").fit(
        (images, labels)
    )
    seen = []
    logits = network.run(images, lambda _, values: seen.append(values.clone()), layer)
    maps = seen[0].flatten(2)
    neurons = {
        "element": maps.flatten(1),
        "channel-mean": maps.mean(dim=2),
        "channel-max": maps.amax(dim=2),
    }[unit]
    overlap = (neurons > 0.1).double() @ activation_probability(neurons, labels, 3, 0.1).T
    expected = -overlap.gather(1, logits.argmax(1, keepdim=True))[:, 0] / overlap.mean(dim=1)
    torch.testing.assert_close(detector.predict(images), expected)


def test_any_form_and_batching_of_the_data_gives_the_same(tiny):
    expected = PatternConfidence(tiny.network).fit(tiny.data).predict(tiny.inputs)
    order = torch.randperm(90)
    dataset = TensorDataset(tiny.inputs[order], tiny.labels[order])
    for data in (
        dataset,
        DataLoader(dataset, batch_size=7),
        (tiny.inputs.numpy(), tiny.labels.numpy()),
    ):
        detector = PatternConfidence(tiny.network).fit(
            tiny.data
        )  # fitted again: the first fit is forgotten
        assert torch.equal(detector.fit(data).predict(tiny.inputs), expected)
    parts = torch.cat([detector.predict(part) for part in tiny.inputs.split(11)])
    torch.testing.assert_close(parts, expected)


def test_the_state_does_not_grow_with_the_samples(tiny):
    detector = PatternConfidence(tiny.network).fit(tiny.data)
    held = [value for value in vars(detector._counts).values() if isinstance(value, torch.Tensor)]
    assert {tuple(value.shape) for value in held} == {(3,), (3, 14)}


def test_baselines_read_the_logits(tiny):
    logits = tiny.model(tiny.inputs).detach().double()
    softmax = MaxSoftmax(tiny.network).fit(tiny.data).predict(tiny.inputs)
    torch.testing.assert_close(softmax, -logits.softmax(dim=1).amax(dim=1))
    energy = Energy(tiny.network, temperature=2.0).fit().predict(tiny.inputs)
    torch.testing.assert_close(energy, -2 * (logits / 2).exp().sum(dim=1).log())


def test_react_is_that_of_a_model_written_by_hand(pooled):
    model, network, images, labels = pooled
    detector = ReAct(network, percentile=75, temperature=2.0).fit((images, labels))
    with torch.no_grad():
        features = model.features(images)
        limit = float(np.percentile(features.numpy(), 75, method="inverted_cdf"))
        assert limit * (1 - 2**-11) <= detector.limit <= limit
        expected = -2 * (model.head(features.clamp(max=detector.limit)) / 2).logsumexp(dim=1)
    torch.testing.assert_close(detector.predict(images), expected.double(), rtol=1e-5, atol=1e-5)
    unclipped = ReAct(network, percentile=100, temperature=2.0).fit((images, labels))
    assert unclipped.limit <= float(features.max())


def test_react_without_clipping_is_the_energy(tiny):
    detector = ReAct(tiny.network).fit(tiny.data)
    detector._limit = math.inf
    torch.testing.assert_close(
        detector.predict(tiny.inputs), Energy(tiny.network).predict(tiny.inputs)
    )


@given(st.lists(st.floats(-1e6, 1e6, width=32, allow_subnormal=False), min_size=1, max_size=50))
def test_the_histogram_of_floats_keeps_their_order_and_their_values_to_half_a_thousandth(values):
    tensor = torch.tensor(values)
    bins = _bins(tensor)
    assert torch.equal(bins[tensor.argsort()], bins.sort().values)
    back = torch.tensor([_value(int(number)) for number in bins])
    assert bool((back.abs() <= tensor.abs()).all())
    assert bool(((back - tensor).abs() <= tensor.abs() * 2**-11).all())
    half = tensor.clamp(-1e4, 1e4).to(torch.bfloat16).float()
    assert [_value(int(number)) for number in _bins(half)] == (half + 0.0).tolist()


@pytest.mark.parametrize("percentile", [0, 10, 90, 99.9, 100])
def test_react_clips_at_the_percentile(percentile):
    network = identity_network()
    values = torch.arange(1.0, 21.0).reshape(10, 2)
    detector = ReAct(network, percentile).fit((values, torch.arange(10) % 2))
    assert detector.limit == np.percentile(values.numpy(), percentile, method="inverted_cdf")


def test_react_reads_trained_weights_anew(tiny):
    detector = ReAct(tiny.network, percentile=100).fit(tiny.data)
    before = detector.predict(tiny.inputs)
    with torch.no_grad():
        tiny.model[4].bias += 1.0
    torch.testing.assert_close(detector.predict(tiny.inputs), before - 1.0, rtol=1e-5, atol=1e-5)


class Unfit(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.hidden = nn.Linear(4, 4)
        self.middle = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        hidden = torch.relu(self.hidden(x))
        if self.kind == "norm between":
            return self.head(nn.functional.layer_norm(hidden, (4,)))
        if self.kind == "linear between":
            return self.head(self.middle(hidden))
        if self.kind == "sum of logits":
            return self.head(hidden) + self.head(x)
        if self.kind == "computed weights":
            return nn.functional.linear(hidden, self.head.weight * 2, self.head.bias)
        return self.head(x)


@pytest.mark.parametrize(
    "kind", ["norm between", "linear between", "sum of logits", "computed weights", "no layers"]
)
def test_react_says_where_it_cannot_be(kind):
    with pytest.raises(
        LayerError, match="Expected: logits from one linear layer on the last activation layer"
    ):
        ReAct(Network(Unfit(kind), torch.zeros(2, 4)))


def test_react_needs_a_graph(tiny):
    with pytest.raises(ExportError, match="no operator graph"):
        ReAct(Network(tiny.model, tiny.inputs[:2], capture="calls"))


def test_patterns_need_no_graph(tiny):
    called = Network(tiny.model, tiny.inputs[:2], capture="calls")
    expected = PatternConfidence(tiny.network).fit(tiny.data).predict(tiny.inputs)
    assert torch.equal(PatternConfidence(called).fit(tiny.data).predict(tiny.inputs), expected)


def every_detector(network):
    return [
        *(PatternConfidence(network, score=score) for score in ("likelihood", "overlap", "gap")),
        MaxSoftmax(network),
        Energy(network),
        ReAct(network),
    ]


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(pooled, training):
    model, network, images, labels = pooled
    model.train(training)
    before = copy.deepcopy(model.state_dict())
    model.head.weight.grad = torch.ones_like(model.head.weight)
    for detector in every_detector(network):
        detector.fit((images, labels)).predict(images)
    assert all(module.training == training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert bool((model.head.weight.grad == 1).all())
    assert model.conv.weight.grad is None
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype):
    model = Pooled().eval()
    images, labels = torch.randn(60, 1, 7, 7), torch.arange(60) % 3
    wide = [
        d.fit((images, labels)).predict(images) for d in every_detector(Network(model, images[:2]))
    ]
    narrow = Network(copy.deepcopy(model).to(dtype), images[:2])
    for detector, expected in zip(every_detector(narrow), wide, strict=True):
        found = detector.fit((images, labels)).predict(images)
        assert found.dtype == torch.float64
        assert found.device == narrow.device
        # A pattern may flip where an activation is next to the threshold, and a class where logits
        # are near.
        assert float((found - expected).abs().median()) < 0.05


def test_scores_can_be_used_outside_inference(tiny):
    for detector in every_detector(tiny.network):
        scores = detector.fit(tiny.data).predict(tiny.inputs)
        assert not scores.is_inference()
        assert scores.shape == (90,)
        assert not scores.requires_grad


def test_what_is_saved_is_what_is_loaded(tiny, tmp_path):
    detector = PatternConfidence(tiny.network, "LL", "channel-max", 0.2, "gap").fit(tiny.data)
    file = detector.save(tmp_path / "trust.safetensors")
    again = PatternConfidence.load(file, tiny.network)
    assert again.score == "gap"
    assert torch.equal(again.predict(tiny.inputs), detector.predict(tiny.inputs))
    twin = Network(copy.deepcopy(tiny.model), tiny.inputs[:2])
    assert torch.equal(
        PatternConfidence.load(file, twin).predict(tiny.inputs), detector.predict(tiny.inputs)
    )


def test_what_is_saved_is_bound_to_network_and_weights(tiny, tmp_path):
    detector = PatternConfidence(tiny.network).fit(tiny.data)
    file = detector.save(tmp_path / "trust.safetensors")
    other = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    with pytest.raises(ResultError, match="another architecture"):
        PatternConfidence.load(file, Network(other, tiny.inputs[:2]))
    with torch.no_grad():
        tiny.model[0].bias += 1.0
    with pytest.raises(WeightsError, match="other weights"):
        PatternConfidence.load(file, tiny.network)
    # What was counted before the weights changed is still of the old ones.
    with pytest.raises(WeightsError, match="other weights"):
        PatternConfidence.load(detector.save(tmp_path / "late.safetensors"), tiny.network)


def test_other_files_are_refused(tiny, tmp_path):
    with pytest.raises(ResultError, match="a whole file"):
        PatternConfidence.load(tmp_path / "none.safetensors", tiny.network)
    from safetensors.torch import load_file, save_file

    from cofire.storage import save_result

    save_file({"active": torch.zeros(3)}, tmp_path / "weights.safetensors")
    with pytest.raises(ResultError, match="no pattern-confidence of this version"):
        PatternConfidence.load(tmp_path / "weights.safetensors", tiny.network)
    good = PatternConfidence(tiny.network).fit(tiny.data).save(tmp_path / "good.safetensors")
    counts = load_file(good)
    note = {
        "fingerprint": tiny.network.fingerprint,
        "digest": tiny.network.digest(),
        "layers": ["1", "3"],
        "unit": "channel-mean",
        "threshold": 0.0,
        "score": "gap",
    }
    for name, wrong in (
        ("samples", counts["samples"] * 0),
        ("active", counts["active"] * 100),
        ("active", counts["active"][:, 1:]),
    ):
        file = save_result(
            tmp_path / "bad.safetensors", "pattern-confidence", note, {**counts, name: wrong}
        )
        with pytest.raises(ResultError, match="no pattern-confidence"):
            PatternConfidence.load(file, tiny.network)


def test_an_unfitted_detector_says_so(tiny, tmp_path):
    for detector in (PatternConfidence(tiny.network), ReAct(tiny.network)):
        with pytest.raises(
            DataError, match=f"a {type(detector).__name__} that has seen no training data"
        ):
            detector.predict(tiny.inputs)
    with pytest.raises(DataError, match=r"call fit\(loader\)"):
        PatternConfidence(tiny.network).save(tmp_path / "none.safetensors")


def test_a_fit_that_fails_leaves_the_last_one(tiny):
    detector = PatternConfidence(tiny.network).fit(tiny.data)
    before = detector.predict(tiny.inputs)
    with pytest.raises(LabelError, match="no samples of 1 of 3 classes"):
        detector.fit((tiny.inputs[tiny.labels < 2], tiny.labels[tiny.labels < 2]))
    assert torch.equal(detector.predict(tiny.inputs), before)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"unit": "channel"}, "one observation"),
        ({"unit": "pixel"}, "unit='pixel'"),
        ({"score": "luck"}, "score='luck'"),
        ({"threshold": math.nan}, "threshold=nan"),
        ({"max_bytes": 0}, "max_bytes=0"),
    ],
)
def test_options_are_checked(tiny, options, said):
    with pytest.raises(OptionError, match=said):
        PatternConfidence(tiny.network, **options)


def test_networks_and_selections_without_use_are_refused(tiny):
    with pytest.raises(LayerError, match="without activation layers"):
        PatternConfidence(Network(nn.Linear(4, 2), torch.zeros(1, 4)))
    with pytest.raises(LayerError, match="no layers"):
        PatternConfidence(tiny.network, [])
    with pytest.raises(LayerError, match="relu9"):
        PatternConfidence(tiny.network, "relu9")
    single = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1))
    assert PatternConfidence(Network(single, torch.zeros(1, 4))).network.num_classes == 2
    with pytest.raises(BudgetError, match="14 neurons of 3 classes"):
        PatternConfidence(tiny.network, max_bytes=100)
    with pytest.raises(LayerError, match="without activation layers"):
        ReAct(Network(nn.Linear(4, 2), torch.zeros(1, 4)))
    for percentile in (-1, 101, math.nan, True, "90"):
        with pytest.raises(OptionError, match="percentile"):
            ReAct(tiny.network, percentile)
    for build in (Energy, lambda network, temperature: ReAct(network, temperature=temperature)):
        with pytest.raises(OptionError, match="temperature"):
            build(tiny.network, temperature=0)


def test_bad_images_are_refused(tiny):
    for detector in every_detector(tiny.network):
        detector.fit(tiny.data)
        with pytest.raises(BatchError):
            detector.predict(torch.zeros(2, 6))
        with pytest.raises(BatchError):
            detector.predict(torch.zeros(2, 5, dtype=torch.int64))
        with pytest.raises(NonFiniteError):
            detector.predict(torch.full((2, 5), torch.nan))
    for detector in (PatternConfidence(tiny.network), ReAct(tiny.network)):
        with pytest.raises(NonFiniteError):
            detector.fit((torch.full((3, 5), torch.nan), torch.arange(3)))
        with pytest.raises(DataError):
            detector.fit([])


class Hiding(nn.Module):
    """An activation of infinity that the logits do not show."""

    def __init__(self):
        super().__init__()
        self.hidden, self.head = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x):
        return self.head(torch.tanh(torch.relu(self.hidden(x * 1e30) * 1e30)))


def test_activations_that_the_logits_hide_are_refused():
    with pytest.raises(NonFiniteError, match=r"of layer '.*relu'"):
        PatternConfidence(Network(Hiding(), torch.zeros(1, 3))).fit(
            (torch.randn(9, 3), torch.arange(9) % 2)
        )


def test_judging_is_auroc_of_mistakes_and_of_outliers(tiny):
    outliers = tiny.inputs[:40] * 5
    named = {
        "pattern": PatternConfidence(tiny.network, score="gap").fit(tiny.data),
        "softmax": MaxSoftmax(tiny.network),
    }
    rows = judge(named, tiny.data, outliers, draws=200)
    assert [(row.detector, row.task) for row in rows] == [
        ("pattern", "misclassification"),
        ("pattern", "outliers"),
        ("softmax", "misclassification"),
        ("softmax", "outliers"),
    ]
    wrong = (tiny.model(tiny.inputs).argmax(dim=1) != tiny.labels).numpy()
    for name, mistakes, elsewhere in (("pattern", *rows[:2]), ("softmax", *rows[2:])):
        scores = named[name].predict(tiny.inputs).numpy()
        assert mistakes.auroc.value == pytest.approx(roc_auc_score(wrong, scores), abs=1e-12)
        assert (mistakes.positives, mistakes.negatives) == (wrong.sum(), 90 - wrong.sum())
        both = np.concatenate([scores, named[name].predict(outliers).numpy()])
        expected = roc_auc_score([0] * 90 + [1] * 40, both)
        assert elsewhere.auroc.value == pytest.approx(expected, abs=1e-12)
        assert (elsewhere.positives, elsewhere.negatives) == (40, 90)
        for row in (mistakes, elsewhere):
            assert row.auroc.low <= row.auroc.value <= row.auroc.high
            assert 0 <= row.false_positive_rate <= 1
    assert judge(named, tiny.data, outliers, draws=200) == rows


def test_outliers_come_in_any_form_and_their_labels_do_not_matter(tiny):
    named = {"energy": Energy(tiny.network)}
    images, labels = tiny.inputs[:40] * 5, torch.full((40,), -1)
    expected = judge(named, tiny.data, images, draws=20)
    assert len(expected) == 2
    forms = [
        images.numpy(),
        (images, labels),
        TensorDataset(images, labels),
        TensorDataset(images),
        DataLoader(TensorDataset(images, labels), batch_size=7),
        [images[:10], (images[10:], labels[10:])],
    ]
    for form in forms:
        for size in (256, 7):
            again = judge(named, tiny.data, form, draws=20, batch_size=size)
            assert [(row.positives, row.negatives) for row in again] == [
                (r.positives, r.negatives) for r in expected
            ]
            # Another batch size rounds logits otherwise, which may break a tie.
            assert again[1].auroc.value == pytest.approx(expected[1].auroc.value, abs=1e-3)
    with pytest.raises(DataError, match="read only once"):
        judge(named, tiny.data, iter([images]))
    with pytest.raises(BatchError):
        judge(named, tiny.data, images[:, :3])
    with pytest.raises(DataError, match="no samples"):
        judge(named, tiny.data, images[:0])


def test_without_mistakes_there_is_nothing_to_find(tiny):
    named = {"energy": Energy(tiny.network)}
    right = tiny.inputs, tiny.model(tiny.inputs).argmax(dim=1)
    with pytest.raises(DataError, match="predictions that are all correct, and no outliers"):
        judge(named, right)
    assert [row.task for row in judge(named, right, tiny.inputs * 3, draws=20)] == ["outliers"]
    with pytest.raises(OptionError, match="no detectors"):
        judge({}, right)
    with pytest.raises(OptionError, match="draws=0"):
        judge(named, tiny.data, draws=0)
    with pytest.raises(OptionError, match="batch_size=0"):
        judge(named, tiny.data, tiny.inputs, batch_size=0)
