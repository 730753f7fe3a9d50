"""Small members of the families of classifiers that people use: how each is built, and the shape of its images."""

from functools import partial

import timm
import torchvision.models as tv
import transformers as hf
from timm.data import resolve_model_data_config

VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}
TEXT = VIT | {"vocab_size": 50}
STAGES = {
    "image_size": 64,
    "hidden_sizes": [16, 16, 16, 16],
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 2, 2, 2],
}


def bottleneck(**options):
    return tv.ResNet(tv.resnet.Bottleneck, [1, 1, 1, 1], num_classes=10, **options)


def swin(**options):
    return tv.SwinTransformer([4, 4], 16, [2, 2], [2, 2], [4, 4], num_classes=10, **options)


TORCHVISION = {
    "convnext": lambda: tv.ConvNeXt(
        [tv.convnext.CNBlockConfig(16, 32, 1), tv.convnext.CNBlockConfig(32, None, 1)],
        num_classes=10,
    ),
    "densenet": lambda: tv.DenseNet(8, (2, 2, 2, 2), 16, num_classes=10),
    "maxvit": lambda: tv.MaxVit((64, 64), 16, 4, [16, 32], [1, 1], 8, 0.0, num_classes=10),
    "resnet": bottleneck,
    "resnext": partial(bottleneck, groups=4, width_per_group=16),
    "wide_resnet": partial(bottleneck, width_per_group=128),
    "swin": swin,
    "swin_v2": partial(
        swin,
        block=tv.swin_transformer.SwinTransformerBlockV2,
        downsample_layer=tv.swin_transformer.PatchMergingV2,
    ),
    "vit": lambda: tv.VisionTransformer(64, 16, 2, 2, 32, 64, num_classes=10),
    **{
        name: partial(tv.get_model, name, weights=None, num_classes=10, **options)
        for name, options in {
            "alexnet": {},
            "efficientnet_b0": {},
            "efficientnet_v2_s": {},
            "googlenet": {"aux_logits": True, "init_weights": False},
            "inception_v3": {"aux_logits": True, "init_weights": False},
            "mnasnet0_5": {},
            "mobilenet_v2": {},
            "mobilenet_v3_small": {},
            "regnet_x_400mf": {},
            "regnet_y_400mf": {},
            "shufflenet_v2_x0_5": {},
            "squeezenet1_1": {},
            "vgg11_bn": {},
        }.items()
    },
}

TIMM = """
resnetv2_18 resnest14d res2net50_14w_8s seresnet18 skresnet18 ecaresnet26t tresnet_m convnextv2_atto
tf_efficientnetv2_b0 mobilenetv3_small_050 mobilenetv4_conv_small_035 mobileone_s0 repvgg_a0
regnetz_b16 dla46_c dpn48b ghostnet_050 hardcorenas_a inception_next_atto nf_resnet26
ese_vovnet19b_slim edgenext_xx_small efficientvit_b0 fasternet_t0 fastvit_t8 hgnetv2_b0
mambaout_femto convformer_s18 nest_tiny pvt_v2_b0 rdnet_tiny starnet_s1 mobilevitv2_050
visformer_tiny vit_tiny_patch16_224 vit_relpos_small_patch16_224 beit_base_patch16_224
cait_xxs24_224 convit_tiny deit_tiny_distilled_patch16_224 eva02_tiny_patch14_224 flexivit_small
pit_ti_224 swin_tiny_patch4_window7_224 swinv2_cr_tiny_224 xcit_nano_12_p16_224 gcresnext26ts lambda_resnet26t
"""

HUGGING_FACE = {
    "ViT": VIT,
    "DeiT": VIT,
    "Beit": VIT,
    "Data2VecVision": VIT,
    "ViTMSN": VIT,
    "IJepa": VIT,
    "Dinov2": VIT | {"mlp_ratio": 2},
    "Dinov2WithRegisters": VIT | {"mlp_ratio": 2},
    "CLIP": {"vision_config": VIT, "text_config": TEXT},
    "Siglip": {"vision_config": VIT, "text_config": TEXT},
    "Swin": {"embed_dim": 16, "depths": [1, 2], "num_heads": [2, 4], "window_size": 4}
    | {"image_size": 32, "patch_size": 2},
    "Swinv2": {"embed_dim": 16, "depths": [1, 2], "num_heads": [2, 4], "window_size": 4}
    | {"image_size": 32, "patch_size": 2},
    "ConvNext": {"hidden_sizes": [16, 16, 32, 32], "depths": [1, 1, 1, 1]},
    "ConvNextV2": {"hidden_sizes": [16, 16, 32, 32], "depths": [1, 1, 1, 1]},
    "ResNet": {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1]},
    "RegNet": {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "groups_width": 8},
    "PoolFormer": {"hidden_sizes": [16, 16, 16, 16], "depths": [1, 1, 1, 1]},
    "Pvt": STAGES,
    "PvtV2": STAGES,
    "FocalNet": {"image_size": 32, "embed_dim": 16, "hidden_sizes": [16, 32], "depths": [1, 1]}
    | {"focal_levels": [2, 2], "focal_windows": [3, 3], "patch_size": 4},
    "MobileNetV1": {},
    "MobileViTV2": {"image_size": 64, "width_multiplier": 0.5},
    "Hiera": {"embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 2]}
    | {"image_size": [64, 64]},
}


def of_timm(name):
    # As few blocks and as small images as the family allows.
    for options in (
        {"img_size": 64, "depth": 2},
        {"img_size": 64, "depths": (1, 1, 1, 1)},
        {"img_size": 64},
        {"depths": (1, 1, 1, 1)},
        {"layers": (1, 1, 1, 1)},
        {},
    ):
        try:
            return timm.create_model(name, pretrained=False, num_classes=10, **options)
        except (TypeError, ValueError, AssertionError, IndexError, RuntimeError):
            continue
    raise AssertionError(name)


def of_hugging_face(name):
    config = getattr(hf, f"{name}Config")(num_labels=10, **HUGGING_FACE[name])
    return getattr(hf, f"{name}ForImageClassification")(config)


FAMILIES = {
    **{f"torchvision-{name}": make for name, make in TORCHVISION.items()},
    **{f"timm-{name}": partial(of_timm, name) for name in TIMM.split()},
    **{f"transformers-{name}": partial(of_hugging_face, name) for name in HUGGING_FACE},
}


def shape_of(name, model):
    """The smallest image that the model takes, of 3 channels."""
    library, _, family = name.partition("-")
    size = 96 if family in ("inception_v3", "hardcorenas_a", "inception_next_atto") else 64
    if library == "timm":
        fixed = getattr(model, "img_size", None) or getattr(
            getattr(model, "patch_embed", None), "img_size", None
        )
        if fixed is not None:
            size = fixed if isinstance(fixed, int) else fixed[0]
        elif resolve_model_data_config(model).get("fixed_input_size"):
            size = 224
    if library == "transformers":
        given = HUGGING_FACE[family]
        size = given.get("image_size", given.get("vision_config", {}).get("image_size", 64))
        size = size[0] if isinstance(size, list) else size
    return (3, size, size)
