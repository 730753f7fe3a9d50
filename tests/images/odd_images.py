"""Image files of kinds that readers differ on: each is a way in which two of them once showed two images."""

import numpy as np
from PIL import Image

SIDE = 24
ORIENTATION = 0x0112


def odd_images(folder):
    """Write one file of each kind; their names."""
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:SIDE, :SIDE]
    ramp = ((x + y) * 255 // (2 * SIDE - 2)).astype(np.uint8)
    colours = np.stack([ramp, ramp.T[::-1], 255 - ramp], -1).astype(np.uint8)
    alpha = np.where(x < SIDE // 2, 0, 255).astype(np.uint8)
    grey, colour = Image.fromarray(ramp), Image.fromarray(colours)
    kinds = {
        "16 bits.png": Image.fromarray(ramp.astype(np.uint16) * 257),
        "16 bits.tif": Image.fromarray(ramp.astype(np.uint16) * 257),
        "32 bits.tif": Image.fromarray(ramp.astype(np.int32) * 257),
        "grey and clear.png": Image.merge("LA", (grey, Image.fromarray(alpha))),
        "colour and clear.png": Image.merge("RGBA", (*colour.split(), Image.fromarray(alpha))),
        "palette.gif": colour.quantize(16),
        "ink.jpg": colour.convert("CMYK"),
        "one bit.png": grey.convert("1"),
        "grey.pgm": grey,
    }
    for name, image in kinds.items():
        image.save(folder / name)
    colour.quantize(16).save(folder / "palette and clear.png", transparency=3)
    for turn in range(2, 9):
        exif = Image.Exif()
        exif[ORIENTATION] = turn
        colour.save(folder / f"turned {turn}.jpg", exif=exif, quality=95)
        colour.save(folder / f"turned {turn}.png", exif=exif)
    return sorted(path.name for path in folder.iterdir())
