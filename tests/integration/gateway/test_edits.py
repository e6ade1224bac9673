"""`/v1/edits` over HTTP: enqueueing, lists, reads, cancels, replays and refusals."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from retouch.outcomes import Fail, Retry, Succeed
from retouch.store.tenants import TenantStore
from retouch_ops.simulator.process import Simulator
from tests.charge_kit import one_job, posted
from tests.gateway_process import Api, Callers, problem, running_gateway
from tests.lane_kit import IMAGE, LaneKit
from tests.served_http import served

PORTRAIT = Path(__file__).parents[3] / "ops/retouch_ops/samples/portrait.jpg"


@pytest.fixture
def api(callers: Callers) -> Api:
    return callers()


def test_put_one_in(api: Api, edit_body: Callable[..., Any], client: Any) -> None:
    """
    An edit is answered 202 with the job and its links, and `Location` has the job's address. The input picture is
    stored.
    """
    answer = api.post("/v1/edits", edit_body(tags={"order": "17"}, priority="high", max_charges=1))
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert answer.headers["location"] == f"/v1/edits/{job['id']}" == job["links"]["self"]
    assert (job["state"], job["tenant"], job["priority"], job["tags"]) == ("queued", "acme", "high", {"order": "17"})
    assert job["edit"]["prompt"] == "make it winter"
    read = api.get(job["links"]["self"]).json()
    assert {**read, "created_at": ""} == {**job, "created_at": ""}
    picture = api.get(job["links"]["input"])
    assert picture.status_code == 200
    assert picture.headers["content-type"] in ("image/png", "image/jpeg")


def test_an_idempotency_key_is_one_job(api: Api, edit_body: Callable[..., Any]) -> None:
    """
    The same key and request return the same job, marked `replayed`. The same key with another request is answered 422.
    """
    first = api.post("/v1/edits", edit_body(), headers={"Idempotency-Key": "order 17"})
    again = api.post("/v1/edits", edit_body(), headers={"Idempotency-Key": "order 17"})
    assert first.json()["id"] == again.json()["id"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json()["replayed"] is True
    other = api.post("/v1/edits", edit_body(steps=21), headers={"Idempotency-Key": "order 17"})
    assert problem(other, "idempotency-conflict", 422)["charged"] is False
    assert len(api.get("/v1/edits").json()["data"]) == 1


def test_a_key_is_remembered_when_its_picture_is_gone(
    worker_environment: dict[str, str], client: Any, edit_body: Callable[..., Any], tmp_path: Path
) -> None:
    """
    If the picture of a request cannot be fetched any more, a repetition with the idempotency key still gets the first
    job. Without the key, the request is refused.
    """
    picture = tmp_path / "photo.jpg"
    picture.write_bytes(PORTRAIT.read_bytes())
    forgets = "from retouch_producer.gateway.enqueue import input_capture as i; i._FRESH_S = 0.0"
    with served(partial(SimpleHTTPRequestHandler, directory=str(tmp_path))) as pictures, ExitStack() as stack:
        callers = Callers(stack.enter_context(running_gateway(worker_environment, first=forgets))[0], client)
        stack.callback(callers.close)
        api, body = callers("acme"), edit_body(init_image=f"{pictures}/photo.jpg")
        first = api.post("/v1/edits", body, headers={"Idempotency-Key": "k"})
        assert first.status_code == 202
        picture.unlink()
        assert api.post("/v1/edits", body, headers={"Idempotency-Key": "k"}).json()["id"] == first.json()["id"]
        refusal = problem(api.post("/v1/edits", body), "input-unreadable", 422)
        assert refusal["faults"][0]["field"] == "init_image"


def test_a_wait_that_is_too_short(api: Api, edit_body: Callable[..., Any]) -> None:
    """If a job does not end within the time of `Prefer: wait`, the answer is 202 and the job stays queued."""
    started = time.monotonic()
    answer = api.post("/v1/edits", edit_body(), headers={"Prefer": "wait=1"})
    assert answer.status_code == 202
    assert time.monotonic() - started >= 0.9
    assert answer.json()["state"] == "queued"


def test_what_is_wrong_is_named(api: Api, edit_body: Callable[..., Any], client: Any) -> None:
    """The refusal of a request names all of its wrong fields together, and nothing is enqueued."""
    bad = edit_body(
        prompt="", steps=0, guidance_scale="7", priority=[], tags=[], events=[[1]], unknown=1, deadline_s=True
    )
    refusal = problem(api.post("/v1/edits", bad), "invalid-request", 422)
    named = {fault["field"] for fault in refusal["faults"]}
    assert {"prompt", "steps", "guidance_scale", "priority", "tags", "events", "unknown", "deadline_s"} <= named
    assert refusal["detail"].startswith("invalid: ")
    assert set(refusal["detail"].removeprefix("invalid: ").split(", ")) == named
    assert problem(api.post("/v1/edits", edit_body(tenant="globex")), "invalid-request", 422)
    assert problem(api.post("/v1/edits", edit_body(webhook="http://169.254.169.254/x")), "invalid-request", 422)
    assert client.keys("rt:receiver*") == []
    assert api.get("/v1/edits").json()["data"] == []


def test_bodies_that_are_none(api: Api) -> None:
    """A body that is not a JSON object is answered 400, a body that is too large 413, and another media type 415."""
    headers = {"Content-Type": "application/json"}
    problem(api.post("/v1/edits", content=b"{", headers=headers), "malformed-body", 400)
    problem(api.post("/v1/edits", content=b"[" * 50_000, headers=headers), "malformed-body", 400)
    problem(api.post("/v1/edits", ["a"]), "malformed-body", 400)
    problem(api.post("/v1/edits", content=b"a=b"), "unsupported-media-type", 415)
    problem(api.post("/v1/edits", {"prompt": "x" * 70_000}), "too-large", 413)
    assert api.get("/v1/edits").json()["data"] == []


def test_keys_are_needed_and_revoked(callers: Callers, client: Any, edit_body: Callable[..., Any]) -> None:
    """A request without a key, with a wrong key or with a revoked key is answered 401."""
    for secret in ("", "rtk_wrong", "bearer"):
        answer = callers.with_secret(secret).post("/v1/edits", edit_body())
        problem(answer, "unauthorized", 401)
        assert answer.headers["www-authenticate"].startswith("Bearer")
    key, secret = TenantStore(client).create_key("acme")
    TenantStore(client).revoke(key.id)
    problem(callers.with_secret(secret).get("/v1/edits"), "unauthorized", 401)


def test_foreign_jobs_are_not_there(api: Api, callers: Callers, edit_body: Callable[..., Any]) -> None:
    """On every route, a job of another tenant is answered 404 like an unknown job. A key of role ops sees the job."""
    job = api.post("/v1/edits", edit_body()).json()
    stranger, ops = callers("globex"), callers("staff", "ops")
    unknown = problem(stranger.get("/v1/edits/ed_unknown"), "not-found", 404)
    for name, link in job["links"].items():
        answer = stranger.post(link) if name in ("cancel", "replay", "approve", "unapprove") else stranger.get(link)
        assert problem(answer, "not-found", 404) == unknown
    assert stranger.get("/v1/edits").json()["data"] == []
    problem(stranger.get("/v1/edits", params={"tenant": "acme"}), "not-found", 404)
    assert ops.get(job["links"]["self"]).json()["id"] == job["id"]
    assert [one["id"] for one in ops.get("/v1/edits").json()["data"]] == [job["id"]]


def test_pages_neither_skip_nor_repeat(api: Api, edit_body: Callable[..., Any]) -> None:
    """
    Pages return each of 25 jobs once. Jobs that were enqueued at the same instant are sorted by id, in descending
    order. A wrong filter is answered 422.
    """
    items = api.post("/v1/edits/batch", {"edits": [edit_body(tags={"n": str(n % 3)}) for n in range(25)]}).json()[
        "items"
    ]
    walked, cursor = [], None
    while True:
        page = api.get("/v1/edits", params={"limit": 7, **({"cursor": cursor} if cursor else {})}).json()
        walked += [job["id"] for job in page["data"]]
        cursor = page["next_cursor"]
        if not page["has_more"]:
            break
    assert walked == sorted((item["id"] for item in items), reverse=True)
    assert len(api.get("/v1/edits", params={"tag": "n=1", "limit": 100}).json()["data"]) == 8
    nothing = {"data": [], "has_more": False, "next_cursor": None, "looked_at": 0}
    assert api.get("/v1/edits", params={"state": "failed"}).json() == nothing
    assert api.get("/v1/edits", params={"since": "2100-01-01T00:00:00Z"}).json()["data"] == []
    problem(api.get("/v1/edits", params={"cursor": "x"}), "invalid-request", 422)
    problem(api.get("/v1/edits", params={"since": "soon"}), "invalid-request", 422)
    problem(api.get("/v1/edits", params={"state": "lost"}), "invalid-request", 422)


def test_a_batch_is_answered_item_by_item(api: Api, edit_body: Callable[..., Any]) -> None:
    """
    A batch enqueues the valid items and reports the invalid items, in order. A repeated batch with the same key adds no
    job.
    """
    body = {
        "edits": [edit_body(), edit_body(steps=99), 7, edit_body(tags={"n": "3"}), edit_body(init_image="ftp://x/y")]
    }
    first = api.post("/v1/edits/batch", body, headers={"Idempotency-Key": "night"}).json()
    assert [item["status"] for item in first["items"]] == [202, 422, 422, 202, 422]
    assert (first["accepted"], first["refused"]) == (2, 3)
    assert first["items"][1]["problem"]["faults"][0]["field"] == "edits[1].steps"
    again = api.post("/v1/edits/batch", body, headers={"Idempotency-Key": "night"}).json()
    assert [item["id"] for item in again["items"]] == [item["id"] for item in first["items"]]
    assert [item["replayed"] for item in again["items"]] == [True, False, False, True, False]
    wrongs: list[Any] = [{"edits": []}, {"edits": [edit_body()] * 1001}, {}, {"edits": [edit_body()], "x": 1}]
    for wrong in wrongs:
        problem(api.post("/v1/edits/batch", wrong), "invalid-request", 422)


def test_cancel_and_replay(api: Api, edit_body: Callable[..., Any]) -> None:
    """
    A waiting job can be cancelled, and a cancelled job can be replayed. The replay of an open job is answered 409.
    """
    job = api.post("/v1/edits", edit_body()).json()
    problem(api.post(job["links"]["replay"]), "conflict", 409)
    assert api.post(job["links"]["cancel"]).json()["outcome"] == "cancelled"
    again = api.post(job["links"]["cancel"]).json()
    assert (again["outcome"], again["job"]["cancelled"]) == ("final", "before_charge")
    assert api.post(job["links"]["replay"]).json()["outcome"] == "replayed"
    problem(api.get(job["links"]["image"]), "no-image-yet", 409)


def test_jobs_in_every_state_are_listed(callers: Callers, kit: LaneKit) -> None:
    """A list contains jobs in each of five states."""
    for decision in (Succeed(IMAGE), Fail("spam_filter", "no", retryable=True), Retry(60.0, "queue_full", "later")):
        job = kit.new()
        kit.enqueue(job)
        kit.finish(job.id, decision)
    tried = posted(kit, one_job(kit)).job
    waiting = kit.new()
    kit.lanes.pause()
    kit.enqueue(waiting)
    listed = {job["id"]: job for job in callers().get("/v1/edits").json()["data"]}
    states = ["failed", "queued", "retrying", "running", "succeeded"]
    assert sorted(job["state"] for job in listed.values()) == states
    assert (listed[tried]["state"], listed[waiting.id]["edit"]["steps"]) == ("running", 20)


def test_dry_run_enqueues_nothing(api: Api, edit_body: Callable[..., Any], client: Any) -> None:
    """A dry run returns cost, position, times and the binding limit, and stores nothing."""
    estimate = api.post("/v1/edits?dry_run=1", edit_body(max_charges=1)).json()
    assert (estimate["position"], estimate["binding"]) == (1, "none")
    assert estimate["estimated_end_at"] > estimate["estimated_start_at"]
    TenantStore(client).set_tenant("acme", in_flight_limit=1)
    api.post("/v1/edits/batch", {"edits": [edit_body()] * 3})
    estimate = api.post("/v1/edits?dry_run=1", edit_body()).json()
    assert (estimate["position"], estimate["binding"]) == (3, "tenant_in_flight")
    client.hset("rt:edits:gate", "paused", 1)
    estimate = api.post("/v1/edits?dry_run=1", edit_body()).json()
    assert (estimate["binding"], estimate["estimated_start_at"]) == ("paused", None)
    assert len(api.get("/v1/edits").json()["data"]) == 3


def test_a_full_backlog_pushes_back(api: Api, edit_body: Callable[..., Any], client: Any) -> None:
    """
    When the backlog is full or the budget is spent, the answer is 429 with the reason. A full backlog also sets
    Retry-After.
    """
    TenantStore(client).set_tenant("acme", backlog_limit=2, in_flight_limit=1)
    assert [api.post("/v1/edits", edit_body()).status_code for _ in range(3)] == [202, 202, 202]
    answer = api.post("/v1/edits", edit_body())
    refusal = problem(answer, "backlog-full", 429)
    assert refusal["retryable"] is True
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["ratelimit"].startswith('"backlog";r=0')
    items = api.post("/v1/edits/batch", {"edits": [edit_body()] * 2}).json()["items"]
    assert {item["problem"]["type"] for item in items} == {"/problems/backlog-full"}
    TenantStore(client).set_tenant("acme", backlog_limit=0, budget=1)
    problem(api.post("/v1/edits", edit_body()), "budget-spent", 429)


def test_duplicates_share_one_job(
    api: Api, callers: Callers, edit_body: Callable[..., Any], client: Any, simulator: Simulator
) -> None:
    """
    For a tenant with the setting `share_duplicates`, edits with the same picture, prompt and numbers become one job,
    even if the URLs of the picture differ. Without the setting, equal edits become separate jobs.
    """
    assert api.post("/v1/edits", edit_body()).json()["id"] != api.post("/v1/edits", edit_body()).json()["id"]
    TenantStore(client).set_tenant("globex", share_duplicates=True)
    sharing = callers("globex")
    first = sharing.post("/v1/edits", edit_body()).json()
    same_bytes = edit_body(init_image=simulator.portrait_url + "?again")
    second = sharing.post("/v1/edits", same_bytes, headers={"Idempotency-Key": "mine"}).json()
    assert (second["id"], second["shared"], first["shared"]) == (first["id"], True, False)
    assert sharing.post("/v1/edits", edit_body(steps=21)).json()["id"] != first["id"]
    problem(
        sharing.post("/v1/edits", edit_body(steps=3), headers={"Idempotency-Key": "mine"}), "idempotency-conflict", 422
    )
    sharing.post(first["links"]["cancel"])
    third = sharing.post("/v1/edits", edit_body()).json()
    assert (third["shared"], third["id"] != first["id"]) == (False, True)
