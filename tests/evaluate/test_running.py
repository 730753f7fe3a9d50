"""A whole run on tiny photos: the right numbers, again after it was killed, and never mixed with another run's."""

import shutil
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
import torch

from cofire.errors import DataError, ImageError, MergeError, OptionError, ResultError
from cofire.evaluate import running
from cofire.evaluate.evaluation import Evaluation
from cofire.evaluate.judging import GRID, Judge, learn_thresholds, with_threshold
from cofire.evaluate.localisation import best_iou, pointing_hits
from cofire.evaluate.measures import MEASURES, records_schema
from cofire.evaluate.records import ROWS, Chunks, join_rows
from cofire.evaluate.running import fill_of, judge_of, run_evaluation
from cofire.explain import explain
from cofire.images.preparation import Preparation
from cofire.images.seen import read_batches
from cofire.network import Network
from cofire.storage import load_json, save_json
from tests.evaluate.judged import PREPARATION, tiny_collection, tiny_network, write_photos

METHODS = ("discernible", "gradcam", "centre", "random", "edges")
OPTIONS = {"methods": METHODS, "batch_size": 3, "split": "all", "steps": 4}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("judged"))


@pytest.fixture(scope="module")
def network():
    return tiny_network()


@pytest.fixture(scope="module")
def collection(place):
    return tiny_collection(place)


def judged(network, collection, out, **changed):
    options = OPTIONS | changed
    return run_evaluation(
        network, collection, PREPARATION, options.pop("methods"), out, progress=False, **options
    )


@pytest.fixture(scope="module")
def whole(network, collection, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    measures = [criterion.group for criterion in MEASURES.values()]
    return judged(network, collection, out, measures=list(dict.fromkeys(measures))), out


def without_seconds(table):
    return table.drop_columns(["seconds"])


def test_there_is_a_row_for_each_photo_and_method(whole, collection):
    found, out = whole
    assert found.records.schema.equals(records_schema())
    assert len(found) == len(collection) == 14
    assert found.records["method"].to_pylist() == list(METHODS) * 14
    assert pq.read_table(out / "records.parquet").equals(found.records)
    assert Evaluation.load(out).options["network"] == found.options["network"]


def test_each_number_is_what_the_measures_say_one_by_one(whole, network, collection):
    found, _ = whole
    rows = [row for row in found.records.to_pylist() if row["method"] == "discernible"]
    (batch,) = read_batches(collection, PREPARATION, 14)
    chances = network.run(batch.inputs).double().softmax(1)
    rule = found.options["thresholds"]["discernible"]
    explanation = explain(network, batch.inputs, batch.labels)
    boxes = explanation.boxes(threshold=rule["threshold"], connected=rule["connected"])
    hits, overlap = (
        pointing_hits(explanation.heatmap(), batch.boxes),
        best_iou(boxes.corners, boxes.found, batch.boxes),
    )
    for at, row in enumerate(rows):
        assert row["predicted"] == int(chances[at].argmax())
        assert row["confidence"] == pytest.approx(float(chances[at].max()), abs=1e-5)
        assert row["probability"] == pytest.approx(float(chances[at, row["label"]]), abs=1e-5)
        if row["boxes"]:
            assert row["pointing"] == pytest.approx(float(hits.values[at]))
            assert row["iou"] == pytest.approx(float(overlap.values[at]), abs=1e-6)
            assert row["iou_50"] == (row["iou"] >= 0.5)
            left, top, right, bottom = batch.boxes[at][0].tolist()
            assert row["box_share"] == pytest.approx((right - left) * (bottom - top) / 256)
        else:
            assert row["pointing"] is row["iou"] is row["box_share"] is row["small"] is None
        assert row["split"] == collection[at].split
        assert (row["threshold"], row["connected"]) == (rule["threshold"], rule["connected"])


def test_faithfulness_is_of_the_predicted_class(whole, network, collection):
    found, _ = whole
    (batch,) = read_batches(collection, PREPARATION, 14)
    predicted = network.run(batch.inputs).argmax(1)
    judge = judge_of(network, PREPARATION).with_rules(found.options["thresholds"])
    explanation = judge.explain(batch.inputs, predicted, "discernible", batch.pixels)
    boxes = explanation.boxes()
    before = network.run(batch.inputs).double().softmax(1)
    for at, row in enumerate(r for r in found.records.to_pylist() if r["method"] == "discernible"):
        kept = torch.zeros_like(batch.inputs[at : at + 1])
        if bool(boxes.found[at]):
            left, top, right, bottom = boxes.corners[at].long().tolist()
            kept[..., top:bottom, left:right] = batch.inputs[at, :, top:bottom, left:right]
        after = float(network.run(kept).double().softmax(1)[0, predicted[at]])
        was = float(before[at, predicted[at]])
        assert row["drop"] == pytest.approx(max(0.0, was - after) / was, abs=1e-4)
        # A box around everything leaves the photo as it is, whatever rounding says of it in another
        # batch.
        assert row["increase"] == (after > was + 1e-6)


def test_baselines_do_not_depend_on_the_class(whole):
    found, _ = whole
    for row in found.records.to_pylist():
        if row["method"] in ("centre", "random"):
            assert row["rank_correlation"] == pytest.approx(1.0)
            assert row["jaccard"] is None
        assert row["equal_area"] is None or row["equal_area"] == 0.25


def test_a_killed_run_goes_on_and_ends_with_the_same_rows(
    whole, network, collection, tmp_path, monkeypatch
):
    found, _ = whole
    measures = found.options["measures"]
    seen = []

    def dying(self, view, method):
        seen.append(method)
        if len(seen) == 8:
            raise KeyboardInterrupt
        return real(self, view, method)

    real = Judge.judge
    monkeypatch.setattr(Judge, "judge", dying)
    with pytest.raises(KeyboardInterrupt):
        judged(network, collection, tmp_path / "out", measures=measures)
    assert [path.name for path in sorted((tmp_path / "out" / ROWS).glob("*.parquet"))] == [
        "000000.parquet"
    ]
    assert not (tmp_path / "out" / "records.parquet").exists()
    monkeypatch.setattr(Judge, "judge", real)
    again = judged(network, collection, tmp_path / "out", measures=measures)
    assert without_seconds(again.records).equals(without_seconds(found.records))
    assert again.options["thresholds"] == found.options["thresholds"]
    # Nothing is computed a third time.
    monkeypatch.setattr(Judge, "judge", None)
    third = judged(network, collection, tmp_path / "out", measures=measures)
    assert third.records.equals(again.records)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"seed": 1}, "seed"),
        ({"batch_size": 4}, "batch_size"),
        ({"methods": ("centre",)}, "methods"),
        ({"fill": "black"}, "fill"),
        ({"options": {"discernible": {"k": 2}}}, "options"),
        ({"limit": 3}, "files, judged, limit"),
    ],
)
def test_other_options_do_not_go_into_the_same_folder(whole, network, collection, changed, told):
    found, out = whole
    with pytest.raises(MergeError, match=told):
        judged(network, collection, out, **({"measures": found.options["measures"]} | changed))


def test_other_weights_do_not_either(whole, network, collection):
    found, out = whole
    zeros = {name: torch.zeros_like(value) for name, value in tiny_network().state_dict().items()}
    with pytest.raises(MergeError, match="network"):
        judged(network.with_weights(zeros), collection, out, measures=found.options["measures"])


def test_damaged_parts_are_named(network, collection, tmp_path):
    judged(network, collection, tmp_path, methods=("centre",), measures=["soft"])
    part = tmp_path / ROWS / "000001.parquet"
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(ResultError, match="000001"):
        judged(network, collection, tmp_path, methods=("centre",), measures=["soft"])
    part.unlink()
    judged(network, collection, tmp_path, methods=("centre",), measures=["soft"])
    part.write_bytes((tmp_path / ROWS / "000000.parquet").read_bytes())
    with pytest.raises(ResultError, match=r"does not hold each of its 3 images.*delete '.*000001"):
        judged(network, collection, tmp_path, methods=("centre",), measures=["soft"])
    (tmp_path / ROWS / "options.json").write_text("{")
    with pytest.raises(ResultError, match="options"):
        Chunks(tmp_path, {})


@pytest.mark.parametrize(
    "damage", ["{}", "[]", '{"centre": {}}', '{"edges": null, "centre": null}']
)
def test_rules_of_boxes_that_say_too_little_are_named(network, collection, tmp_path, damage):
    options = {"methods": ("centre",), "measures": ["localisation"], "limit": 1}
    judged(network, collection, tmp_path, **options)
    (tmp_path / ROWS / "boxes.json").write_text(damage)
    with pytest.raises(ResultError, match=r"boxes\.json"):
        judged(network, collection, tmp_path, **options)


def test_a_method_whose_boxes_turn_out_to_be_of_points_has_no_rule(
    network, collection, tmp_path, monkeypatch
):
    monkeypatch.setattr(running, "learn_thresholds", lambda *_, **__: {})
    options = {"methods": ("centre",), "measures": ["localisation"], "limit": 1}
    for _ in range(2):
        assert judged(network, collection, tmp_path, **options).options["thresholds"] == {}


def test_what_others_compute_with_is_noted(whole):
    assert set(whole[0].options["versions"]) == {
        "cofire",
        "torch",
        "numpy",
    }


def test_thresholds_are_learned_on_tuning_images_alone(whole, network, collection):
    found, _ = whole
    learned = found.options["thresholds"]
    assert list(learned) == ["discernible", "gradcam", "centre", "random", "edges"]
    tuning = [photo for photo in collection.split("tuning") if photo.boxes]
    assert learned["gradcam"]["images"] == len(tuning)
    (batch,) = read_batches(collection.split("tuning"), PREPARATION, 14)
    for method in ("discernible", "gradcam"):
        explanation, means = explain(network, batch.inputs, batch.labels, method), {}
        for connected in (False, True):
            for threshold in GRID:
                boxes = explanation.boxes(threshold=threshold, connected=connected)
                means[threshold, connected] = best_iou(
                    boxes.corners, boxes.found, batch.boxes
                ).mean()
        told = learned[method]
        assert told["curve"]["all"] + told["curve"]["connected"] == pytest.approx(
            list(means.values()), abs=1e-6
        )
        assert told["iou"] == pytest.approx(max(means.values()))
        assert means[told["threshold"], told["connected"]] == pytest.approx(told["iou"])


def test_boxes_of_points_are_left_as_they_are(network, collection, tmp_path):
    asked = ("discernible-p3", "discernible", "cnn-fixations")
    options = {"discernible": {"contrast": None}}
    found = judged(
        network, collection, tmp_path, methods=asked, options=options, measures=["localisation"]
    )
    assert found.options["thresholds"] == {}
    assert (
        found.records["threshold"].null_count
        == found.records["connected"].null_count
        == len(found.records)
    )
    (batch,) = read_batches(collection, PREPARATION, 14)
    boxes = explain(network, batch.inputs, batch.labels, "discernible-p3").boxes()
    assert found.records["box"].to_pylist()[::3] == [
        box if there else None
        for box, there in zip(boxes.corners.tolist(), boxes.found.tolist(), strict=True)
    ]


def test_which_boxes_are_learned(network):
    asked = ("discernible", "discernible-p3", "gradcam", "lrp", "centre")
    assert with_threshold(network, asked, {}) == ["discernible", "gradcam", "lrp", "centre"]
    set_by_hand = {
        "discernible": {"radius": 0.2},
        "gradcam": {"connected": True},
        "centre": {"threshold": 0.2},
    }
    assert with_threshold(network, asked, set_by_hand) == ["lrp"]
    plain = Network(
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 3)), torch.zeros(1, 3, 16, 16)
    )
    assert with_threshold(plain, ("discernible", "edges"), {}) == ["edges"]


def test_without_boxes_to_learn_on_methods_keep_their_own_rule(network, collection):
    bare = replace(collection, images=tuple(replace(photo, boxes=()) for photo in collection))
    learned = learn_thresholds(
        judge_of(network, PREPARATION), bare, PREPARATION, ["discernible", "edges"]
    )
    usual = explain(network, torch.rand(1, 3, 16, 16)).regions
    assert (learned["discernible"]["threshold"], learned["discernible"]["connected"]) == (
        usual.threshold,
        True,
    )
    assert (
        learned["edges"]["threshold"],
        learned["edges"]["connected"],
        learned["edges"]["images"],
    ) == (0.5, False, 0)


def test_a_threshold_that_is_given_is_not_learned(network, collection, tmp_path):
    options = {"gradcam": {"threshold": 0.2}}
    found = judged(
        network,
        collection,
        tmp_path,
        methods=("gradcam",),
        options=options,
        measures=["localisation"],
    )
    assert found.options["thresholds"] == {}
    (batch,) = read_batches(collection, PREPARATION, 14)
    boxes = explain(network, batch.inputs, batch.labels, "gradcam", threshold=0.2).boxes()
    held = boxes.found.tolist()
    told = found.records["box"].to_pylist()
    assert told == [
        box if there else None for box, there in zip(boxes.corners.tolist(), held, strict=True)
    ]


def test_groups_can_be_left_out(network, collection, tmp_path):
    found = judged(
        network, collection, tmp_path, methods=("discernible",), measures=["localisation"], limit=4
    )
    row = found.records.to_pylist()[0]
    assert row["pointing"] is not None
    assert row["drop"] is row["soft_drop"] is row["deletion"] is row["jaccard"] is None
    assert len(found) == 4


def test_draws_share_their_records(network, collection, tmp_path):
    found = judged(
        network,
        collection,
        tmp_path,
        methods=("centre",),
        measures=["localisation"],
        samples=6,
        draws=3,
    )
    members = found.records["draws"].to_pylist()
    assert [sum(draw in one for one in members) for draw in range(3)] == [6, 6, 6]
    assert len(members) < 18
    assert len(found.draw_means()) == 3


def test_splits_are_by_name(network, collection, tmp_path):
    found = judged(
        network,
        collection,
        tmp_path,
        methods=("centre",),
        measures=["localisation"],
        split="evaluation",
    )
    assert set(found.records["split"].to_pylist()) == {"evaluation"}
    assert found.records["file"].to_pylist() == [
        photo.name for photo in collection.split("evaluation")
    ]


def test_unreadable_photos_are_refused_or_left_out(network, tmp_path):
    write_photos(tmp_path, 6)
    (tmp_path / "photos" / "001.png").write_bytes(b"no image")
    photos = tiny_collection(tmp_path)
    with pytest.raises(ImageError, match=r"001\.png"):
        judged(network, photos, tmp_path / "out", methods=("centre",), measures=["localisation"])
    found = judged(
        network,
        photos,
        tmp_path / "out",
        methods=("centre",),
        measures=["localisation"],
        skip_unreadable=True,
    )
    assert len(found) == 5
    assert "1 image that cannot be used" in found.options["collection"]


def test_a_box_that_keeps_everything_changes_nothing(network, collection):
    (batch,) = read_batches(collection[:3], PREPARATION, 3)
    judge = judge_of(
        network, PREPARATION, groups=["confidence"], options={"edges": {"threshold": 1e-6}}
    )
    view = running.view_of(network, batch.inputs, batch.pixels, batch.labels, batch.boxes)
    found = judge.judge(view, "edges")
    assert [area for area in found["kept_area"] if area == 1.0]
    for area, rises, drop in zip(found["kept_area"], found["increase"], found["drop"], strict=True):
        if area == 1.0:
            assert (rises, drop) == (False, 0.0)


def test_fills_are_in_units_of_the_input():
    assert fill_of("mean", PREPARATION).colour.tolist() == [0.0, 0.0, 0.0]
    assert fill_of("black", PREPARATION).colour.tolist() == [-2.0, -2.0, -2.0]
    assert fill_of("blur", PREPARATION).colour is None
    plain = Preparation((1, 4, 4), resize=0, mean=(0.0,), std=(1.0,))
    assert fill_of("mean", plain).colour is None


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"methods": ("gradcm",)}, "gradcam"),
        ({"methods": ()}, "none"),
        ({"methods": ("centre", "centre")}, "once"),
        ({"measures": ["localization"]}, "localisation"),
        ({"split": "test"}, "evaluation"),
        ({"draws": 2}, "samples"),
        ({"fill": "white"}, "mean"),
        ({"limit": 2, "samples": 2}, "one of the two"),
        ({"samples": 99}, "14"),
        ({"batch_size": 0}, "batch_size"),
        ({"steps": 0}, "steps"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    network, collection, tmp_path, changed, told
):
    with pytest.raises(OptionError, match=told):
        judged(network, collection, tmp_path / "out", **changed)
    assert not (tmp_path / "out").exists()


def test_a_split_without_photos_is_refused(network, collection, tmp_path):
    tuning = collection.split("tuning")
    with pytest.raises(DataError, match="evaluation split"):
        judged(network, tuning, tmp_path, split="evaluation")


def test_a_changed_photo_of_the_same_size_is_another_run(network, tmp_path):
    write_photos(tmp_path, 4)
    asked = {"methods": ("centre",), "measures": ["soft"]}
    judged(network, tiny_collection(tmp_path), tmp_path / "out", **asked)
    photo = tmp_path / "photos" / "001.png"
    # Bytes after the image's end change nothing but the file.
    photo.write_bytes(photo.read_bytes() + b"a")
    judged(network, tiny_collection(tmp_path), tmp_path / "other", **asked)
    photo.write_bytes(photo.read_bytes()[:-1] + b"b")
    with pytest.raises(MergeError, match="files"):
        judged(network, tiny_collection(tmp_path), tmp_path / "other", **asked)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"samples": 500}, r"samples=500 of 14 images.*--sample 14"),
        ({"samples": 0}, "from 1 to 14"),
        ({"limit": 0}, "--limit 100"),
    ],
)
def test_numbers_of_photos_are_told_with_one_that_can_be(
    network, collection, tmp_path, changed, told
):
    with pytest.raises(OptionError, match=told):
        judged(network, collection, tmp_path / "out", **changed)


class TestCost:
    def test_it_is_said_before_anything_is_computed(
        self, network, collection, tmp_path, monkeypatch
    ):
        def stop(*_, **__):
            raise KeyboardInterrupt

        lines = []
        monkeypatch.setattr(running, "read_batches", stop)
        monkeypatch.setattr(running, "checked", stop)
        tuning = len(collection.split("tuning"))
        with pytest.raises(KeyboardInterrupt):
            judged(network, collection, tmp_path, methods=("gradcam", "centre"), tell=lines.append)
        assert lines == [
            f"Cost: 14 images explained by 2 methods, and {tuning} to learn the boxes of 2 of them: "
            f"{28 + 2 * tuning} explanations"
        ]

    def test_no_more_photos_are_learned_on_than_are_judged_unless_asked_for(
        self, network, collection, tmp_path
    ):
        options = {"methods": ("gradcam",), "measures": ["localisation"], "split": "all"}
        tuning = len(collection.split("tuning"))
        assert tuning > 2
        for name, bounds, expected in (
            ("a", {"limit": 2}, 2),
            ("b", {"samples": 1}, 1),
            ("c", {"limit": 2, "tuning_images": 3}, 3),
            ("d", {}, tuning),
        ):
            found = judged(network, collection, tmp_path / name, **options, **bounds)
            assert found.options["tuning_images"] == expected, name

    def test_the_first_photo_tells_the_time_and_changes_no_row(
        self, network, collection, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(running, "_TIMED", 1)
        lines = []
        options = {"methods": ("gradcam", "centre"), "limit": 4}
        told = judged(network, collection, tmp_path / "told", tell=lines.append, **options)
        silent = judged(network, collection, tmp_path / "silent", **options)
        assert without_seconds(told.records).equals(without_seconds(silent.records))
        assert lines[1] == "Time: less than a minute on cpu, as the first image tells"
        judged(network, collection, tmp_path / "told", tell=lines.append, **options)
        assert lines[3] == "Time: everything was computed before"


def test_no_image_left_to_judge_on_is_told(network, tmp_path):
    write_photos(tmp_path, 12)
    photos = tiny_collection(tmp_path)
    for photo in photos.split("evaluation"):
        photo.file.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"none of \d+ images to judge on.*replace the files"):
        judged(network, photos, tmp_path / "out", split="evaluation", skip_unreadable=True)
    assert not (tmp_path / "out").exists()


def test_a_photo_that_vanishes_while_the_run_begins_is_told(network, tmp_path, monkeypatch):
    write_photos(tmp_path, 4)
    photos = tiny_collection(tmp_path)
    monkeypatch.setattr(Network, "digest", lambda _: photos[0].file.unlink())
    with pytest.raises(ImageError, match=r"cannot be read any more.*begin again"):
        judged(network, photos, tmp_path / "out", methods=("centre",))


def test_parts_whose_boxes_were_learned_otherwise_are_not_joined(whole, tmp_path):
    parts = [tmp_path / name for name in ("one", "two")]
    for part in parts:
        shutil.copytree(whole[1] / ROWS, part / ROWS)
    learned = parts[1] / ROWS / "boxes.json"
    save_json(learned, load_json(learned) | {"another": 0.5})
    with pytest.raises(MergeError, match=r"boxes were learned otherwise.*one kind of device"):
        join_rows(tmp_path / "whole", [(part, []) for part in parts])
