import numpy as np
import pyarrow.compute as pc
import pytest

from cofire.report import wording
from cofire.report.captions import captions
from cofire.report.facts import Facts, Subject
from cofire.study.correlation import Correlation, correlate
from cofire.study.trajectory import Trajectory

from . import synthetic


def found(pearson, low, high, changes, points=20):
    """As of points worth half their number; the plain interval is told apart by being narrower."""
    plain = (None, None) if low is None else (pearson - 0.02, pearson + 0.02)
    return Correlation(
        pearson, *plain, pearson, *plain, changes, points, 0.95, points / 2, low, high, low, high
    )


def said(correlation):
    return wording.relation(Subject("network", "all layers", correlation, None, "constant entropy"))


def test_an_interval_with_zero_concludes_nothing():
    assert "nothing can be concluded" in said(found(-0.3, -0.65, 0.16, -0.1))
    assert "correlated" not in said(found(-0.3, -0.65, 0.16, -0.1))
    assert "Taken as independent they would give −0.32 to −0.28." in said(
        found(-0.3, -0.65, 0.16, -0.1)
    )


def test_a_clear_correlation_names_its_direction_and_strength():
    assert "strongly negatively correlated" in said(found(-0.9, -0.96, -0.76, -0.1))
    assert "checkpoints taken as dependent as they are, worth 10.0 independent ones" in said(
        found(-0.9, -0.96, -0.76, -0.1)
    )
    assert "moderately positively correlated" in said(found(0.5, 0.07, 0.77, 0.1))


def test_no_interval_and_no_correlation_conclude_nothing():
    assert "nothing can be concluded" in said(found(-0.9, None, None, None, 3))
    assert "not defined here (constant entropy)" in said(found(None, None, None, None))


def test_changes_near_zero_are_told_as_drift():
    assert "may merely drift" in wording.steps(found(-0.9, -0.96, -0.76, -0.2))
    assert "move together step by step" in wording.steps(found(-0.9, -0.96, -0.76, -0.8))
    assert "other way round" in wording.steps(found(-0.9, -0.96, -0.76, 0.8))
    assert "no defined correlation" in wording.steps(found(-0.9, -0.96, -0.76, None))


def test_two_pure_drifts_are_not_told_to_move_together():
    drift = Facts(synthetic.trajectory(drift=True, seed=4))
    result = drift.of("network")[0].train
    assert wording.is_clear(result)
    assert not wording.moves_together(result)
    assert "may merely drift" in " ".join(wording.headline(drift))


def test_random_labels_are_named_as_the_control():
    control = Facts(synthetic.trajectory(random_labels=True, seed=1))
    assert "this run is the control" in wording.headline(control)[-1]
    leads = [r.lead for r in wording.limits(control)[1]]
    assert "This is the control" in leads
    assert "The control is missing here" not in leads
    assert "nothing can be concluded" in " ".join(wording.headline(control))


def test_reservations_name_bins_drift_and_the_control():
    text = " ".join(r.lead + r.text for r in wording.limits(Facts(synthetic.trajectory()))[1])
    for word in (
        "R = 100 bins",
        "independent",
        "drifts",
        "randomised labels",
        "training samples",
        "20 checkpoints are few",
    ):
        assert word in text


@pytest.mark.parametrize(
    ("values", "way"), [([1.0, 2.0], "rose"), ([2.0, 1.0], "fell"), ([1.0, 1.001], "stayed")]
)
def test_movement(values, way):
    assert wording.movement(np.array(values)).startswith(way)


def test_every_drawn_figure_has_a_caption_of_one_sentence():
    facts = Facts(synthetic.trajectory())
    for name, caption in captions(facts).items():
        assert caption.endswith("."), name
        assert len(caption) < 260, name


def test_perfect_changes_move_together():
    rising = [1.0, 2.0, 4.0, 7.0, 11.0, 16.0]
    assert wording.moves_together(correlate(rising, [3 * v for v in rising]))


def test_a_positive_correlation_on_real_labels_is_said_to_contradict_the_papers():
    rising = Facts(Trajectory.concat([rescaled(synthetic.trajectory())]))
    assert any(remark.lead == "Against the papers" for remark in wording.limits(rising)[0])
    falling = Facts(synthetic.trajectory())
    assert not any(remark.lead == "Against the papers" for remark in wording.limits(falling)[0])


def rescaled(trajectory):
    """The same with accuracies mirrored, so that entropy rises with them."""
    mirrored = pc.subtract(1.0, trajectory.layers["train_accuracy"])
    place = trajectory.layers.schema.get_field_index("train_accuracy")
    layers = trajectory.layers.set_column(place, trajectory.layers.schema.field(place), mirrored)
    return Trajectory(layers, trajectory.classes, trajectory.neurons, trajectory.options)


def test_layers_and_classes_are_held_to_five_percent_together():
    def told(*correlations):
        subjects = tuple(
            Subject("class", str(n), one, None, "") for n, one in enumerate(correlations)
        )
        return wording._spread(subjects, "class", "classes")

    barely = found(-0.5, -0.79, -0.02, None)
    assert told(barely) == (
        "Of 1 class, 1 is clearly negative, all held to 5\N{NO-BREAK SPACE}% together (Holm)."
    )
    assert told(*[barely] * 10) == "Of 10 classes, of 10 the sign is undecided."
    strong = found(-0.95, -0.98, -0.85, None)
    nothing = found(None, None, None, None)
    assert told(strong, *[barely] * 8, nothing).startswith(
        "Of 10 classes, 1 is clearly negative and of 9 the sign"
    )
