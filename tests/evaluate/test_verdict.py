"""The verdict on an evaluation says what intervals and tests say, and no more."""

from cofire.evaluate.evaluation import Evaluation
from cofire.evaluate.verdict import judged, verdict
from cofire.explain import title_of
from tests.evaluate.judged import records, synthetic


def leads(evaluation):
    return [f"{told.what}." for told in verdict(evaluation)]


def told(evaluation, lead):
    return next(str(one) for one in verdict(evaluation) if f"{one.what}.".startswith(lead))


def test_the_verdict_names_who_is_clearly_best():
    found = synthetic(
        80, {"discernible": (0.9, 0.7, 0.4), "gradcam": (0.5, 0.4, 0.95), "centre": (0.4, 0.2, 1.0)}
    )
    assert leads(found) == [
        "Best at pointing: Discernible neurons.",
        "Best boxes: Discernible neurons.",
        "Better than the centre: all.",
        "Most faithful: Discernible neurons.",
        "Most sensitive to the class: Discernible neurons.",
        "To use: Discernible neurons.",
    ]
    assert "Clearly behind: Grad-CAM (" in told(found, "Best at pointing")
    assert (
        "Nearly the same map for both, which explains the image and not the decision: Grad-CAM."
        in told(found, "Most sensitive")
    )


def test_the_verdict_leaves_open_what_is_not_clear():
    same = {"discernible": (0.6, 0.5, 0.5), "gradcam": (0.6, 0.5, 0.5), "centre": (0.6, 0.5, 1.0)}
    found = synthetic(30, same)
    assert "Best at pointing: nobody clearly." in leads(found)
    assert "Better than the centre: nobody clearly." in leads(found)
    assert "To use: any of them." in leads(found)
    assert "No better, so that nothing is shown: Discernible neurons and Grad-CAM." in told(
        found, "Better than"
    )


def test_one_that_ties_with_the_best_is_named():
    found = synthetic()
    assert told(found, "Best at pointing").startswith(
        f"Best at pointing: {title_of('lrp')}, not clearly ahead of Discernible"
    )


def test_without_the_centre_the_verdict_says_what_that_means():
    found = synthetic(20, {"discernible": (0.9, 0.6, 0.4), "gradcam": (0.5, 0.5, 0.5)})
    assert "without the centre nobody can say" in told(found, "Better than the centre: not judged.")


def test_a_single_method_has_a_verdict_and_no_rivals():
    found = synthetic(10, {"gradcam": (0.9, 0.6, 0.4)})
    assert leads(found)[0] == "Best at pointing: Grad-CAM."
    assert found.differences() == {}


def test_what_was_not_measured_is_not_told():
    rows = [
        {"file": f"{n}", "method": method, "soft_drop": drop, "soft_increase": False}
        for n in range(9)
        for method, drop in (("gradcam", 0.2), ("centre", 0.5))
    ]
    found = Evaluation(records(rows), {"methods": ["gradcam", "centre"], "measures": ["soft"]})
    assert leads(found) == ["Most faithful: Grad-CAM."]
    assert "The centre: 50.0" in told(found, "Most faithful")


def test_the_verdict_says_where_the_centre_is_clearly_better():
    found = synthetic(
        80, {"gradcam": (0.3, 0.3, 0.4), "discernible": (0.2, 0.2, 0.5), "centre": (0.9, 0.8, 1.0)}
    )
    assert leads(found) == [
        "Best at pointing: none; the centre does better.",
        "Best boxes: none; the centre does better.",
        "Better than the centre: nobody clearly.",
        "Most faithful: none; the centre does better.",
        "Most sensitive to the class: Grad-CAM.",
        "To use: none of them yet.",
    ]
    assert "Clearly worse than it by pointing game: Grad-CAM and Discernible" in told(
        found, "Better than"
    )
    assert "Clearly worse than it by IoU: Grad-CAM and Discernible" in told(found, "Better than")


def test_few_images_of_the_tuning_split_are_called_what_they_are():
    rows = [
        {
            "file": f"{n}",
            "method": "gradcam",
            "split": "tuning",
            "soft_drop": 0.5,
            "soft_increase": True,
        }
        for n in range(3)
    ]
    found = Evaluation(
        records(rows), {"methods": ["gradcam"], "measures": ["soft"], "draws": 2, "samples": 2}
    )
    words = judged(found)
    assert "tuning split" in words
    assert "flatter" in words
    assert "2 draws of 2 images" in words
