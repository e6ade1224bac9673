"""
Tests of delivery attempts with hostile receivers or errors in our own code: each attempt ends and is recorded once.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from retouch import Settings
from retouch.blobs import open_blobs
from retouch.outcomes import Fail
from retouch.store.deliveries import DeliveryRecord
from retouch_worker.deliveries.attempt import CRASHES_MOST, DeliveryDependencies, run_delivery
from retouch_worker.deliveries.sender import Sender
from retouch_worker.pulse import Pulse
from tests.integration.faulty_servers import LOOPBACK, RawServer, answer, answering
from tests.lane_kit import LEASE_S, LaneKit

NEGATIVE_CHUNK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello"
NO_DATE = answer(b"", "503 No", Retry_After="Mon, 01 Jan 99999999999999999999 00:00:00 GMT")


@pytest.fixture
def dependencies(kit: LaneKit, redis_url: str, tmp_path: Path) -> DeliveryDependencies:
    """Return the dependencies of delivery attempts. No thread of the worker's pulse runs, and no message is sent."""
    settings = Settings.load(redis_url=redis_url, dangerous_allow_private_networks=LOOPBACK[0], lease_s=LEASE_S)
    publisher: Any = SimpleNamespace(publish=lambda _: None)
    sender, blobs = Sender(settings, connections=2), open_blobs(tmp_path.as_uri(), "http://gateway.example")
    pulse = Pulse(kit.lanes, publisher, settings)
    return DeliveryDependencies(kit.deliveries, kit.jobs, kit.receivers, sender, blobs, publisher, pulse, settings)


def dispatched(kit: LaneKit, hook: str = "https://hooks.example/a") -> str:
    """Let a job fail whose webhook is `hook`. Return the id of the dispatched delivery."""
    kit.receivers.add("acme", hook)
    new = kit.new()
    kit.enqueue(new)
    kit.finish(new.id, Fail("bad_key", "Invalid Api Key", retryable=False))
    (item,) = kit.dispatched("deliveries")
    return item


def record(kit: LaneKit, item: str) -> DeliveryRecord:
    (found,) = kit.deliveries.records([item])
    return found


@pytest.mark.parametrize(("said", "trouble"), [(NEGATIVE_CHUNK, "bad_answer"), (NO_DATE, "")])
def test_a_hostile_answer_is_a_failed_attempt(
    kit: LaneKit, dependencies: DeliveryDependencies, said: bytes, trouble: str
) -> None:
    """
    An answer with a malformed chunk or date is recorded as one failed attempt. The delivery waits for its next attempt.
    """
    with RawServer(answering(said)) as server:
        item = dispatched(kit, server.url("/hook"))
        run_delivery(item, dependencies)
        run_delivery(item, dependencies)
        assert len(server.requests) == 1
    delivery = record(kit, item)
    assert (delivery.state, delivery.attempt, delivery.log[0].trouble) == ("retrying", 1, trouble)
    assert kit.dispatched("deliveries") == []


def test_whatever_raises_is_a_failed_attempt(
    kit: LaneKit, dependencies: DeliveryDependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    An error in our code is recorded as a failed attempt, with only the class of the error. The receiver's health does
    not change.
    """
    monkeypatch.setattr(dependencies.sender, "webhook", lambda *_: 1 / 0)
    item = dispatched(kit)
    run_delivery(item, dependencies)
    delivery = record(kit, item)
    assert (delivery.state, delivery.attempt) == ("retrying", 1)
    assert (delivery.log[0].trouble, delivery.log[0].excerpt) == ("raised", "ZeroDivisionError")
    assert list(kit.client.scan_iter("rt:deliveries:health:*")) == []


def test_redis_away_is_no_attempt(
    kit: LaneKit, dependencies: DeliveryDependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When Redis fails during an attempt, the error is raised and no attempt is recorded."""

    def away(*_: object) -> None:
        raise redis.ConnectionError

    monkeypatch.setattr(dependencies.sender, "webhook", away)
    item = dispatched(kit)
    with pytest.raises(redis.ConnectionError):
        run_delivery(item, dependencies)
    assert (record(kit, item).state, record(kit, item).attempt) == ("running", 0)


def die(kit: LaneKit, item: str) -> None:
    """Claim a delivery, let the lease expire, and run a sweep, as if the worker had died."""
    assert kit.deliveries.claim(item, LEASE_S)
    kit.make_due("deliveries", "slots")
    kit.rescue()


def test_a_delivery_over_which_workers_die_ends(kit: LaneKit, dependencies: DeliveryDependencies) -> None:
    """
    When ten workers in a row have died during a delivery, the delivery is dead without another POST. A redelivery
    counts deaths from zero.
    """
    with RawServer(answering(answer(status="204 No Content"))) as server:
        item = dispatched(kit, server.url("/hook"))
        for _ in range(CRASHES_MOST):
            die(kit, item)
        run_delivery(item, dependencies)
        dead = record(kit, item)
        assert (dead.state, dead.log[0].trouble) == ("dead", "worker after worker died over it")
        assert server.requests == []
        kit.deliveries.redeliver(item)
        run_delivery(item, dependencies)
        assert (record(kit, item).state, len(server.requests)) == ("delivered", 1)


def test_workers_that_die_now_and_then_do_no_harm(
    kit: LaneKit, dependencies: DeliveryDependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    An attempt that ends resets the count of deaths. Nine deaths before the attempt and nine after it do not end the
    delivery.
    """
    monkeypatch.setattr(dependencies.sender, "webhook", lambda *_: 1 / 0)
    item = dispatched(kit)
    for _ in range(2):
        for _ in range(CRASHES_MOST - 1):
            die(kit, item)
        run_delivery(item, dependencies)
        kit.make_due("deliveries", "timetable")
        kit.rescue()
    assert (record(kit, item).state, record(kit, item).attempt) == ("queued", 2)
