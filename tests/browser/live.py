"""The parts of the console that need JavaScript: pages that stay current, compared pictures, keys in lists."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.browser.conftest import Site, Visits, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page

TABS = 20
QUIET_COLOUR = "getComputedStyle(document.querySelector('.plot-panel .quiet')).color"
LABEL_COLOUR = """() => {
  const canvas = document.querySelector('.canvas canvas'), width = 40 * devicePixelRatio;
  const ink = canvas.getContext('2d').getImageData(0, 0, width, canvas.height).data;
  let found = [0, 0, 0, 0];
  for (let at = 0; at < ink.length; at += 4) if (ink[at + 3] > found[3]) found = [...ink.slice(at, at + 4)];
  return found.slice(0, 3);
}"""
INK_AT_THE_EDGE = """[...document.querySelectorAll('.canvas canvas')].filter((canvas) => {
  const high = Math.round(20 * devicePixelRatio);
  return canvas.getContext('2d').getImageData(canvas.width - 2, canvas.height - high, 2, high).data.some((one) => one);
}).length"""


def is_shown(page: Page, text: str) -> bool:
    return wait_until(lambda: text in page.locator("main").inner_text())


def test_a_page_stays_current(visits: Visits, site: Site) -> None:
    """While a form on a page is open, the page does not change. Afterwards it shows the job's end without a reload."""
    job = site.edit("it stays current")
    visit = visits()
    page = visit.open(f"/console/jobs/{job}")
    page.evaluate("window.stays = true")
    page.locator("summary", has_text="Cancel this job").click()
    site.ops.post(f"/v1/edits/{job}/cancel")
    page.wait_for_timeout(6_000)
    assert page.locator("summary", has_text="Cancel this job").is_visible()
    page.locator("summary", has_text="Cancel this job").click()
    assert wait_until(lambda: page.locator(".head .state-cancelled").count() == 1)
    assert page.evaluate("window.stays") is True
    visit.assert_quiet()


def test_the_pause(visits: Visits, site: Site) -> None:
    """A paused page sends no requests. When it is live again, it shows the job that came meanwhile."""
    visit = visits()
    page = visit.open("jobs")
    page.get_by_role("button", name="Live").click()
    page.get_by_role("button", name="Paused").wait_for()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    job = site.edit("unseen while it is paused")
    page.wait_for_timeout(6_000)
    assert asked == []
    page.get_by_role("button", name="Paused").click()
    assert is_shown(page, "unseen while it is paused")
    site.ops.post(f"/v1/edits/{job}/cancel")
    visit.assert_quiet()


def test_twenty_tabs_are_one_reader(visits: Visits, site: Site) -> None:
    """Twenty tabs of one browser all show a new job, and the gateway has at most one reader of the feed."""
    visit = visits()
    pages = [visit.page, *(visit.context.new_page() for _ in range(TABS - 1))]
    for page in pages:
        page.goto(f"{site.url}/console/jobs")
    job = site.edit("seen in twenty tabs")
    site.ops.post(f"/v1/edits/{job}/cancel")
    for page in pages:
        assert is_shown(page, "seen in twenty tabs")
    readers = [one for one in site.client.client_list() if one["cmd"] in ("xread", "xreadgroup")]
    assert len(readers) <= 1
    visit.assert_quiet()


def test_a_stream_that_is_cut_comes_back(visits: Visits, site: Site) -> None:
    """Offline, a page says that it is not live. Online again, it shows the missed job by itself and is live."""
    visit = visits()
    page = visit.open("jobs")
    visit.context.set_offline(True)
    page.get_by_role("button", name="Not live: no answer").wait_for()
    job = site.edit("seen after the outage")
    visit.context.set_offline(False)
    assert is_shown(page, "seen after the outage")
    page.get_by_role("button", name="Live", exact=True).wait_for()
    site.ops.post(f"/v1/edits/{job}/cancel")
    assert visit.outside == []


def test_before_and_after_by_keyboard_and_pointer(visits: Visits) -> None:
    """Arrow keys and the pointer move the line between before and after. A button doubles the width of a picture."""
    visit = visits()
    page = visit.open("job")
    line = page.get_by_role("slider")
    line.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert line.input_value() == "55"
    assert page.locator(".pair").evaluate("one => one.style.getPropertyValue('--split')") == "55%"
    place = page.locator(".pair").bounding_box()
    assert place is not None
    page.mouse.move(place["x"] + place["width"] * 0.5, place["y"] + 50)
    page.mouse.down()
    page.mouse.move(place["x"] + place["width"] * 0.2, place["y"] + 50)
    page.mouse.up()
    assert line.input_value() == "20"
    page.get_by_role("button", name="200 %").click()
    wide = page.locator(".after img").evaluate("one => Number(one.getAttribute('width'))")
    assert page.locator(".pair").evaluate("one => one.clientWidth") == 2 * wide
    visit.assert_quiet()


def test_without_javascript_both_pictures_are_there(visits: Visits) -> None:
    """The pictures before and after are side by side, and controls that need JavaScript are hidden."""
    page = visits(javascript=False).open("job")
    before, after = (page.locator(f".{name} img").bounding_box() for name in ("before", "after"))
    assert before is not None
    assert after is not None
    assert before["x"] + before["width"] <= after["x"]
    assert not page.locator(".compare-tools").is_visible()


def test_keys_in_lists(visits: Visits, site: Site) -> None:
    """
    Arrow keys move through the pictures of the contact sheet and the rows of the job table. Enter opens the job of a
    row.
    """
    visit = visits()
    page = visit.open("sheet")
    page.evaluate("sessionStorage.setItem('retouch-console-paused', '1')")
    frames = page.locator(".frame")
    frames.first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert frames.nth(1).evaluate("one => one === document.activeElement")
    page = visit.open("jobs")
    rows = page.locator(".cell-job a")
    rows.first.focus()
    page.keyboard.press("ArrowDown")
    assert rows.nth(1).evaluate("one => one === document.activeElement")
    wanted = rows.nth(1).get_attribute("href")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site.url}{wanted}")
    visit.assert_quiet()


def test_a_job_is_redone_by_key(visits: Visits, site: Site) -> None:
    """R on a row or a frame leads to the preview of a replay of that job; it changes nothing."""
    visit = visits()
    for name, link in (("jobs", ".cell-job a"), ("sheet", ".frame")):
        page = visit.open(name)
        page.evaluate("sessionStorage.setItem('retouch-console-paused', '1')")
        first = page.locator(link).first
        job = str(first.get_attribute("href")).rpartition("/")[2]
        first.focus()
        page.keyboard.press("r")
        page.wait_for_url(f"{site.url}/console/bulk/preview?action=replay&q=id:{job}")
    visit.assert_quiet()


def test_a_result_is_approved_by_key(visits: Visits, site: Site) -> None:
    """
    A on a frame of the contact sheet approves the result, and A again takes the mark back, without leaving the sheet.
    The frame keeps the focus. A on a frame without a result does nothing.
    """
    visit = visits()
    page = visit.open("sheet")
    page.evaluate("sessionStorage.setItem('retouch-console-paused', '1'); window.stays = true")
    item = page.locator(".sheet > li:has(.frame-act)").first
    job = str(item.locator(".frame").get_attribute("id"))
    frame, sign = page.locator(f"#{job}"), page.locator(f"#{job} .frame-approved")
    frame.focus()
    for is_approved in (True, False):
        page.keyboard.press("a")
        sign.wait_for(state="visible" if is_approved else "detached")
        assert bool(site.ops.get(f"/v1/edits/{job}").json()["approved_at"]) is is_approved
        assert frame.evaluate("one => one === document.activeElement")
    page.locator(".sheet > li:not(:has(.frame-act)) .frame").first.focus()
    page.keyboard.press("a")
    assert page.evaluate("window.stays")
    visit.assert_quiet()


def test_terms_are_suggested(visits: Visits) -> None:
    """Suggestions complete the term that is being written, and keep the terms before it."""
    visit = visits()
    page = visit.open("/console/jobs?q=since:1d")
    field = page.get_by_label("Query")
    options = "[...document.querySelector('[data-terms]').list.options].map((one) => one.value)"
    assert "state:failed" in page.evaluate(options)
    field.fill("since:1d sta")
    assert "since:1d state:failed" in page.evaluate(options)
    field.fill("st")
    assert "state:failed" in page.evaluate(options)
    visit.assert_quiet()


def test_plots_stay_current(visits: Visits, site: Site) -> None:
    """
    A new job is counted in the same plots without a reload. With the pointer on a plot, the plots show the numbers of
    one minute.
    """
    visit = visits()
    page = visit.open("overview")
    page.evaluate("document.querySelector('#canvas-ended canvas').dataset.stays = '1'")
    number = page.locator(".plot-panel:has(#plot-ended) .series dd").last
    before = int(number.inner_text().replace(",", ""))
    job = site.edit("seen in the plots")
    assert wait_until(lambda: int(number.inner_text().replace(",", "")) == before + 1)
    assert page.locator("#canvas-ended canvas[data-stays='1']").count() == 1
    site.ops.post(f"/v1/edits/{job}/cancel")
    page.get_by_role("button", name="Live", exact=True).click()
    place = page.locator("#canvas-ended .u-over").bounding_box()
    assert place is not None
    page.mouse.move(place["x"] + 5, place["y"] + 20)
    moment = page.locator(".plot-panel:has(#plot-wait) .plot-at")
    assert wait_until(lambda: ":" in moment.inner_text())
    assert number.inner_text() == "0"
    page.mouse.move(5, 5)
    assert wait_until(lambda: not moment.inner_text())
    visit.assert_quiet()


def test_a_plot_is_drawn_in_the_colours_of_the_theme(visits: Visits) -> None:
    """Whether the system or the visitor chose the theme, the numbers beside a plot have the colour of quiet text."""
    for theme, chosen in (("light", "auto"), ("dark", "auto"), ("light", "dark")):
        visit = visits(theme=theme)
        page = visit.open("overview")
        page.evaluate(f"document.querySelector('.themes button[value={chosen}]').click()")
        page.wait_for_selector(f"html[data-theme={chosen}]")
        page.wait_for_selector(".canvas canvas")
        wanted = [int(part) for part in re.findall(r"\d+", page.evaluate(QUIET_COLOUR))]
        found = page.evaluate(LABEL_COLOUR)
        assert [abs(one - other) <= 24 for one, other in zip(found, wanted, strict=True)] == [True] * 3, (found, wanted)
        visit.assert_quiet()


def test_no_time_below_a_plot_is_cut(visits: Visits) -> None:
    """The times below the plots end before the edge, in each range and on a telephone."""
    for view in ("wide", "narrow"):
        visit = visits(view)
        for name in ("hour", "day", "days"):
            page = visit.open(f"/console?range={name}")
            page.wait_for_selector(".canvas canvas")
            assert page.evaluate(INK_AT_THE_EDGE) == 0
        visit.assert_quiet()


def test_a_session_that_ends_leads_to_the_sign_in(visits: Visits, site: Site) -> None:
    """A page whose session has ended leads to the sign-in by itself. The sign-in knows the page to come back to."""
    visit = visits()
    page = visit.open("jobs")
    for name in site.client.scan_iter("rt:console_session:*"):
        site.client.delete(name)
    page.wait_for_url("**/console/sign-in?back=%2Fconsole%2Fjobs", timeout=15_000)
    assert page.get_by_label("API key").is_visible()
