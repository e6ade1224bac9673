"""
Tests in Chromium, by mouse and keyboard: accounts, other runs of a picture, the difference view and the vendor's bill.
"""

from __future__ import annotations

import time

import pytest

from retouch.store import keys
from tests.browser.conftest import AXE, VIEWS, Site, Visit, Visits

TODAY = time.strftime("%Y-%m-%d", time.gmtime())
THEMES = ("light", "dark")


def violations(visit: Visit) -> list[object]:
    visit.page.evaluate(AXE.read_text())
    found = visit.page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found]


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize("theme", THEMES)
def test_accounts_are_quiet_and_accessible(visits: Visits, theme: str) -> None:
    """With several accounts, the pages of accounts are accessible, cause no error and fit the screen."""
    for view, (width, _) in VIEWS.items():
        visit = visits(view, theme)
        for address in ("", "/learns", "/refused", "/mine"):
            page = visit.open(f"/console/accounts{address}")
            assert violations(visit) == [], address
            assert page.evaluate("document.documentElement.scrollWidth") == width, address
        visit.assert_quiet()


@pytest.mark.parametrize("javascript", [True, False])
@pytest.mark.usefixtures("several")
def test_an_account_is_paused_by_keyboard(visits: Visits, site: Site, javascript: bool) -> None:
    """By keyboard alone, an account is paused after a confirmation, and resumed, even without JavaScript."""
    page = visits(javascript=javascript).open("overview")
    page.get_by_role("link", name="Accounts").press("Enter")
    page.get_by_role("link", name="learns").press("Enter")
    page.wait_for_url("**/accounts/learns")
    pause = page.get_by_role("button", name="Pause it")
    assert not pause.is_visible()
    page.locator("summary", has_text="Pause it").press("Enter")
    pause.press("Enter")
    page.get_by_text("Paused. Calls under way end").wait_for()
    assert site.client.hget(keys.account_gate("learns"), "mode") == "paused"
    page.get_by_role("button", name="Resume it").press("Enter")
    page.get_by_text("Resumed.").wait_for()
    assert site.client.hget(keys.account_gate("learns"), "mode") is None


@pytest.mark.parametrize("theme", THEMES)
def test_the_only_account(visits: Visits, theme: str) -> None:
    """Without an accounts file, the account of the settings has its pages too, and they are accessible."""
    for view, (width, _) in VIEWS.items():
        visit = visits(view, theme)
        for address in ("/console/accounts", "/console/accounts/default"):
            page = visit.open(address)
            assert violations(visit) == [], address
            assert page.evaluate("document.documentElement.scrollWidth") == width, address
        visit.assert_quiet()


@pytest.mark.parametrize("javascript", [True, False])
def test_the_difference_of_the_pictures(visits: Visits, javascript: bool) -> None:
    """The view `Difference` blends the two pictures; a check box makes the blend four times as bright."""
    visit = visits(javascript=javascript)
    page = visit.open("job")
    page.get_by_role("link", name="Difference").press("Enter")
    page.wait_for_url("**view=difference")
    page.wait_for_load_state("networkidle")
    before, after = (page.locator(f".{name} img").bounding_box() for name in ("before", "after"))
    assert before is not None
    assert before == after
    blend = "getComputedStyle(document.querySelector('.after')).mixBlendMode"
    assert page.evaluate(blend) == "difference"
    page.get_by_label("Four times as bright").press("Space")
    assert page.evaluate("getComputedStyle(document.querySelector('.pair')).filter") == "brightness(4)"
    assert page.get_by_role("button", name="200 %").count() == javascript
    visit.assert_quiet()


def test_other_runs_lead_to_their_jobs(visits: Visits) -> None:
    """A job's page shows the other runs of its picture. Arrow keys move between them, and Enter opens one."""
    page = visits().open("job")
    frames = page.locator(".runs a")
    assert frames.count() >= 4
    frames.first.focus()
    page.keyboard.press("ArrowRight")
    second = frames.nth(1).get_attribute("href")
    assert page.evaluate("document.activeElement.getAttribute('href')") == second
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{second}")


@pytest.mark.parametrize("javascript", [True, False])
@pytest.mark.parametrize("theme", THEMES)
def test_a_bill_is_compared(visits: Visits, theme: str, javascript: bool) -> None:
    """A bill with a fault is corrected and compared by keyboard alone. The page is accessible and fits the screen."""
    for view, (width, _) in VIEWS.items():
        visit = visits(view, theme, javascript=javascript)
        page = visit.open("tenants")
        page.get_by_role("link", name="Compare the vendor's bill").press("Enter")
        for bill, outcome in ((f"{TODAY},5\n{TODAY},x", "Line 2"), (f"{TODAY},90000,1.00", "more than possible")):
            page.get_by_label("Bill, one line a day").fill(bill)
            page.get_by_role("button", name="Compare").press("Enter")
            page.get_by_text(outcome).first.wait_for()
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert not javascript or violations(visit) == []
        visit.assert_quiet()
