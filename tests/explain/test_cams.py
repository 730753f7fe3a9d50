"""Class activation maps: the same numbers as the libraries on the eager model, and the model stays as it was."""

import copy
import lzma
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
import torchvision
from captum.attr import LayerAttribution, LayerGradCam
from pytorch_grad_cam import GradCAMPlusPlus
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from cofire import errors
from cofire.explain.methods import cam
from cofire.explain.methods.cam import choose_cam_layer
from cofire.network import Network
from tests.explain.networks import Written
from tests.network.test_torchvision import built


class Small(nn.Module):
    """Functions, one ReLU module used twice in place, a residual sum, and writing in place after the last map."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3, stride=2), nn.Conv2d(6, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.ReLU(inplace=True)
        self.fc1, self.fc2 = nn.Linear(6, 5), nn.Linear(5, 3)
        self.last = nn.Identity()

    def forward(self, x):
        x = self.act(self.norm(self.conv1(x)))
        x = self.last(F.relu(self.conv2(x).add_(x)))
        x = self.act(self.fc1(x.mean((2, 3))))
        return self.fc2(x)


def cam_maps(network, images, target, method, layer=None):
    """Maps, layer and logits."""
    found = cam.cam_maps(network, images, target[:, None], method, layer)
    return found.maps, found.options["target_layer"], found.logits


@pytest.fixture(params=["gradcam", "gradcam++"])
def method(request):
    return request.param


@pytest.fixture
def small():
    model, images = Small(), torch.randn(4, 3, 17, 15)
    return model, images, Network(model, images[:1]), torch.tensor([0, 1, 2, 1])


@pytest.fixture
def expected(small, method):
    """The small network's maps."""
    _, images, network, target = small
    return cam_maps(network, images, target, method)[0]


def by_captum(model, layer, images, target):
    """Captum's own map on the eager model, and the logits."""
    found = LayerGradCam(model, layer).attribute(images, target, relu_attributions=True)
    found = LayerAttribution.interpolate(found, images.shape[2:], interpolate_mode="bilinear")
    return found[:, 0].detach(), model(images).detach()


def by_grad_cam(model, layer, images, target):
    """What grad-cam itself returns for the eager model, stretched to [0, 1], and the weighted sum before that."""
    with GradCAMPlusPlus(model, [layer]) as cam:
        maps = cam(images, [ClassifierOutputTarget(int(one)) for one in target])
        kept = cam.activations_and_grads
        raw = cam.get_cam_image(
            images, layer, None, kept.activations[0].numpy(), kept.gradients[0].numpy()
        )
    raw = F.interpolate(
        torch.from_numpy(np.maximum(raw, 0))[:, None], images.shape[2:], mode="bilinear"
    )[:, 0]
    return torch.from_numpy(maps), raw


def by_hand(logits, feature, target, images, positions=(2, 3), channels=1):
    """Grad-CAM from its equation."""
    gradient = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), feature)[0]
    small = F.relu((gradient.mean(positions, keepdim=True) * feature).sum(channels)).detach()
    return F.interpolate(small[:, None], images.shape[2:], mode="bilinear")[:, 0]


def assert_same_map(ours, theirs, share=1e-6):
    assert ours.dtype == torch.float32
    assert ours.shape == theirs.shape
    assert theirs.amax() > 0
    assert (ours - theirs).abs().amax() <= share * theirs.amax()


def assert_equal(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def check_against_both(model, layer, images, target, faint=False, network=None):
    """The layer's name; of faint maps grad-cam's stretching, which adds 1e-7 to what it divides by, makes others."""
    network, eager = network or Network(model, images[:1]), copy.deepcopy(model).eval()
    module = eager.get_submodule(layer)
    maps, name, logits = cam_maps(network, images, target, "gradcam")
    theirs, their_logits = by_captum(eager, module, images, target)
    assert_same_map(maps, theirs)
    torch.testing.assert_close(logits, their_logits)

    maps, again, logits = cam_maps(network, images, target, "gradcam++")
    theirs, raw = by_grad_cam(eager, module, images, target)
    assert_same_map(maps, raw)
    if not faint:
        low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
        assert ((maps - low) / (high - low).clamp(min=1e-30) - theirs).abs().amax() < 2e-5
    torch.testing.assert_close(logits, their_logits)
    assert again == name
    return name


def test_small_network_gives_the_libraries_own_maps(small):
    model, images, _, target = small
    assert check_against_both(model, "last", images, target) == "relu"


def test_resnet_gives_the_libraries_own_maps():
    model = torchvision.models.resnet18(weights=None)
    images, target = torch.randn(2, 3, 96, 96), torch.tensor([3, 700])
    assert check_against_both(model, "layer4", images, target) == "layer4.1.relu:1"


def test_squeezenet_gives_the_libraries_own_maps_with_real_weights(shared):
    packed = shared / "data" / "weights" / "squeezenet1_0-imagenet.safetensors.xz"
    if not packed.is_file():
        pytest.skip("no SqueezeNet among the shared data")
    model = torchvision.models.squeezenet1_0()
    model.load_state_dict(safetensors.torch.load(lzma.decompress(packed.read_bytes())))
    images = F.interpolate(torch.randn(2, 3, 14, 14), (224, 224), mode="bilinear")
    target = model.eval()(images).argmax(1)
    assert check_against_both(model.train(), "features", images, target) == "features.12"


CHOSEN = {
    "alexnet": ("features.11", (256, 5, 5), "features.11"),
    "vgg16": ("features.29", (512, 6, 6), "features.29"),
    "resnet50": ("layer4.2.relu:2", (2048, 3, 3), "layer4"),
    "inception_v3": ("Mixed_7c", (2048, 3, 3), "Mixed_7c"),
    "googlenet": ("inception5b", (1024, 3, 3), "inception5b"),
    "densenet121": ("relu", (1024, 3, 3), None),
    "mobilenet_v2": ("features.18.2", (1280, 3, 3), "features.18"),
    "mobilenet_v3_large": ("features.16.2", (960, 3, 3), "features.16"),
    "mobilenet_v3_small": ("features.12.2", (576, 3, 3), "features.12"),
    "squeezenet1_0": ("features.12", (512, 5, 5), "features"),
    "efficientnet_b0": ("features.8.2", (1280, 3, 3), "features.8"),
    "convnext_tiny": ("features.7.2", (768, 3, 3), "features"),
    "swin_t": ("norm", (3, 3, 768), "permute"),
    "swin_v2_t": ("norm", (3, 3, 768), "permute"),
    "shufflenet_v2_x1_0": ("conv5.2", (1024, 3, 3), "conv5"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHOSEN)
def test_the_layer_is_the_last_map_before_the_classifier(name):
    model = built(name)[0].double()
    expected, shape, module = CHOSEN[name]
    images = torch.randn(2, 3, *[139 if name == "inception_v3" else 96] * 2, dtype=torch.float64)
    network = Network(model, images[:1])
    layer = choose_cam_layer(network)
    assert (layer.name, layer.shape) == (expected, shape)
    assert layer.channel_axis == (2 if name.startswith("swin") else 0)
    if module is not None:
        target = network.run(images).argmax(1).clone()
        assert check_against_both(model, module, images, target, True, network) == expected


@pytest.mark.slow
def test_a_vision_transformer_has_its_tokens_on_a_grid():
    model, images = built("vit_b_16")
    layer = choose_cam_layer(Network(model, images[:1]))
    assert layer.name == "encoder.layers.encoder_layer_10"
    assert layer.shape == (1 + 16, 768)  # the class token and 4 × 4 patches


def test_places_in_a_row_are_no_map():
    model = nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(2), nn.Conv1d(4, 5, 3), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(5 * 34, 3)),
    )
    images = torch.rand(2, 3, 8, 8)
    with pytest.raises(errors.ExplanationError, match="lie in a row"):
        choose_cam_layer(Network(model, images[:1]))


def test_a_plain_chain_is_read_before_its_pooling():
    convolutions = [
        nn.Conv2d(1, 20, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
    ]
    model = nn.Sequential(
        *convolutions, nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10)
    )
    layer = choose_cam_layer(Network(model, torch.zeros(1, 1, 28, 28)))
    assert (layer.name, layer.shape) == ("4", (50, 8, 8))


def test_what_a_branch_leaps_over_is_not_chosen():
    def leap(self, x):
        x = torch.relu(self.one(x))
        y = torch.tanh(self.two(x))
        return self.fc(torch.cat([x.mean((2, 3)), y.mean((2, 3)).view(x.size(0), -1)], 1))

    model = Written(leap, one=nn.Conv2d(3, 4, 3), two=nn.Conv2d(4, 4, 3), fc=nn.Linear(8, 2))
    network = Network(model, torch.zeros(1, 3, 9, 9))
    assert choose_cam_layer(network).name == "relu"
    assert choose_cam_layer(network, "tanh").name == "tanh"


def test_a_rescaled_image_is_no_feature_map():
    rest = nn.Sequential(
        nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(36, 4), nn.ReLU(), nn.Linear(4, 2)
    )
    model = Written(lambda self, x: self.rest((x - 0.5) / 0.5), rest=rest)
    with pytest.raises(errors.ExplanationError, match="no feature map"):
        choose_cam_layer(Network(model, torch.zeros(1, 1, 6, 6)))


def test_another_layer_can_be_named(small):
    model, images, network, target = small
    maps, name, _ = cam_maps(network, images, target, "gradcam", layer="act")
    assert name == "act"
    eager = copy.deepcopy(model).eval()
    feature = F.relu(eager.norm(eager.conv1(images))).detach().requires_grad_()
    after = F.relu(eager.conv2(feature) + feature).mean((2, 3))
    logits = eager.fc2(F.relu(eager.fc1(after)))
    assert_same_map(maps, by_hand(logits, feature, target, images))
    with pytest.raises(errors.LayerError, match="near it"):
        cam_maps(network, images, target, "gradcam", layer="akt")
    with pytest.raises(errors.ExplanationError, match="name one of 'act', 'relu'"):
        cam_maps(network, images, target, "gradcam", layer="act:1")
    with pytest.raises(errors.LayerError, match="another network"):
        cam_maps(Network(model, images), images, target, "gradcam", layer=choose_cam_layer(network))


def test_channels_last_layers_are_read_as_maps():
    model, images = built("convnext_tiny")
    network = Network(model, images[:1])
    name = network.activation_layers[-1].name
    layer = choose_cam_layer(network, name)
    assert (layer.channel_axis, len(layer.shape)) == (2, 3)
    target = torch.tensor([1, 2, 3])
    maps, _, _ = cam_maps(network, images, target, "gradcam", layer=name)
    seen, eager = [], copy.deepcopy(model).eval()
    eager.get_submodule(name).register_forward_hook(lambda _, __, out: seen.append(out))
    assert_same_map(
        maps, by_hand(eager(images), seen[0], target, images, positions=(1, 2), channels=3)
    )


def snapshot(model):
    tensors = [*model.parameters(), *model.buffers()]
    marks = [
        (value.requires_grad, value._version, value.data_ptr(), id(value.grad)) for value in tensors
    ]
    hooks = [len(module._forward_hooks) + len(module._backward_hooks) for module in model.modules()]
    return (
        [dict(module.__dict__) for module in model.modules()],
        marks,
        hooks,
        [value.tolist() for value in tensors],
    )


def test_the_model_stays_as_it_is(small, method, monkeypatch):
    model, images, network, target = small
    model.fc1.weight.requires_grad_(False)
    model.fc2(torch.ones(1, 5)).sum().backward()
    given = images.clone(), target.clone()
    before = snapshot(model)
    cam_maps(network, images, target, method)
    assert snapshot(model) == before

    def failing(*_, **__):
        raise RuntimeError("in the middle")

    monkeypatch.setattr(torch.autograd, "grad", failing)
    monkeypatch.setattr(torch.Tensor, "backward", failing)
    with pytest.raises(RuntimeError, match="in the middle"):
        cam_maps(network, images, target, method)
    assert snapshot(model) == before
    assert torch.equal(images, given[0])
    assert torch.equal(target, given[1])
    assert not images.requires_grad


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_the_callers_mode_makes_no_difference(small, method, expected, mode):
    _, images, network, target = small
    with mode():
        state = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        maps, _, logits = cam_maps(network, images.clone(), target.clone(), method)
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == state
    assert_equal(maps, expected)
    assert not maps.requires_grad
    assert not logits.requires_grad


def test_tensors_made_in_inference_mode_will_do(small, method, expected):
    model, images, network, target = small
    with torch.inference_mode():
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        made = images.clone()
    assert weights["fc2.weight"].is_inference()
    assert_equal(cam_maps(network.with_weights(weights), made, target, method)[0], expected)


def test_frozen_weights_and_channels_last_make_no_difference(small, method, expected):
    model, images, network, target = small
    frozen = copy.deepcopy(model).requires_grad_(False)
    assert_equal(cam_maps(Network(frozen, images), images, target, method)[0], expected)
    striding = images.to(memory_format=torch.channels_last)
    assert_same_map(cam_maps(network, striding, target, method)[0], expected)
    lasting = Network(copy.deepcopy(model).to(memory_format=torch.channels_last), striding)
    assert_same_map(cam_maps(lasting, striding, target, method)[0], expected)


@pytest.mark.parametrize(
    ("dtype", "share"), [(torch.float64, 1e-4), (torch.bfloat16, 0.1), (torch.float16, 0.02)]
)
def test_other_types_of_weights_give_nearly_the_same_map(small, method, expected, dtype, share):
    model, images, network, target = small
    other = Network(copy.deepcopy(model).to(dtype), images.to(dtype))
    maps, _, logits = cam_maps(other, images, target, method)
    assert logits.dtype == dtype
    assert_same_map(maps, expected, share)
    model.to(dtype)
    assert_equal(cam_maps(network, images, target, method)[0], maps)


def test_autocast_around_a_call_changes_nothing(small, method, expected):
    _, images, network, target = small
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps, _, logits = cam_maps(network, images, target, method)
    assert logits.dtype == torch.float32
    assert_same_map(maps, expected)


def test_a_map_does_not_depend_on_the_rest_of_the_batch(small, method, expected):
    _, images, network, target = small
    alone = [cam_maps(network, images[[one]], target[[one]], method) for one in range(4)]
    assert_same_map(torch.cat([maps for maps, _, _ in alone]), expected)
    torch.testing.assert_close(
        torch.cat([logits for *_, logits in alone]), network.run(images).clone()
    )


def test_a_map_without_positive_values_is_all_zero(method):
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    nn.init.constant_(model[4].weight, -1.0)
    images = torch.randn(2, 3, 9, 9)
    network = Network(model, images)
    assert torch.equal(
        cam_maps(network, images, torch.tensor([0, 1]), method)[0], torch.zeros(2, 9, 9)
    )
    # Nothing fires at all.
    nn.init.constant_(model[0].bias, -100.0)
    assert torch.equal(
        cam_maps(network, images, torch.tensor([0, 1]), method)[0], torch.zeros(2, 9, 9)
    )


def test_writing_in_place_that_autograd_would_refuse_does_no_harm(method):
    def inference_only(self, x):
        y = torch.sigmoid(self.mix(torch.relu(self.conv(x))).mean((2, 3)))
        # Autograd keeps the sigmoid's result.
        y.mul_(3)
        y += 1
        z = y * 1
        z[:, :2].mul_(2).sub_(1)
        return self.fc(z)

    model = Written(
        inference_only, conv=nn.Conv2d(3, 4, 3), mix=nn.Conv2d(4, 4, 1), fc=nn.Linear(4, 3)
    )
    images, target = torch.randn(2, 3, 9, 9), torch.tensor([0, 2])
    with pytest.raises(RuntimeError, match="inplace operation"):
        model(images).sum().backward()
    network = Network(model, images)
    maps, _, logits = cam_maps(network, images, target, method, layer="relu")
    torch.testing.assert_close(logits, network.run(images).clone())

    feature = torch.relu(model.conv(images))
    y = torch.sigmoid(model.mix(feature).mean((2, 3))) * 3 + 1
    expected = model.fc(torch.cat([y[:, :2] * 2 - 1, y[:, 2:]], 1))
    torch.testing.assert_close(logits, expected.detach())
    if method == "gradcam":
        assert_same_map(maps, by_hand(expected, feature, target, images))


def test_signed_maps_that_are_written_over_are_seen_as_they_were(method):
    def after(self, x):
        x.sub_(0.1)
        x = F.gelu(self.conv(x))
        x[:, :2].mul_(2)
        return self.fc(x.mean((2, 3)))

    images, target = torch.randn(2, 3, 9, 9), torch.tensor([0, 2])
    kept = images.clone()
    model = Written(after, conv=nn.Conv2d(3, 4, 3), fc=nn.Linear(4, 3))
    maps, _, logits = cam_maps(Network(model, images), images, target, method, layer="gelu")
    feature = F.gelu(model.conv(images - 0.1))
    scale = torch.tensor([2.0, 2, 1, 1])
    torch.testing.assert_close(logits, model.fc(feature.mean((2, 3)) * scale).detach())
    weights = model.fc.weight[target] * scale / 49
    if method == "gradcam++":
        sums = feature.sum((2, 3))
        weights = (
            49 * weights.clamp(min=0) * weights**2 / (2 * weights**2 + sums * weights**3 + 1e-6)
        )
    small = F.relu((weights[:, :, None, None] * feature).sum(1, keepdim=True)).detach()
    assert_same_map(maps, F.interpolate(small, (9, 9), mode="bilinear")[:, 0], 1e-5)
    assert torch.equal(images, kept)


def test_new_weights_and_training_show(small):
    model, images, network, target = small
    zeros = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    before, _, _ = cam_maps(network, images, target, "gradcam")
    assert not cam_maps(network.with_weights(zeros), images, target, "gradcam")[0].any()
    with torch.no_grad():
        model.fc2.weight *= 2
    torch.testing.assert_close(cam_maps(network, images, target, "gradcam")[0], before * 2)


def test_threads_do_not_disturb_each_other(small, method, expected):
    _, images, network, target = small
    with ThreadPoolExecutor(4) as pool:
        for maps, _, _ in pool.map(lambda _: cam_maps(network, images, target, method), range(20)):
            assert_equal(maps, expected)


def test_a_fully_connected_network_has_no_map(tiny):
    with pytest.raises(errors.ExplanationError) as caught:
        choose_cam_layer(tiny.network)
    assert all(
        part in str(caught.value)
        for part in ("no feature map", "Expected: a convolutional", "discernible")
    )
    with pytest.raises(errors.ExplanationError, match="a network of images"):
        cam_maps(tiny.network, tiny.inputs, tiny.labels, "gradcam")


def test_a_layer_without_gradient_to_the_logits_is_refused(method):
    def beside(self, x):
        x = torch.relu(self.conv(x))
        return {"logits": self.fc(x.mean((2, 3))), "aside": self.aside(torch.tanh(x)).mean((2, 3))}

    model = Written(beside, conv=nn.Conv2d(3, 4, 3), aside=nn.Conv2d(4, 5, 3), fc=nn.Linear(4, 2))
    images = torch.randn(2, 3, 9, 9)
    network = Network(model, images)
    assert choose_cam_layer(network).name == "relu"
    with pytest.raises(errors.ExplanationError, match="no gradient"):
        cam_maps(network, images, torch.tensor([0, 1]), method, layer="tanh")


def test_bad_input_gives_no_map(small, method):
    model, images, network, target = small
    with pytest.raises(errors.BatchError):
        cam_maps(network, images[:, :2], target, method)
    broken = images.clone()
    broken[2, 0, 4, 4] = float("nan")
    with pytest.raises(errors.NonFiniteError, match="image 2"):
        cam_maps(network, broken, target, method)
    with pytest.raises(errors.ExportError, match="no operator graph"):
        cam_maps(Network(model, images, capture="calls"), images, target, method)
