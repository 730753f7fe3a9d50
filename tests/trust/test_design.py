"""Who is shown what: sides, methods and orders are counterbalanced, checks and repeats are where they should be."""

import itertools
from collections import Counter
from dataclasses import replace

import pytest

from cofire.errors import ResultError
from cofire.storage import save_json
from cofire.trust.design import FILE, PICTURES, Study, order

from .small import small_study


@pytest.mark.parametrize("count", [2, 4, 5, 9, 58])
def test_every_image_stands_once_in_every_place_and_follows_others_equally_often(count):
    rows = [order(count, person) for person in range(count * (1 + count % 2))]
    assert all(sorted(row) == list(range(count)) for row in rows)
    for place in range(count):
        assert set(Counter(row[place] for row in rows).values()) == {1 + count % 2}
    pairs = Counter(pair for row in rows for pair in itertools.pairwise(row))
    assert len(pairs) == count * (count - 1)
    assert set(pairs.values()) == {1 + count % 2}


@pytest.mark.parametrize("methods", [("lrp",), ("lrp", "gradcam", "discernible")])
def test_each_image_is_seen_in_every_method_and_on_both_sides_equally_often(tmp_path, methods):
    study = small_study(tmp_path, pairs=12, methods=methods)
    conditions = 2 * len(methods)
    seen = Counter()
    for person in range(2 * conditions):
        own = [one for one in study.trials(person) if one.kind == "pair"]
        assert len({one.picture.image for one in own}) == 12
        # Within one person too.
        assert set(Counter((one.method, one.first_left) for one in own).values()) == {
            12 // conditions
        }
        seen.update((one.picture.image, one.method, one.first_left) for one in own)
    assert set(seen.values()) == {2}
    assert len(seen) == 12 * conditions


def test_checks_and_repeats_are_spread_and_change_sides(tmp_path):
    study = small_study(tmp_path, pairs=20, checks=2, repeats=3)
    for person in range(8):
        trials = study.trials(person)
        assert len(trials) == len(study) == 25
        checks = [at for at, one in enumerate(trials) if one.kind == "check"]
        assert checks[0] > 0
        assert checks[1] - checks[0] > 5
        assert len({trials[at].first_left for at in checks}) == 2
        for at, one in enumerate(trials):
            if one.kind == "repeat":
                (before,) = (
                    place
                    for place, other in enumerate(trials)
                    if other.kind == "pair" and other.picture == one.picture
                )
                assert at - before > 5
                assert trials[before].first_left != one.first_left
                assert trials[before].files == one.files[::-1]


def test_names_of_pictures_tell_nobody_whose_they_are(tmp_path):
    study = small_study(tmp_path)
    assert all(len(name) == 28 and name.endswith(".png") for name in study.files)
    assert not any("alex" in name or "vgg" in name for name in study.files)


def test_a_study_opens_as_it_was_and_not_without_its_pictures(tmp_path):
    study = small_study(tmp_path)
    assert Study.open(tmp_path) == study
    (tmp_path / PICTURES / study.example.shown).unlink()
    with pytest.raises(ResultError, match="without 1 of its pictures"):
        Study.open(tmp_path)


def test_a_study_names_no_file_beside_its_pictures(tmp_path):
    study = small_study(tmp_path)
    (tmp_path / "secret.png").write_bytes(b"mine")
    other = replace(study, example=replace(study.example, shown="../secret.png"))
    other.save(tmp_path / FILE)
    with pytest.raises(ResultError, match=r"without 1 of its pictures, \.\./secret"):
        Study.open(tmp_path)


def test_a_study_of_another_version_or_a_damaged_one_is_refused(tmp_path):
    small_study(tmp_path)
    file = tmp_path / FILE
    text = file.read_text()
    file.write_text(text.replace("alexnet", "vgg19"))
    with pytest.raises(ResultError, match=r"not what was written"):
        Study.open(tmp_path)
    file.write_text('{"format": 7, "kind": "trust study"}')
    with pytest.raises(ResultError, match="of format 7"):
        Study.open(tmp_path)
    with pytest.raises(ResultError, match=r"trust\.json"):
        Study.open(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("name", "value"), [("repeats", 10**15), ("repeats", -1), ("methods", ["one", "other"])]
)
def test_a_study_that_does_not_add_up_is_refused(tmp_path, name, value):
    described = small_study(tmp_path).described()
    save_json(tmp_path / FILE, {**described, name: value})
    with pytest.raises(ResultError, match=r"(repeats|pairs of maps) of"):
        Study.open(tmp_path)
