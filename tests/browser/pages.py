"""Every page in Chromium: no error, complete without JavaScript, legible on a telephone, accessible in both themes."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote

import pytest

from tests.browser.conftest import AXE, MARKUP, OUTSIDE, PAGES, VIEWS, Site, Visits

THEMES = ("light", "dark")
CONTROLS = (
    '[...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary")]'
    ".filter((one) => one.checkVisibility({visibilityProperty: true}) && !one.disabled)"
)
SCROLLED_MOST = 10
"""The largest number of parts of a page that take the focus only because they scroll."""
KEY_NAME = 1
"""How often the name of the visitor's API key, which has the markup, is shown on each page after a sign-in."""
PLANTED = {
    **{name: KEY_NAME for name in PAGES if name not in (*OUTSIDE, "problem")},
    "markup": KEY_NAME + 2,  # prompt and tag
    "refused": KEY_NAME + 1,  # the endpoint's words
    "jobs": KEY_NAME + 1,
    "sheet": KEY_NAME + 1,
    "tenant": KEY_NAME + 1,  # the tag
    "delivery": KEY_NAME + 1,  # the receiver's answer
}
"""How often the markup occurs in the text of a page, at least."""
REFLECTED = {
    f"{name}?": f"{address}{quote(MARKUP)}"
    for name, address in {
        "query": "/console/jobs?q=",
        "state": "/console/jobs?state=",
        "tag": "/console/jobs?tag=",
        "tenant": "/console/jobs?tenant=",
        "since": "/console/jobs?since=",
        "cursor": "/console/jobs?cursor=",
        "done": "/console/receivers?done=",
        "back": "/console/sign-in?back=/console/",
        "nowhere": "/console/",
        "job": "/console/jobs/",
        "no tenant": "/console/tenants/",
        "deliveries": "/console/deliveries?receiver=",
    }.items()
}
"""Addresses that contain the markup."""


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_quiet_and_accessible(visits: Visits, name: str, theme: str) -> None:
    """A page, wide or narrow, causes no message in the console, requests nothing outside, and is accessible."""
    for view in VIEWS:
        visit = visits(view, theme, role="" if name in OUTSIDE else "ops")
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
    visit = visits("narrow", javascript=javascript, role="" if name in OUTSIDE else "ops")
    page = visit.open(name)
    assert page.evaluate("document.documentElement.scrollWidth") == VIEWS["narrow"][0]
    visit.assert_quiet()


def test_the_name_of_a_setting_is_on_one_line(visits: Visits) -> None:
    """On the page of a job, wide or narrow, each name of a setting is on one line."""
    for view in VIEWS:
        page = visits(view).open("job")
        names = page.locator("section[aria-labelledby=settings] dt")
        assert "image_guidance_scale" in names.all_inner_texts()
        assert {name.evaluate("one => Math.round(one.offsetHeight)") for name in names.all()} == {
            names.first.evaluate("one => Math.round(parseFloat(getComputedStyle(one).lineHeight))")
        }


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_without_javascript(visits: Visits, name: str) -> None:
    """Without JavaScript, a page has the same headings and buttons, but no live updates."""
    seen = []
    for javascript in (True, False):
        page = visits(javascript=javascript, role="" if name in OUTSIDE else "ops").open(name)
        headings = [re.sub(r"[\d.]+", "0", text) for text in page.locator("h1, h2").all_inner_texts()]
        buttons = page.locator("form button").all_inner_texts()
        seen.append((headings, buttons))
        assert page.locator("#live-switch").is_visible() == (javascript and page.locator("main[hx-get]").count() == 1)
    assert seen[0] == seen[1]


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("javascript", [True, False])
def test_every_control_is_reached_by_keyboard(visits: Visits, name: str, javascript: bool) -> None:
    """Tab leads to each visible link, button and field, and the control that has the focus is marked."""
    page = visits(javascript=javascript, role="" if name in OUTSIDE else "ops").open(name)
    page.evaluate("sessionStorage.setItem('retouch-console-paused', '1')")
    page.reload()
    wanted, reached = page.evaluate(f"{CONTROLS}.length"), set[int]()
    for _ in range(wanted + SCROLLED_MOST):
        page.keyboard.press("Tab")
        place, shows = page.evaluate(
            f"[{CONTROLS}.indexOf(document.activeElement), document.activeElement.matches(':focus-visible') &&"
            " ['outlineStyle', 'boxShadow'].some((one) => getComputedStyle(document.activeElement)[one] !== 'none')]"
        )
        assert shows or place < 0, page.evaluate("document.activeElement.outerHTML")
        reached.add(place)
    assert reached >= set(range(wanted))


@pytest.mark.parametrize("name", [*PAGES, *REFLECTED])
def test_markup_is_seen_as_text(visits: Visits, name: str) -> None:
    """Markup in a text from outside is shown as text and does not run, even after a live update of the page."""
    visit = visits(role="" if name in OUTSIDE else "ops")
    page = visit.open(REFLECTED.get(name, name))
    for _ in range(2):
        assert page.locator("script:not([src]), style, b, img[src='x'], [onerror]").count() == 0
        assert (page.locator("body").text_content() or "").count(MARKUP) >= PLANTED.get(name, 0)
        page.evaluate("document.getElementById('live').dispatchEvent(new CustomEvent('console:tick'))")
        page.wait_for_timeout(300)
    visit.assert_quiet()


def test_all_pictures_load(visits: Visits) -> None:
    """Every picture of the contact sheet and of a job comes through the gateway with the session."""
    for name in ("sheet", "job", "overview"):
        page = visits().open(name)
        page.wait_for_load_state("networkidle")
        sizes = page.evaluate("[...document.querySelectorAll('main img')].map((one) => one.naturalWidth)")
        assert sizes
        assert min(sizes) > 0


def test_axe_is_what_its_note_says() -> None:
    """The vendored checker has the hash that is written beside it."""
    note = (AXE.parent / "README.md").read_text()
    assert re.findall(r"`([0-9a-f]{64})`", note) == [hashlib.sha256(AXE.read_bytes()).hexdigest()]


def test_pictures_for_the_documentation(visits: Visits, site: Site) -> None:
    """Save a screenshot of each page in both themes and widths in `out/console`."""
    from tests.docs.pages import ROOT

    folder = ROOT / "out/console"
    folder.mkdir(parents=True, exist_ok=True)
    for theme in THEMES:
        for view in VIEWS:
            visit = visits(view, theme)
            for name in site.pages:
                visit.open(name).screenshot(path=str(folder / f"{name}-{theme}-{view}.png"), full_page=True)
    assert len(list(folder.glob("*.png"))) >= len(site.pages) * 4
