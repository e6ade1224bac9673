"""When a key is revoked or deleted, the open requests with this key end, and requests with other keys go on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest

from retouch.store import keys
from retouch.store.tenants import TenantStore, digest_of
from tests.gateway_process import Api, Callers
from tests.process_watch import eventually

Revoke = Callable[[Any, Api], None]


def by_store(client: Any, api: Api) -> None:
    """Revoke a key as `retouch keys revoke` does."""
    (key,) = TenantStore(client).api_keys("acme")
    assert TenantStore(client).revoke(key.id) is not None


def by_erasure(client: Any, api: Api) -> None:
    """Delete the record of the caller's key."""
    client.delete(keys.api_key(digest_of(api.secret)))


class Open:
    """A request in a thread, with its `status`, the `text` that was received so far, and `is_over`."""

    def __init__(self, send: Callable[[Open], None]) -> None:
        self.status, self.text, self.is_over = 0, "", False
        self._send = send
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        # What is open at the end of the test is cut off there.
        with suppress(httpx.HTTPError):
            self._send(self)
        self.is_over = True


def stream_of(api: Api, job: str) -> Open:
    def send(opened: Open) -> None:
        with api.stream(f"/v1/edits/{job}/events") as answer:
            opened.status = answer.status_code
            for text in answer.iter_text():
                opened.text += text

    return Open(send)


def wait_of(ask: Callable[[], httpx.Response]) -> Open:
    def send(opened: Open) -> None:
        answer = ask()
        opened.text, opened.status = answer.text, answer.status_code

    return Open(send)


def opened_by(api: Api, job: str, edit_body: Callable[..., Any]) -> dict[str, Open]:
    """
    Open three requests with the caller's key, and return them by name. `stream` follows `job`, `feed` waits for events,
    and `wait` waits for a new job.
    """
    return {
        "stream": stream_of(api, job),
        "feed": wait_of(lambda: api.get("/v1/events?after=latest", headers={"Prefer": "wait=18"})),
        "wait": wait_of(lambda: api.post("/v1/edits", edit_body(), headers={"Prefer": "wait=18"})),
    }


@pytest.fixture
def paused(queue: Any) -> Any:
    """Yield a queue whose lane is paused: jobs wait, and requests that wait for a job stay open."""
    queue.pause()
    yield queue
    queue.resume()


@pytest.mark.parametrize("revoke", [by_store, by_erasure])
def test_what_is_open_ends_with_its_key(
    revoke: Revoke, paused: Any, callers: Callers, client: Any, edit_body: Callable[..., Any]
) -> None:
    """
    When a key is revoked or deleted, streams with the key end, and waiting requests with the key are answered 401.
    Requests of another tenant stay open.
    """
    ours, theirs = callers("acme"), callers("globex")
    jobs = [api.post("/v1/edits", edit_body()).json()["id"] for api in (ours, theirs)]
    revoked, valid = (opened_by(api, job, edit_body) for api, job in zip((ours, theirs), jobs, strict=True))
    assert eventually(lambda: revoked["stream"].text and valid["stream"].text)
    assert eventually(lambda: len(ours.get("/v1/edits").json()["data"]) == 2)
    revoke(client, ours)
    assert eventually(lambda: all(one.is_over for one in revoked.values()), 15)
    assert (revoked["feed"].status, revoked["wait"].status, revoked["stream"].status) == (401, 401, 200)
    assert not [name for name, one in valid.items() if one.is_over]
    assert eventually(lambda: ours.get("/v1/edits").status_code == 401, 15)
    before = revoked["stream"].text
    for job in jobs:
        paused.cancel(job)
    assert eventually(lambda: "edit.cancelled" in valid["stream"].text)
    assert revoked["stream"].text == before
    assert "edit.cancelled" not in before


def test_a_drop_in_call_that_waits_ends_with_its_key(
    paused: Any, callers: Callers, client: Any, simulator: Any
) -> None:
    """When its key is revoked, a waiting call of the drop-in is answered 401. The job goes on."""
    api = callers("acme")
    body = {"key": api.secret, "prompt": "make it winter", "init_image": simulator.portrait_url}
    waiting = wait_of(lambda: callers.with_secret().post("/api/v5/pix2pix", body))
    assert eventually(lambda: len(list(paused.jobs(tenant="acme"))) == 1)
    by_store(client, api)
    assert eventually(lambda: waiting.is_over, 15)
    assert waiting.status == 401
    assert [job.state for job in paused.jobs(tenant="acme")] == ["queued"]
