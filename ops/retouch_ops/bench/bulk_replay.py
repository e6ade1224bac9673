"""
Checks the counts of bulk replays. One replay is aborted half-way, and during the next a worker is killed.

The counts of the preview and of the runs are compared with the states of the jobs. Some jobs have a paid answer on
record, so their replay costs nothing. The lane is paused, so replayed jobs stay in the backlog.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from retouch import EditQueue
from retouch.accounts import DEFAULT_ACCOUNT, Account
from retouch.outcomes import Fail, Ready
from retouch.store import keys
from retouch.store.bulk import BulkRun
from retouch.store.jobs import JobStore
from retouch.store.lanes import Lanes
from retouch.store.redis_client import connect
from retouch.store.redis_commands import Client
from retouch_ops.bench.child import NotMeasured
from retouch_ops.bench.figures import Row, Scale
from retouch_ops.bench.harness import Harness, edits

TENANT, QUERY = "busy", "state:failed,cancelled"
RUN_MOST_S = 900.0
_PAID = 0.02
_CHUNK, _LEASE_S = 1_000, 60.0
_PAID_ANSWER = Ready(("https://out.example/a.png",), "7")
_GIVEN_UP = Fail("deadline_passed", "the deadline passed before the image was stored", retryable=True)


def measure(harness: Harness, scale: Scale) -> list[Row]:
    """Return the counts and the times of a replay of 50,000 jobs (1,000 if `scale` is small)."""
    jobs = 50_000 if scale == "full" else 1_000
    client = connect(harness.settings())
    with harness.queue() as queue:
        paid = _fail_after_a_paid_answer(queue, client, round(jobs * _PAID))
        _enqueue(queue, jobs - paid)
        workers = harness.workers(harness.stub(), processes=2, threads=8)
        _run_to_its_end(queue, queue.bulk("cancel", "state:queued", tenant=TENANT))
        harness.say(f"{jobs:,} jobs have ended, {paid:,} of them with a paid answer")

        began_at = time.monotonic()
        preview = queue.bulk_preview("replay", QUERY, tenant=TENANT)
        preview_s = time.monotonic() - began_at
        first = queue.bulk("replay", QUERY, tenant=TENANT)
        _wait(lambda: queue.bulk_run(first.id).acted_on >= jobs // 2)
        queue.abort_bulk(first.id)
        aborted = queue.bulk_run(first.id)
        moved = _waiting(client)
        harness.say(f"the first run was aborted after {aborted.acted_on:,} jobs, of which {moved:,} wait")

        began_at = time.monotonic()
        second = queue.bulk("replay", QUERY, tenant=TENANT)
        _wait(lambda: queue.bulk_run(second.id).acted_on >= second.preview.jobs // 2)
        os.killpg(workers[0].process.pid, signal.SIGKILL)
        ended = _run_to_its_end(queue, second)
        run_s = time.monotonic() - began_at
        harness.say(f"the second run replayed {ended.outcomes} in {run_s:.0f} s, with a worker killed half-way")
    return [
        Row(f"preview of a replay of {jobs:,}", "s", preview_s, note=f"{preview.calls_most:,} calls at most"),
        Row("jobs that the preview counted wrongly", "", abs(preview.jobs - jobs), aim=0),
        Row("free replays that it counted wrongly", "", abs(preview.resume_free - paid), aim=0),
        Row(
            "aborted half-way: jobs counted wrongly", "", abs(aborted.acted_on - moved), aim=0, note=f"{moved:,} moved"
        ),
        Row("the rest: jobs not as previewed", "", abs(ended.outcomes.get("replayed", 0) - second.preview.jobs), aim=0),
        Row("jobs that do not wait at the end", "", jobs - _waiting(client), aim=0),
        Row("replays, one of two workers killed", "jobs/s", ended.acted_on / run_s, more_is_better=True),
    ]


def _fail_after_a_paid_answer(queue: EditQueue, client: Client, count: int) -> int:
    """Enqueue `count` jobs, and let each fail with a paid answer on record. Return `count`."""
    store, lanes = JobStore(client, retention_s=86_400.0), Lanes(client)
    lanes.open([Account(DEFAULT_ACCOUNT, "", "", limit=count)])
    for job in queue.enqueue_many(edits(count), tenant=TENANT):
        claim = store.claim(job.id, _LEASE_S)
        if claim is None or store.intend(claim) != "ok":
            raise NotMeasured(f"job {job.id} could not be claimed")
        store.answer(claim, "succeeded", _PAID_ANSWER)
        store.settle(claim, _GIVEN_UP)
    return count


def _enqueue(queue: EditQueue, count: int) -> None:
    """Pause the lane, then enqueue jobs."""
    queue.pause()
    for first in range(0, count, _CHUNK):
        queue.enqueue_many(edits(min(_CHUNK, count - first)), tenant=TENANT)


def _run_to_its_end(queue: EditQueue, run: BulkRun) -> BulkRun:
    _wait(lambda: queue.bulk_run(run.id).is_over)
    return queue.bulk_run(run.id)


def _wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + RUN_MOST_S
    while not condition():
        if time.monotonic() > until:
            raise NotMeasured(f"a bulk run took longer than {RUN_MOST_S:g} s")
        time.sleep(0.05)


def _waiting(client: Client) -> int:
    """Return how many jobs of the tenant are in the backlog."""
    return client.zcard(keys.lane("edits", f"backlog:{TENANT}"))
