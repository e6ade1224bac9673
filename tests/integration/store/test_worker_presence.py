"""Tests of the record of running workers in the store."""

from __future__ import annotations

import time
from typing import Any

import pytest

from retouch.store.lanes import Lanes
from retouch.store.worker_presence import worker_presence
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
        (worker,) = presence.deliveries
        assert (worker.name, worker.threads) == ("host:1", 4)
        assert 0.0 < worker.counts_for_s <= 60.0


def test_each_worker_has_its_accounts(kit: LaneKit) -> None:
    """A worker's presence names the accounts that it serves, but only where there are several."""
    kit.lanes.heartbeat(60.0, [], "host:1", 4, ["default"], "host:1")
    assert [worker.accounts for worker in worker_presence(kit.client).deliveries] == [()]
    kit.open_accounts(account("b"), account("a"))
    kit.lanes.heartbeat(60.0, [], "host:1", 4, ["b", "a"], "host:1")
    kit.lanes.heartbeat(60.0, [], "host:2", 2, ["a"], "host:2")
    presence = worker_presence(kit.client)
    assert {worker.name: worker.accounts for worker in presence.deliveries} == {"host:1": ("a", "b"), "host:2": ("a",)}
