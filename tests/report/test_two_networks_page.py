"""The page on two networks."""

import pytest

from cofire.errors import OptionError
from cofire.evaluate.results import TwoNetworks
from cofire.report.evaluate.two_networks import write_two_networks
from cofire.report.evaluate.two_networks_wording import verdicts
from cofire.report.explain.page import Setup
from tests.evaluate.seen import network_row, small_comparison

SETUP = Setup(
    "small, 3 classes",
    "weights.safetensors",
    "centre crop 12 × 12",
    "cofire evaluate <photos>",
    "1.0",
)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    return write_two_networks(
        tmp_path_factory.mktemp("page") / "a.html", small_comparison(), (SETUP, SETUP)
    )


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_complains_of_nothing(page_file, visit, width, scheme):
    page = visit(page_file, width=width, scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.complaints == []
    assert page.requested == [f"file://{page_file}"]


def test_it_says_who_is_right_and_what_each_looked_at(page_file, visit):
    page = visit(page_file)
    assert page.inner_text(".parts").split("\n")[0].startswith("2 both right")
    first = page.locator("#photo-0")
    assert "Other is right; Small takes it for ant. Overlap 0.00" in first.inner_text()
    panels = first.locator(".explained")
    assert panels.count() == 3
    assert "wrong: ant 90.0" in panels.nth(0).inner_text()
    assert "right: bee 80.0" in panels.nth(1).inner_text()
    assert "the true class: bee 40.0" in panels.nth(2).inner_text()
    assert first.locator(".truth").count() == 1
    second = page.locator("#photo-1").inner_text()
    assert "Small is right; Other takes it for <cat>" in second
    assert "no evidence found" in second


def test_without_boxes_and_names_there_is_less_to_say(tmp_path, visit):
    found = small_comparison(names=None, boxes=False)
    page = visit(write_two_networks(tmp_path / "a.html", found, (SETUP, SETUP)))
    assert page.locator(".chart").count() == 1
    assert page.locator(".truth").count() == 0
    assert "takes it for class 0" in page.inner_text("#photo-0")
    again = TwoNetworks.load(found.save(tmp_path / "a.json"))
    page = visit(write_two_networks(tmp_path / "b.html", again, (SETUP, SETUP)))
    assert page.locator("section[id^=photo]").count() == 0
    assert page.complaints == []


def test_sentences_claim_what_the_intervals_allow():
    def told(both, one):
        rows = [network_row(overlap=both + 0.01 * at) for at in range(5)]
        rows += [network_row((1, 0), overlap=one + 0.01 * at) for at in range(5)]
        return verdicts(TwoNetworks(("A", "B"), "gradcam", tuple(rows), {}, {"area": 0.2}))

    assert "they look at other parts" in told(0.6, 0.1)[0]
    assert "more of the same" in told(0.1, 0.6)[0]
    assert "equal within ±0.02" in told(0.5, 0.5)[0]
    assert "whether these differ is undecided" in told(0.5, 0.49)[0]
    assert (
        "B has more of its evidence on the object than A, by 25 percentage points"
        in told(0.5, 0.5)[-1]
    )


def test_each_network_has_its_setup(tmp_path):
    with pytest.raises(OptionError):
        write_two_networks(tmp_path / "a.html", small_comparison(), (SETUP,))
