"""The requests that the client sends to a gateway, and how it reads the answers; no gateway runs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from retouch import (
    Edit,
    EditQueue,
    IdempotencyConflict,
    InvalidEdit,
    QueueFull,
    Settings,
    SettingsError,
    StoreUnavailable,
    Unauthorized,
    UnknownJob,
)
from retouch.admission import enqueue_error
from retouch.blobs import BlobError
from retouch.store.jobs import EnqueueResult, refused
from retouch.transport.gateway_batches import batches, wire_item
from retouch.transport.gateway_connection import Answer, StateConflict, error_of
from retouch.transport.gateway_transport import GatewayTransport
from retouch.transport.redis_transport import RedisTransport
from retouch_producer.gateway.http.errors import KINDS, ProblemError

EDIT = Edit(prompt="a planted prompt", init_image="https://example.com/in.png")
ERRORS = {
    "unauthorized": Unauthorized,
    "forbidden": Unauthorized,
    "not-found": UnknownJob,
    "conflict": StateConflict,
    "no-image-yet": StateConflict,
    "idempotency-conflict": IdempotencyConflict,
    "backlog-full": QueueFull,
    "budget-spent": QueueFull,
    "too-many-at-once": QueueFull,
    "invalid-request": InvalidEdit,
    "input-unreadable": InvalidEdit,
    "slow-body": StoreUnavailable,
    "store-unavailable": StoreUnavailable,
    "internal": StoreUnavailable,
    "image-store-unavailable": BlobError,
}


def answer_of(name: str, **more: Any) -> Answer:
    problem = ProblemError(name, "a detail", **more)
    return Answer(problem.status, json.dumps(problem.document(), separators=(",", ":")).encode())


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_problem_is_an_error(name: str) -> None:
    """For each type of problem of the gateway, the client raises the error that it would raise with Redis."""
    assert type(error_of(answer_of(name))) is ERRORS.get(name, InvalidEdit)


def test_errors_keep_their_facts() -> None:
    """The client's error has the faults of an invalid edit, or the reason and the retry time of a full queue."""
    wrong = error_of(answer_of("invalid-request", faults=[("steps", "expected 1 to 50, got 0")]))
    assert isinstance(wrong, InvalidEdit)
    assert wrong.faults == [("steps", "expected 1 to 50, got 0")]
    full = error_of(answer_of("budget-spent", retry_after_s=60.0))
    assert isinstance(full, QueueFull)
    assert (full.reason, full.retry_after_s) == ("budget", 60.0)


@pytest.mark.parametrize("body", [b"<html>Bad Gateway</html>", b"[]", b""])
@pytest.mark.parametrize("status", [200, 301, 404, 502])
def test_what_is_no_gateway_is_an_outage(status: int, body: bytes) -> None:
    """An answer that does not come from a gateway, such as a page of a proxy, raises `StoreUnavailable`."""
    if status == 200:
        with pytest.raises(StoreUnavailable):
            Answer(status, body).document()
    else:
        with pytest.raises(StoreUnavailable):
            raise error_of(Answer(status, body))


def test_many_edits_are_cut_into_calls() -> None:
    """A batch has at most 1,000 edits and less than 4 MB. The start of a batch is the number of edits before it."""
    small = [{"prompt": "x"}] * 2_500
    assert [(start, len(batch)) for start, batch in batches(small)] == [(0, 1_000), (1_000, 1_000), (2_000, 500)]
    large = [{"prompt": "x" * 10_000}] * 700
    cut = list(batches(large))
    assert [start for start, _ in cut] == [0, *(start + len(batch) for start, batch in cut[:-1])]
    assert sum(len(batch) for _, batch in cut) == 700
    assert max(len(json.dumps(batch)) for _, batch in cut) < 4_000_000
    assert list(batches([])) == []


def test_every_edit_carries_an_idempotency_key() -> None:
    """If the caller names no idempotency key, the client sends a new one, so that it can repeat the request."""
    mine, others = wire_item((EDIT, {}), {}), wire_item((EDIT, {}), {})
    assert mine["idempotency_key"] != others["idempotency_key"]
    assert wire_item((EDIT, {"idempotency_key": "order 17"}), {"webhook": None})["idempotency_key"] == "order 17"
    assert "webhook" not in wire_item((EDIT, {}), {"webhook": None})


def test_refusals_of_many_become_one_error() -> None:
    """
    For several refusals in one call, `enqueue_error` returns one error with the positions or the number of refused
    edits. An invalid edit goes before a conflict, and a conflict before a full queue.
    """
    wrong, conflict = InvalidEdit([("edits[0].callback", "no")]), IdempotencyConflict("x")
    full = QueueFull("acme", "backlog", 1, 5.0)
    taken = EnqueueResult("new", "ed_1")
    invalid = enqueue_error([taken] * 3 + [refused(conflict), refused(full)] + [taken] * 996 + [refused(wrong)])
    assert isinstance(invalid, InvalidEdit)
    assert invalid.faults == [("edits[1001].callback", "no")]
    assert "1 of 9" in str(enqueue_error([taken] * 4 + [refused(full), refused(conflict)] + [taken] * 3))
    several = enqueue_error([taken, refused(full), refused(full)])
    assert isinstance(several, QueueFull)
    assert several.refused == 2
    assert enqueue_error([taken]) is None


def test_a_url_decides_where_a_client_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """An http(s) URL selects a gateway, and a Redis URL selects Redis; either argument overrides the environment."""
    assert isinstance(EditQueue("https://gateway.example", api_key="rtk_x")._transport, GatewayTransport)
    assert isinstance(EditQueue("redis://127.0.0.1:1/0")._transport, RedisTransport)
    monkeypatch.setenv("RETOUCH_GATEWAY_URL", "https://gateway.example/retouch/")
    monkeypatch.setenv("RETOUCH_API_KEY", "rtk_planted")
    queue = EditQueue()
    assert isinstance(queue._transport, GatewayTransport)
    assert queue.settings.gateway_url == "https://gateway.example/retouch"
    assert "rtk_planted" not in repr(queue.settings)
    assert isinstance(EditQueue(redis_url="redis://127.0.0.1:1/0")._transport, RedisTransport)
    assert isinstance(EditQueue("rediss://127.0.0.1:1/0")._transport, RedisTransport)


@pytest.mark.parametrize("url", ["gateway.example", "https://", "https://user:secret@gateway.example"])
def test_a_gateway_url_that_is_none_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    An invalid RETOUCH_GATEWAY_URL raises SettingsError, which names the setting and does not contain its password.
    """
    monkeypatch.setenv("RETOUCH_GATEWAY_URL", url)
    with pytest.raises(SettingsError, match="RETOUCH_GATEWAY_URL") as raised:
        EditQueue()
    assert "secret" not in str(raised.value)


def test_settings_and_single_values_exclude_each_other() -> None:
    """`EditQueue` with both `settings` and a URL raises TypeError."""
    with pytest.raises(TypeError, match="redis_url"):
        EditQueue("redis://127.0.0.1:1/0", settings=Settings.load())
