"""Do explanations of transformers find what decides? Objects pasted at a known place of a larger canvas.

python benchmarks/planted.py DATA [--checkpoints planted] [--images 300]

DATA is the folder that torchvision's FashionMNIST reads. Each canvas, 32 x 32, is a mosaic of pieces of other items, 4
x 4 pixels each and half as bright, and somewhere on it lies one item of 14 x 14 pixels: its class is the label, so that
a map that explains has to point there. A small ViT and a small Swin are trained on that, or read from --checkpoints;
each map is judged on test canvases that are classified rightly: how often its maximum is inside the pasted square
(pointing), and what share of it lies there (inside); the square has 19 % of the canvas. Intervals are of 95 %, by
bootstrap over canvases.
"""

import argparse
import math
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from torchvision.datasets import FashionMNIST

import cofire

CANVAS, OBJECT, PIECE = 32, 14, 4
STEPS = {"ViT": 1600, "Swin": 500}
MODELS = {
    "ViT": lambda: timm.create_model(
        "vit_tiny_patch16_224",
        **{"img_size": CANVAS, "patch_size": 4, "in_chans": 1, "num_classes": 10},
        **{"embed_dim": 48, "depth": 4, "num_heads": 3},
    ),
    "Swin": lambda: timm.create_model(
        "swin_tiny_patch4_window7_224",
        **{"img_size": CANVAS, "patch_size": 2, "in_chans": 1, "num_classes": 10},
        **{"window_size": 4, "embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4)},
    ),
}


def items(folder, train):
    found = FashionMNIST(folder, train=train)
    return found.data[:, None].float() / 255, found.targets


def planted(images, count, generator):
    """Canvases, which item lies on each, and its top left corner."""
    chosen = torch.randint(len(images), (count,), generator=generator)
    corners = torch.randint(CANVAS - OBJECT + 1, (count, 2), generator=generator)
    others = torch.randint(len(images), (count, 8), generator=generator)
    # Pieces of the bright middle of eight other items, in any order.
    middle = images[others.flatten(), :, 2:26, 2:26].unfold(2, PIECE, PIECE).unfold(3, PIECE, PIECE)
    pieces = middle.reshape(count, -1, PIECE, PIECE)
    side = CANVAS // PIECE
    order = torch.rand(count, pieces.shape[1], generator=generator).argsort(1)[:, : side * side]
    mosaic = pieces[torch.arange(count)[:, None], order].reshape(count, side, side, PIECE, PIECE)
    canvas = 0.5 * mosaic.permute(0, 1, 3, 2, 4).reshape(count, 1, CANVAS, CANVAS)
    objects = F.avg_pool2d(images[chosen], 2)
    for number, (top, left) in enumerate(corners.tolist()):
        canvas[number, :, top : top + OBJECT, left : left + OBJECT] = objects[number]
    return (canvas - 0.3) / 0.3, chosen, corners


def trained(name, folder, data):
    path = folder / f"{name.lower()}.safetensors"
    torch.manual_seed(0)
    model = MODELS[name]()
    if path.exists():
        model.load_state_dict(load_file(path))
        return model.eval()
    images, labels = items(data, True)
    steps = STEPS[name]
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    model.train()
    for step in range(steps):
        canvases, chosen, _ = planted(images, 128, generator)
        loss = F.cross_entropy(model(canvases), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(f"{name} step {step + 1}: loss {loss.item():.3f}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), path)
    return model.eval()


def rollout(model, canvases):
    """Attention rollout (Abnar and Zuidema 2020): what reaches the class token, of weights averaged over heads."""
    kept = []
    for block in model.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(
            lambda _, given, __: kept.append(given[0].mean(1))
        )
    with torch.no_grad():
        model(canvases)
    flow = torch.eye(kept[0].shape[1]).expand(len(canvases), -1, -1)
    for weights in kept:
        flow = (weights + torch.eye(weights.shape[1])) / 2 @ flow
    side = math.isqrt(flow.shape[1] - 1)
    small = flow[:, 0, 1:].reshape(-1, 1, side, side)
    return F.interpolate(small, (CANVAS, CANVAS), mode="bilinear")[:, 0]


def gradient_times_input(model, canvases):
    canvases = canvases.clone().requires_grad_()
    model(canvases).max(1).values.sum().backward()
    return (canvases * canvases.grad).sum(1).clamp(min=0).detach()


def by_cofire(method, **options):
    def found(model, canvases):
        network = cofire.Network(model, canvases[:1])
        return cofire.explain(network, canvases, method=method, **options).heatmap()

    return found


MAPS = {
    "`discernible`, values alone": by_cofire("discernible", points=False),
    '`discernible`, `attention="weights"`': by_cofire(
        "discernible", attention="weights", points=False
    ),
    "`discernible-layers`, values alone": by_cofire("discernible-layers", points=False),
    "`lrp`, values alone (CP-LRP)": by_cofire("lrp"),
    '`lrp`, `attention="weights"` (AttnLRP)': by_cofire("lrp", attention="weights"),
    "`gradcam`": by_cofire("gradcam"),
    "gradient × input": gradient_times_input,
    "attention rollout": rollout,
}


def judged(maps, corners):
    inside = torch.zeros(maps.shape, dtype=torch.bool)
    for number, (top, left) in enumerate(corners.tolist()):
        inside[number, top : top + OBJECT, left : left + OBJECT] = True
    pointing = inside.flatten(1).gather(1, maps.flatten(1).argmax(1, keepdim=True))[:, 0].double()
    share = (maps * inside).sum((1, 2)) / maps.sum((1, 2)).clamp(min=1e-12)
    return {"pointing": pointing, "inside": share.double()}


def interval(values, draws=2000):
    picked = torch.randint(
        len(values), (draws, len(values)), generator=torch.Generator().manual_seed(0)
    )
    low, high = values[picked].mean(1).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    return f"{100 * values.mean():.1f} ({100 * low:.1f} to {100 * high:.1f})"


def main(data, checkpoints, count):
    torch.set_num_threads(1)
    images, labels = items(data, False)
    for name in MODELS:
        model = trained(name, checkpoints, data)
        canvases, chosen, corners = planted(images, 4 * count, torch.Generator().manual_seed(1))
        with torch.no_grad():
            right = model(canvases).argmax(1) == labels[chosen]
        kept = right.nonzero().flatten()[:count]
        weights = sum(one.numel() for one in model.parameters())
        print(
            f"{name}: {weights:,} weights, {100 * right.double().mean():.1f} % right, {len(kept)} canvases"
        )
        for title, explained in MAPS.items():
            if title == "attention rollout" and name != "ViT":
                continue
            found = judged(explained(model, canvases[kept]).double(), corners[kept])
            columns = " | ".join(interval(found[one]) for one in ("pointing", "inside"))
            print(f"| {name} | {title} | {columns} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--checkpoints", type=Path, default=Path("planted"))
    parser.add_argument("--images", type=int, default=300)
    asked = parser.parse_args()
    main(asked.data, asked.checkpoints, asked.images)
