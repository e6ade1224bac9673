"""The stream that keeps pages live: a browser has one for all its tabs, and opens it again after a cut."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.conftest import Site, Visit, Visits, wait_until
from tests.browser.plain_tabs import PlainWindow
from tests.browser.tabs import feed_readers
from tests.browser.watched_gateway import holdings
from tests.chaos.proxy import Proxy

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route


def streams(site: Site, count: int) -> bool:
    """Return whether the gateway reaches this number of open streams within 15 s."""
    return wait_until(lambda: holdings(site.gateway).streams == count)


@pytest.fixture
def proxy(site: Site) -> Iterator[Proxy]:
    """A proxy in front of the gateway."""
    with Proxy(int(site.url.rpartition(":")[2])) as proxy:
        yield proxy


@pytest.fixture
def window(visits: Visits, chromium: Browser, site: Site) -> Iterator[PlainWindow]:
    """A signed-in window whose tabs hide each other."""
    page = visits().page
    page.goto("about:blank")
    assert streams(site, 0)
    window = PlainWindow(chromium, page)
    yield window
    window.close()


def test_closed_tabs_free_their_streams(visits: Visits, site: Site) -> None:
    """
    Two browsers with two tabs each share one reader of the feed. A browser holds one stream until its last tab is
    closed.
    """
    assert streams(site, 0)
    people = [visits(), visits()]
    for person in people:
        person.open("jobs")
        person.context.new_page().goto(f"{site.url}/console")
    assert streams(site, 2)
    assert max(feed_readers(site.client) for _ in range(50)) == 1
    for person in people:
        person.page.close()
    assert streams(site, 2)
    for person in people:
        person.context.pages[0].close()
    assert streams(site, 0)
    assert holdings(site.gateway).watchers == 0


def test_a_pause_frees_the_stream(visits: Visits, site: Site) -> None:
    """A browser holds no stream while its page is paused. When the page is live again, the browser has one stream."""
    page = visits().open("jobs")
    assert streams(site, 1)
    page.get_by_role("button", name="Live").click()
    assert streams(site, 0)
    page.get_by_role("button", name="Paused").click()
    assert streams(site, 1)


def test_a_hidden_tab_rests(window: PlainWindow, site: Site) -> None:
    """
    A tab that another one hides holds no stream and sends no requests, not even at the pace of its updates. When it is
    shown again, it has a stream, and the job that came meanwhile.
    """
    tab = window.open(f"{site.url}/console/jobs")
    assert streams(site, 1)
    assert tab.visibility == "visible"
    window.open("about:blank")
    assert wait_until(lambda: tab.visibility == "hidden")
    assert streams(site, 0)
    asked = tab.requests
    site.ops.post(f"/v1/edits/{site.edit('it came while nobody looked')}/cancel")
    window.wait(6.0)  # regular updates are 5 s apart
    assert (tab.requests, tab.has("it came while nobody looked")) == (asked, False)
    tab.show()
    assert wait_until(lambda: tab.has("it came while nobody looked"), within_s=4.0)
    assert streams(site, 1)


def test_a_visible_tab_takes_over(window: PlainWindow, site: Site) -> None:
    """When the tab that holds the browser's stream is hidden by another live tab, that one holds the stream."""
    hidden = window.open(f"{site.url}/console/jobs")
    assert streams(site, 1)
    seen = window.open(f"{site.url}/console/jobs")
    assert wait_until(lambda: hidden.visibility == "hidden")
    assert seen.visibility == "visible"
    assert streams(site, 1)
    asked = hidden.requests
    site.ops.post(f"/v1/edits/{site.edit('it is seen in the tab in front')}/cancel")
    assert wait_until(lambda: seen.has("it is seen in the tab in front"))
    assert (hidden.requests, hidden.has("it is seen in the tab in front")) == (asked, False)
    hidden.show()
    assert wait_until(lambda: hidden.has("it is seen in the tab in front"), within_s=4.0)
    assert seen.visibility == "hidden"
    assert streams(site, 1)


def test_a_stream_that_is_cut_resumes(visits: Visits, site: Site, proxy: Proxy) -> None:
    """After each of three cuts, a page gets a new stream. It shows each job that came meanwhile exactly once."""
    visit = visits(url=f"http://127.0.0.1:{proxy.port}")
    page = visit.open("jobs")
    assert streams(site, 1)
    words = []
    for number in range(3):
        proxy.cut()
        assert streams(site, 0)
        words.append(f"it came while the stream was cut for the {number}th time")
        site.ops.post(f"/v1/edits/{site.edit(words[-1])}/cancel")
        proxy.heal()
        assert streams(site, 1)
    main = page.locator("main")
    assert wait_until(lambda: all(main.inner_text().count(text) == 1 for text in words))
    page.get_by_role("button", name="Live", exact=True).wait_for()
    assert asks_at_once(visit, site)


def test_a_stream_comes_back_after_errors(visits: Visits, site: Site) -> None:
    """If two requests for the stream are answered with 502, the page opens its stream again by itself."""
    visit = visits()
    answers: Iterator[Any] = itertools.chain([502, 502])

    def refuse(route: Route) -> None:
        status = next(answers, None)
        route.fulfill(status=status, body="no gateway") if status else route.continue_()

    visit.context.route("**/console/live", refuse)
    page = visit.open("jobs")
    for _ in range(60):
        page.wait_for_timeout(500)  # the refusals are answered meanwhile
        if holdings(site.gateway).streams:
            break
    assert streams(site, 1)
    assert asks_at_once(visit, site)


def asks_at_once(visit: Visit, site: Site) -> bool:
    """
    Return True if a page requests its content within 4 s of an event; its regular updates are 5 s apart.

    Otherwise Playwright raises `TimeoutError`.
    """
    with visit.page.expect_request("**/console/jobs", timeout=15_000):
        pass  # a tick: the next one is five seconds away
    with visit.page.expect_request("**/console/jobs", timeout=4_000):
        site.ops.post(f"/v1/edits/{site.edit('it is shown at once')}/cancel")
    return True
