"""
The spans of edits at a collector: their names, parents, links and attributes, and which data they must not contain.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from retouch_ops.simulator.process import Simulator
from tests.conftest import ENDPOINT_KEY, Sink
from tests.docs.pages import DOCS
from tests.gateway_process import Api, Callers
from tests.otlp_collector import Collector, ExportedSpan, span_id

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
WAIT = {"Prefer": "wait=20"}
NAMES = {
    *("retouch.enqueue", "retouch.attempt", "retouch.delivery"),
    *("retouch.endpoint.post", "retouch.endpoint.poll", "retouch.endpoint.download"),
}
ATTRIBUTES = {
    *("retouch.job", "retouch.jobs", "retouch.delivery", "retouch.tenant", "retouch.account", "retouch.event"),
    *("retouch.attempt", "retouch.state", "retouch.code", "retouch.result", "retouch.outcome", "retouch.decision"),
    *("retouch.bytes", "http.response.status_code"),
}

pytestmark = pytest.mark.usefixtures("traced_worker")


@pytest.fixture
def api(callers: Callers) -> Api:
    return callers()


@pytest.fixture
def run(api: Api, edit_body: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """
    Return a function that enqueues an edit over the gateway in the trace of `PARENT`, and returns the finished job.
    """

    def enqueue(headers: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
        answer = api.post("/v1/edits", edit_body(**more), headers={**WAIT, "traceparent": PARENT, **(headers or {})})
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()
        return job

    return enqueue


def enqueue_of(collector: Collector, job: str) -> ExportedSpan:
    [span] = collector.wait_for(job, "retouch.enqueue")
    return span


def test_the_enqueue_continues_the_trace_of_the_request(run: Callable[..., Any], collector: Collector) -> None:
    """The gateway's span is a child of the request's `traceparent`, and has the job, the tenant and the result."""
    job = run()["id"]
    span = enqueue_of(collector, job)
    assert (span.service, span.kind, span.failed) == ("retouch-gateway", "PRODUCER", False)
    assert (span.id[0], span.parent) == span_id(PARENT)
    assert span.attributes == {
        "retouch.job": job,
        "retouch.jobs": 1,
        "retouch.tenant": "acme",
        "retouch.result": ["new"],
    }


def test_an_attempt_links_to_the_enqueue(run: Callable[..., Any], collector: Collector) -> None:
    """
    An attempt is the root of its own trace and has a link to the enqueue. The calls to the endpoint are children of the
    attempt.
    """
    job = run()
    [attempt] = collector.wait_for(job["id"], "retouch.attempt")
    assert (attempt.service, attempt.kind, attempt.failed) == ("retouch-worker", "CONSUMER", False)
    assert attempt.is_root
    assert attempt.links == (enqueue_of(collector, job["id"]).id,)
    assert attempt.id[0] != span_id(PARENT)[0]
    size = job["result"]["bytes"]
    assert attempt.attributes == {
        "retouch.job": job["id"],
        "retouch.tenant": "acme",
        "retouch.account": "default",
        "retouch.attempt": 1,
        "retouch.outcome": "Stored",
        "retouch.decision": "Succeed",
        "retouch.bytes": size,
    }
    post, download = collector.inside(attempt)
    assert (post.name, post.kind, post.attributes["http.response.status_code"]) == (
        "retouch.endpoint.post",
        "CLIENT",
        200,
    )
    assert (post.attributes["retouch.account"], post.attributes["retouch.outcome"]) == ("default", "Ready")
    assert download.name == "retouch.endpoint.download"
    assert download.attributes == {"retouch.bytes": size, "http.response.status_code": 200}


def test_the_receiver_is_sent_the_trace_of_the_delivery(
    run: Callable[..., Any], collector: Collector, sink: Sink
) -> None:
    """
    A delivery attempt is a root span with a link to the enqueue. The receiver gets this span in the header
    `traceparent`, without baggage.
    """
    sink.answers.append((500, {"Retry-After": "0"}))
    job = run(webhook=f"{sink.url}/hook")["id"]
    [received] = sink.wait_for(1)
    [delivery] = collector.wait_for(job, "retouch.delivery")
    assert span_id(received.headers["traceparent"]) == delivery.id
    assert int(received.headers["traceparent"][-2:], 16) & 1, "the receiver must know that it is recorded"
    assert not {"baggage", "tracestate"} & {name.lower() for name in received.headers}
    assert delivery.is_root
    assert delivery.links == (enqueue_of(collector, job).id,)
    identity = str(delivery.attributes.pop("retouch.delivery"))
    assert identity.startswith("dl_")
    assert delivery.failed
    assert delivery.attributes == {
        "retouch.job": job,
        "retouch.tenant": "acme",
        "retouch.event": "edit.succeeded",
        "retouch.attempt": 1,
        "retouch.state": "retrying",
        "http.response.status_code": 500,
    }


def test_a_callback_carries_the_trace_of_the_delivery(
    run: Callable[..., Any], collector: Collector, client: Any
) -> None:
    """The Celery message of a callback has `traceparent` in its headers, with the id of the delivery's span."""
    job = run(callback="billing.tasks.edited")["id"]
    [delivery] = collector.wait_for(job, "retouch.delivery")
    assert delivery.attributes["retouch.state"] == "delivered"
    assert span_id(json.loads(client.lpop("billing"))["headers"]["traceparent"]) == delivery.id


def test_every_attempt_links_to_the_same_enqueue(
    run: Callable[..., Any], collector: Collector, simulator: Simulator
) -> None:
    """A failed attempt, a retry and a poll have one trace each, and all of them link to the same enqueue."""
    simulator.faults(next=[{"kind": "failed"}, {"kind": "processing"}])
    job = run()["id"]
    ends = ("Retry", "Poll", "Succeed")
    collector.wait_for_decisions(job, ends)
    attempts = collector.of(job, "retouch.attempt")
    by_decision = {str(attempt.attributes["retouch.decision"]): attempt for attempt in reversed(attempts)}
    assert {attempt.links for attempt in attempts} == {(enqueue_of(collector, job).id,)}
    assert len({attempt.id[0] for attempt in attempts}) == len(attempts)
    assert [by_decision[end].attributes["retouch.attempt"] for end in ends] == [1, 2, 2]
    [failed] = collector.inside(by_decision["Retry"])
    assert (failed.failed, failed.attributes["retouch.outcome"]) == (True, "Failed")
    last = [span.name for span in collector.inside(by_decision["Succeed"])]
    assert last == ["retouch.endpoint.poll", "retouch.endpoint.download"]


def test_a_failed_job(api: Api, edit_body: Callable[..., Any], collector: Collector, simulator: Simulator) -> None:
    """The attempt that ends a job as failed is a failed span, with the code and without the message."""
    simulator.faults(next=[{"kind": "invalid_request"}])
    job = api.post("/v1/edits", edit_body(), headers=WAIT).json()
    [attempt] = collector.wait_for(job["id"], "retouch.attempt")
    assert (attempt.failed, attempt.attributes["retouch.code"]) == (True, job["error"]["code"])
    assert (attempt.description, attempt.events) == ("", 0)
    assert enqueue_of(collector, job["id"]).is_root


def test_a_batch_is_one_enqueue(api: Api, edit_body: Callable[..., Any], collector: Collector) -> None:
    """The jobs of one batch request share one span for their enqueue."""
    bodies = [edit_body(prompt=f"make it winter {number}") for number in range(3)]
    items = api.post("/v1/edits/batch", {"edits": bodies}).json()["items"]
    attempts = [collector.wait_for(item["id"], "retouch.attempt")[0] for item in items]
    assert len({attempt.links for attempt in attempts}) == 1
    [enqueue] = [span for span in collector.spans if span.id == attempts[0].links[0]]
    assert enqueue.attributes == {"retouch.jobs": 3, "retouch.tenant": "acme", "retouch.result": ["new"]}


def test_a_repeated_request_is_the_same_in_another_trace(
    run: Callable[..., Any], collector: Collector, client: Any
) -> None:
    """
    When a request is repeated with the same idempotency key in another trace, the same job is returned. The stored spec
    keeps the first trace.
    """
    first = run({"Idempotency-Key": "order-17"})["id"]
    spec = client.get(f"rt:edits:spec:{first}")
    other = "00-11111111111111111111111111111111-2222222222222222-01"
    assert run({"Idempotency-Key": "order-17", "traceparent": other})["id"] == first
    assert client.get(f"rt:edits:spec:{first}") == spec
    assert f'"trace":"00-{"-".join(enqueue_of(collector, first).id)}-' in spec


def test_a_damaged_traceparent_is_ignored(run: Callable[..., Any], collector: Collector) -> None:
    """A request with an invalid `traceparent` is enqueued, and its span is the root of a new trace."""
    job = run({"traceparent": "00-xyz-1-01"})["id"]
    assert enqueue_of(collector, job).is_root


def test_secrets_stay_at_home(
    api: Api, edit_body: Callable[..., Any], collector: Collector, simulator: Simulator, sink: Sink
) -> None:
    """The exported bytes contain no prompt, address, key, tag or error text, and no path of a link to an image."""
    secret = "planted-secret"
    simulator.faults(next=[{"kind": "failed"}, {"kind": "invalid_request"}])
    planted = edit_body(
        prompt=f"{secret}-prompt",
        init_image=f"{simulator.portrait_url}?{secret}-picture",
        webhook=f"{sink.url}/{secret}-hook?{secret}-token",
        tags={f"{secret}-tag": f"{secret}-value"},
        extra={"track_id": f"{secret}-extra"},
        events=["edit.retrying"],
    )
    headers = {**WAIT, "Idempotency-Key": f"{secret}-key", "baggage": f"secret={secret}-baggage"}
    job = api.post("/v1/edits", planted, headers=headers).json()["id"]
    sink.wait_for(2)
    refused = api.post("/v1/edits", {**planted, "prompt": f"{secret}-other"}, headers=headers)
    assert refused.status_code == 422
    done = api.post("/v1/edits", edit_body(prompt=f"{secret}-good"), headers=WAIT).json()
    for link in (done["result"]["url"], done["result"]["thumbnail_url"]):
        assert api.get("/" + link.split("/", 3)[3]).status_code == 200
    collector.wait_for(job, "retouch.delivery", 2)
    collector.wait_for(done["id"], "retouch.attempt")
    exported = b"".join(collector.bodies)
    receiver = sink.url.removeprefix("http://")
    words = (secret, ENDPOINT_KEY, api.secret, receiver, simulator.portrait_url, "winter", "/files/", "127.0.0.1")
    assert [word for word in words if word.encode() in exported] == []


def test_nothing_else_is_exported(run: Callable[..., Any], collector: Collector) -> None:
    """Spans have only documented names and attributes. No span has an event or a status text."""
    run()
    documented = re.findall(r"`((?:retouch|http)\.[a-z_.]+)`", (DOCS / "traces.md").read_text())
    assert set(documented) == NAMES | ATTRIBUTES
    assert {span.name for span in collector.spans} <= NAMES
    assert {name for span in collector.spans for name in span.attributes} <= ATTRIBUTES
    assert {(span.events, span.description) for span in collector.spans} == {(0, "")}
