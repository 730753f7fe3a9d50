"""A headless browser for the tests of pages."""

import contextlib
import os
import shutil
import stat

import pytest

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


SEEN = "[...document.querySelectorAll('{}')].filter(e => !e.closest('details:not([open])')).length"
"""How many elements of a selector are seen without unfolding anything."""

WORDS = """() => { const all = document.querySelector('main').cloneNode(true);
  all.querySelectorAll('details > :not(summary), script, .sr, noscript, .plot').forEach(e => e.remove());
  return all.textContent.split(/\\s+/).length; }"""
"""How many words are seen without unfolding anything."""

CONTRAST = """() => {
      const parts = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
      const light = (c) => { const [r, g, b] = parts(c).slice(0, 3).map(v => { v /= 255;
        return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
      const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
        const p = parts(c); if (c.startsWith('rgb') && (p.length < 4 || p[3] > 0.9)) return c; }
        return 'rgb(255,255,255)'; };
      const bad = [];
      for (const e of document.querySelectorAll('main *, header *, footer *')) {
        if (e.closest('svg, .plot, canvas, .sr')) continue;
        if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
        const s = getComputedStyle(e); const a = light(s.color), b = light(ground(e));
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        const least = parseFloat(s.fontSize) >= 24 ? 3 : 4.5;
        if (ratio < least) bad.push(`${e.tagName}.${e.className} ${ratio.toFixed(2)}`);
      } return bad; }"""
"""Visible texts whose contrast with the ground they stand on is below what WCAG AA asks for."""


def chromium_path():
    named = os.environ.get("COFIRE_CHROMIUM")
    return named or next(
        (
            found
            for name in ("chromium", "chromium-browser", "google-chrome")
            if (found := shutil.which(name))
        ),
        None,
    )


@pytest.fixture(scope="session")
def chromium():
    found = chromium_path()
    if found is None:
        pytest.skip("no Chromium found: set COFIRE_CHROMIUM or install one")
    return found


@pytest.fixture(scope="session")
def quiet_chromium(chromium, tmp_path_factory):
    """Chromium behind a script that adds the flags which keep its own services off the network."""
    script = tmp_path_factory.mktemp("browser") / "chromium"
    script.write_text(f'#!/bin/sh\nexec "{chromium}" {" ".join(FLAGS)} "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(script)


@pytest.fixture(scope="session")
def web(chromium):
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


def _opened(web, stack, path, *, width=1280, scheme="light", script=True):
    context = web.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=script
    )
    stack.callback(context.close)
    # A machine with much other work is no fault of a page's.
    context.set_default_timeout(180_000)
    page = context.new_page()
    page.requested, page.complaints = [], []
    page.on("request", lambda r: page.requested.append(r.url))
    page.on(
        "console",
        lambda m: page.complaints.append(m.text) if m.type in ("error", "warning") else None,
    )
    page.on("pageerror", lambda e: page.complaints.append(str(e)))
    page.goto(f"file://{path}")
    if script:
        page.wait_for_selector("html[data-ready=true]", state="attached")
    return page


@pytest.fixture
def visit(web):
    """Opens a page file and returns it with what it asked of the network and what it complained of."""
    with contextlib.ExitStack() as stack:
        yield lambda path, **how: _opened(web, stack, path, **how)


@pytest.fixture(scope="module")
def visit_once(web):
    """The same for all tests of a module, which leave the page as they found it."""
    with contextlib.ExitStack() as stack:
        yield lambda path, **how: _opened(web, stack, path, **how)


def until(page, holds, seconds=20):
    """Waits until something holds in a page; asked from outside, since pages let no text be run as code."""
    for _ in range(20 * seconds):
        if page.evaluate(holds):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"not in {seconds} s: {holds}")


def seen_everywhere(page):
    """A page as it is seen on a screen, a phone and a narrow one, by day and by night, with all unfolded."""
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert widths(page, 1280, 390, 320) == [1280, 390, 320]
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme)
            until(page, f"matchMedia('(prefers-color-scheme: {scheme})').matches")
            assert page.evaluate(CONTRAST) == []
    whole = "[...document.images].every(i => i.complete && i.naturalWidth > 0)"
    until(page, whole)
    assert page.complaints == []
    assert all(url.startswith(("file:", "data:")) for url in page.requested)


def widths(page, *wanted):
    """How wide the page's content is at each width of the window, once its figures have followed."""
    before, found = page.viewport_size, []
    content = "document.documentElement.scrollWidth"
    for width in wanted:
        page.set_viewport_size({"width": width, "height": 900})
        # On a busy machine figures follow late; that they do not follow shows in what is given.
        with contextlib.suppress(AssertionError):
            until(page, f"{content} <= {width}")
        found.append(page.evaluate(content))
    page.set_viewport_size(before)
    return found
