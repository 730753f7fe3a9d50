"""One preparation: what is resized, what is cut off, and what stays as it is."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from cofire.errors import ImageError, OptionError
from cofire.images.own_transform import OwnPreparation
from cofire.images.preparation import Preparation, preparation_of, published

DRAW = np.random.default_rng(5)


def plain(width, height):
    return Image.fromarray(DRAW.integers(0, 256, (height, width, 3), dtype=np.uint8))


def shown(preparation, image):
    return preparation.crop(image, "a.png")


@pytest.mark.parametrize("side", [28, 64, 224])
@pytest.mark.parametrize("spec", ["mine:model", "torchvision:resnet50"])
def test_images_of_the_size_asked_for_pass_unchanged(spec, side):
    image = plain(side, side)
    seen = shown(preparation_of(spec, image_size=side), image)
    assert (seen.pixels == np.asarray(image)).all()
    assert seen.region == (0, 0, side, side)


def test_small_inputs_lose_nothing_but_what_a_longer_side_has_more():
    assert shown(
        preparation_of("mine:model", image_size=64), plain(96, 128)
    ).region == pytest.approx((0, 16, 96, 112), abs=1)


def test_large_inputs_lose_an_eighth_at_the_edges():
    assert shown(preparation_of("mine:model"), plain(512, 512)).region == (32, 32, 480, 480)


def test_what_is_asked_for_is_done_to_images_of_any_size():
    wanted = preparation_of("mine:model", image_size=64, resize=128)
    assert shown(wanted, plain(64, 64)).region == (16, 16, 48, 48)
    assert shown(preparation_of("mine:model", resize=0, crop=32), plain(64, 64)).region == (
        16,
        16,
        48,
        48,
    )


def test_whole_images_are_squashed_when_nothing_is_to_be_cut():
    wanted = preparation_of("mine:model", image_size=32, crop=0)
    assert wanted.told == "squashed to 32 × 32, x from 0 to 1"
    seen = shown(wanted, plain(100, 50))
    assert seen.region == (0, 0, 100, 50)
    assert seen.pixels.shape == (32, 32, 3)


def test_a_strip_that_resizing_would_make_endless_is_refused():
    strip = Image.new("RGB", (1, 60_000))
    wanted = preparation_of("mine:model")
    assert wanted.can_fail(strip.size)
    with pytest.raises(ImageError, match=r"15,360,000 long.*--crop 0"):
        shown(wanted, strip)
    assert shown(preparation_of("mine:model", image_size=224, crop=0), strip).pixels.shape == (
        224,
        224,
        3,
    )


def test_images_of_a_data_set_stay_as_they_are_and_have_one_size():
    wanted = preparation_of("", of_data=(1, 28, 30))
    assert wanted.told == "as they are, 30 × 28, grey, x from 0 to 1"
    assert wanted(Image.new("L", (30, 28), 51)).unique().tolist() == pytest.approx([0.2])
    with pytest.raises(ImageError, match=r"28 × 30 pixels.*--image-size 30"):
        wanted(Image.new("L", (28, 30)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"crop": 200, "image_size": 224}, "--crop 200 with --image-size 224"),
        ({"crop": 0, "resize": 256}, "--resize 256 with --crop 0"),
        ({"image_size": 10_000}, "image_size=10000.*9459"),
        ({"resize": -1}, "resize=-1"),
        ({"mean": [0.5]}, "--mean without --std"),
        ({"mean": [0.5, 0.5], "std": [1.0]}, "one number, or one for each"),
        (
            {"transform": "mine:own", "mean": [0.5], "resize": 3},
            "--transform with --resize and --mean",
        ),
        ({"transform": "tests.images.test_preparation:absent"}, "AttributeError"),
        ({"transform": "nocolon"}, "package.module:name"),
        ({"transform": "math:pi"}, "a function of an image"),
    ],
)
def test_what_cannot_be_is_refused(options, said):
    with pytest.raises(OptionError, match=said):
        preparation_of("mine:model", **options)


class TestPublished:
    def test_timms_own_configuration_is_followed(self):
        timm = pytest.importorskip("timm")
        image = plain(260, 301)
        for name in (
            "resnet50",
            "vit_base_patch16_224",
            "coat_lite_medium_384",
            "deepseek_vit_412m",
        ):
            noted = timm.data.resolve_data_config(
                pretrained_cfg=timm.get_pretrained_cfg(name).to_dict()
            )
            theirs = timm.data.create_transform(**noted, is_training=False)(image)
            ours = preparation_of(f"timm:{name}")
            assert torch.allclose(ours.inputs([shown(ours, image)])[0], theirs, atol=1e-6), name

    def test_borders_that_a_model_wants_lie_outside_of_the_plain(self):
        pytest.importorskip("timm")
        left, top, right, bottom = shown(
            preparation_of("timm:deepseek_vit_412m"), plain(260, 301)
        ).region
        assert (left, right, top, bottom) == pytest.approx((-20.5, 280.5, 0, 301), abs=0.5)

    def test_of_other_sizes_the_same_share_is_cut_off(self):
        pytest.importorskip("timm")
        assert preparation_of("timm:resnet50", image_size=160).resize == 168
        assert preparation_of("torchvision:resnet50", image_size=448).resize == 464
        assert (
            published("mine:model")
            is published("torchvision:absent")
            is published("timm:absent")
            is None
        )


def crops(image):
    """The middle half of an image, enlarged."""
    width, height = image.size
    box = (width // 4, height // 4, 3 * width // 4, 3 * height // 4)
    pixels = np.asarray(image.resize((16, 16), box=box)).reshape(16, 16, -1).transpose(2, 0, 1)
    return (torch.from_numpy(pixels.copy()) / 255 - 0.25) / 0.5


def makes():
    return crops


def mirrors(image):
    return crops(image).flip(2)


def draws(image):
    return crops(image) + torch.rand(1)


def standardises(image):
    found = crops(image)
    return (found - found.mean()) / found.std().clamp(min=1e-3)


def keeps(image):
    return torch.from_numpy(np.asarray(image).transpose(2, 0, 1) / 255)


def fails(image):
    raise KeyError("nothing")


def fails_on_wide(image):
    assert image.width <= 256
    return crops(image)


def lists(image):
    return [0.0]


class TestOwnTransform:
    @pytest.mark.parametrize("name", ["crops", "makes"])
    def test_a_function_or_what_makes_one_gives_the_input(self, name):
        own = preparation_of("mine:model", transform=f"{__name__}:{name}")
        image = plain(400, 200)
        seen = shown(own, image)
        assert torch.equal(own(image), crops(image))
        assert torch.equal(own.inputs([seen])[0], crops(image))
        assert seen.region == pytest.approx((100, 50, 300, 150), abs=1.5)
        assert own.mean == pytest.approx((0.25,) * 3)
        assert own.std == pytest.approx((0.5,) * 3)
        assert (seen.pixels == np.asarray(image.resize((16, 16), box=(100, 50, 300, 150)))).all()
        assert own.told == f"by {__name__}:{name} to 16 × 16"
        assert own.record["transform"] == f"{__name__}:{name}"
        assert own.pixels([seen]).shape == (1, 16, 16, 3)
        assert own.can_fail((1, 1))

    def test_it_goes_to_other_processes(self):
        own = pickle.loads(pickle.dumps(OwnPreparation(crops, "mine:crops", grey=True)))
        assert own.told == "by mine:crops to 16 × 16, grey"
        assert own(plain(40, 40)).shape == (1, 16, 16)

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("draws", "another tensor each time"),
            ("standardises", "no shades of the image"),
            ("fails", "KeyError"),
            ("lists", "gives no tensor"),
        ],
    )
    def test_what_no_image_can_be_shown_by_is_refused(self, name, said):
        with pytest.raises(OptionError, match=said):
            preparation_of("mine:model", transform=f"{__name__}:{name}")

    def test_boxes_need_an_upright_part(self):
        own = preparation_of("mine:model", transform=f"{__name__}:mirrors")
        assert own(plain(30, 30)).shape == (3, 16, 16)
        with pytest.raises(OptionError, match="turns, mirrors or bends"):
            shown(own, plain(30, 30))

    def test_all_images_become_tensors_of_one_shape(self):
        own = preparation_of("mine:model", transform=f"{__name__}:keeps", of_data=(3, 20, 30))
        assert own(plain(30, 20)).shape == (3, 20, 30)
        with pytest.raises(ImageError, match=r"\(3, 20, 31\).*add a resize"):
            shown(own, plain(31, 20))
        with pytest.raises(ImageError, match=r"fails on 'a\.png': AssertionError"):
            shown(
                preparation_of("mine:model", transform=f"{__name__}:fails_on_wide"),
                plain(300, 20),
            )

    def test_it_fits_the_network(self):
        with pytest.raises(OptionError, match=r"gives \(3, 16, 16\)"):
            preparation_of("net.pt2", (3, 8, 8), transform=f"{__name__}:crops")


def test_a_preparation_can_be_called_as_a_transform():
    image = plain(40, 20)
    wanted = Preparation((3, 16, 16), 16, (0.5,) * 3, (0.5,) * 3)
    assert torch.equal(wanted(image), wanted.inputs([wanted.crop(image, "a")])[0])


def test_a_published_network_of_colour_takes_no_grey_images():
    with pytest.raises(OptionError, match=r"--grey with 'torchvision:resnet18'.*leave it out"):
        preparation_of("torchvision:resnet18", grey=True)
    assert preparation_of("torchvision:resnet18").shape == (3, 224, 224)
