"""Pictures of neurons as a study keeps them: noise of a few pixels."""

import dataclasses

import numpy as np
from PIL import Image

from cofire.images.pictures import encoded
from cofire.study.tables import TABLES


def with_pictures(run, *, neurons=5, samples=9):
    """A trajectory with pictures of some neurons of its last layer, at its last checkpoint."""
    rng, last = np.random.default_rng(0), run.layers.to_pylist()[-1]
    place = {name: last[name] for name in ("checkpoint", "epoch", "step", "layer_index", "layer")}
    rows = []
    for neuron in range(2 * neurons):
        selective = neuron < neurons
        about = {"role": "selective" if selective else "broad", "value": 0.9 - 0.05 * neuron}
        about |= {"neuron": neuron, "class": neuron if selective else None}
        for rank in range(samples):
            image = Image.fromarray(rng.integers(0, 256, (12, 12), np.uint8))
            seen = {"rank": rank, "sample": 10 * neuron + rank, "label": neuron % 5}
            seen |= {"activation": 9.0 - rank, "shown": [12, 12], "image": encoded(image)}
            rows.append({**place, **about, **seen})
    return dataclasses.replace(run, pictures=TABLES["pictures"].table(rows))
