"""Tests of the console's pages over real HTTP: their content, the escaping of texts, and their forms."""

from __future__ import annotations

import gzip
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from retouch.outcomes import Fail
from retouch.store.audit import AuditLog
from retouch.store.failing_receivers import failing_receivers
from retouch_producer.gateway.console.receivers import ROWS
from retouch_producer.gateway.console.routing import POLICY
from retouch_worker.deliveries.schedule import DeliveryOutcome
from tests.conftest import Sink
from tests.gateway_process import Callers
from tests.integration.conftest import ParsedEdit
from tests.integration.console.conftest import People, words_of
from tests.lane_kit import LaneKit

MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'{{ 7 * 7 }}"
HEAVIEST = 60_000


def failed_job(callers: Callers, kit: LaneKit, edit_body: ParsedEdit, tenant: str = "acme", **more: Any) -> str:
    """Return the id of a new job that the endpoint refused with a message full of markup."""
    job: str = callers(tenant).post("/v1/edits", edit_body(**more)).json()["id"]
    kit.finish(job, Fail("invalid_request", f"the endpoint said {MARKUP}", retryable=False))
    return job


class Markup(HTMLParser):
    """A parser of pages: `attributes` has the names of all attributes, `inline` counts inline scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes, self.inline = set[str](), 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes |= {name for name, _ in attrs}
        self.inline += tag == "style" or (tag == "script" and not dict(attrs).get("src"))


@pytest.fixture
def addresses(callers: Callers, kit: LaneKit, edit_body: ParsedEdit, sink: Sink) -> list[str]:
    """Return the addresses of pages. Those of a job, a delivery and a receiver show texts full of markup."""
    job = failed_job(callers, kit, edit_body, prompt=MARKUP, tags={"order": MARKUP})
    receiver = kit.fail_delivery("acme", f"{sink.url}/?a=<b>", DeliveryOutcome(500, excerpt=MARKUP))
    (delivery,) = [record.id for record in kit.deliveries.records(list(kit.deliveries.ids()))]
    return [
        "/console",
        "/console/jobs",
        "/console/jobs?view=sheet",
        f"/console/jobs/{job}",
        "/console/deliveries",
        f"/console/deliveries/{delivery}",
        "/console/receivers",
        f"/console/receivers/{receiver.id}",
        "/console/tenants",
        "/console/tenants/acme",
        "/console/workers",
        "/console/audit",
        "/console/bulk",
        "/console/bulk/preview?action=replay&q=since:1d",
    ]


def test_markup_stays_text(people: People, addresses: list[str]) -> None:
    """Markup from tenants, from the endpoint and from receivers stays text, in the pages of ops and of a producer."""
    for person in (people("staff", "ops"), people("acme")):
        pages = {address: person.get(address).text for address in addresses}
        for address, page in pages.items():
            parsed = Markup()
            parsed.feed(page)
            assert not [name for name in parsed.attributes if name == "style" or name.startswith("on")], address
            assert parsed.inline == 0, address
            assert not re.search(r"&#34;&#39;49", page), address
        assert sum("&lt;script&gt;alert(1)" in page for page in pages.values()) == 4


def test_every_page_is_guarded_and_light(people: People, addresses: list[str]) -> None:
    """
    Each page has the security policy and is not cached. Together with its scripts and styles, it has less than 60 kB
    compressed.
    """
    person = people("staff", "ops")
    for address in (*addresses, "/console/accounts", "/console/accounts/default", "/console/bill"):
        answer = person.get(address)
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assets = set(re.findall(r'(?:src|href)="(/console/static/[^"]+)"', answer.text))
        weight = len(gzip.compress(answer.content))
        for asset in assets:
            sent = person.get(asset)
            assert "immutable" in sent.headers["cache-control"]
            assert sent.headers["content-encoding"] == "gzip"
            weight += int(sent.headers["content-length"])
        assert weight < HEAVIEST, f"{address}: {weight}"


def test_errors_are_pages(people: People) -> None:
    """Each wrong request is answered with its status, an HTML page and the security policy."""
    person = people()
    for address, status in (
        ("/console/jobs/ed_nothing", 404),
        ("/console/nowhere", 404),
        ("/console/jobs?state=odd", 422),
        ("/console/jobs?cursor=odd", 422),
        ("/console/jobs?since=yesterday", 422),
        ("/console/receivers/rc_nothing", 404),
        (f"/console/receivers?cursor={2**64}", 422),
        ("/console/jobs/ed_nothing/image/x", 422),
    ):
        answer = person.get(address)
        assert answer.status_code == status, address
        assert answer.headers["content-type"].startswith("text/html"), address
        assert answer.headers["content-security-policy"] == POLICY


def test_the_overview_says_what_needs_a_hand(
    people: People, kit: LaneKit, callers: Callers, edit_body: ParsedEdit
) -> None:
    """The overview shows dead letters, a paused lane and the lack of workers."""
    ops = people("staff", "ops")
    failed_job(callers, kit, edit_body)
    assert ops.post("/console/lanes/edits/pause").status_code == 200
    words = words_of(ops.text("/console"))
    assert "1 dead letters of lane edits." in words
    assert "Edits is paused by hand." in words
    assert "No worker runs." in words
    assert "invalid_request" in words
    assert ops.post("/console/lanes/edits/resume").status_code == 200
    assert "paused by hand" not in people("globex").text("/console")


def test_a_producer_sees_its_own_numbers(people: People, kit: LaneKit, callers: Callers, edit_body: ParsedEdit) -> None:
    """A producer's overview shows no jobs, failures or dead letters of another tenant."""
    failed_job(callers, kit, edit_body, prompt="a secret of acme")
    words = people("globex").text("/console")
    assert "dead letters" not in words
    assert "invalid_request" not in words
    assert "acme" not in words


def test_filters_and_pages_of_jobs(people: People, callers: Callers, edit_body: ParsedEdit, kit: LaneKit) -> None:
    """
    The list of jobs is filtered by state, code, tag and tenant. The second page continues where the first page ends.
    """
    failed_job(callers, kit, edit_body, "globex", prompt="a failure of globex")
    api = callers("acme")
    for number in range(35):
        api.post("/v1/edits", edit_body(prompt=f"picture {number:02}", tags={"order": str(number % 2)}))
    ops = people("staff", "ops")
    first = ops.text("/console/jobs?tenant=acme")
    (older,) = re.findall(r'href="([^"]+)" rel="next"', first)
    second = ops.text(older.replace("&amp;", "&"))
    shown = [set(re.findall(r"picture (\d\d)", page)) for page in (first, second)]
    assert shown[0] | shown[1] == {f"{number:02}" for number in range(35)}
    assert not shown[0] & shown[1]
    assert set(re.findall(r"picture (\d\d)", ops.text("/console/jobs?tag=order%3D1"))) <= {
        f"{number:02}" for number in range(1, 35, 2)
    }
    assert "a failure of globex" in ops.text("/console/jobs?code=invalid_request")
    assert "picture" not in words_of(ops.text("/console/jobs?state=failed"))


def test_the_query_language(people: People, callers: Callers, edit_body: ParsedEdit, kit: LaneKit) -> None:
    """A query selects the jobs in the list. A wrong query is answered with a page that names the expected term."""
    failed_job(callers, kit, edit_body, prompt="a failure")
    callers("acme").post("/v1/edits", edit_body(prompt="it waits", tags={"order": "17"}))
    person = people()
    assert "a failure" not in person.text("/console/jobs?q=tag:order%3D17")
    assert "it waits" in person.text("/console/jobs?q=tag:order%3D17")
    assert "a failure" in person.text("/console/jobs?q=state:failed+code:invalid_request")
    assert person.get("/console/jobs?q=tenant:globex").status_code == 404
    wrong = person.get("/console/jobs?q=stat:failed")
    assert wrong.status_code == 422
    assert "state" in words_of(wrong.text)


def test_changes_are_in_the_audit(people: People, callers: Callers, edit_body: ParsedEdit, client: Any) -> None:
    """
    Each change adds one line to the audit log, with action, tenant, surface and role. A change that is refused adds no
    line.
    """
    job = callers("acme").post("/v1/edits", edit_body()).json()["id"]
    ops = people("staff", "ops")
    ops.post(f"/console/jobs/{job}/cancel")
    ops.post("/console/lanes/edits/pause")
    ops.post("/console/tenants/acme/limits", weight="2")
    people("acme").post("/console/lanes/edits/resume")
    lines = AuditLog(client).lines()
    assert [(line.action, line.tenant, line.actor.surface) for line in reversed(lines)] == [
        ("edit.cancel", "acme", "console"),
        ("lane.pause", "", "console"),
        ("tenant.limits", "acme", "console"),
    ]
    assert {line.actor.role for line in lines} == {"ops"}
    assert lines[-1].details["ids"] == [job]


def test_a_job_that_waits_says_why(people: People, callers: Callers, edit_body: ParsedEdit) -> None:
    """The page of a queued job shows its position, the limit that makes it wait, and its estimated start."""
    api = callers("acme")
    jobs = [api.post("/v1/edits", edit_body(prompt=f"picture {number}")).json()["id"] for number in range(8)]
    words = words_of(people().text(f"/console/jobs/{jobs[-1]}"))
    assert "Every slot of the endpoint is taken." in words
    assert "place 3" in words
    assert "what binds in_flight" in words
    assert "starts in" in words
    dispatched = words_of(people().text(f"/console/jobs/{jobs[0]}"))
    assert "It has a slot." in dispatched


def test_cancel_and_replay(people: People, callers: Callers, edit_body: ParsedEdit) -> None:
    """A waiting job is cancelled on its page at once. The page then shows the cost of a replay, and replays the job."""
    api = callers("acme")
    job = [api.post("/v1/edits", edit_body()).json()["id"] for _ in range(7)][-1]
    person = people()
    assert "Nothing more is paid." in person.text(f"/console/jobs/{job}")
    assert "Cancelled." in words_of(person.post(f"/console/jobs/{job}/cancel").text)
    assert api.get(f"/v1/edits/{job}").json()["state"] == "cancelled"
    assert "costs at most 2 calls" in words_of(person.text(f"/console/jobs/{job}"))
    assert "Put back." in words_of(person.post(f"/console/jobs/{job}/replay").text)
    assert api.get(f"/v1/edits/{job}").json()["state"] == "queued"
    assert person.post(f"/console/jobs/{job}/replay").status_code == 409


def test_pictures_come_through_the_session(people: People, callers: Callers, edit_body: ParsedEdit) -> None:
    """
    A key of the tenant, of role ops or of a viewer opens the input and its thumbnail. Another tenant gets 404.

    A browser must revalidate the pictures each time.
    """
    job = callers("acme").post("/v1/edits", edit_body()).json()["id"]
    for person in (people("acme"), people("staff", "ops"), people("staff", "viewer")):
        whole, small = person.get(f"/console/jobs/{job}/input"), person.get(f"/console/jobs/{job}/input/thumbnail")
        assert (whole.headers["content-type"], small.headers["content-type"]) == ("image/jpeg", "image/webp")
        assert whole.headers["cache-control"] == "private, no-cache"
        etag = {"If-None-Match": small.headers["etag"]}
        assert person.get(f"/console/jobs/{job}/input/thumbnail", headers=etag).status_code == 304
        assert person.get(f"/console/jobs/{job}/image/0").status_code == 409
    assert people("globex").get(f"/console/jobs/{job}/input").status_code == 404


def test_receivers(people: People, callers: Callers, kit: LaneKit, sink: Sink, client: Any) -> None:
    """
    A receiver is tested, disabled, enabled and rotated on its page. The new secret is shown once.

    The page of a failing receiver shows the reason.
    """
    api, person = callers("acme"), people()
    receiver = api.post("/v1/receivers", {"url": sink.url}).json()["id"]
    address = f"/console/receivers/{receiver}"
    assert "The test was accepted: HTTP 204" in words_of(person.post(f"{address}/test").text)
    shown = person.post(f"{address}/rotate").text
    assert re.search(r"whsec_\S+", shown)
    assert "whsec_" not in person.text(address)
    assert "Nothing new is sent to it." in person.post(f"{address}/disable").text
    assert "Nothing new is sent to it." not in person.post(f"{address}/enable").text
    failing = kit.fail_delivery("acme", f"{sink.url}/fails", DeliveryOutcome(503, excerpt="busy"))
    assert [one.id for one in failing_receivers(client)] == [failing.id]
    assert "1 receiver fails" in words_of(person.text("/console/receivers"))
    page = person.text(f"/console/receivers/{failing.id}")
    assert "It fails: HTTP 503" in words_of(page)
    assert "Of the last 1: 0 delivered, 1 waiting, 0 dead; since 2" in words_of(page)
    assert '<li class="beat waiting lag-0" title="waiting, 1 failed, 0 ms, 2' in page


def test_receivers_come_in_pages(people: People, kit: LaneKit) -> None:
    """A page lists fifty receivers and links to the rest. Role ops sees the receivers of all tenants."""
    made = sorted(kit.receivers.ensure("acme", f"https://h.example/{place}").id for place in range(ROWS + 5))
    person = people()
    first = person.text("/console/receivers")
    link = re.search(r'href="(/console/receivers\?cursor=[^"]+)"', first)
    assert link
    assert [f"/console/receivers/{one}" in first for one in made] == [True] * ROWS + [False] * 5
    second = person.text(link[1])
    assert [f"/console/receivers/{one}" in second for one in made] == [False] * ROWS + [True] * 5
    assert made[0] in people("staff", "ops").text("/console/receivers")
    assert person.get("/console/receivers?cursor=nowhere").status_code == 422


def test_redelivery(people: People, kit: LaneKit, sink: Sink) -> None:
    """The page of a failed delivery shows the failed attempt, and its form sends the delivery again."""
    kit.fail_delivery("acme", sink.url, DeliveryOutcome(500, excerpt="no"))
    (delivery,) = kit.deliveries.ids()
    person = people()
    assert "HTTP 500" in person.text(f"/console/deliveries/{delivery}")
    assert "It is sent again now." in words_of(person.post(f"/console/deliveries/{delivery}/redeliver").text)
    assert people("globex").get(f"/console/deliveries/{delivery}").status_code == 404


def test_a_delivery_that_is_gone_is_not_redelivered(people: People, kit: LaneKit, client: Any, sink: Sink) -> None:
    """If the state of a delivery is no longer on record, its redelivery is answered 404 and changes nothing."""
    kit.fail_delivery("acme", sink.url, DeliveryOutcome(500, excerpt="no"))
    (delivery,) = kit.deliveries.ids()
    client.delete(f"rt:deliveries:state:{delivery}")
    assert people().post(f"/console/deliveries/{delivery}/redeliver").status_code == 404
    assert not client.exists(f"rt:deliveries:state:{delivery}")


def test_limits_of_a_tenant(people: People, callers: Callers) -> None:
    """Ops changes the limits of a tenant in a form. A form with a wrong value is answered 422 and changes no limit."""
    callers("acme")
    ops = people("staff", "ops")
    fields = {"weight": "2.5", "in_flight_limit": "3", "backlog_limit": "", "budget": "500"}
    page = ops.post("/console/tenants/acme/limits", **fields).text
    assert 'value="2.5"' in page
    assert "0 of 500 calls spent today" in words_of(page)
    for weight in ("-1", "0", "0.001", "nan", "inf"):
        assert ops.post("/console/tenants/acme/limits", **{**fields, "weight": weight}).status_code == 422
    assert 'value="2.5"' in ops.text("/console/tenants/acme")
    assert "2.5" in words_of(people("acme").text("/console/tenants/acme"))
