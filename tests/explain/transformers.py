"""Small transformers of the libraries that have them, and one written by hand, each with random weights."""

import timm
import torch
from torch import nn
from torch.nn import functional as F

SIZE = 16


def _torchvision_vit():
    from torchvision.models import VisionTransformer

    return VisionTransformer(SIZE, 4, 2, 2, 16, 32, num_classes=4)


def _swin():
    return timm.create_model(
        "swin_tiny_patch4_window7_224",
        **{"img_size": SIZE, "patch_size": 2, "num_classes": 4, "window_size": 4},
        **{"embed_dim": 8, "depths": (2, 2), "num_heads": (2, 2)},
    )


def _timm(name, patch=4):
    sizes = {"img_size": SIZE, "patch_size": patch, "num_classes": 4}
    return timm.create_model(name, **sizes, embed_dim=16, depth=2, num_heads=2)


def _maxvit():
    from torchvision.models import MaxVit

    return MaxVit(
        *((32, 32), 8, 4, [8, 8], [1, 1], 4),
        **{"stochastic_depth_prob": 0.0, "num_classes": 4},
    )


def _hugging_face():
    from transformers import ViTConfig, ViTForImageClassification

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    more = {"intermediate_size": 32, "image_size": SIZE, "patch_size": 4, "num_labels": 4}
    return ViTForImageClassification(ViTConfig(**sizes, **more))


MODELS = {
    "torchvision ViT": _torchvision_vit,
    "timm Swin": _swin,
    "timm DeiT": lambda: _timm("deit_tiny_distilled_patch16_224"),
    "timm BEiT": lambda: _timm("beit_base_patch16_224"),
    "timm XCiT": lambda: _timm("xcit_nano_12_p16_224", 8),
    "timm CaiT": lambda: _timm("cait_xxs24_224"),
    "torchvision MaxViT": _maxvit,
    "Hugging Face ViT": _hugging_face,
}


def transformer(name, biases=True):
    """In evaluation mode, and images for it; without biases all that is not of the image is zero."""
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    for path, parameter in model.named_parameters():
        constant = any(word in path for word in ("bias", "token", "pos_embed", "position_emb"))
        if constant and not biases and "relative" not in path:
            parameter.data.zero_()
        elif parameter.data.abs().sum() == 0 or "gamma" in path:
            nn.init.uniform_(parameter, -0.5, 0.5)
    size = 32 if "MaxViT" in name else SIZE
    return model, torch.rand(2, 3, size, size)


class OneHead(nn.Module):
    """Pre-norm blocks with one head and a class token, without biases; `fused` says how attention is written."""

    def __init__(self, width=4, blocks=2, classes=3, fused=True):
        super().__init__()
        torch.manual_seed(1)
        self.fused = fused
        self.embed = nn.Conv2d(1, width, 2, 2, bias=False)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.blocks = nn.ModuleList()
        for _ in range(blocks):
            block = nn.Module()
            block.norm1 = nn.LayerNorm(width, bias=False)
            block.norm2 = nn.LayerNorm(width, bias=False)
            block.qkv = nn.Linear(width, 3 * width, bias=False)
            block.out = nn.Linear(width, width, bias=False)
            block.up = nn.Linear(width, 6, bias=False)
            block.down = nn.Linear(6, width, bias=False)
            for norm in (block.norm1, block.norm2):
                nn.init.uniform_(norm.weight, 0.5, 1.5)
            self.blocks.append(block)
        self.head = nn.Linear(width, classes, bias=False)

    def forward(self, images):
        x = self.embed(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        for block in self.blocks:
            q, k, v = block.qkv(block.norm1(x)).chunk(3, -1)
            if self.fused:
                mixed = F.scaled_dot_product_attention(q, k, v)
            else:
                mixed = (q @ k.transpose(1, 2) * q.shape[-1] ** -0.5).softmax(-1) @ v
            x = x + block.out(mixed)
            x = x + block.down(F.gelu(block.up(block.norm2(x))))
        return self.head(x[:, 0])
