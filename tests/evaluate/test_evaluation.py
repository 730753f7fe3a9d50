"""What an evaluation makes of its records."""

import json

import numpy as np
import pyarrow as pa
import pytest

from cofire.errors import OptionError, ResultError
from cofire.evaluate.evaluation import OPTIONS, RECORDS, Evaluation
from cofire.storage import load_json
from tests.evaluate.judged import records, synthetic


def hand_made():
    rows = [
        {
            "file": file,
            "method": method,
            "pointing": value,
            "correct": correct,
            "small": small,
            "draws": draws,
        }
        for file, correct, small, draws, values in (
            ("a", True, True, [0], (1.0, 0.0)),
            ("b", True, False, [0, 1], (1.0, 0.5)),
            ("c", False, None, [1], (None, None)),
            ("d", False, True, [1], (0.0, 1.0)),
        )
        for method, value in zip(("gradcam", "centre"), values, strict=True)
    ]
    return Evaluation(
        records(rows), {"methods": ["gradcam", "centre"], "measures": ["localisation"]}
    )


def test_means_are_over_the_photos_that_count():
    found = hand_made().table()
    assert found["gradcam"]["pointing"].mean == pytest.approx(2 / 3)
    assert found["centre"]["pointing"].mean == pytest.approx(0.5)
    assert (found["centre"]["pointing"].images, found["centre"]["pointing"].left_out) == (3, 1)
    assert "iou" not in found["gradcam"]


@pytest.mark.parametrize(
    ("subset", "mean"),
    [("correct", 1.0), ("wrong", 0.0), ("small", 0.5), ("large", 1.0), ("all", 2 / 3)],
)
def test_subsets_are_of_photos(subset, mean):
    assert hand_made().table(subset)["gradcam"]["pointing"].mean == pytest.approx(mean)


def test_differences_are_paired_and_tested():
    gap = hand_made().differences()["centre"]["pointing"]
    assert gap.value == pytest.approx((1 + 0.5 - 1) / 3)
    assert gap.images == 3
    # Of 16 combinations of the signs of 1, 0.5, 0 and -1 those whose sum is as far from 0 as 0.5:
    # all.
    assert gap.p == gap.p_holm == 1.0
    assert gap.verdict == "undecided"
    assert gap.needed > 3


def test_a_difference_is_clear_only_beyond_doubt_and_its_direction_counts():
    found = synthetic()
    gaps = found.differences()
    assert gaps["centre"]["pointing"].verdict == "better"
    assert gaps["lrp"]["rank_correlation"].verdict == "better"
    assert gaps["lrp"]["rank_correlation"].value < 0
    assert gaps["lrp"]["iou"].verdict == "better"
    assert gaps["gradcam"]["box_area"].verdict in ("equal", "undecided")
    back = found.differences(first="centre")["discernible"]["pointing"]
    assert back.verdict == "worse"
    assert back.value == pytest.approx(-gaps["centre"]["pointing"].value)
    assert all(gap.p_holm >= gap.p for own in gaps.values() for gap in own.values())


def test_tables_are_about_the_evaluation_split_where_there_is_one():
    rows = [
        {"file": file, "method": "centre", "pointing": value, "split": split}
        for file, split, value in (("a", "tuning", 0.0), ("b", "evaluation", 1.0))
    ]
    options = {"methods": ["centre"], "measures": ["localisation"]}
    both, tuning = Evaluation(records(rows), options), Evaluation(records(rows[:1]), options)
    assert both.table()["centre"]["pointing"].mean == 1.0
    assert (both.split, tuning.split) == ("evaluation", "tuning")
    assert tuning.table()["centre"]["pointing"].mean == 0.0
    assert both.differences() == {}


def test_draws_have_means_of_their_own():
    first, second = hand_made().draw_means()
    assert first["gradcam"]["pointing"] == 1.0
    assert second["gradcam"]["pointing"] == 0.5


def test_it_is_the_same_after_saving(tmp_path):
    found = synthetic(seed=3)
    again = Evaluation.load(found.save(tmp_path / "out"))
    assert again.records.equals(found.records)
    assert dict(again.options) == dict(found.options)
    assert again.table() == found.table()
    assert repr(again).startswith(
        "Evaluation(40 images by discernible, gradcam, lrp, centre: pointing "
    )


def test_nothing_is_read_that_is_no_evaluation(tmp_path):
    with pytest.raises(ResultError, match="cofire evaluate"):
        Evaluation.load(tmp_path)
    found = synthetic(images=2)
    found.save(tmp_path)
    (tmp_path / RECORDS).write_bytes(b"PAR1 no")
    with pytest.raises(ResultError):
        Evaluation.load(tmp_path)
    found.save(tmp_path)
    options = load_json(tmp_path / OPTIONS)
    (tmp_path / OPTIONS).write_text(json.dumps(options | {"format": 99}))
    with pytest.raises(ResultError, match="another version"):
        Evaluation.load(tmp_path)
    with pytest.raises(ResultError):
        Evaluation(found.records.slice(1), found.options)
    with pytest.raises(ResultError):
        Evaluation(found.records.drop_columns(["confidence"]), found.options)


def test_a_measure_that_an_earlier_version_did_not_have_is_null():
    found = synthetic(images=3)
    earlier = Evaluation(found.records.drop_columns(["iou"]), found.options)
    assert earlier.records.schema.equals(found.records.schema)
    assert earlier.records["iou"].null_count == len(earlier.records)
    assert "iou" not in earlier.table()["lrp"]
    assert earlier.table()["lrp"]["pointing"] == found.table()["lrp"]["pointing"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"measures": None}, "measures"),
        ({"measures": []}, "measures"),
        ({"measures": ["locality"]}, "measures"),
        ({"methods": None}, "methods"),
        ({"methods": "centre"}, "methods"),
        ({"methods": [3]}, "methods"),
        ({"draws": 0}, "draws"),
        ({"draws": 3}, "samples"),
        ({"options": {"lrp": 3}}, "options"),
        ({"thresholds": []}, "thresholds"),
        ({"thresholds": {"lrp": None}}, "thresholds"),
        ({"thresholds": {"lrp": {"threshold": 0.4}}}, "thresholds"),
    ],
)
def test_options_that_say_too_little_are_refused(tmp_path, changed, told):
    synthetic(images=2).save(tmp_path)
    options = load_json(tmp_path / OPTIONS) | changed
    (tmp_path / OPTIONS).write_text(
        json.dumps({name: value for name, value in options.items() if value is not None})
    )
    with pytest.raises(ResultError, match=told):
        Evaluation.load(tmp_path)


def test_records_of_other_types_are_refused():
    found = synthetic(images=2)
    at = found.records.schema.get_field_index("iou")
    column = pa.array(["much"] * len(found.records))
    with pytest.raises(ResultError, match=r"records: .*'much'"):
        Evaluation(found.records.set_column(at, "iou", column), found.options)


def test_what_was_not_measured_cannot_be_asked_for():
    found = synthetic(images=3)
    with pytest.raises(OptionError, match="pointing"):
        found.values("pointin")
    with pytest.raises(OptionError, match="subset"):
        found.table("smal")
    with pytest.raises(OptionError, match="gradcam"):
        found.differences(first="gradca")
    assert np.isnan(found.values("jaccard")[:, 1]).all()


def test_the_margin_decides_what_counts_as_equal_and_is_checked():
    found = synthetic()
    gap = found.differences()["lrp"]["pointing"]
    assert gap.margin == found.margin == 0.02
    wide = found.differences(margin=0.9)["lrp"]["pointing"]
    assert (gap.verdict, wide.verdict) == ("undecided", "equal")
    assert gap.needed > gap.images
    assert wide.needed is None
    with pytest.raises(OptionError, match="margin"):
        found.differences(margin=-0.1)
    told = Evaluation(found.records, {**found.options, "margin": 0.9})
    assert told.differences()["lrp"]["pointing"].verdict == "equal"
    for bad in (-1, "2", float("nan"), True):
        with pytest.raises(ResultError, match="margin"):
            Evaluation(found.records, {**found.options, "margin": bad})


def test_two_methods_that_agree_on_few_photos_are_not_called_equal():
    found = synthetic(6, {"gradcam": (1.0, 0.9, 0.5), "lrp": (1.0, 0.9, 0.5)})
    gap = found.differences()["lrp"]["pointing"]
    assert (gap.value, gap.verdict) == (0.0, "undecided")


def test_a_single_photo_decides_nothing():
    gap = synthetic(1, {"gradcam": (1.0, 0.9, 0.5), "lrp": (1.0, 0.895, 0.5)}).differences()["lrp"][
        "iou"
    ]
    assert gap.images == 1
    assert (gap.verdict, gap.needed) == ("undecided", None)
