"""Tests of the record of running workers in the store."""

from __future__ import annotations

import time
from typing import Any

import pytest

from retouch.store.lanes import Lanes
from retouch.store.worker_presence import worker_presence


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
