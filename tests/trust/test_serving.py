"""The pages of a study: what is kept, what is refused, and that nothing is lost or executed."""

import re
import threading
from pathlib import Path

import pytest
import sqlalchemy.exc
from starlette.testclient import TestClient

from cofire.errors import ResultError
from cofire.trust.answers import Answers
from cofire.trust.guard import Allowance, person_of
from cofire.trust.serving import Pages

from .small import answers_of, begin, form_in, reply, small_study

PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Mobile/15E148 Safari/604.1"


@pytest.fixture
def study(tmp_path):
    return small_study(tmp_path)


@pytest.fixture
def answers(tmp_path, study):
    return answers_of(tmp_path, study)


@pytest.fixture
def client(tmp_path, study, answers):
    return TestClient(Pages(tmp_path, study, answers).app)


def test_a_person_goes_through_all_of_it(client, study, answers):
    pages = begin(client)
    for place in range(1, len(study) + 1):
        page = client.get(f"{pages}/{place}").text
        assert f"<b>Pair {place}</b>" in page
        assert ("Finish" in page) == (place == len(study))
        found = reply(client, f"{pages}/{place}", "left" if place % 2 else "right", "5", "1")
        assert found.url.path == f"{pages}/{place + 1}"
    assert "Thank you" in found.text
    kept = answers.all()
    assert [one.place for _, one in kept] == list(range(1, len(study) + 1))
    assert {one.chosen for _, one in kept} == {"left", "right"}
    assert {(one.left_rating, one.right_rating) for _, one in kept} == {(5, 1)}
    shown = study.trials(0)
    assert [one.left == "first" for _, one in kept] == [trial.first_left for trial in shown]
    assert all(0 <= one.seconds < 60 for _, one in kept)


def test_of_a_person_nothing_is_kept_but_a_random_id_and_the_kind_of_device(client, answers):
    pages = begin(client)
    client.headers["user-agent"] = PHONE
    phone = begin(client)
    for address in (pages, phone):
        reply(client, f"{address}/1")
    people = [person for person, _ in answers.all()]
    assert [one.device for one in people] == ["other", "phone"]
    assert people[0].id == person_of(pages.rpartition("/")[2])
    assert people[0].id not in pages
    assert set(type(people[0]).model_fields) == {"number", "id", "device"}
    assert not client.cookies


def test_nobody_takes_part_without_agreeing(client, answers):
    found = client.post("/", data={"form": form_in(client.get("/").text)})
    assert found.status_code == 422
    assert 'role="alert"' in found.text
    assert client.get("/p/made-up/1").status_code == 404
    assert client.get("/p/made-up").status_code == 404
    assert client.get("/nowhere").status_code == 404
    assert answers.all() == []


def test_two_answers_and_a_replayed_form_change_nothing(client, answers):
    pages = begin(client)
    form = form_in(client.get(f"{pages}/1").text)
    first = {"form": form, "best": "left", "left": "4", "right": "2"}
    for sent in (first, first | {"best": "right"}, first | {"left": "1"}):
        assert client.post(f"{pages}/1", data=sent).url.path == f"{pages}/2"
    ((_, kept),) = answers.all()
    assert (kept.chosen, kept.left_rating) == ("left", 4)


def test_answers_at_the_same_moment_are_one(client, answers):
    pages = begin(client)
    form = form_in(client.get(f"{pages}/1").text)
    sent = [
        threading.Thread(
            target=client.post,
            args=(f"{pages}/1",),
            kwargs={"data": {"form": form, "best": side, "left": "3", "right": "3"}},
        )
        for side in ("left", "right") * 4
    ]
    for one in sent:
        one.start()
    for one in sent:
        one.join()
    assert len(answers.all()) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"left": "2", "right": "2"}, "which map is best"),
        ({"best": "middle", "left": "2", "right": "2"}, "which map is best"),
        ({"best": "left", "left": "6", "right": "2"}, "how reliable the left map is"),
        ({"best": "left", "left": "2", "right": "-1"}, "how reliable the right map is"),
        ({"best": "left", "left": "2", "right": "٣"}, "how reliable the right map is"),
        ({}, "which map is best, how reliable the left map is and how reliable the right map is"),
    ],
)
def test_what_is_out_of_range_or_missing_is_asked_for_and_the_rest_stays(
    client, answers, given, said
):
    pages = begin(client)
    form = form_in(client.get(f"{pages}/1").text)
    found = client.post(f"{pages}/1", data={"form": form, **given})
    assert found.status_code == 422
    assert f"Please say {said}." in found.text
    assert "<title>Please check your answer" in found.text
    for name in ("left", "right"):
        if given.get(name) == "2":
            assert re.search(rf'name="{name}" value="2" required checked', found.text)
    assert answers.all() == []


def test_other_pages_lead_to_where_somebody_is(client):
    pages = begin(client)
    assert client.get(pages).url.path == f"{pages}/instructions"
    reply(client, f"{pages}/1")
    for address in (pages, f"{pages}/1", f"{pages}/7", f"{pages}/999999999999"):
        assert client.get(address).url.path == f"{pages}/2"


def test_forms_of_other_pages_people_and_makers_are_refused(client, answers):
    one, other = begin(client), begin(client)
    form = form_in(client.get(f"{one}/1").text)
    fields = {"best": "left", "left": "1", "right": "1"}
    for address, signed in (
        (f"{other}/1", form),
        (f"{one}/2", form),
        (f"{one}/1", form[:-2]),
        (f"{one}/1", ""),
        (f"{one}/1", form_in(client.get("/").text)),
        ("/", form),
    ):
        found = client.post(address, data={"form": signed, **fields})
        assert found.status_code == 403, address
        assert "did not come from a page of this study" in found.text
    sent = {"form": form, **fields}
    for headers in (
        {"origin": "https://elsewhere.example"},
        {"sec-fetch-site": "cross-site"},
        {"origin": "null"},
    ):
        assert client.post(f"{one}/1", data=sent, headers=headers).status_code == 403
    assert client.post(f"{one}/1", content=b"a" * 5000).status_code == 413
    assert client.post(f"{one}/1", content=b"\xff").status_code == 403
    assert client.post(f"{one}/1", content=b"&".join([b"a=1"] * 99)).status_code == 403
    assert client.post("/p/unknown", data={"form": form}).status_code == 403
    assert answers.all() == []
    assert client.post(f"{one}/1", data=sent).url.path == f"{one}/2"


def test_a_proxy_may_hide_what_was_asked_for(tmp_path, study, answers):
    for home, sent, status in (
        (None, {"origin": "https://study.example"}, 403),
        ("https://study.example", {"origin": "https://study.example"}, 200),
        ("https://study.example", {"origin": "https://other.example"}, 403),
        # New browsers say so themselves.
        (None, {"origin": "https://study.example", "sec-fetch-site": "same-origin"}, 200),
        ("https://study.example", {"sec-fetch-site": "cross-site"}, 403),
    ):
        client = TestClient(Pages(tmp_path, study, answers, home=home).app)
        form = {"form": form_in(client.get("/").text), "agree": "yes"}
        assert client.post("/", data=form, headers=sent).status_code == status


def test_who_withdraws_leaves_nothing_behind_and_nobody_else_can_do_it(client, answers):
    one, other = begin(client), begin(client)
    for address in (one, other):
        reply(client, f"{address}/1")
    open_form = form_in(client.get(f"{one}/2").text)
    page = client.get(f"{one}/withdraw")
    assert "1 answer of yours will be deleted" in page.text
    assert client.post(f"{other}/withdraw", data={"form": form_in(page.text)}).status_code == 403
    assert client.post(f"{one}/withdraw", data={"form": open_form}).status_code == 403
    assert len(answers.all()) == 2
    found = client.post(f"{one}/withdraw", data={"form": form_in(page.text)})
    assert "You have withdrawn" in found.text
    assert [person.id for person, _ in answers.all()] == answers.people()
    assert answers.people() == [person_of(other.rpartition("/")[2])]
    # Neither the page that lay open nor the link brings them back.
    sent = {"form": open_form, "best": "left", "left": "1", "right": "1"}
    assert client.post(f"{one}/2", data=sent).status_code == 404
    assert client.get(one).status_code == 404
    assert "withdraw</a>" in client.get(f"{other}/2").text
    # Nor do the bytes of the database, to which who is still there is known.
    files = b"".join(
        file.read_bytes() for file in Path(answers.engine.url.database).parent.glob("*.db*")
    )
    assert person_of(one.rpartition("/")[2]).encode() not in files
    assert person_of(other.rpartition("/")[2]).encode() in files


def test_a_page_that_lay_open_for_days_is_told(client, monkeypatch):
    pages = begin(client)
    form = form_in(client.get(f"{pages}/1").text)
    monkeypatch.setattr("cofire.trust.serving._OPEN_SECONDS", -1)
    found = client.post(
        f"{pages}/1", data={"form": form, "best": "left", "left": "1", "right": "1"}
    )
    assert found.status_code == 403
    assert "lay open for days" in found.text


def test_by_invitation_only_links_lead_in_and_one_link_is_one_person(tmp_path, study, answers):
    client = TestClient(Pages(tmp_path, study, answers, ["one", "two"]).app)
    assert client.get("/").status_code == 403
    assert "by invitation" in client.get("/").text
    assert client.get("/p/three").status_code == 404
    forged = {"form": Pages(tmp_path, study, answers).forms.dumps(["begin", "three"])}
    assert client.post("/p/three", data={**forged, "agree": "yes"}).status_code == 404
    for _ in range(2):
        page = client.get("/p/one")
        if "agree" in page.text:
            client.post("/p/one", data={"form": form_in(page.text), "agree": "yes"})
    reply(client, "/p/one/1")
    assert client.get("/p/one").url.path == "/p/one/2"
    assert len({person.id for person, _ in answers.all()}) == 1


def test_pages_run_nothing_load_nothing_from_elsewhere_and_escape_names(client):
    pages = begin(client)
    for address in ("/", f"{pages}/instructions", f"{pages}/1"):
        found = client.get(address)
        policy = found.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script" not in policy
        assert "<script" not in found.text
        assert "<img src=x" not in found.text
        assert "<b>images</b>" not in found.text
        assert found.headers["cache-control"] == "no-store"
        assert found.headers["referrer-policy"] == "same-origin"
        assert not re.findall(r'(?:src|href|action)="(?!/|data:,")', found.text)
    assert "dog &lt;img src=x onerror" in client.get(f"{pages}/1").text


def test_only_pictures_of_the_study_are_given(client, study):
    assert client.get(f"/pictures/{study.example.shown}").headers["content-type"] == "image/png"
    for name in ("trust.json", "..%2ftrust.json", "%2e%2e/answers.db"):
        assert client.get(f"/pictures/{name}").status_code == 404


def test_who_asks_too_often_waits_and_addresses_are_forgotten(tmp_path, study, answers):
    pages = Pages(tmp_path, study, answers)
    pages.visits = Allowance(3, 0.001)
    client = TestClient(pages.app)
    assert [client.get("/").status_code for _ in range(4)] == [200, 200, 200, 429]
    found = client.get("/")
    assert found.headers["retry-after"] == "5"
    assert "One moment" in found.text
    allowance = Allowance(1, 1.0, most=2)
    assert [allowance.takes(name, 0.0) for name in "aabca"] == [True, False, True, True, True]


def test_a_database_that_is_away_loses_nothing(client, answers, monkeypatch, caplog):
    pages = begin(client)
    form = form_in(client.get(f"{pages}/1").text)
    sent = {"form": form, "best": "right", "left": "1", "right": "5"}

    def away(*_):
        raise sqlalchemy.exc.OperationalError("insert", {}, Exception("gone"))

    monkeypatch.setattr(answers, "find", away)
    found = client.post(f"{pages}/1", data=sent)
    assert found.status_code == 503
    assert "What you chose is still here" in found.text
    assert 'value="right" required checked' in found.text
    seen = client.get(f"{pages}/1")
    assert seen.status_code == 503
    assert "All answers that you gave so far are safe" in seen.text
    assert "gone" not in seen.text
    assert [one.getMessage() for one in caplog.records] == [
        "the database does not answer: gone"
    ] * 2
    monkeypatch.undo()
    again = sent | {"form": form_in(found.text)}
    assert client.post(f"{pages}/1", data=again).url.path == f"{pages}/2"
    ((_, kept),) = answers.all()
    assert kept.chosen == "right"


def test_a_database_of_another_study_or_that_does_not_answer_is_told(tmp_path, study, answers):
    other = small_study(tmp_path / "other", pairs=7)
    with pytest.raises(ResultError, match="answers of another study"):
        answers_of(tmp_path, other)
    for address in (
        "postgresql://me:secret@127.0.0.1:1/none",
        "postgresql://me@127.0.0.1:1/none?password=secret",
    ):
        with pytest.raises(ResultError, match="does not answer") as refused:
            Answers(address, study)
        assert "secret" not in str(refused.value)
    with pytest.raises(ResultError, match="write %40") as refused:
        Answers("postgresql://me:my@secret@127.0.0.1:1/none", study)
    assert "secret" not in str(refused.value)
    for wrong in ("answers", "nosuch://host/name"):
        with pytest.raises(ResultError, match="does not answer"):
            Answers(wrong, study)
    with pytest.raises(ResultError, match="does not answer"):
        Answers(f"sqlite:///{tmp_path}/no/folder/answers.db", study)


def test_forms_go_on_after_a_restart(tmp_path, study, answers):
    client = TestClient(Pages(tmp_path, study, answers).app)
    pages = begin(client)
    form = form_in(client.get(f"{pages}/1").text)
    again = TestClient(Pages(tmp_path, study, answers_of(tmp_path, study)).app)
    sent = {"form": form, "best": "left", "left": "1", "right": "1"}
    assert again.post(f"{pages}/1", data=sent).url.path == f"{pages}/2"
