"""Trajectories that look like real ones, made from smooth curves and noise."""

import numpy as np
import pyarrow as pa

from cofire.study.tables import TABLES
from cofire.study.trajectory import Trajectory

DIGITS = tuple("0123456789")


def trajectory(
    *,
    layers=(512, 512),
    checkpoints=20,
    classes=DIGITS,
    test=True,
    labels=True,
    random_labels=False,
    drift=False,
    dead=True,
    seed=0,
    options=None,
    layer_names=None,
):
    """A run whose entropy falls while accuracy rises; random labels unlink the two."""
    rng = np.random.default_rng(seed)
    names = layer_names or (
        [f"relu_{i + 1}" for i in range(len(layers))]
        if len(layers) <= 8
        else [f"layer{1 + i // 13}.{i % 13 // 3}.relu_{i % 3}" for i in range(len(layers))]
    )
    time = np.linspace(0, 1, checkpoints) if checkpoints > 1 else np.ones(1)
    rise = 1 - np.exp(-4 * time)
    if random_labels:
        train = 0.1 + 0.25 * time + rng.normal(0, 0.004, checkpoints)
        test_curve = 0.1 + rng.normal(0, 0.004, checkpoints)
        trend = rng.normal(0, 0.02, checkpoints)
    else:
        noise = rng.normal(0, 0.0022, checkpoints)
        train = np.clip(0.945 + 0.05 * rise + noise, 0, 0.9998)
        test_curve = np.clip(0.94 + 0.04 * rise + noise + rng.normal(0, 0.001, checkpoints), 0, 1)
        shared = 0 if drift else -6 * noise
        trend = -0.22 * rise + shared + rng.normal(0, 0.008, checkpoints)
    rows = {"layers": [], "classes": [], "neurons": []}
    for t in range(checkpoints):
        moment = {"checkpoint": t + 1, "epoch": float(t + 1), "step": 469 * (t + 1)}
        total = 0.0
        for i, size in enumerate(layers):
            nrng = np.random.default_rng([seed, i])
            depth = i / max(1, len(layers) - 1)
            base = nrng.normal(3.9 - 0.5 * depth, 0.22, size)
            entropy = np.clip(
                base + trend[t] * (0.6 + 0.8 * depth) + rng.normal(0, 0.02, size), 0.05, np.log(100)
            )
            activity = nrng.beta(2 + depth, 3 + 6 * depth * time[t], size)
            selectivity = nrng.beta(2, 5 - 2.5 * rise[t] * (0.3 + 0.7 * depth), size)
            information = nrng.gamma(2, 0.08 + 0.18 * rise[t] * (0.3 + 0.7 * depth), size)
            aging = 0 if random_labels else 0.05 * time[t] * (1 - depth)
            off = nrng.random(size) < (0.01 + aging if dead else -1)
            entropy[off] = activity[off] = selectivity[off] = information[off] = 0
            always = nrng.random(size) < (0.006 * (1 - depth) if dead else -1)
            always &= ~off
            activity[always] = 1.0
            preferred = nrng.integers(0, max(1, len(classes)), size)
            for n in range(size) if t in (0, checkpoints - 1) or size * len(layers) < 3000 else ():
                rows["neurons"].append(
                    {
                        **moment,
                        "layer_index": i,
                        "layer": names[i],
                        "neuron": n,
                        "entropy": entropy[n],
                        "activity": activity[n],
                        "mean_activation": activity[n] * 0.8,
                        "dead": bool(off[n]),
                        "always_active": bool(always[n]),
                        "selectivity": selectivity[n] if labels else None,
                        "information": information[n] if labels else None,
                        "preferred_class": int(preferred[n]) if labels and not off[n] else None,
                    }
                )
            total += entropy.sum()
            rows["layers"].append(
                {
                    **moment,
                    "layer_index": i,
                    "layer": names[i],
                    "kind": "relu",
                    "unit": "channel",
                    "neurons": size,
                    "entropy": entropy.sum(),
                    "entropy_mean": entropy.mean(),
                    "entropy_median": float(np.median(entropy)),
                    "dead": int(off.sum()),
                    "always_active": int(always.sum()),
                    "activity": activity.mean(),
                    "mean_activation": activity.mean() * 0.8,
                    "selectivity": float(np.median(selectivity)) if labels else None,
                    "information": float(information.mean()) if labels else None,
                    "train_accuracy": train[t],
                    "test_accuracy": test_curve[t] if test else None,
                }
            )
        for c, name in enumerate(classes):
            wobble = np.random.default_rng([seed, 7, c]).normal(
                0, 0.004 + 0.002 * (c % 7), checkpoints
            )
            rows["classes"].append(
                {
                    **moment,
                    "class": c,
                    "class_name": name,
                    "samples": 6000,
                    "entropy": total * (0.8 + 0.01 * (c % 10) + rng.normal(0, 0.003)),
                    "train_accuracy": float(np.clip(train[t] + wobble[t], 0, 1)),
                    "test_accuracy": float(np.clip(test_curve[t] + wobble[t] * 1.1, 0, 1))
                    if test
                    else None,
                }
            )
    return Trajectory(
        layers=pa.Table.from_pylist(rows["layers"], schema=TABLES["layers"].schema),
        classes=pa.Table.from_pylist(rows["classes"], schema=TABLES["classes"].schema),
        neurons=pa.Table.from_pylist(rows["neurons"], schema=TABLES["neurons"].schema),
        options=_options(layers, checkpoints, classes, random_labels)
        if options is None
        else options,
    )


def _options(layers, epochs, classes, random_labels):
    return {
        "data": "mnist-mixed" if random_labels else "mnist",
        "seed": 0,
        "hidden": list(layers) if len(layers) < 8 else None,
        "epochs": epochs,
        "batch_size": 128,
        "optimizer": "adam",
        "learning_rate": 0.001,
        "dropout": 0.5,
        "bins": 100,
        "range": "own",
        "unit": "channel",
        "threshold": 0.0,
        "samples": 60000,
        "test_samples": 10000,
        "classes": list(classes),
        "versions": {"cofire": "0.1.0", "torch": "2.15.0"},
        "my_own_note": {"nested": [1, 2, {"deep": True}]},
    }


def large():
    """50 layers of 1000 neurons and 1000 classes."""
    names = tuple(f"class {i} with a name" for i in range(1000))
    return trajectory(layers=(1000,) * 50, classes=names, seed=3)


def single(**keywords):
    """One model and one data set, as `cofire summarize` leaves it."""
    options = {"bins": 100, "range": "own", "unit": "channel", "threshold": 0.0, "samples": 50000}
    return trajectory(checkpoints=1, options=options, **keywords)
