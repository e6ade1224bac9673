"""History on a real Redis: each step of a job counts once, each minute is rolled up once, and the sums are right."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from retouch.outcomes import Cancel, Fail, Succeed
from retouch.settings import Settings
from retouch.store.history import History, roll_up
from retouch.store.history_counts import BOUNDS, HistoryCounts
from retouch.store.lanes import Lanes
from retouch.store.ledger import Ledger
from retouch.store.redis_client import connect
from retouch_worker.deliveries.schedule import DeliveryOutcome, settlement_of
from tests.charge_kit import AGAIN, GIVE_UP, READY, called_again, one_job, posted, tried
from tests.history_kit import age_minutes, put_counts
from tests.lane_kit import IMAGE, LEASE_S, LaneKit

SPAM = Fail("spam_filter", "the same request again", retryable=True)


@pytest.fixture
def history(client: Any) -> History:
    return History(client)


def lately(history: History, **narrowed: Any) -> HistoryCounts:
    """Return the counts of the last ten minutes, narrowed to a tenant or an account if given."""
    return history.between(time.time() - 600, **narrowed)


def test_a_job_counts_at_each_step(kit: LaneKit, history: History) -> None:
    """
    A job that succeeds counts once at each step (enqueued, called, answered, charged, ended) and once in each of its
    latencies.
    """
    tried(kit, one_job(kit), "succeeded", Succeed(IMAGE))
    counts = lately(history)
    assert (counts.enqueued, counts.calls, counts.answers) == (1, 1, {"succeeded": 1})
    assert (counts.charges, counts.ended) == ({"useful": 1}, {"succeeded": 1})
    assert [counts.latency(name).count for name in ("wait", "endpoint", "total", "lag")] == [1, 1, 1, 0]


def test_failures_count_by_code_and_tenant(kit: LaneKit, history: History) -> None:
    """
    Failed jobs are counted by error code and tenant. A cancelled job is counted as `after_charge`, and its latency is
    not counted.
    """
    kit.open(5, 0.0)
    for tenant, decision in (("acme", SPAM), ("acme", GIVE_UP), ("zeta", SPAM)):
        tried(kit, one_job(kit, tenant), "failed", decision)
    tried(kit, one_job(kit, "zeta"), "succeeded", Cancel())
    assert lately(history).failures == {"spam_filter": 2, "endpoint_failed": 1}
    assert lately(history, tenant="zeta").failures == {"spam_filter": 1}
    assert lately(history).cancelled == {"after_charge": 1}
    assert lately(history).latency("total").count == 3
    assert {tenant: counts.enqueued for tenant, counts in history.between_by("tenant", 0).items()} == {
        "acme": 2,
        "zeta": 2,
    }


def test_a_repeated_answer_counts_once(kit: LaneKit, history: History) -> None:
    """
    When a script runs again after a lost reply, nothing is counted twice. The answer to the POST and the answer to the
    poll each count.
    """
    claim = posted(kit, one_job(kit))
    assert kit.jobs.intend(claim) == "ok"
    for _ in range(2):
        kit.jobs.answer(claim, "processing", None)
    for _ in range(2):
        kit.jobs.answer(claim, "succeeded", READY)
    kit.jobs.settle(claim, Succeed(IMAGE))
    kit.jobs.settle(claim, Succeed(IMAGE))
    counts = lately(history)
    assert (counts.calls, counts.answers) == (1, {"processing": 1, "succeeded": 1})
    assert (counts.ended, counts.latency("endpoint").count) == ({"succeeded": 1}, 1)


def test_a_lost_lease_counts_nothing(kit: LaneKit, history: History) -> None:
    """
    When a worker that lost its lease also settles the job, only one end of the job is counted. The rescue is counted.
    """
    job = one_job(kit)
    frozen = posted(kit, job)
    assert called_again(kit) == [job]
    kit.finish(job, GIVE_UP)
    kit.jobs.settle(frozen, Succeed(IMAGE))
    assert lately(history).ended == {"failed": 1}
    assert lately(history).rescues == {"lease_expired": 1}


def test_charges_are_those_of_the_ledger(kit: LaneKit, history: History, ledger: Ledger) -> None:
    """
    When a late answer changes a charge from unknown to useful, history and ledger agree. No stored count decreases.
    """
    job = one_job(kit)
    frozen = posted(kit, job)
    assert called_again(kit) == [job]
    kit.finish(job, GIVE_UP)
    kit.jobs.answer(frozen, "succeeded", READY)
    kit.finish(job, Succeed(IMAGE))
    (row,) = ledger.usage()
    assert lately(history).charges == {"useful": row.useful} == {"useful": 1}
    assert lately(history).charges_booked == {"unknown": 1, "wasted": 1, "useful": 1}
    assert lately(history).charges_moved == {"unknown": 1, "wasted": 1}


def test_deliveries_count_by_outcome(kit: LaneKit, history: History) -> None:
    """Each attempt of a delivery counts. The `lag` counts for the first success, and not for a redelivery by hand."""
    kit.fail_delivery("acme", "https://r.example/hook", DeliveryOutcome(500))
    assert lately(history).deliveries == {"retrying": 1}
    (item,) = kit.client.zrange("rt:deliveries:timetable", 0, -1)
    for _ in range(2):
        kit.make_due("deliveries", "timetable")
        kit.make_due("deliveries", "shut")
        kit.rescue()
        claim = kit.deliveries.claim(item, LEASE_S)
        assert claim is not None
        kit.deliveries.settle(claim, settlement_of(DeliveryOutcome(204), claim.number, claim.by_hand, 0.0, 0.5))
        kit.deliveries.redeliver(item)
    counts = lately(history, tenant="acme")
    assert counts.deliveries == {"retrying": 1, "delivered": 2}
    assert counts.latency("lag").count == 1
    assert history.between_by("account", 0)["default"].deliveries == {}


def test_minutes_are_rolled_up_exactly_once(kit: LaneKit, history: History, client: Any, redis_url: str) -> None:
    """Four threads roll up at the same time: all counts, by minute, by hour and in total, stay the same."""
    tried(kit, one_job(kit), "succeeded", Succeed(IMAGE))
    age_minutes(client, 2)
    one_job(kit, "zeta")
    before = history.between(0), history.totals(), history.between_by("tenant", 0), history.totals_by("account")
    threads = [threading.Thread(target=roll_up, args=[connect(Settings.load(redis_url=redis_url))]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = history.between(0), history.totals(), history.between_by("tenant", 0), history.totals_by("account")
    assert after == before
    assert client.scard("rt:history:unrolled") == 1
    assert client.ttl(*client.scan_iter("rt:history:minute:*")) > 71 * 3_600
    assert client.ttl(*client.scan_iter("rt:history:hour:*")) > 89 * 86_400


def test_a_minute_that_opens_again_is_added(history: History, client: Any) -> None:
    """When counts are added to a minute that was rolled up before, the next roll-up adds them once."""
    minute = int(time.time() // 60) - 5
    for _ in range(2):
        put_counts(client, minute, {"enqueued - acme": 3})
        roll_up(client)
    assert history.between((minute) * 60, minute * 60 + 59).enqueued == 6
    assert history.totals().enqueued == 6


def test_tenants_beyond_the_busiest_are_summed_up(history: History, client: Any) -> None:
    """
    Of 300 tenants in a minute, the 100 busiest have their own rows, and the others share one row. The total stays
    exact.
    """
    minute = int(time.time() // 60) // 60 * 60 - 60
    put_counts(client, minute, {f"enqueued - t{number:03}": number for number in range(1, 301)})
    put_counts(client, minute + 1, {f"enqueued - u{number:03}": 1_000 for number in range(100)})
    roll_up(client)
    rows = history.between_by("tenant", minute * 60, minute * 60 + 59)
    assert len(rows) == 101
    assert rows["t201"].enqueued == 201
    assert rows["other"].enqueued == sum(range(1, 201))
    hour = history.between_by("tenant", minute * 60, minute * 60 + 3_599)
    assert sum(counts.enqueued for counts in hour.values()) == sum(range(1, 301)) + 100_000
    assert len(hour) <= 151
    assert history.totals_by("tenant")["t201"].enqueued == 201


def test_a_range_reads_hours_where_it_can(history: History, client: Any) -> None:
    """In any range, each minute counts once, from the hash of the minute or from the hash of its hour."""
    now = int(time.time() // 60)
    for minute in range(now - 300, now + 1):
        put_counts(client, minute, {"enqueued - acme": 1})
    roll_up(client)
    for first, last in ((300, 0), (299, 61), (200, 190), (59, 0), (0, 0), (300, 300)):
        assert history.between((now - first) * 60, (now - last) * 60).enqueued == first - last + 1
    client.delete(*client.scan_iter("rt:history:minute:*"))
    assert history.between((now - 4 * 1440) * 60).enqueued == history.totals().enqueued == 301


def test_series_have_every_step(history: History, client: Any) -> None:
    """
    A series has one period for each step, even if nothing happened in the period. The periods add up to the counts of
    the range.
    """
    now = int(time.time() // 60)
    for minute in (now - 30, now - 3, now):
        put_counts(client, minute, {"enqueued - acme": 2})
    roll_up(client)
    minutes = history.series((now - 30) * 60, step_s=60)
    assert [period.counts.enqueued for period in minutes if period.counts.enqueued] == [2, 2, 2]
    assert len(minutes) in (31, 32)
    assert sum(period.counts.enqueued for period in history.series((now - 120) * 60, step_s=3_600)) == 6
    assert sum(period.counts.enqueued for period in history.series((now - 30) * 60, step_s=300, tenant="zeta")) == 0


def test_bounds_are_those_of_the_script(kit: LaneKit, history: History) -> None:
    """
    The script counts a wait just below each bound of history.py in the bucket of this bound. A longer wait is counted
    in the last bucket.
    """
    job, bounds = one_job(kit), BOUNDS["wait"]
    places = [bucket_below(kit, history, job, bound) for bound in (*bounds, 200_000.0)]
    assert places == list(range(len(bounds) + 1))


def bucket_below(kit: LaneKit, history: History, job: str, bound: float) -> int:
    """
    Claim a job that has waited up to 20 ms less than `bound` seconds. Return the index of the bucket that counts the
    wait.

    If a busy machine claims the job too late, the claim is repeated.
    """
    while True:
        kit.client.hdel(f"rt:edits:state:{job}", "started_at")
        kit.client.hset(f"rt:edits:state:{job}", mapping={"message_requested": 1, "state": "queued"})
        before = lately(history).latency("wait").counts
        enqueued_at = redis_now(kit.client) - bound + min(0.3 * bound, 0.02)
        kit.client.zadd("rt:jobs:acme", {job: enqueued_at})
        kit.claim(job)
        if redis_now(kit.client) - enqueued_at < bound:
            after = lately(history).latency("wait").counts
            (place,) = (place for place, count in enumerate(after) if count > before[place])
            return place


def redis_now(client: Any) -> float:
    seconds, microseconds = client.time()
    return float(seconds + microseconds / 1e6)


def test_counts_survive_a_kill(kit: LaneKit, history: History) -> None:
    """After attempts whose workers died, history and the lane count the same number of failed jobs."""
    kit.open(5, 0.0)
    for _ in range(3):
        job = one_job(kit)
        posted(kit, job)
        assert called_again(kit) == [job]
        kit.finish(job, SPAM)
    assert lately(history).ended == {"failed": kit.jobs.counts()["failed"]}
    assert lately(history).calls == 3
    assert Lanes(kit.client).numbers("edits").dead == 3
    tried(kit, one_job(kit), "failed", AGAIN)
    assert lately(history).answers == {"failed": 1}
