"""Uploads, receivers, lanes and pausing over HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from retouch.store import keys
from retouch.store.ledger import day_of
from retouch.webhooks import verify_webhook
from retouch_worker.deliveries.schedule import DeliveryOutcome
from tests.conftest import Sink
from tests.gateway_process import Api, Callers, path_of, problem, running_gateway
from tests.lane_kit import LaneKit

PORTRAIT = Path(__file__).parents[3] / "ops/retouch_ops/samples/portrait.jpg"
FORM = {"Content-Type": "multipart/form-data; boundary=x"}


@pytest.fixture
def api(callers: Callers) -> Api:
    return callers()


def test_an_upload_becomes_an_init_image(api: Api, callers: Callers, edit_body: Callable[..., Any]) -> None:
    """
    A file as body and the same file in a form get the same URL. The URL can be read without a key, and an edit can use
    it as input.
    """
    data = PORTRAIT.read_bytes()
    raw = api.post("/v1/uploads", content=data, headers={"Content-Type": "image/jpeg"})
    assert raw.status_code == 201, raw.text
    form = api.ask("POST", "/v1/uploads", files={"file": ("a.jpg", data, "image/jpeg")}, data={"note": "x"})
    assert form.json()["url"] == raw.json()["url"]
    assert (raw.json()["bytes"], raw.json()["format"]) == (len(data), "JPEG")
    assert callers.with_secret().get(path_of(raw.json()["url"])).content == data
    job = api.post("/v1/edits", edit_body(init_image=raw.json()["url"])).json()
    assert api.get(job["links"]["input"]).content == data


def test_uploads_that_are_none(api: Api, callers: Callers) -> None:
    """An upload without a key, with a file that is not an image, or with a malformed form is refused."""
    jpeg = {"Content-Type": "image/jpeg"}
    refusal = problem(api.post("/v1/uploads", content=b"<svg/>", headers=jpeg), "invalid-request", 422)
    assert refusal["faults"] == [{"field": "file", "message": "expected a PNG, JPEG or WebP image, got an SVG"}]
    problem(api.post("/v1/uploads", content=PORTRAIT.read_bytes()[:2000], headers=jpeg), "invalid-request", 422)
    text = {"Content-Type": "text/plain"}
    problem(api.post("/v1/uploads", content=b"x", headers=text), "unsupported-media-type", 415)
    problem(api.post("/v1/uploads", content=b"junk", headers=FORM), "malformed-body", 400)
    problem(api.ask("POST", "/v1/uploads", files={"file": (None, b"text")}), "invalid-request", 422)
    problem(callers.with_secret().post("/v1/uploads", content=b"x", headers=jpeg), "unauthorized", 401)


def test_nothing_of_an_upload_is_logged(worker_environment: dict[str, str], client: Any) -> None:
    """When an upload with an invalid form is refused, the log contains nothing of the form."""
    with running_gateway(worker_environment) as (url, running):
        callers = Callers(url, client)
        head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n'
        form = head + b"Content-Transfer-Encoding: sesame\r\n\r\nno picture\r\n--x--\r\n"
        problem(callers().post("/v1/uploads", content=form, headers=FORM), "invalid-request", 422)
        callers.close()
    assert running.lines
    assert not [line for line in running.lines if "sesame" in line.lower()]


def test_receivers_from_first_to_last(api: Api, callers: Callers, sink: Sink) -> None:
    """
    A receiver is added, tested, rotated, disabled, enabled and removed. The secret is returned only when the receiver
    is added or rotated. Other tenants get 404.
    """
    added = api.post("/v1/receivers", {"url": sink.url, "events": ["edit.failed"]}).json()
    own = f"/v1/receivers/{added['id']}"
    listed = {**added, "secret": None}
    assert api.get("/v1/receivers").json()["data"] == [listed]
    shown = api.get(own).json()
    assert (shown["health"]["latest"], {**shown, "health": None}) == ([], listed)
    attempt = api.post(f"{own}/test").json()
    assert (attempt["accepted"], attempt["status"]) == (True, 204)
    request = sink.wait_for(1)[0]
    assert verify_webhook(request.body, request.headers, added["secret"])["type"] == "receiver.test"
    rotated = api.post(f"{own}/rotate").json()
    assert rotated["secret"] not in (None, added["secret"])
    assert api.post(f"{own}/disable").json()["disabled"] is True
    assert api.post(f"{own}/enable").json()["disabled"] is False
    stranger = callers("globex")
    for method, path in (("GET", own), ("DELETE", own), ("POST", f"{own}/rotate"), ("POST", f"{own}/test")):
        problem(stranger.ask(method, path), "not-found", 404)
    assert api.ask("DELETE", own).status_code == 204
    problem(api.get(own), "not-found", 404)


def test_receivers_come_in_pages(api: Api, callers: Callers) -> None:
    """
    Pages list each receiver of the tenant once, sorted by id. Role ops gets the receivers of all tenants. A wrong limit
    or cursor is refused.
    """
    made = [api.post("/v1/receivers", {"url": f"https://h.example/{place}", "every_job": False}) for place in range(5)]
    foreign = callers("globex").post("/v1/receivers", {"url": "https://h.example/0"}).json()["id"]
    own = sorted(one.json()["id"] for one in made)
    listed, page = list[list[str]](), dict[str, Any](has_more=True, next_cursor="")
    while page["has_more"]:
        page = api.get("/v1/receivers", params={"limit": 2, "cursor": page["next_cursor"]}).json()
        listed.append([one["id"] for one in page["data"]])
    assert page["next_cursor"] is None
    assert listed == [own[:2], own[2:4], own[4:]]
    all_tenants = callers("staff", "ops").get("/v1/receivers").json()
    assert ([one["id"] for one in all_tenants["data"]], all_tenants["has_more"]) == (sorted([*own, foreign]), False)
    for wrong in ({"limit": 0}, {"limit": 1_001}, {"cursor": "rc_1"}):
        problem(api.get("/v1/receivers", params=wrong), "invalid-request", 422)


def test_receivers_that_are_refused(api: Api) -> None:
    """A private address, an unknown event, another tenant and an unknown field are reported, and nothing is added."""
    wrongs: list[Any] = [
        {"url": "http://10.0.0.1/"},
        {"url": 7},
        {},
        {"url": "http://example.com", "events": ["edit.lost"]},
        {"url": "http://example.com", "tenant": "globex"},
        {"url": "http://example.com", "secret": "x"},
    ]
    for wrong in wrongs:
        assert problem(api.post("/v1/receivers", wrong), "invalid-request", 422)["faults"]
    assert api.get("/v1/receivers").json()["data"] == []


def test_the_switch_is_for_ops(api: Api, callers: Callers, edit_body: Callable[..., Any]) -> None:
    """
    Only role ops can pause a lane. While the lane is paused, a new job waits, and a tenant's status counts only the
    tenant's own jobs.
    """
    problem(api.post("/v1/pause"), "forbidden", 403)
    ops = callers("staff", "ops")
    assert ops.post("/v1/pause").json()["edits"]["paused"] is True
    api.post("/v1/edits", edit_body())
    assert api.get("/v1/status").json()["edits"]["waiting_by_group"] == {"acme": 1}
    assert callers("globex").get("/v1/status").json()["edits"]["waiting_by_group"] == {}
    assert ops.post("/v1/resume").json()["edits"]["paused"] is False
    problem(ops.post("/v1/pause?lane=fast"), "invalid-request", 422)


def test_metrics_are_for_ops(api: Api, callers: Callers) -> None:
    """Metrics need a key of role ops, even from this machine and with any Host header."""
    nobody = callers.with_secret()
    problem(nobody.get("/metrics"), "unauthorized", 401)
    problem(nobody.get("/metrics", headers={"Host": "rebound.example"}), "unauthorized", 401)
    problem(api.get("/metrics"), "forbidden", 403)
    problem(nobody.get("/metrics/store"), "unauthorized", 401)
    problem(api.get("/metrics/store"), "forbidden", 403)
    assert "retouch_build_info" in callers("staff", "ops").get("/metrics").text
    assert 'retouch_lane_waiting{lane="edits"}' in callers("staff", "ops").get("/metrics/store").text


def test_a_receiver_that_fails_is_seen_by_its_tenant_and_by_ops(api: Api, callers: Callers, client: Any) -> None:
    """
    When a receiver fails, the status shows the failures to the receiver's tenant and to a key of role ops. The status
    does not show them to another tenant.
    """
    receiver = LaneKit(client).fail_delivery("acme", "https://dead.example/hook", DeliveryOutcome(503, ""))
    failing = api.get(f"/v1/receivers/{receiver.id}").json()["failing"]
    assert (failing["tenant"], failing["status"], failing["failures"]) == ("acme", 503, 1)
    assert failing["next_at"] > failing["since"]
    health = api.get(f"/v1/receivers/{receiver.id}").json()["health"]
    assert (health["deliveries"], health["delivered"], health["waiting"], health["dead"]) == (1, 0, 1, 0)
    assert [(one["outcome"], one["failed"]) for one in health["latest"]] == [("waiting", 1)]
    assert api.get("/v1/receivers").json()["data"][0]["health"] is None
    ops = callers("staff", "ops")
    assert [one["id"] for one in ops.get("/v1/status").json()["failing_receivers"]] == [receiver.id]
    assert api.get("/v1/status").json()["failing_receivers"] == [failing]
    assert api.get("/v1/receivers").json()["data"][0]["failing"] == failing
    stranger = callers("globex").get("/v1/status").json()
    assert (stranger["receivers_failing"], stranger["failing_receivers"]) == (0, [])
    assert "retouch_receivers_failing 1.0" in ops.get("/metrics/store").text


def test_usage_comes_in_pages(api: Api, client: Any) -> None:
    """Pages of usage have each row once, sorted by key. The last page has no cursor."""
    day = day_of(time.time())
    client.hset(keys.ledger_tags("acme", day), mapping={f"order={place}": "1 0 0 0" for place in range(5)})
    client.expire(keys.ledger_tags("acme", day), 60)
    seen, cursor = list[str](), cast("str | None", "")
    while cursor is not None:
        page = api.get("/v1/usage", params={"by": "tag", "limit": 2, "cursor": cursor}).json()
        seen += [row["key"] for row in page["data"]]
        assert page["has_more"] is (page["next_cursor"] is not None)
        cursor = page["next_cursor"]
    assert seen == [f"order={place}" for place in range(5)]


def test_every_problem_has_a_page(api: Api) -> None:
    """The `type` of a problem is the path of an HTML page that explains it."""
    refusal = problem(api.get("/v1/edits/none"), "not-found", 404)
    page = api.get(refusal["type"])
    assert "Not found" in page.text
    assert page.headers["content-type"].startswith("text/html")
    problem(api.get("/problems/none"), "not-found", 404)
    assert "/openapi.json" in problem(api.get("/"), "not-found", 404)["detail"]
