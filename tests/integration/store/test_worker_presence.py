"""Tests of the record of running workers in the store."""

from __future__ import annotations

import time
from typing import Any

import pytest

from retouch.store.lanes import Lanes
from retouch.store.worker_presence import announcement, worker_presence
from tests.lane_kit import LaneKit, account


def test_presence_is_counted_by_the_clock_of_redis(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker is present until its heartbeat expires, even if the reader's clock is an hour ahead or behind."""
    assert worker_presence(client).swept_ago_s is None
    lanes = Lanes(client)
    lanes.heartbeat(60.0, [], worker="host:1", threads=4)
    lanes.rescue(1.0, 15.0, 60.0)
    now = time.time()
    for ahead_s in (0.0, 3_600.0, -3_600.0):
        monkeypatch.setattr(time, "time", lambda ahead_s=ahead_s: now + ahead_s)
        presence = worker_presence(client)
        assert presence.swept_ago_s is not None
        assert 0.0 <= presence.swept_ago_s < 60.0
        (worker,) = presence.workers
        assert (worker.name, worker.threads) == ("host:1", 4)
        assert 0.0 < worker.counts_for_s <= 60.0


def test_each_worker_has_its_accounts(kit: LaneKit) -> None:
    """A worker's presence names the accounts that it serves, but only where there are several."""
    kit.lanes.heartbeat(60.0, [], "host:1", 4, ["default"], "host:1")
    assert [worker.accounts for worker in worker_presence(kit.client).workers] == [()]
    kit.open_accounts(account("b"), account("a"))
    kit.lanes.heartbeat(60.0, [], "host:1", 4, ["b", "a"], "host:1")
    kit.lanes.heartbeat(60.0, [], "host:2", 2, ["a"], "host:2")
    presence = worker_presence(kit.client)
    assert {worker.name: worker.accounts for worker in presence.workers} == {"host:1": ("a", "b"), "host:2": ("a",)}


def test_each_worker_has_its_lanes_and_its_version(kit: LaneKit) -> None:
    """A worker announces lanes and version. The heartbeat of a release that wrote neither has the version `unknown`."""
    kit.lanes.heartbeat(60.0, [], announcement("host:1", ["edits", "deliveries"], "2.1.0"), 4)
    kit.lanes.heartbeat(60.0, [], announcement("host:2", ["edits"], "2.1.0"), 0)
    kit.lanes.heartbeat(60.0, [], "host:3", 8)
    workers = {worker.name: worker for worker in worker_presence(kit.client).workers}
    described = {name: (worker.lanes, worker.version, worker.threads) for name, worker in workers.items()}
    assert described == {
        "host:1": (("edits", "deliveries"), "2.1.0", 4),
        "host:2": (("edits",), "2.1.0", 0),
        "host:3": ((), "unknown", 8),
    }


def test_workers_of_edits_alone_add_no_slots(kit: LaneKit) -> None:
    """The slots of lane `deliveries` are the threads of all workers; a worker that left is not among them."""
    first, second = (announcement(f"host:{number}", ["deliveries"], "2.1.0") for number in (1, 2))
    kit.lanes.heartbeat(60.0, [], first, 4)
    kit.lanes.heartbeat(60.0, [], second, 8)
    kit.lanes.heartbeat(60.0, [], announcement("host:3", ["edits"], "2.1.0"), 0)
    assert kit.lanes.numbers("deliveries").limit == 12
    kit.lanes.leave(first, 4)
    kit.lanes.heartbeat(60.0, [], second, 8)
    assert kit.lanes.numbers("deliveries").limit == 8
    assert {worker.name for worker in worker_presence(kit.client).workers} == {"host:2", "host:3"}
