"""What a network's output is, and that nothing takes other outputs for logits."""

import pytest
import torch
from torch import nn

import cofire
from cofire import evaluate
from cofire.boost.baselines import Energy, MaxSoftmax
from cofire.errors import ExportError, NonFiniteError, OptionError
from cofire.network.classifier import check_decides

BOTH = pytest.mark.parametrize("capture", ["export", "calls"])
IMAGES, LABELS = (
    torch.randn(12, 3, 12, 12, generator=torch.Generator().manual_seed(0)),
    torch.arange(12) % 3,
)


class Lambda(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def made(*ending, classes=3):
    torch.manual_seed(0)
    body = (
        nn.Conv2d(3, 6, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, classes),
    )
    with torch.no_grad():
        body[4].weight.mul_(20)
    return nn.Sequential(*body, *ending).eval()


ENDINGS = {
    "softmax": ([nn.Softmax(1)], "probabilities", lambda given: given),
    "last axis": (
        [Lambda(lambda x: x.softmax(-1).contiguous())],
        "probabilities",
        lambda given: given,
    ),
    "exp of log": ([nn.LogSoftmax(1), Lambda(torch.exp)], "probabilities", lambda given: given),
    "log-softmax": ([nn.LogSoftmax(1)], "log-probabilities", torch.exp),
    "log of softmax": ([nn.Softmax(1), Lambda(torch.log)], "log-probabilities", torch.exp),
    "logits": ([], "logits", lambda given: given.softmax(1)),
}


@BOTH
@pytest.mark.parametrize("ending", ENDINGS)
def test_probabilities_are_the_models_own_whatever_it_ends_with(capture, ending):
    modules, output, probabilities = ENDINGS[ending]
    model = made(*modules)
    network = cofire.Network(model, IMAGES[:1], capture=capture)
    assert network.output == output
    right = probabilities(model(IMAGES).detach())
    torch.testing.assert_close(network.run(IMAGES).softmax(1), right)
    torch.testing.assert_close(network.run(IMAGES), made()(IMAGES).detach())
    torch.testing.assert_close(
        MaxSoftmax(network).predict(IMAGES), -right.double().amax(1), atol=1e-6, rtol=1e-5
    )
    assert cofire.summarize(network, (IMAGES, LABELS)).class_correct.sum() == int(
        (right.argmax(1) == LABELS).sum()
    )
    if capture == "export":
        for method in ("discernible", "gradcam"):
            found = cofire.explain(network, IMAGES, method=method)
            torch.testing.assert_close(
                found.probability[:, 0].double(), right.double().amax(1), atol=1e-6, rtol=1e-5
            )
        assert network.has_head


def test_an_explanation_starts_from_what_goes_into_the_softmax():
    given = [
        cofire.Network(made(*end), IMAGES[:1]) for end in ([], [nn.Softmax(1)], [nn.LogSoftmax(1)])
    ]
    for method in ("discernible", "discernible-p3", "gradcam", "gradcam++"):
        plain, *others = (
            cofire.explain(network, IMAGES, method=method).heatmap() for network in given
        )
        for other in others:
            torch.testing.assert_close(other, plain)
    plain, other = (evaluate.deepfool(network, IMAGES[:4]).norm for network in given[:2])
    torch.testing.assert_close(other, plain)


ONE = {
    "logit": [],
    "sigmoid": [nn.Sigmoid()],
    "log-sigmoid": [nn.LogSigmoid()],
    "flat": [nn.Flatten(0)],
    "flat sigmoid": [Lambda(lambda z: z[:, 0]), nn.Sigmoid()],
    "sigmoid, then flat": [nn.Sigmoid(), Lambda(lambda p: p.squeeze(1))],
}


@BOTH
@pytest.mark.parametrize("ending", ONE)
def test_a_single_logit_is_read_as_two_classes_with_the_models_own_probability(capture, ending):
    labels = LABELS % 2
    network = cofire.Network(made(*ONE[ending], classes=1), IMAGES[:1], capture=capture)
    assert (network.output, network.num_classes) == ("one logit", 2)
    right = made(classes=1)(IMAGES).detach().sigmoid()[:, 0]
    torch.testing.assert_close(network.run(IMAGES).softmax(1)[:, 1], right)
    correct = cofire.summarize(network, (IMAGES, labels)).class_correct
    assert int(correct.sum()) == int(((right > 0.5) == labels.bool()).sum())
    if capture == "export":
        for method in ("discernible", "gradcam", "lrp"):
            found = cofire.explain(network, IMAGES, method=method)
            torch.testing.assert_close(found.probability[:, 0], right)
            assert found.target.tolist() == [[1]] * len(IMAGES)
            against = cofire.explain(network, IMAGES, 0, method=method)
            torch.testing.assert_close(against.probability[:, 0], 1 - right)


class Heads(nn.Module):
    """A backbone with a main head, an auxiliary one and one inside a mapping, as a tuple or by name."""

    def __init__(self, named):
        super().__init__()
        self.body = nn.Sequential(*list(made())[:4])
        self.main, self.aux, self.named = nn.Linear(6, 3), nn.Linear(6, 4), named

    def forward(self, x):
        x = self.body(x)
        if self.named:
            return {"main": self.main(x), "side": {"aux": self.aux(x), "features": x}}
        return self.main(x), (self.aux(x), None)


@BOTH
@pytest.mark.parametrize(
    ("named", "output", "head"),
    [(True, "main", "main"), (True, "side.aux", "aux"), (False, 0, "main"), (False, 1, "aux")],
)
def test_output_picks_the_head_that_is_meant(capture, named, output, head):
    torch.manual_seed(0)
    model = Heads(named).eval()
    network = cofire.Network(model, IMAGES[:1], capture=capture, output=output)
    right = getattr(model, head)(model.body(IMAGES)).detach()
    torch.testing.assert_close(network.run(IMAGES), right)
    with pytest.raises(ExportError, match=r"output='nowhere'.*say which with output="):
        cofire.Network(model, IMAGES[:1], capture=capture, output="nowhere")


@BOTH
@pytest.mark.parametrize(
    "ending",
    [
        [nn.Sigmoid(), Lambda(lambda p: 1 - p)],
        [nn.Sigmoid(), Lambda(lambda p: p.clamp(0.1, 0.9)), nn.Flatten(0)],
        [nn.Hardsigmoid()],
        [nn.Softmax(1)],
    ],
)
def test_a_single_probability_is_not_taken_for_a_logit(capture, ending):
    model = made(*ending, classes=1)
    with pytest.raises(ExportError, match=r"a single output by .*torch\.logit of the output"):
        cofire.Network(model, IMAGES[:1], capture=capture)


@BOTH
def test_the_logit_of_a_single_probability_has_the_models_own_probability(capture):
    ending = nn.Sigmoid(), Lambda(lambda p: 1 - p)
    model = made(*ending, Lambda(torch.logit), classes=1)
    network = cofire.Network(model, IMAGES[:1], capture=capture)
    right = made(*ending, classes=1)(IMAGES).detach()[:, 0]
    torch.testing.assert_close(network.run(IMAGES).softmax(1)[:, 1], right)


@BOTH
def test_hidden_sigmoids_and_bounded_outputs_are_single_logits_all_the_same(capture):
    for ending in ([nn.Sigmoid(), nn.Linear(3, 1)], [nn.Sigmoid(), nn.Linear(3, 1), nn.Tanh()]):
        model = made(*ending)
        network = cofire.Network(model, IMAGES[:1], capture=capture)
        right = model(IMAGES).detach()[:, 0]
        torch.testing.assert_close(network.run(IMAGES).diff()[:, 0], right)


REFUSED = {
    "sigmoids": ([nn.Sigmoid()], 3, "sigmoids, each a probability by itself"),
    "sigmoids in bounds": (
        [nn.Sigmoid(), Lambda(lambda p: p.clamp(1e-6, 1 - 1e-6))],
        3,
        "sigmoids, each a probability by itself",
    ),
    "by hand": (
        [Lambda(lambda x: x.exp() / x.exp().sum(1, keepdim=True))],
        3,
        "probabilities, though it does not end",
    ),
    "mean of two": (
        [Lambda(lambda x: (x.softmax(1) + (2 * x).softmax(1)) / 2)],
        3,
        "probabilities, though",
    ),
}


@BOTH
@pytest.mark.parametrize("ending", REFUSED)
def test_other_outputs_are_refused_everywhere_alike(capture, ending):
    modules, classes, said = REFUSED[ending]
    network = cofire.Network(made(*modules, classes=classes), IMAGES[:1], capture=capture)
    assert network.run(IMAGES).shape == (12, classes)
    labels = LABELS * 0
    for act in (
        lambda: cofire.summarize(network, (IMAGES, labels)),
        lambda: cofire.explain(network, IMAGES),
        lambda: cofire.explain(network, IMAGES, method="gradcam"),
        lambda: cofire.follow(network, [made(classes=classes).state_dict()], (IMAGES, labels)),
        lambda: cofire.compare(network, (IMAGES, labels), None, (IMAGES, labels)),
        lambda: cofire.Booster(network),
        lambda: cofire.PatternConfidence(network),
        lambda: MaxSoftmax(network),
        lambda: Energy(network),
        lambda: evaluate.deepfool(network, IMAGES),
        lambda: evaluate.baseline("centre", network, IMAGES),
        lambda: evaluate.explained(network, IMAGES, None, "random"),
    ):
        with pytest.raises(OptionError, match=said):
            act()


def test_a_network_is_asked_again_once_other_weights_are_in_place():
    """A least-squares fit of one-hot rows sums to one; what it is trained into does not."""
    torch.manual_seed(0)
    head = nn.Linear(6, 3)
    head.weight.data.mul_(0.01).sub_(head.weight.data.mean(0))
    head.bias.data.fill_(1 / 3)
    model = nn.Sequential(*list(made())[:4], head).eval()
    network = cofire.Network(model, IMAGES[:1])
    with pytest.raises(OptionError, match="outputs are probabilities"):
        cofire.explain(network, IMAGES)
    with torch.no_grad():
        head.bias.add_(1)
    assert cofire.explain(network, IMAGES).has_evidence.any()


class TestRemedies:
    """What the messages say to do gives the model's own probabilities."""

    def test_of_sigmoids(self):
        model, c = made(nn.Sigmoid()), 1

        def against_all_else(output):
            z = torch.logit(output)[:, c : c + 1]
            return torch.cat([-z, z], dim=1) / 2

        network = cofire.Network(nn.Sequential(model, Lambda(against_all_else)), IMAGES[:1])
        found = cofire.explain(network, IMAGES, 1, "gradcam")
        torch.testing.assert_close(
            found.probability[:, 0].float(), model(IMAGES).detach()[:, c], atol=1e-5, rtol=1e-4
        )
        assert cofire.explain(network, IMAGES, 1).kind == "layers"
        model[4].weight.data.mul_(1e4)
        assert network.run(IMAGES).isfinite().all()

    def test_of_probabilities_without_a_softmax(self):
        model = made(*REFUSED["mean of two"][0])
        network = cofire.Network(nn.Sequential(model, Lambda(torch.log)), IMAGES[:1])
        found = cofire.summarize(network, (IMAGES, LABELS))
        assert int(found.class_correct.sum()) == int((model(IMAGES).argmax(1) == LABELS).sum())
        torch.testing.assert_close(
            MaxSoftmax(network).predict(IMAGES).float(), -model(IMAGES).detach().amax(1)
        )


@BOTH
def test_nan_is_not_answered_with_nan(capture):
    network = cofire.Network(made(), IMAGES[:1], capture=capture)
    spoilt = IMAGES.clone()
    spoilt[4, 0, 5, 5] = torch.nan
    with pytest.raises(NonFiniteError, match="sample 4 of the batch"):
        network.run(spoilt)


def test_every_public_function_takes_the_module_itself():
    model = made().train()
    network = cofire.Network(model, IMAGES[:1])
    data = IMAGES, LABELS
    for method in ("discernible", "gradcam"):
        found = cofire.explain(model, IMAGES, method=method)
        assert torch.equal(
            found.heatmap(), cofire.explain(network, IMAGES, method=method).heatmap()
        )
    own, read = (cofire.summarize(one, data, progress=False) for one in (model, network))
    assert torch.equal(own.layers[0].entropy(), read.layers[0].entropy())
    assert (
        len(
            cofire.follow(model, [model.state_dict()], data, pairs=None, progress=False).checkpoints
        )
        == 1
    )
    for act in (
        lambda one: evaluate.deepfool(one, IMAGES[:2]).images,
        lambda one: evaluate.baseline("centre", one, IMAGES).heatmap(),
        lambda one: evaluate.explained(one, IMAGES, None, "random").heatmap(),
    ):
        assert torch.equal(act(model), act(network))
    assert model.training
    with pytest.raises(OptionError, match="Network"):
        cofire.explain("model", IMAGES)


def test_a_report_of_an_explanation_and_of_a_comparison(tmp_path):
    network = cofire.Network(made(), IMAGES[:1])
    found = cofire.explain(network, IMAGES[:2])
    assert cofire.write_report(found, tmp_path / "explained.html").stat().st_size > 1000
    data = [(torch.randn(30, 3, 12, 12), torch.arange(30) % 3) for _ in range(3)]
    compared = cofire.compare(network, *data, methods=["readout"], draws=100, progress=False)
    assert "readout" in cofire.write_report(compared, tmp_path / "compared.html").read_text()


def test_outputs_that_are_always_the_same_are_not_taken_for_probabilities():
    model = nn.Linear(2, 3)
    model.weight.data.zero_()
    model.bias.data = torch.tensor([0.0, 1.0, 0.0])
    check_decides(cofire.Network(model, torch.zeros(2, 2)))


def test_probabilities_of_what_takes_whole_numbers_are_found():
    model = nn.Sequential(
        nn.Embedding(5, 3), Lambda(lambda z: z.exp() / z.exp().sum(1, keepdim=True))
    )
    with pytest.raises(OptionError, match="outputs are probabilities"):
        check_decides(cofire.Network(model, torch.arange(4)))
