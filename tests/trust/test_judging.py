"""What answers amount to, and who is left out; a planted preference is found and none is invented."""

import numpy as np
import pytest

from cofire.errors import DataError, ResultError
from cofire.statistics import crossed_interval, exact_interval
from cofire.trust.answers import Answer, Person
from cofire.trust.judging import (
    CHANGED,
    PAPER,
    SILENT,
    UNFINISHED,
    WRONG_MAP,
    Judgement,
    answers_table,
    judge,
)
from cofire.trust.page import findings, write_judgement
from cofire.trust.raters import detectable, people_needed, simulated, votes

from .small import small_study


def said(study, people=4, say=lambda person, place, trial: ("second", 2, 4), until=None):
    """Answers of people who say of every trial which map, and the ratings of the first and second."""
    rows = []
    for number in range(people):
        person = Person(number=number + 1, id=f"p{number}", device="phone")
        for place, trial in enumerate(study.trials(number)[:until], 1):
            which, first, second = say(number, place, trial)
            if trial.kind == "check" and which != "wrong":
                which, first, second = "first", 5, 1
            chosen = "left" if trial.first_left == (which == "first") else "right"
            ratings = (first, second) if trial.first_left else (second, first)
            answer = Answer(
                person=number + 1,
                place=place,
                kind=trial.kind,
                image=trial.picture.image,
                method=study.methods[trial.method],
                left="first" if trial.first_left else "second",
                chosen=chosen,
                left_rating=ratings[0],
                right_rating=ratings[1],
                seconds=3.0,
            )
            rows.append((person, answer))
    return rows


@pytest.fixture
def study(tmp_path):
    return small_study(tmp_path)


@pytest.mark.parametrize("wrong", [{"image": "other"}, {"method": "other"}, {"kind": "repeat"}])
def test_answers_to_what_was_not_asked_are_refused(study, wrong):
    answers = said(study)
    for name, value in wrong.items():
        setattr(answers[0][1], name, value)
    with pytest.raises(ResultError, match="which was not asked"):
        answers_table(study, answers)


def test_where_all_agree_it_is_told_with_a_width(study):
    found = judge(study, answers_table(study, said(study)))
    assert (found.people, found.images, found.torn) == (4, 6, 0)
    assert found.preference.value == found.by_answer.value == 1.0
    # Four people who agree may be chance, however many pairs they saw.
    assert found.by_answer.low == exact_interval(24, 24).low
    assert found.preference.low == exact_interval(4, 4).low < 0.5
    assert "No preference is found" in str(findings(found)[0])
    assert found.by_person == exact_interval(4, 4)
    assert [one.value for one in found.ratings] == [2.0, 4.0]
    assert [one.value for one in found.shares] == pytest.approx([2 / 6, 4 / 6])
    assert found.rating_gap.value == 2.0
    # Of people like these four so many may say otherwise, and as much otherwise as can be.
    others = 1 - exact_interval(4, 4).low
    assert found.rating_gap.low == pytest.approx(2 - 6 * others)
    assert found.rating_gap.low < 0
    assert found.rating_gap.high == pytest.approx(2 + 2 * others)
    assert found.ratings[0].high == pytest.approx(2 + 3 * others)
    for held in (found.rating_gap, *found.ratings, *found.shares):
        assert held.low < held.value < held.high
    # All votes are the same: they cannot be told from chance.
    assert found.agreement[0] is None
    assert found.agreement[1] == pytest.approx(1.0)
    assert found.repeated.value == 1.0


def test_every_answer_is_told_of_networks_not_of_sides(study):
    table = answers_table(study, said(study))
    pairs = [row for row in table.to_pylist() if row["kind"] == "pair"]
    assert {row["preferred"] for row in pairs} == {"vgg16"}
    assert {row["left"] for row in pairs} == {"alexnet", "vgg16"}
    assert {(row["first_rating"], row["second_rating"]) for row in pairs} == {(2, 4)}
    assert {row["preferred"] for row in table.to_pylist() if row["kind"] == "check"} == {
        "right map"
    }


def test_who_fails_a_check_changes_clear_preferences_or_does_not_finish_is_left_out(study):
    def say(person, place, trial):
        if person == 1 and trial.kind == "check":
            return "wrong", 1, 5
        if person == 2 and trial.kind == "repeat":
            return "first", 5, 1
        return "second", 2, 4

    rows = said(study, 4, say)
    rows = [one for one in rows if one[0].id != "p3" or one[1].place < 4]
    table = answers_table(study, rows)
    found = judge(study, table)
    assert dict(found.left_out) == {"p1": WRONG_MAP, "p2": CHANGED, "p3": UNFINISHED}
    assert found.people == 1
    # One person alone tells nothing of others.
    assert not found.ratings[0].known
    assert found.with_all.counted == 3
    assert len(table) == len(rows)
    lines = [str(one) for one in findings(found)]
    assert "3 people of 4 left out" in lines[-1]


def test_of_one_or_two_people_nothing_is_told_that_cannot_be(tmp_path, study):
    def say(person, place, trial):
        return ("second", 1, 5) if person else ("first", 3, 3)

    found = judge(study, answers_table(study, said(study, 2, say)))
    for held in found.ratings:
        assert 1 <= held.low <= held.high <= 5
    for held in found.shares:
        assert 1 / 6 <= held.low <= held.high <= 5 / 6
    page = write_judgement(tmp_path / "two.html", study, found).read_text()
    assert "two points or more" in page
    alone = judge(study, answers_table(study, said(study, 1)))
    assert not alone.preference.known
    page = write_judgement(tmp_path / "one.html", study, alone).read_text()
    assert "not known from one person" in page
    assert "all said the same" not in page


def test_who_stopped_is_not_counted_with_those_who_failed_a_check(study):
    def say(person, place, trial):
        return ("wrong", 1, 5) if person == 1 and trial.kind == "check" else ("second", 2, 4)

    rows = said(study, 2, say)
    whole = len(study)
    found = judge(
        study,
        answers_table(study, [one for one in rows if one[1].place < whole or one[0].id == "p0"]),
    )
    assert dict(found.left_out) == {"p1": UNFINISHED}
    assert found.with_all.counted == 1


def test_who_began_and_answered_nothing_is_told_too(study):
    found = judge(study, answers_table(study, said(study, 2)), ["p0", "p1", "silent"])
    assert found.left_out == (("silent", SILENT),)
    assert "1 person of 3 left out" in " ".join(map(str, findings(found)))


def test_who_always_chooses_the_left_map_is_left_out(tmp_path):
    study = small_study(tmp_path, pairs=8, checks=2)
    found = judge(study, answers_table(study, simulated(study, 6, 0.7, careless=(1, 4))))
    assert dict(found.left_out) == {"simulated-2": WRONG_MAP, "simulated-5": WRONG_MAP}


def test_nobody_who_counts_is_no_result(study):
    with pytest.raises(DataError, match="2 people, none of whom"):
        judge(study, answers_table(study, said(study, 2, until=3)))
    with pytest.raises(DataError, match="0 people, none of whom"):
        judge(study, answers_table(study, []))


def test_methods_are_told_apart(tmp_path):
    study = small_study(tmp_path, pairs=8, methods=("lrp", "gradcam"))

    def say(person, place, trial):
        return ("second" if trial.method else "first"), 3, 3

    found = judge(study, answers_table(study, said(study, 4, say)))
    assert {name: held.value for name, held in found.by_method.items()} == {
        "lrp": 0.0,
        "gradcam": 1.0,
    }
    assert found.preference.value == 0.5
    assert found.torn == 4
    assert found.by_person is None
    assert "No preference is found" in str(findings(found)[0])


def test_shares_are_read_as_the_papers_would_be():
    low, high = PAPER.values()
    assert high / (low + high) == pytest.approx(0.5136, abs=1e-4)


def test_a_judgement_is_kept_and_its_page_says_what_is_simulated(tmp_path, study):
    found = judge(study, answers_table(study, simulated(study, 8, 0.9)), simulated=True)
    assert Judgement.load(found.save(tmp_path / "found.json")) == found
    page = write_judgement(tmp_path / "found.html", study, found).read_text()
    assert "Simulated raters: no person answered this" in page
    assert "36.07 for AlexNet and 38.08 for VGG-16" in page
    assert "48.6\N{NO-BREAK SPACE}% and 51.4\N{NO-BREAK SPACE}%" in page
    assert "<img src=x" not in page


def slow_crossed(values, draws, seed):
    """The bootstrap written out: draw people, draw things, add up; then as wide as errors by both clusters are."""
    random = np.random.default_rng(seed)
    people, things = values.shape
    means = []
    for _ in range(draws):
        rows = random.integers(0, people, people)
        columns = random.integers(0, things, things)
        means.append(values[np.ix_(rows, columns)].mean())
    mean = values.mean()
    by_person = sum((row - mean).sum() ** 2 for row in values) * people / (people - 1)
    by_thing = sum((column - mean).sum() ** 2 for column in values.T) * things / (things - 1)
    error = np.sqrt(by_person + by_thing - ((values - mean) ** 2).sum()) / values.size
    # Student's t at 97.5 % of 8 degrees of freedom.
    wider = 2.306 * error / (1.96 * np.std(means))
    return mean + wider * (np.quantile(means, [0.025, 0.975]) - mean)


def test_the_crossed_bootstrap_is_what_it_says():
    random = np.random.default_rng(5)
    taste, ease = random.normal(size=(9, 1)), random.normal(size=(1, 14))
    values = (random.normal(size=(9, 14)) + taste + ease > -0.5).astype(float)
    found = crossed_interval(values, draws=4000)
    low, high = slow_crossed(values, 4000, 1)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02)
    # A cell that nobody filled counts for nothing.
    held = np.ones(values.shape)
    held[0, :7] = 0
    assert crossed_interval(values * held, held).value == pytest.approx(
        (values * held).sum() / held.sum()
    )
    with pytest.raises(DataError, match="over"):
        crossed_interval(values, np.zeros(values.shape))
    with pytest.raises(DataError, match="3 of 2"):
        exact_interval(3, 2)


def decided(votes_of_studies):
    """The shares of studies that find a preference, by people and images, and as if votes were independent."""
    crossed, alone = [], []
    for table in votes_of_studies.astype(float):
        crossed.append(crossed_interval(table, draws=500))
        alone.append(exact_interval(int(table.sum()), table.size))
    return [
        np.mean([held.low > 0.5 or held.high < 0.5 for held in which]) for which in (crossed, alone)
    ]


def test_a_planted_preference_is_found_and_none_invented():
    invented, as_if = decided(votes(200, 12, 30, 0.5, seed=1))
    assert invented <= 0.08
    # What an interval over single votes would have done.
    assert as_if > 0.15
    planned = detectable(12, 30)
    found, _ = decided(votes(100, 12, 30, planned, seed=2))
    assert 0.7 <= found <= 0.95


def test_as_many_people_as_needed_are_just_enough():
    needed = people_needed(0.65, 58)
    assert detectable(needed, 58) <= 0.65 < detectable(needed - 1, 58)
    assert people_needed(0.52, 58) is None
