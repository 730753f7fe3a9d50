"""Upper bounds of counts and sizes by their names: a name means the same wherever it is asked for."""

from __future__ import annotations

LARGEST = {
    # What torch's generator takes.
    "seed": 2**63 - 1,
    # Resamples, shuffles, pulls: no interval is narrower for more; a table of each is kept.
    "draws": 10**6,
    "flips": 10**6,
    "repeats": 10**4,
    "runs": 10**4,
    "trials": 10**7,
    "arms": 10**5,
    # Passes over something; each takes milliseconds at least.
    "iterations": 10**6,
    "steps": 10**5,
    "stages": 10**5,
    "epochs": 10**6,
    "checkpoints": 10**5,
    # What a layer, a batch and a class cost memory for.
    "bins": 1 << 20,
    "batch_size": 1 << 20,
    "at_once": 1 << 20,
    "classes": 10**6,
    "top": 10**7,
    "inputs": 1 << 26,
    "hidden": 1 << 24,
    "shape": 1 << 20,
    "samples": 10**9,
    "photos": 10**9,
    "limit": 10**9,
    "tuning_photos": 10**9,
    "cases": 10**6,
    "explain": 10**6,
}
"""The most that a count of this name can be, wherever it is asked for: above it is a mistake or takes hours."""
WIDEST = {"sigma": 1.0, "radius": 10.0}
"""The same of a number, a share of a side or of the diagonal: all is blurred away, all points are near."""
