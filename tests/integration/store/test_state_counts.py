"""The number of jobs on record in each state."""

from __future__ import annotations

from retouch.outcomes import Fail, Retry
from retouch.store.state_counts import jobs_by_state
from tests.lane_kit import LaneKit


def test_each_state_is_counted_once(kit: LaneKit) -> None:
    """Jobs of every state are counted, of one tenant and of several; a job that holds a slot unclaimed is queued."""
    running, retrying, failed, cancelled, unclaimed = (kit.new() for _ in range(5))
    kit.enqueue(running, retrying, failed, cancelled, unclaimed)
    claim = kit.claim(running.id)
    kit.jobs.settle(kit.claim(retrying.id), Retry(60.0, "queue_full", "later"))
    kit.finish(failed.id, Fail("spam_filter", "no", retryable=False))
    kit.jobs.cancel(cancelled.id)
    kit.lanes.pause()
    waiting, other = [kit.new() for _ in range(3)], kit.new("globex")
    kit.enqueue(*waiting, other)
    expected = {"queued": 4, "running": 1, "retrying": 1, "failed": 1, "cancelled": 1}
    assert jobs_by_state(kit.jobs, ["acme"]) == expected
    assert jobs_by_state(kit.jobs, ["acme", "globex"]) == {**expected, "queued": 5}
    assert jobs_by_state(kit.jobs, ["nobody"]) == {}
    kit.jobs.settle(claim, Fail("spam_filter", "no", retryable=False))
    for job in (retrying, unclaimed, *waiting, other):
        kit.jobs.cancel(job.id)
