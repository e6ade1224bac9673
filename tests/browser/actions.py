"""Everything that people do in the console: by mouse and by keyboard alone, with and without JavaScript."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Literal

import pytest

from retouch.store.console_sessions import ConsoleSessions
from tests.browser.conftest import Site, Visits, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

By = Literal["mouse", "keyboard"]
HOWS = pytest.mark.parametrize(("by", "javascript"), list(itertools.product(("mouse", "keyboard"), (True, False))))
DOES = pytest.mark.does
"""Names the routes that a test must request. The fixture `visits` fails a test that did not request them."""
TABS_MOST = 150


def reach(page: Page, target: Locator) -> None:
    """Move the focus by the Tab key alone until it is on the target."""
    for _ in range(TABS_MOST):
        page.keyboard.press("Tab")
        if target.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"no Tab leads to {target}")


def press(page: Page, target: Locator, by: By) -> None:
    """Press a button, a summary or a link, by mouse or by the keys Tab and Enter."""
    if by == "mouse":
        target.click()
        return
    reach(page, target)
    page.keyboard.press("Enter")


def write(page: Page, field: Locator, text: str, by: By) -> None:
    """Replace the text of a field. By keyboard, Tab leads to the field, and its old text is deleted."""
    if by == "mouse":
        field.fill(text)
        return
    if not field.evaluate("element => element === document.activeElement"):
        reach(page, field)
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    page.keyboard.type(text)


def act(page: Page, summary: str, button: str, by: By) -> None:
    """Open the part of the page with this summary, and press the button in it that confirms the action."""
    opened = page.locator("details.act").filter(has_text=summary)
    press(page, opened.locator("summary"), by)
    submit(page, opened.get_by_role("button", name=button), by)


def submit(page: Page, button: Locator, by: By) -> None:
    """Press the button of a form, and wait for the next page."""
    with page.expect_navigation():
        press(page, button, by)


@HOWS
@DOES("POST /console/sign-in", "POST /console/sign-out")
def test_signing_in_and_out(visits: Visits, site: Site, by: By, javascript: bool) -> None:
    """An API key signs in, and a button signs out. After that, the console asks for a key again."""
    visit = visits(javascript=javascript, role="")
    page = visit.open("/console/jobs?state=failed")
    assert page.url.startswith(f"{site.url}/console/sign-in")
    write(page, page.get_by_label("API key"), site.keys["ops"], by)
    press(page, page.get_by_role("button", name="Sign in"), by)
    page.wait_for_url(f"{site.url}/console/jobs?state=failed")
    press(page, page.get_by_role("button", name="Sign out"), by)
    page.wait_for_url(f"{site.url}/console/sign-in")
    assert visit.open("/console").url.startswith(f"{site.url}/console/sign-in")
    visit.assert_quiet()


@HOWS
@DOES("POST /console/enter")
def test_signing_in_by_a_link(visits: Visits, site: Site, by: By, javascript: bool) -> None:
    """The address that `retouch up` prints opens a page with a button, which signs in without a key."""
    link = ConsoleSessions(site.client).make_link(site.keys["ops"])
    visit = visits(javascript=javascript, role="")
    page = visit.open(f"/console/enter/{link}")
    press(page, page.get_by_role("button", name="Sign in"), by)
    page.wait_for_url(f"{site.url}/console")
    visit.assert_quiet()


@HOWS
@DOES("POST /console/theme")
def test_choosing_a_theme(visits: Visits, by: By, javascript: bool) -> None:
    """The chosen theme has the same colour of text as on a system with this theme. It stays on the next page."""
    visit = visits(theme="light", javascript=javascript)
    page = visit.open("overview")
    light = page.evaluate("getComputedStyle(document.body).color")
    press(page, page.get_by_role("button", name="Dark"), by)
    page.wait_for_selector("html[data-theme=dark]")
    chosen = page.evaluate("getComputedStyle(document.body).color")
    assert chosen != light
    assert visits(theme="dark").open("overview").evaluate("getComputedStyle(document.body).color") == chosen
    assert visit.open("jobs").locator("html").get_attribute("data-theme") == "dark"
    visit.assert_quiet()


@HOWS
@DOES("POST /console/lanes/{lane}/{switch}")
def test_pausing_a_lane(visits: Visits, by: By, javascript: bool) -> None:
    """A button pauses a lane. Once the lane is paused, another button resumes it."""
    visit = visits(javascript=javascript)
    page = visit.open("overview")
    press(page, page.get_by_role("button", name="Pause deliveries"), by)
    resume = page.get_by_role("button", name="Resume deliveries")
    resume.wait_for()
    assert "Deliveries is paused by hand." in page.locator("main").inner_text()
    press(page, resume, by)
    page.get_by_role("button", name="Pause deliveries").wait_for()
    visit.assert_quiet()


@HOWS
@DOES("POST /console/jobs/{job_id}/cancel", "POST /console/jobs/{job_id}/replay")
def test_cancelling_and_replaying(visits: Visits, site: Site, by: By, javascript: bool) -> None:
    """A waiting job is cancelled. Then its page says what a replay costs, and the replay puts the job back."""
    job = site.edit(f"cancelled by {by}, {javascript}")
    visit = visits(javascript=javascript)
    page = visit.open(f"/console/jobs/{job}")
    act(page, "Cancel this job", "Cancel the job", by)
    page.get_by_text("Cancelled.", exact=True).wait_for()
    assert site.state(job) == "cancelled"
    assert "It is POSTed again and costs at most 2 calls." in (page.locator("main").text_content() or "")
    act(page, "Replay this job", "Put it back", by)
    page.get_by_text("Put back. It waits for its turn.").wait_for()
    assert site.state(job) == "queued"
    site.ops.post(f"/v1/edits/{job}/cancel")
    visit.assert_quiet()


@HOWS
@DOES("POST /console/jobs/{job_id}/approve")
def test_approving(visits: Visits, site: Site, by: By, javascript: bool) -> None:
    """A button on the contact sheet approves a result. A button on the page of the job takes the mark back."""
    visit = visits(javascript=javascript)
    page = visit.open("sheet")
    item = page.locator(".sheet > li:has(.frame-act)").first
    job = str(item.locator(".frame").get_attribute("id"))
    press(page, item.locator(".frame-act button"), by)
    page.locator(f"#{job} .frame-approved").wait_for()
    assert site.ops.get(f"/v1/edits/{job}").json()["approved_by"]
    page = visit.open(f"/console/jobs/{job}")
    submit(page, page.get_by_role("button", name="Take the approval back"), by)
    page.get_by_text("The approval was taken back.").wait_for()
    assert site.ops.get(f"/v1/edits/{job}").json()["approved_by"] is None
    visit.assert_quiet()


@HOWS
@DOES("POST /console/deliveries/{delivery_id}/redeliver")
def test_sending_again(visits: Visits, by: By, javascript: bool) -> None:
    """A delivery is sent again, and its page has one attempt more."""
    visit = visits(javascript=javascript)
    page = visit.open("delivery")
    before = page.locator(".timeline li").count()
    act(page, "Send it again", "Send it again", by)
    page.get_by_role("status").wait_for()
    assert wait_until(lambda: visit.open("delivery").locator(".timeline li").count() == before + 1)
    visit.assert_quiet()


@HOWS
@DOES(
    "POST /console/receivers/{receiver_id}/test",
    "POST /console/receivers/{receiver_id}/{switch}",
    "POST /console/receivers/{receiver_id}/rotate",
)
def test_a_receivers_switches(visits: Visits, by: By, javascript: bool) -> None:
    """A receiver is tested, disabled and enabled, and gets a new secret, which is shown only once."""
    visit = visits(javascript=javascript)
    page = visit.open("receiver")
    press(page, page.get_by_role("button", name="Send a test"), by)
    page.get_by_text("The test was not accepted: HTTP 404").wait_for()
    page = visit.open("receiver")
    act(page, "Disable it", "Disable it", by)
    page.get_by_text("Nothing new is sent to it.").wait_for()
    press(page, page.get_by_role("button", name="Enable it"), by)
    page.locator("summary", has_text="Disable it").wait_for()
    act(page, "Change its secret", "Change its secret", by)
    assert page.locator(".secret").inner_text().startswith("whsec_")
    assert "whsec_" not in visit.open("receiver").content()
    visit.assert_quiet()


@HOWS
@DOES("POST /console/tenants/{tenant}/limits")
def test_limits(visits: Visits, by: By, javascript: bool) -> None:
    """The form of a tenant sets the tenant's budget, and removes it again."""
    visit = visits(javascript=javascript)
    for budget in ("500", ""):
        page = visit.open("tenant")
        write(page, page.get_by_label("Calls a day"), budget, by)
        submit(page, page.get_by_role("button", name="Save"), by)
        assert visit.open("tenant").get_by_label("Calls a day").input_value() == budget
    visit.assert_quiet()


@HOWS
def test_filtering(visits: Visits, by: By, javascript: bool) -> None:
    """The form of filters narrows the list of jobs, and a link to another state keeps the filters."""
    visit = visits(javascript=javascript)
    page = visit.open("jobs")
    press(page, page.locator("summary", has_text="Filters"), by)
    write(page, page.get_by_label("Tag"), "order=0", by)
    press(page, page.get_by_role("button", name="Apply"), by)
    page.wait_for_url("**tag=order%3D0**")
    assert page.locator("tbody tr").count() == 1
    press(page, page.get_by_role("link", name="failed", exact=True), by)
    page.wait_for_url("**state=failed**")
    assert "tag=order%3D0" in page.url
    visit.assert_quiet()


@HOWS
@DOES("POST /console/bulk")
def test_a_bulk_run(visits: Visits, site: Site, by: By, javascript: bool) -> None:
    """A button of a filtered list leads to a preview. Only its confirmation cancels all jobs that match."""
    tag = f"{by}-{javascript}".lower()
    jobs = [site.edit("one of many", tags={"campaign": tag}) for _ in range(3)]
    visit = visits(javascript=javascript)
    page = visit.open(f"/console/jobs?tag=campaign%3D{tag}")
    submit(page, page.get_by_role("button", name="Cancel…"), by)
    assert page.locator("h1").inner_text() == "Cancel 3 jobs?"
    assert {site.state(job) for job in jobs} == {"queued"}
    submit(page, page.get_by_role("button", name="Cancel 3 jobs"), by)
    run = page.url
    if not javascript:
        site.reaches(jobs[-1], "cancelled")
        assert wait_until(lambda: visit.open(run.removeprefix(site.url)).locator(".head .state-done").count() == 1)
    page.locator(".head .state-done").wait_for()
    assert "3 of 3 jobs" in page.locator("main").inner_text()
    assert [site.state(job) for job in jobs] == ["cancelled"] * 3
    visit.assert_quiet()


@HOWS
@DOES("POST /console/bulk/{run_id}/abort")
def test_aborting_a_bulk_run(visits: Visits, site: Site, by: By, javascript: bool) -> None:
    """A run that no worker has begun is aborted from its page, and the list of runs shows it as aborted."""
    job = site.edit("it stays", tags={"campaign": "kept"})
    asked = {"action": "cancel", "query": "tag:campaign=kept"}
    # Until the worker asks for the next run; a run that was faster is over, which the page says as well.
    run = site.ops.post("/v1/bulk", asked).json()["id"]
    site.client.zadd("rt:bulk:open", {run: time.time() + 60}, xx=True)
    visit = visits(javascript=javascript)
    act(visit.open(f"/console/bulk/{run}"), "Abort this run", "Abort the run", by)
    visit.page.get_by_text("Aborted. What was done stays done").wait_for()
    assert site.state(job) == "queued"
    assert visit.open("bulk").locator(f"tr:has(a[href$='{run}']) .state-aborted").count() == 1
    site.ops.post(f"/v1/edits/{job}/cancel")
    visit.assert_quiet()


@HOWS
@DOES("POST /console/accounts/{account_id}/{switch}", "POST /console/accounts/{account_id}/test")
@pytest.mark.usefixtures("several")
def test_switching_and_testing_an_account(visits: Visits, by: By, javascript: bool) -> None:
    """An account is paused and resumed, and an account that the endpoint closed is tested."""
    visit = visits(javascript=javascript)
    page = visit.open("/console/accounts/learns")
    act(page, "Pause it", "Pause it", by)
    page.get_by_text("Paused. Calls under way end").wait_for()
    submit(page, page.get_by_role("button", name="Resume it"), by)
    page.get_by_text("Resumed.").wait_for()
    act(visit.open("/console/accounts/refused"), "Test it", "Test it", by)
    page.get_by_text("One job is let through").wait_for()
    visit.assert_quiet()


@HOWS
@DOES("POST /console/bill")
def test_comparing_a_bill(visits: Visits, by: By, javascript: bool) -> None:
    """A pasted bill is compared with the ledger. If it has more calls than the ledger allows for, the page says so."""
    visit = visits(javascript=javascript)
    page = visit.open("bill")
    write(page, page.get_by_label("Bill, one line a day"), f"{time.strftime('%Y-%m-%d', time.gmtime())},90000,1.00", by)
    submit(page, page.get_by_role("button", name="Compare"), by)
    page.get_by_text("more than possible").first.wait_for()
    visit.assert_quiet()


@HOWS
def test_filtering_the_audit(visits: Visits, by: By, javascript: bool) -> None:
    """The form narrows the audit to one kind of action, and the link in a line leads to the page of its bulk run."""
    visit = visits(javascript=javascript)
    page = visit.open("audit")
    press(page, page.locator("summary", has_text="Filters"), by)
    page.get_by_label("Action").fill("bulk")
    submit(page, page.get_by_role("button", name="Apply"), by)
    actions = page.locator(".log-main").all_inner_texts()
    assert actions
    assert all(action.startswith("bulk.") for action in actions)
    press(page, page.locator(".log-what a").first, by)
    page.wait_for_url("**/console/bulk/bk_**")
    visit.assert_quiet()


@HOWS
def test_choosing_a_range(visits: Visits, by: By, javascript: bool) -> None:
    """Links above the plots choose the range, or show tables. Plots are drawn only with JavaScript."""
    visit = visits(javascript=javascript)
    page = visit.open("overview")
    press(page, page.get_by_role("link", name="3 days"), by)
    page.wait_for_url("**/console?range=days")
    assert page.locator(".canvas canvas").count() == (6 if javascript else 0)
    assert page.locator(".figures").count() == (0 if javascript else page.locator(".figures:visible").count())
    press(page, page.get_by_role("link", name="As tables"), by)
    page.wait_for_url("**/console?range=days&view=table")
    assert page.locator(".figures table").count() >= 1
    visit.assert_quiet()


def test_a_producer_is_offered_what_it_may_do(visits: Visits) -> None:
    """A producer sees no button that pauses a lane, and no form of limits on the page of its tenant."""
    visit = visits(role="producer")
    assert visit.open("overview").get_by_role("button", name="Pause").count() == 0
    page = visit.page
    page.get_by_role("link", name="Money").click()
    page.wait_for_url("**/console/tenants/acme")
    assert page.get_by_label("Calls a day").count() == 0
    visit.assert_quiet()
