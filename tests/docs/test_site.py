"""The site as it is built: links, names, messages, and nothing that asks for a network."""

import os
import re
import subprocess
import sys

import pytest

from tests.docs.test_blocks import parsed
from website import errors, gallery, names
from website.blocks import DOCS, ROOT, pages

LOADS = re.compile(
    r"<(?:script|img|iframe|source)[^>]+src=[\"']?(?:https?:)?//"
    r"|<link[^>]+rel=[\"']?(?:stylesheet|preconnect|icon)[^>]+href=[\"']?(?:https?:)?//"
)
WITHOUT_EXAMPLE = 2
"""Public names that neither their docstring nor a page shows in use; may only fall."""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The whole site, built so that a broken link, anchor or name is a failure."""
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    told = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "NO_MKDOCS_2_WARNING": "1"},
    )
    assert told.returncode == 0, told.stderr[-4000:]
    return folder


@pytest.mark.slow
def test_every_public_name_has_an_entry_in_the_reference(site):
    missing = [
        f"{path}.{name}"
        for path, found in names.public().items()
        for name in found
        if f'id="{path}.{name}"' not in (site / "reference" / f"{path}.html").read_text()
    ]
    assert not missing


@pytest.mark.slow
def test_pages_load_nothing_from_elsewhere(site):
    assert not [page for page in site.rglob("*.html") if LOADS.search(page.read_text())]


@pytest.mark.slow
def test_search_finds_a_message_in_a_page_that_is_opened_as_a_file(site, web):
    tab = web.new_context(offline=True).new_page()
    asked = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto((site / "index.html").as_uri())
    tab.wait_for_selector(".md-search__input", state="attached")
    tab.locator(".md-search__input").first.focus()
    tab.keyboard.type("modularity")
    tab.wait_for_selector(".md-search-result__link")
    assert not [url for url in asked if url.startswith("http")]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_a_phone(site, web, scheme):
    tab = web.new_context(viewport={"width": 360, "height": 800}, color_scheme=scheme).new_page()
    wide = []
    # One of each kind: prose, formulas, tables, messages, docstrings, pictures.
    for name in (
        "index",
        "howto",
        "concepts/modularity",
        "errors",
        "reference/cofire.live",
        "gallery",
    ):
        tab.goto((site / f"{name}.html").as_uri(), wait_until="domcontentloaded")
        if tab.evaluate("document.documentElement.scrollWidth") > 360:
            wide.append(name)
    assert not wide


def test_every_public_name_is_shown_in_use():
    without = [
        f"{path}.{name}"
        for path, found in names.public().items()
        for name in found
        if not names.has_example(path, name)
    ]
    assert len(without) <= WITHOUT_EXAMPLE, "\n".join(without)


def test_the_page_of_errors_has_every_message():
    from tests.every_message import messages

    told = errors.page()
    assert len(list(errors.messages())) == len(list(messages()))
    for name, given, _, _ in errors.messages():
        assert f"## {name}" in told
        assert given


def test_the_gallery_has_twenty_pictures_whose_commands_exist():
    assert len({one.name for one in gallery.PICTURES}) == 20
    for command in {one.command for one in gallery.PICTURES}:
        parsed(command)


def test_readme_is_one_screen():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_links_between_files_of_the_repository_lead_somewhere():
    files = [*pages(), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
    made = {"errors.md", "gallery.md", "changelog.md", "contributing.md", "benchmarks.md"}
    broken = []
    for page in files:
        prose = re.sub(
            r"```.*?```|<!--.*?-->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL
        )
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", prose):
            path = (page.parent / target).resolve()
            of_site = path.name in made or path.parent == DOCS / "reference"
            if "://" not in target and not path.exists() and not of_site:
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert not broken
