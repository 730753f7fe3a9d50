"""The result on attacked photos: means over what counts, differences in pairs, and its file."""

import json

import pytest

from cofire.errors import DataError, OptionError, ResultError
from cofire.evaluate.results import MethodShift, Robustness
from cofire.statistics import paired_bootstrap
from tests.evaluate.seen import attacked, small_robustness


def of(*rows):
    """One method, two photos; rows of (photo, comparison, centroid)."""
    shifts = tuple(
        MethodShift(image, "gradcam", which, value, None, None, None, None)
        for image, which, value in rows
    )
    return Robustness(
        ("gradcam",), (attacked(), attacked(), attacked(fooled=False)), shifts, {}, {}
    )


def test_a_mean_is_over_what_counts_and_tells_what_does_not():
    found = of((0, "attack", 0.25), (1, "attack", None), (0, "noise", 0.5))
    mean = found.mean("gradcam", "attack", "centroid")
    assert (mean.value, mean.counted, mean.left_out) == (0.25, 1, 1)
    nothing = found.mean("gradcam", "attack", "box_iou")
    assert nothing is None


def test_a_difference_is_over_photos_that_count_for_both():
    found = of((0, "attack", 0.5), (1, "attack", 0.9), (0, "noise", 0.25), (1, "noise", None))
    assert found.difference("gradcam", "centroid").value == 0.25
    assert found.difference("gradcam", "centroid").left_out == 1


def test_intervals_are_those_of_the_bootstrap():
    import torch

    found = small_robustness(images=7)
    values = torch.tensor(
        list(found.values("gradcam", "attack", "centroid").values()), dtype=torch.float64
    )
    wanted, mean = paired_bootstrap(values), found.mean("gradcam", "attack", "centroid")
    assert (mean.value, mean.low, mean.high) == (wanted.value, wanted.low, wanted.high)


def test_what_is_not_there_is_refused(tmp_path):
    found = small_robustness()
    for asked in (
        ("lrp", "attack", "centroid"),
        ("gradcam", "other", "centroid"),
        ("gradcam", "attack", "photo"),
    ):
        with pytest.raises(OptionError):
            found.mean(*asked)
    with pytest.raises(DataError):
        of((5, "attack", 0.5))
    file = tmp_path / "a.json"
    with pytest.raises(ResultError):
        Robustness.load(file)
    for text in ("{", "[]", json.dumps({"format": 1, "kind": "other"}), json.dumps({"format": 2})):
        file.write_text(text)
        with pytest.raises(ResultError):
            Robustness.load(file)
