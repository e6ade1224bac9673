"""Every page in Chromium: quiet, complete without JavaScript, legible on a telephone, accessible in both themes."""

from __future__ import annotations

import hashlib
import re

import pytest

from tests.browser.conftest import AXE, MARKUP, PAGES, VIEWS, Site, Visits

THEMES = ("light", "dark")


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_quiet_and_accessible(visits: Visits, name: str, theme: str) -> None:
    """No console message, no policy report, no request outside; axe-core finds nothing, wide and narrow."""
    for view in VIEWS:
        visit = visits(view, theme, role="" if name == "sign-in" else "ops")
        page = visit.open(name)
        page.wait_for_timeout(300)
        assert page.locator("h1").count() == 1
        visit.assert_quiet()
        page.evaluate(AXE.read_text())
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        assert [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found] == []


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("javascript", [True, False])
def test_no_page_scrolls_sideways(visits: Visits, name: str, javascript: bool) -> None:
    """At 390 pixels the page is as wide as the screen, with and without JavaScript."""
    visit = visits("narrow", javascript=javascript, role="" if name == "sign-in" else "ops")
    page = visit.open(name)
    assert page.evaluate("document.documentElement.scrollWidth") == VIEWS["narrow"][0]
    visit.assert_quiet()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_without_javascript(visits: Visits, name: str) -> None:
    """The same headings, links and buttons are there; what only JavaScript does is not offered."""
    seen = []
    for javascript in (True, False):
        page = visits(javascript=javascript, role="" if name == "sign-in" else "ops").open(name)
        headings = [re.sub(r"[\d.]+", "0", text) for text in page.locator("h1, h2").all_inner_texts()]
        buttons = page.locator("form button").all_inner_texts()
        seen.append((headings, buttons))
        assert page.locator("#live-switch").is_visible() == (javascript and page.locator("main[hx-get]").count() == 1)
    assert seen[0] == seen[1]


@pytest.mark.parametrize("name", ["markup", "jobs", "sheet", "delivery", "receiver"])
def test_markup_is_seen_as_text(visits: Visits, name: str) -> None:
    """What customers wrote is read on the page as they wrote it, and nothing of it runs or loads."""
    visit = visits()
    page = visit.open(name)
    assert page.locator("main script, main b, main img[src='x']").count() == 0
    if name in ("markup", "jobs", "sheet", "delivery"):
        assert MARKUP in (page.locator("main").text_content() or "")
    visit.assert_quiet()


def test_all_pictures_load(visits: Visits) -> None:
    """Every picture of the contact sheet and of a job comes through the gateway with the session."""
    for name in ("sheet", "job", "overview"):
        page = visits().open(name)
        page.wait_for_load_state("networkidle")
        sizes = page.evaluate("[...document.querySelectorAll('main img')].map((one) => one.naturalWidth)")
        assert sizes
        assert min(sizes) > 0


def test_the_theme_can_be_chosen(visits: Visits) -> None:
    """The switch overrules the system, and the next page keeps it, without JavaScript too."""
    for javascript in (True, False):
        page = visits(theme="light", javascript=javascript).open("overview")
        light = page.evaluate("getComputedStyle(document.body).color")
        page.get_by_role("button", name="Dark").click()
        assert page.evaluate("getComputedStyle(document.body).color") != light
        page.goto(page.url + "/jobs")
        assert page.locator("html").get_attribute("data-theme") == "dark"


def test_axe_is_what_its_note_says() -> None:
    """The vendored checker has the hash that is written beside it."""
    note = (AXE.parent / "README.md").read_text()
    assert re.findall(r"`([0-9a-f]{64})`", note) == [hashlib.sha256(AXE.read_bytes()).hexdigest()]


def test_pictures_for_the_documentation(visits: Visits, site: Site) -> None:
    """Each page can be looked at in both themes and widths: the pictures are in `out/console`."""
    from tests.docs.pages import ROOT

    folder = ROOT / "out/console"
    folder.mkdir(parents=True, exist_ok=True)
    for theme in THEMES:
        for view in VIEWS:
            visit = visits(view, theme)
            for name in site.pages:
                visit.open(name).screenshot(path=str(folder / f"{name}-{theme}-{view}.png"), full_page=True)
    assert len(list(folder.glob("*.png"))) >= len(site.pages) * 4
