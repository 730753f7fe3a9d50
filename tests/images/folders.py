"""Small folders of images and boxes for tests."""

import json

import numpy as np
from PIL import Image


def image(path, size=(20, 10), orientation=None, shade=0):
    """An image in which each pixel has a colour of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 10 % 256, y * 10 % 256, np.full_like(x, shade)], -1).astype(np.uint8)
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif, format="JPEG" if path.suffix == ".JPEG" else None)
    return path


def boxes_json(path, *entries):
    path.write_text(json.dumps(list(entries)))
    return path


def entry(file, label=0, boxes=((0, 0, 5, 5),), size=(20, 10)):
    return {
        "file": file,
        "label": label,
        "size": size and list(size),
        "boxes": [list(box) for box in boxes],
    }


def xml(path, *objects, size=(20, 10), filename=None, database="The VOC2007 Database"):
    """An annotation; objects are (name, (xmin, ymin, xmax, ymax)) and more elements as text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [
        f"<object><name>{name}</name>{''.join(more)}<bndbox>"
        + "".join(
            f"<{edge}>{at}</{edge}>"
            for edge, at in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        )
        + "</bndbox></object>"
        for name, box, *more in objects
    ]
    width, height = size
    path.write_text(
        f"<annotation><filename>{filename or path.stem}</filename><source><database>{database}</database></source>"
        f"<size><width>{width}</width><height>{height}</height></size>{''.join(parts)}</annotation>"
    )
    return path


def coco(path, images, annotations, categories=((1, "dog"), (2, "cat"))):
    content = {
        "images": [
            {"id": key, "file_name": name, "width": 20, "height": 10} for key, name in images
        ],
        "annotations": [
            {"id": number, "image_id": image, "category_id": category, "bbox": list(box), **more}
            for number, (image, category, box, more) in enumerate(annotations)
        ],
        "categories": [{"id": key, "name": name} for key, name in categories],
    }
    path.write_text(json.dumps(content))
    return path
