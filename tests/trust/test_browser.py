"""People in a real browser: many at once, wide and narrow, by keyboard alone, back and again, and without scripts."""

import contextlib

import pytest

from cofire.trust.judging import answers_table
from tests.browser import CONTRAST

from .serving import served
from .small import answers_of, small_study

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    return folder, small_study(folder, pairs=2)


@pytest.fixture
def site(study):
    """A study on a server, with nobody's answers so far."""
    folder, of = study
    for file in folder.glob("answers.db*"):
        file.unlink()
    answers = answers_of(folder, of)
    with served(folder, of, answers) as address:
        yield address, answers, of


@pytest.fixture
def person(web, site):
    """Opens the study as somebody; what their browser complains of fails the test."""
    address, _, _ = site
    complaints = []
    with contextlib.ExitStack() as stack:

        def arrives(viewport=WIDE, **how):
            context = web.new_context(viewport=viewport, **how)
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(60_000)
            for event in ("pageerror", "dialog", "crash"):
                page.on(event, lambda what: complaints.append(str(what)))
            page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
            page.goto(address)
            return page

        yield arrives
    assert not complaints


def goes(page, link):
    """Clicks what leads to another page, and waits for that page."""
    with page.expect_navigation():
        page.click(link)


def begins(page):
    page.check("input[name=agree]")
    goes(page, "button")
    goes(page, "a.go")


def says(page, best, left, right):
    page.check(f"input[name=best][value={best}]")
    page.check(f"input[name=left][value='{left}']")
    page.check(f"input[name=right][value='{right}']")
    goes(page, "button")


@pytest.mark.slow
def test_twelve_people_at_once_go_through_all_of_it_without_scripts(person, site):
    _, answers, study = site
    people = [
        person(NARROW if at % 2 else WIDE, java_script_enabled=False, color_scheme=scheme)
        for at, scheme in enumerate(["light", "dark"] * 6)
    ]
    for page in people:
        begins(page)
    for place in range(len(study)):
        for at, page in enumerate(people):
            assert f"Pair {place + 1} of {len(study)}" in page.title()
            says(page, "left" if (at + place) % 2 else "right", 1 + at % 5, 1 + place % 5)
    for page in people:
        assert f"All {len(study)} answers are kept" in page.inner_text("main")
    kept = answers.all()
    assert len(kept) == 12 * len(study)
    assert len({person.number for person, _ in kept}) == 12
    table = answers_table(study, kept)
    assert len({row["person"] for row in table.to_pylist()}) == 12
    for one, answer in kept:
        at, place = one.number - 1, answer.place - 1
        assert answer.chosen == ("left" if (at + place) % 2 else "right")
        assert (answer.left_rating, answer.right_rating) == (1 + at % 5, 1 + place % 5)


def test_the_keyboard_alone_is_enough(person, site):
    _, answers, _ = site
    page = person()
    press = page.keyboard.press
    for key in ("Tab", "Space", "Tab", "Enter"):
        press(key)
    page.wait_for_url("**/instructions")
    for key in ("Tab", "Enter"):
        press(key)
    page.wait_for_url("**/1")
    # The left map; 3 points for it and 5 for the other, by arrows within each group.
    for key in ("Tab", "Space", "Tab", "Space"):
        press(key)
    for key in ("ArrowRight", "ArrowRight", "Tab", "Space", "ArrowLeft", "Enter"):
        press(key)
    page.wait_for_url("**/2")
    ((_, kept),) = answers.all()
    assert (kept.chosen, kept.left_rating, kept.right_rating) == ("left", 3, 5)


def test_back_and_again_lead_to_where_one_is_and_change_nothing(person, site):
    _, answers, _ = site
    page = person()
    begins(page)
    says(page, "left", 4, 2)
    page.wait_for_url("**/2")
    page.reload()
    assert "Pair 2" in page.title()
    page.go_back()
    page.wait_for_url("**/2")
    assert not page.locator("input:checked").count()
    # The link alone, in another window.
    link = page.url.rpartition("/")[0]
    other = person()
    other.goto(link)
    assert "Pair 2" in other.title()
    says(other, "right", 1, 5)
    says(page, "left", 5, 1)
    page.wait_for_url("**/3")
    assert [(one.chosen, one.left_rating) for _, one in answers.all()] == [
        ("left", 4),
        ("right", 1),
    ]


def test_who_changes_their_mind_withdraws_by_a_button(person, site):
    _, answers, _ = site
    page = person(NARROW)
    begins(page)
    says(page, "left", 4, 2)
    goes(page, "text=withdraw")
    assert page.evaluate(CONTRAST) == []
    goes(page, "text=No, go on")
    assert "Pair 2" in page.title()
    goes(page, "text=withdraw")
    goes(page, "button")
    assert "You have withdrawn" in page.inner_text("main")
    assert answers.all() == []
    assert answers.people() == []


def test_a_browser_asks_for_what_is_missing_before_anything_is_sent(person, site):
    _, answers, _ = site
    page = person()
    begins(page)
    page.check("input[name=best][value=left]")
    page.click("button")
    assert page.url.endswith("/1")
    assert page.evaluate("document.activeElement.name") == "left"
    assert answers.all() == []


@pytest.mark.parametrize("viewport", [WIDE, NARROW, {"width": 320, "height": 640}])
def test_pages_fit_their_screen_and_can_be_read_touched_and_heard(person, viewport):
    for scheme in ("light", "dark"):
        page = person(viewport, color_scheme=scheme)
        for to_next in ("button", "a.go", ""):
            assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
            assert page.evaluate(CONTRAST) == []
            assert page.locator("h1").count() == 1
            if to_next == "button":
                page.check("input[name=agree]")
            if to_next:
                goes(page, to_next)
        for label in page.locator("label").all():
            box = label.bounding_box()
            assert min(box["width"], box["height"]) >= 44
        heard = page.locator("form").aria_snapshot()
        for words in (
            'group "Which map best describes the object present in the image?"',
            'radio "Left map"',
            'radiogroup "Right map"',
            'radio "5"',
            'button "Next pair"',
            'img "The image: dog',
        ):
            assert words in heard
        if viewport == WIDE:
            # All of a pair is seen without scrolling.
            assert page.locator("button").bounding_box()["y"] < viewport["height"] - 40
