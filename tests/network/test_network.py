"""What a network says about models that are written in unusual ways."""

import threading
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cofire.errors import BatchError, ExportError, LayerError, OptionError, RuleError
from cofire.network import ActivationLayer, Network

from .models import (
    Autocast,
    Caching,
    DataDependent,
    Functions,
    InPlaceView,
    NoGrad,
    Reused,
    SqueezeExcite,
    Tokens,
    Windows,
)

BOTH = pytest.mark.parametrize("capture", ["export", "calls"])


def recorded(network, inputs, layers=None):
    seen = {}
    logits = network.run(
        inputs, lambda layer, values: seen.__setitem__(layer.name, values.clone()), layers
    )
    return seen, logits


@BOTH
def test_a_module_used_twice_gives_two_layers(capture):
    network = Network(Reused(), torch.zeros(1, 3, 8, 8), capture=capture)
    assert [layer.name for layer in network.activation_layers] == ["act", "act:1", "gelu", "relu"]
    assert [layer.call for layer in network.activation_layers] == [0, 1, 0, 0]
    assert [layer.shape for layer in network.activation_layers] == [
        (4, 6, 6),
        (5, 4, 4),
        (5, 4, 4),
        (5,),
    ]
    assert [layer.signed for layer in network.activation_layers] == [False, False, True, False]


@BOTH
def test_an_activation_is_handed_over_before_a_later_operation_writes_over_it(capture):
    class Overwriting(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, x):
            x = torch.relu(self.fc1(x))
            x.mul_(-1)
            x = x.relu_()
            return self.fc2(x)

    model, x = Overwriting(), torch.randn(5, 4)
    seen, _ = recorded(Network(model, x, capture=capture), x)
    torch.testing.assert_close(seen["relu"], torch.relu(model.fc1(x)).detach())
    assert not seen["relu:1"].any()


@BOTH
def test_every_way_to_call_an_activation_function_counts_once(capture):
    network = Network(Functions(), torch.zeros(1, 4), capture=capture)
    assert [layer.kind for layer in network.activation_layers] == Functions.kinds
    assert not network.gates


@BOTH
def test_a_gate_is_kept_apart_and_can_be_observed(capture):
    network = Network(SqueezeExcite(), torch.zeros(1, 3, 8, 8), capture=capture)
    assert [layer.name for layer in network.activation_layers] == ["swish", "relu"]
    assert network.activation_layers[0].kind == "silu"
    (gate,) = network.gates
    assert (gate.name, gate.shape, gate.index) == ("sigmoid", (4,), 2)
    seen, _ = recorded(network, torch.randn(2, 3, 8, 8), gate)
    assert seen["sigmoid"].shape == (2, 4)
    with pytest.raises(LayerError, match=r"network\.gates"):
        network.select("sigmoid")


@BOTH
def test_a_region_without_gradients_hides_nothing(capture):
    network = Network(NoGrad(), torch.zeros(1, 4), capture=capture)
    assert [layer.name for layer in network.activation_layers] == ["relu", "relu:1"]


def test_an_autocast_region_that_hides_an_activation_is_refused_with_a_way_out():
    with pytest.raises(
        ExportError, match=r"relu inside a region of wrap_with_autocast.*capture=\"calls\""
    ):
        Network(Autocast(), torch.zeros(1, 4))
    assert len(Network(Autocast(), torch.zeros(1, 4), capture="calls").activation_layers) == 1


def test_a_model_that_does_not_export_is_named_with_the_line_and_the_way_out():
    with pytest.raises(
        ExportError, match=r"models\.py, line \d+: if x\.sum\(\) > 1e6:.*capture=\"calls\""
    ):
        Network(DataDependent(), torch.zeros(1, 4))
    network = Network(DataDependent(), torch.zeros(1, 4), capture="calls")
    assert [layer.name for layer in network.activation_layers] == ["relu"]
    with pytest.raises(ExportError, match="no operator graph"):
        _ = network.graph
    with pytest.raises(LayerError, match="gelu"):
        network.run(torch.full((1, 4), 1e9), lambda layer, values: None)


def test_a_model_that_fails_on_its_example_is_said_to():
    with pytest.raises(ExportError, match=r"fails on the example input.*mat1"):
        Network(NoGrad(), torch.zeros(1, 5))


def test_a_fixed_batch_is_refused():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, x):
            return self.fc(x.reshape(2, 4))

    with pytest.raises(ExportError, match=r"line \d+: return self.fc|batch size"):
        Network(Fixed(), torch.zeros(2, 4))


@BOTH
def test_windows_folded_into_the_batch_are_unfolded_for_each_sample(capture):
    torch.manual_seed(0)
    model, x = Windows(), torch.randn(3, 4, 3)
    network = Network(model, x, capture=capture)
    assert [layer.shape for layer in network.activation_layers] == [(4, 5), (4, 4)]
    assert [layer.channel_axis for layer in network.activation_layers] == [1, 1]
    seen, _ = recorded(network, x)
    first = torch.relu(model.fc1(x)).detach()
    torch.testing.assert_close(seen["relu"], first)
    torch.testing.assert_close(seen["gelu"], nn.functional.gelu(model.fc2(first)).detach())


@BOTH
@pytest.mark.parametrize("batch_first", [True, False])
def test_an_encoder_whose_sequence_comes_first_gives_activations_of_each_sample(
    capture, batch_first
):
    torch.manual_seed(0)
    model = Tokens(batch_first)
    model.requires_grad_(False)  # Frozen, so that PyTorch would take its fused kernels.
    tokens = torch.randint(0, 50, (3, 7))
    network = Network(model, tokens, capture=capture)
    assert [(layer.kind, layer.shape) for layer in network.activation_layers] == [
        ("gelu", (7, 32)),
        ("gelu", (7, 32)),
        ("tanh", (16,)),
    ]
    seen, logits = recorded(network, tokens)
    alone = [recorded(network, tokens[place : place + 1])[0] for place in range(3)]
    for name, values in seen.items():
        torch.testing.assert_close(
            values, torch.cat([one[name] for one in alone]), atol=1e-6, rtol=1e-5
        )
    with torch.inference_mode():
        torch.testing.assert_close(logits, model.eval()(tokens)["logits"], atol=1e-5, rtol=1e-5)


@BOTH
def test_inputs_and_buffers_that_the_model_writes_over_stay_as_they_are(capture):
    model, x = InPlaceView(), torch.randn(3, 4)
    before = x.clone()
    network = Network(model, x, capture=capture)
    assert [layer.shape for layer in network.activation_layers] == [(4,)]
    one, two = network.run(x, lambda layer, values: None), network.run(x)
    torch.testing.assert_close(one, two)
    torch.testing.assert_close(x, before)
    assert model.calls == 0


@BOTH
def test_a_network_sees_what_training_changes(capture):
    model, x = Reused(), torch.randn(2, 3, 8, 8)
    network = Network(model, x, capture=capture)
    before = network.run(x)
    with torch.no_grad():
        model.fc.bias.add_(1)
    torch.testing.assert_close(network.run(x), before + 1)


def test_weights_are_shared_and_not_copied():
    model = Reused()
    network = Network(model, torch.zeros(1, 3, 8, 8))
    held = list(network.state_dict(["fc.weight", "norm.running_mean"]).values())
    assert held[0].data_ptr() == model.fc.weight.data_ptr()
    assert held[1].data_ptr() == model.norm.running_mean.data_ptr()


@BOTH
def test_logits_are_those_of_the_model_for_any_batch_size(capture):
    model = Reused()
    network = Network(model, torch.zeros(1, 3, 8, 8), capture=capture)
    model.eval()
    for size in (1, 2, 5):
        x = torch.randn(size, 3, 8, 8)
        torch.testing.assert_close(network.run(x), model(x).detach())
    assert (network.num_classes, network.input_shape) == (3, (3, 8, 8))
    assert (network.device, network.dtype) == (torch.device("cpu"), torch.float32)


def test_inputs_are_brought_to_the_type_of_the_network():
    network = Network(Reused().double(), torch.zeros(1, 3, 8, 8))
    assert network.run(torch.zeros(1, 3, 8, 8)).dtype == torch.float64


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (torch.zeros(2, 3, 9, 8), r"\(2, 3, 9, 8\).*\(batch, 3, 8, 8\)"),
        (torch.zeros(3, 8, 8), r"\(3, 8, 8\)"),
        (torch.zeros(0, 3, 8, 8), "one or more"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "uint8"),
        ([[1.0]], "list"),
        ((torch.zeros(1, 3, 8, 8), torch.zeros(1)), r"\(1,\)"),
    ],
)
def test_inputs_that_differ_from_the_example_are_refused(inputs, said):
    with pytest.raises(BatchError, match=said):
        Network(Reused(), torch.zeros(1, 3, 8, 8)).run(inputs)


# PyTorch 2.11 warns of its own code when torch.compile is first used.
@pytest.mark.filterwarnings("ignore:.*script_method.* is deprecated:DeprecationWarning")
def test_wrapped_models_are_read_through_their_wrappers():
    model = Reused()
    x = torch.zeros(1, 3, 8, 8)
    plain = Network(model, x)
    for wrapped in (
        torch.compile(model),
        nn.DataParallel(model),
        torch.compile(nn.DataParallel(model)),
    ):
        assert Network(wrapped, x).fingerprint == plain.fingerprint


def test_the_fingerprint_depends_on_the_architecture_alone():
    x = torch.zeros(1, 3, 8, 8)
    assert Network(Reused(), x).fingerprint == Network(Reused(), x).fingerprint
    assert Network(Reused(), x).fingerprint != Network(SqueezeExcite(), x).fingerprint


@pytest.mark.parametrize(
    ("example", "said"), [((), "none"), (torch.zeros(()), "batch axis"), ("x", "str")]
)
def test_an_example_without_a_batch_is_refused(example, said):
    with pytest.raises(ExportError, match=said):
        Network(Reused(), example)


def test_a_model_without_logits_is_refused():
    with pytest.raises(ExportError, match="logits"):
        Network(nn.Conv2d(3, 3, 1), torch.zeros(1, 3, 4, 4))
    with pytest.raises(ExportError, match="logits"):
        Network(nn.Conv2d(3, 3, 1), torch.zeros(1, 3, 4, 4), capture="calls")
    with pytest.raises(OptionError, match="export"):
        Network(Reused(), torch.zeros(1, 3, 8, 8), capture="hooks")
    with pytest.raises(ExportError, match=r"torch\.nn\.Module"):
        Network(lambda x: x, torch.zeros(1, 3))


def test_the_last_activation_is_the_output_layer_when_no_parameters_follow():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.ReLU(), nn.Flatten(1)
    )
    assert [layer.name for layer in Network(model, torch.zeros(1, 3, 1, 1)).activation_layers] == [
        "1"
    ]
    model = nn.Sequential(nn.Linear(4, 4), nn.Sigmoid(), nn.Linear(4, 2), nn.Sigmoid())
    assert [layer.name for layer in Network(model, torch.zeros(1, 4)).activation_layers] == ["1"]


@BOTH
def test_a_module_under_two_names_goes_by_the_first(capture):
    class Aliased(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.one = nn.Linear(4, 4), nn.ReLU()
            self.two = self.one

        def forward(self, x):
            return self.fc(self.two(self.fc(self.one(self.fc(x)))))

    network = Network(Aliased(), torch.zeros(1, 4), capture=capture)
    assert [layer.name for layer in network.activation_layers] == ["one", "one:1"]


def test_a_model_that_moves_to_another_device_takes_its_network_along():
    class MakesTensors(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, x):
            x = torch.relu(
                self.fc1(x) + torch.ones(6, device=x.device) + torch.tensor([1.0], device=x.device)
            )
            return self.fc2(x.to(x.device))

    model = MakesTensors()
    network = Network(model, torch.zeros(1, 4))
    model.to("meta")
    seen = []
    logits = network.run(torch.zeros(2, 4), lambda layer, values: seen.append(values.device.type))
    assert (network.device.type, logits.device.type, seen) == ("meta", "meta", ["meta"])


def test_no_value_outlives_its_last_use():
    model = nn.Sequential(
        *[part for _ in range(4) for part in (nn.Linear(4, 4), nn.ReLU())], nn.Linear(4, 2)
    )
    network, seen, most = Network(model, torch.zeros(1, 4)), [], []

    def observe(layer, values):
        most.append(sum(reference() is not None for reference in seen))
        seen.append(weakref.ref(values))

    network.run(torch.zeros(2, 4), observe)
    # Only the layer right before is still held, by nothing but the call that has just read it.
    assert max(most) <= 1
    assert len(most) == 4


def test_many_threads_can_run_one_network():
    model, results = Reused().eval(), {}
    network = Network(model, torch.zeros(1, 3, 8, 8))
    batches = [torch.randn(2, 3, 8, 8) for _ in range(8)]

    def work(place):
        results[place] = recorded(network, batches[place])

    threads = [threading.Thread(target=work, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for place, batch in enumerate(batches):
        torch.testing.assert_close(results[place][1], model(batch).detach())
        assert results[place][0]["act"].shape == (2, 4, 6, 6)


def test_a_saved_program_becomes_a_network(tmp_path):
    model, x = Reused().eval(), torch.randn(2, 3, 8, 8)
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False)
    torch.export.save(program, tmp_path / "model.pt2")
    network = Network.load(tmp_path / "model.pt2")
    read = Network(model, x)
    assert network.activation_layers == read.activation_layers
    assert network.fingerprint == read.fingerprint
    torch.testing.assert_close(network.run(x[:1]), model(x[:1]).detach())
    zeros = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    assert not network.with_weights(zeros).run(x).any()
    (tmp_path / "broken.pt2").write_bytes(b"no program")
    for name in ("broken.pt2", "absent.pt2"):
        with pytest.raises(ExportError, match=name):
            Network.load(tmp_path / name)


def test_the_graph_names_the_parameters_and_the_node_of_each_layer():
    network = Network(Reused(), torch.zeros(1, 3, 8, 8))
    held = {
        node.meta.get("tensor_name") for node in network.graph.nodes if node.op == "placeholder"
    }
    assert {"conv1.weight", "norm.running_var"} <= held
    assert "relu" in str(network.node(network.activation_layers[1]).target)


class TestUntouched:
    """Whatever happens, the user's model is as it was."""

    @staticmethod
    def image(model):
        return (
            [(name, id(module), module.training) for name, module in model.named_modules()],
            [
                (name, id(value), value.requires_grad, id(value.grad))
                for name, value in model.named_parameters()
            ],
            [
                (name, id(value), type(value), value.clone())
                for name, value in model.named_buffers()
            ],
            [list(module._forward_hooks.items()) for module in model.modules()],
            [list(module._forward_pre_hooks.items()) for module in model.modules()],
            [sorted(module.__dict__) for module in model.modules()],
            dict(getattr(model, "kept", {})),
            list(torch.nn.modules.module._global_forward_hooks),
            list(torch.nn.modules.module._global_forward_pre_hooks),
            torch.backends.mha.get_fastpath_enabled(),
        )

    @BOTH
    @pytest.mark.parametrize(
        "made", [Reused, Tokens, NoGrad, DataDependent, InPlaceView, Caching, SqueezeExcite]
    )
    @pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
    def test_after_reading_and_running(self, capture, made, error):
        model = made()
        model.train()
        next(model.children()).eval()
        next(model.parameters()).requires_grad_(False)
        list(model.parameters())[-1].grad = torch.ones_like(list(model.parameters())[-1])
        handle = model.register_forward_hook(lambda *_: None)
        x = torch.randint(0, 9, (2, 5)) if made is Tokens else torch.randn(2, 4)
        x = torch.randn(2, 3, 8, 8) if made in (Reused, SqueezeExcite) else x
        before = self.image(model)

        def observe(layer, values):
            if error is not None:
                raise error("from the observer")

        try:
            network = Network(model, x, capture=capture)
        except ExportError:
            assert capture == "export"
            # PyTorch 2.9 does not export models that keep something on themselves.
            assert made in (DataDependent, Caching)
        else:
            if error is None:
                network.run(x, observe)
            else:
                with pytest.raises(error, match="from the observer"):
                    network.run(x, observe)
        handle_kept = model._forward_hooks[handle.id]
        assert handle_kept is not None
        assert str(self.image(model)) == str(before)

    @BOTH
    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    def test_after_a_failure_inside_the_forward_pass(self, capture, error):
        class Failing(Caching):
            def forward(self, x):
                self.hidden = super().forward(x)
                raise error("inside the forward pass")

        model, x = Failing().train(), torch.randn(2, 4)
        before = self.image(model)
        with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else ExportError):
            Network(model, x, capture=capture)
        assert str(self.image(model)) == str(before)


def test_sizes_follow_from_the_unit():
    layer = ActivationLayer("relu", "", "relu", 0, 0, (197, 3072), 1)
    assert (layer.neurons(), layer.neurons("element"), layer.neurons("channel-max")) == (
        3072,
        605_184,
        3072,
    )
    assert (
        layer.observations(),
        layer.observations("channel-mean"),
        layer.observations("element"),
    ) == (
        197,
        1,
        1,
    )
    assert layer.bytes("channel", bins=10) == 245_760
    with pytest.raises(OptionError, match="'element'"):
        layer.neurons("elements")


class Several(nn.Module):
    """Returns features beside the logits, under names or not."""

    def __init__(self, named):
        super().__init__()
        self.first, self.second, self.named = nn.Linear(4, 8), nn.Linear(8, 3), named

    def forward(self, x):
        features = torch.relu(self.first(x))
        logits = self.second(features)
        return {"features": features, "logits": logits} if self.named else (features, logits)


@pytest.mark.parametrize("capture", ["export", "calls"])
def test_of_several_outputs_the_one_called_logits_is_taken_and_else_none(capture):
    model, inputs = Several(named=True), torch.randn(5, 4)
    network = Network(model, inputs, capture=capture)
    assert network.num_classes == 3
    assert torch.allclose(network.run(inputs), model(inputs)["logits"])
    with pytest.raises(ExportError, match="called 'logits'"):
        Network(Several(named=False), inputs, capture=capture)


def test_a_dropout_in_place_has_a_counterpart_that_writes_nowhere():
    model = nn.Sequential(
        nn.Linear(4, 6), nn.ReLU(), nn.Dropout(0.2, inplace=True), nn.Linear(6, 3)
    )
    network = Network(model.eval(), torch.zeros(1, 4))
    assert any("dropout" in str(node.target) for node in network.functional.graph.nodes)


class Masked(nn.Module):
    """Fills a mask of its own region by region, as shifted windows have it, and clears a part of a bias."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x):
        bias = self.first.bias.clone()
        bias[1:3].zero_()
        hidden = F.linear(x, self.first.weight, bias)
        mask = hidden.new_zeros(6)
        for number, part in enumerate((slice(0, 2), slice(2, 6))):
            mask[part] = number
        return self.second(torch.relu(hidden * mask))


def test_what_comes_of_no_input_may_be_written_in_place():
    torch.manual_seed(0)
    model, inputs = Masked().eval(), torch.randn(5, 4)
    network = Network(model, inputs)
    node = network.node(network.activation_layers[0])
    for _ in range(2):
        logits, values = network.trace(inputs, [node], gradients=True)
        torch.testing.assert_close(logits, model(inputs))
        assert torch.autograd.grad(logits.sum(), values[node])[0].shape == (5, 6)
    with pytest.raises(RuleError, match="read through another view"):
        Network(InPlaceView(), torch.zeros(1, 4)).functional  # noqa: B018


def test_a_lazy_layer_is_named_until_it_has_seen_a_batch():
    model, inputs = nn.Sequential(nn.LazyLinear(6), nn.ReLU(), nn.LazyLinear(3)), torch.randn(2, 4)
    with pytest.raises(ExportError, match=r"layer '0', .* call the model once"):
        Network(model, inputs)
    model(inputs)
    assert Network(model, inputs).num_classes == 3


def test_a_batch_size_that_is_written_down_is_named():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, x):
            return self.last(self.first(x).relu().view(2, 6))

    with pytest.raises(ExportError, match=r"fixes the batch size to 2.*take sizes from the input"):
        Network(Fixed(), torch.zeros(2, 4))
