"""
Deliveries in the store: who gets which event, how many are sent at once, breakers, disabled receivers, redelivery.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from retouch.outcomes import Fail, Retry, Succeed
from retouch.store.blob_retention import trim_indexes
from retouch.store.deliveries import DeliveryClaim
from retouch.store.keys import KEPT, RECEIVERS_OF_JOBS
from retouch.store.receivers import UNUSED_S
from retouch_worker.deliveries.schedule import DeliveryOutcome, settlement_of, undeliverable
from tests.lane_kit import IMAGE, LEASE_S, LaneKit, assert_consistent

HOOK = "https://hooks.example/a"
TARGET = "acme hooks.example"


@pytest.fixture
def kit(client: Any) -> LaneKit:
    kit = LaneKit(client)
    kit.open(100, 0.0)
    return kit


def ended(kit: LaneKit, **spec: Any) -> str:
    """Enqueue a job, let it succeed, and return its id."""
    new = kit.new(**spec)
    kit.enqueue(new)
    kit.finish(new.id, Succeed(IMAGE))
    return new.id


def claim(kit: LaneKit, item: str) -> DeliveryClaim:
    claimed = kit.deliveries.claim(item, LEASE_S)
    assert claimed is not None
    return claimed


def deliver(kit: LaneKit, item: str, status: int | None) -> None:
    """Claim a delivery, and settle it with the status of the receiver's answer, or with None for no answer."""
    claimed = claim(kit, item)
    kit.deliveries.settle(claimed, settlement_of(DeliveryOutcome(status), claimed.number, claimed.by_hand, 0.0, 0.5))


def of(kit: LaneKit, item: str) -> str:
    """Return the tenant of a delivery."""
    return kit.deliveries.records([item])[0].tenant


def deliveries_of(kit: LaneKit, job: str) -> list[tuple[str, str]]:
    return [(record.type, record.receiver) for record in kit.deliveries.of_job(job)]


def test_each_receiver_gets_one_delivery(kit: LaneKit) -> None:
    """A receiver that gets the events of all jobs gets each event once, even if the job names the receiver too."""
    both = kit.receivers.add("acme", HOOK)
    other = kit.receivers.add("acme", "https://hooks.example/b")
    kit.receivers.add("foreign", "https://hooks.example/c")
    job = ended(kit, receivers=(both.id,), callback="billing.tasks.edited@billing")
    assert sorted(deliveries_of(kit, job)) == sorted(
        [
            ("edit.succeeded", both.id),
            ("edit.succeeded", other.id),
            ("edit.succeeded", "task:billing.tasks.edited@billing"),
        ]
    )


def test_receivers_get_the_events_that_they_named(kit: LaneKit) -> None:
    """
    A receiver that was added with some kinds of events gets only these, from all jobs. A receiver that a job names gets
    the final event, and the kinds of events that the job names.
    """
    chooser = kit.receivers.add("acme", HOOK, ["edit.running", "edit.failed"])
    own = kit.receivers.ensure("acme", "https://hooks.example/own")
    new = kit.new(receivers=(own.id,), events=("edit.retrying",))
    kit.enqueue(new)
    kit.finish(new.id, Retry(1.0, "x", "y"))
    kit.make_due("edits", "timetable")
    kit.rescue()
    kit.finish(new.id, Succeed(IMAGE))
    events = deliveries_of(kit, new.id)
    assert [kind for kind, receiver in events if receiver == own.id] == ["edit.retrying", "edit.succeeded"]
    assert {kind for kind, receiver in events if receiver == chooser.id} == {"edit.running"}


def test_a_claim_returns_the_messages_of_its_event(kit: LaneKit) -> None:
    """A claim of a job returns the message for the webhook about `edit.running`. The caller sends this message."""
    kit.receivers.add("acme", HOOK, ["edit.running"])
    job = kit.new()
    kit.enqueue(job)
    claimed = kit.claim(job.id)
    assert claimed.messages == [("deliveries", delivery.id) for delivery in kit.deliveries.of_job(job.id)]
    assert len(claimed.messages) == 1


def test_a_disabled_receiver_gets_no_delivery(kit: LaneKit) -> None:
    """A disabled receiver gets no delivery, even if the job names it. After it is enabled, it gets the next event."""
    receiver = kit.receivers.add("acme", HOOK)
    kit.receivers.set_disabled(receiver.id, True)
    assert deliveries_of(kit, ended(kit, receivers=(receiver.id,))) == []
    kit.receivers.set_disabled(receiver.id, False)
    assert len(deliveries_of(kit, ended(kit))) == 1


def test_a_host_starts_with_one_and_has_at_most_eight_at_once(kit: LaneKit, client: Any) -> None:
    """A tenant begins with one delivery at a time to a host. Each success doubles this number, up to eight."""
    kit.receivers.add("large", HOOK)
    kit.receivers.add("small", HOOK)
    for _ in range(40):
        ended(kit, tenant="large")
    ended(kit, tenant="small")
    assert client.hgetall("rt:deliveries:held") == {"~large": "1", "~small": "1", "~": "2"}
    most = []
    for _ in range(10):
        (item, *_) = [item for item in kit.dispatched("deliveries") if of(kit, item) == "large"]
        deliver(kit, item, 204)
        most.append(sum(of(kit, item) == "large" for item in kit.dispatched("deliveries")))
    assert most == [2, 4, 8, 8, 8, 8, 8, 8, 8, 8]
    assert_consistent(client, [])


def test_a_failed_delivery_waits_by_the_schedule_and_dies_at_its_end(kit: LaneKit, client: Any) -> None:
    """After ten recorded attempts a delivery is a dead letter, and is kept for thirty days."""
    kit.receivers.add("acme", HOOK)
    job = ended(kit)
    (record,) = kit.deliveries.of_job(job)
    for number in range(1, 11):
        client.delete(f"rt:deliveries:health:{record.receiver}")
        deliver(kit, record.id, 500)
        (now,) = kit.deliveries.of_job(job)
        assert now.attempt == len(now.log) == number
        assert now.state == ("dead" if number == 10 else "retrying")
        kit.make_due("deliveries", "timetable")
        kit.rescue()
    assert list(kit.deliveries.ids(dead=True)) == [record.id]
    assert 29 * 86_400 < client.ttl(f"rt:deliveries:state:{record.id}") <= 30 * 86_400
    assert_consistent(client, [job])


def test_redelivery_by_hand(kit: LaneKit, client: Any) -> None:
    """A finished delivery is sent again under its id, even to a disabled receiver."""
    receiver = kit.receivers.add("acme", HOOK)
    (item,) = [record.id for record in kit.deliveries.of_job(ended(kit))]
    assert kit.deliveries.redeliver(item)[0] == "open"
    deliver(kit, item, 410)
    assert client.hget(f"rt:receiver:{receiver.id}", "disabled") == "1"
    assert kit.deliveries.redeliver(item) == ("redelivered", [("deliveries", item)])
    claimed = claim(kit, item)
    assert (claimed.by_hand, claimed.number) == (True, 1)
    kit.deliveries.settle(claimed, settlement_of(DeliveryOutcome(204), 1, True, 0.0, 0.5))
    (record,) = kit.deliveries.records([item])
    assert (record.state, len(record.log)) == ("delivered", 2)
    assert list(kit.deliveries.ids(dead=True)) == []
    assert kit.deliveries.redeliver("dl_none")[0] == "unknown"
    assert_consistent(client, [])


def test_nothing_is_redelivered_without_its_job(kit: LaneKit, client: Any) -> None:
    """A dead delivery stays dead if the record of its job was deleted, since the event is built from that record."""
    kit.receivers.add("acme", HOOK)
    job = ended(kit)
    (item,) = [record.id for record in kit.deliveries.of_job(job)]
    deliver(kit, item, 410)
    client.delete(f"rt:edits:spec:{job}", f"rt:edits:state:{job}", f"rt:timeline:{job}")
    assert kit.deliveries.redeliver(item) == ("gone", [])
    assert [record.state for record in kit.deliveries.records([item])] == ["dead"]
    assert client.zcard("rt:deliveries:slots") == 0


def test_a_job_outlives_the_schedule_of_its_redelivery(kit: LaneKit, client: Any) -> None:
    """A redelivery keeps the job and its image until the new schedule ends. A longer retention is not shortened."""
    kit.receivers.add("acme", HOOK)
    first, second = ended(kit), ended(kit)
    names = {job: [f"rt:edits:spec:{job}", f"rt:edits:state:{job}", f"rt:timeline:{job}"] for job in (first, second)}
    for job, left_s in ((first, 60), (second, 1_000_000)):
        (item,) = [record.id for record in kit.deliveries.of_job(job)]
        deliver(kit, item, 500)
        for name in names[job]:
            client.expire(name, left_s)
        client.zadd(KEPT, {IMAGE.name: 1.0})
        assert kit.deliveries.redeliver(item)[0] == "redelivered"
    assert min(client.ttl(name) for name in names[first]) > 99 * 3_600
    assert min(client.ttl(name) for name in names[second]) > 900_000
    assert client.zscore(KEPT, IMAGE.name) - client.time()[0] > 99 * 3_600


def test_a_claim_knows_how_old_its_schedule_is(kit: LaneKit, client: Any) -> None:
    """The age of a delivery counts from its creation, or from its last redelivery by hand."""
    kit.receivers.add("acme", HOOK)
    (item,) = [record.id for record in kit.deliveries.of_job(ended(kit))]
    client.hincrbyfloat(f"rt:deliveries:state:{item}", "score", -7_200)
    claimed = claim(kit, item)
    assert 7_200 <= claimed.age_s < 7_260
    kit.deliveries.settle(claimed, settlement_of(DeliveryOutcome(500), 1, False, 0.0, 0.5))
    kit.deliveries.redeliver(item)
    assert claim(kit, item).age_s < 60


def test_receivers_of_jobs_go_when_no_job_names_them(kit: LaneKit, client: Any) -> None:
    """Unless a receiver gets the events of all jobs, it is deleted 90 days after a job last named it."""
    used, idle, old = (kit.receivers.ensure("acme", f"https://hooks.example/{number}") for number in range(3))
    kept = kit.receivers.add("acme", "https://hooks.example/every-job")
    ago = time.time() - UNUSED_S
    for receiver, at in ((used, ago - 60), (idle, ago + 60), (old, ago - 60), (kept, ago - 60)):
        client.zadd(RECEIVERS_OF_JOBS, {receiver.id: at})
    assert kit.receivers.ensure("acme", used.url).secret == used.secret
    assert trim_indexes(client, 3_600.0) == 1
    assert {receiver.id for receiver in kit.receivers.all()} == {used.id, idle.id, kept.id}
    assert kit.receivers.get(old.id) is None
    assert kit.receivers.ensure("acme", old.url).secret != old.secret
    assert kit.receivers.remove(idle.id)
    assert set(client.zrange(RECEIVERS_OF_JOBS, 0, -1)) == {used.id, old.id}


def test_410_disables_the_receiver_and_the_feed_says_so(kit: LaneKit, client: Any) -> None:
    """An answer 410 disables the receiver and adds an event to the feed. Waiting deliveries die at their next claim."""
    receiver = kit.receivers.add("acme", HOOK)
    first, second = ended(kit), ended(kit)
    deliver(kit, kit.deliveries.of_job(first)[0].id, 410)
    gone = kit.receivers.get(receiver.id)
    assert gone is not None
    assert gone.disabled
    assert [raw["type"] for _, raw in client.xrange("rt:feed")][-1] == "receiver.disabled"
    claimed = claim(kit, kit.deliveries.of_job(second)[0].id)
    kit.deliveries.settle(claimed, undeliverable("the receiver is disabled", 1, 0.0))
    (record,) = kit.deliveries.of_job(second)
    assert (record.state, record.attempt) == ("dead", 0)


def fail_until_shut(kit: LaneKit, client: Any, receiver: str = TARGET) -> None:
    """Deliver three successes and seven failures, and assert that the last failure opens the breaker of `receiver`."""
    for status in (204, 204, 204, *[500] * 7):
        ended(kit)
        item = kit.dispatched("deliveries")[0]
        assert client.zcard("rt:deliveries:shut") == 0
        deliver(kit, item, status)
    assert client.zrange("rt:deliveries:shut", 0, -1) == [receiver]


def test_the_breaker_shuts_and_probes(kit: LaneKit, client: Any) -> None:
    """
    Seven failures in ten results open a target's breaker. A failed probe doubles the wait, and a successful probe
    closes the breaker.
    """
    kit.receivers.add("acme", HOOK)
    begun_at = client.time()[0]
    fail_until_shut(kit, client)
    assert begun_at + 30 <= client.zscore("rt:deliveries:shut", TARGET) <= client.time()[0] + 31
    for _ in range(5):
        ended(kit)
    assert kit.dispatched("deliveries") == []
    kit.make_due("deliveries", "shut")
    kit.rescue()
    (probe,) = kit.dispatched("deliveries")
    probed_at = client.time()[0]
    deliver(kit, probe, 500)
    assert kit.dispatched("deliveries") == []
    assert probed_at + 60 <= client.zscore("rt:deliveries:shut", TARGET) <= client.time()[0] + 61
    kit.make_due("deliveries", "shut")
    kit.rescue()
    (probe,) = kit.dispatched("deliveries")
    deliver(kit, probe, 204)
    assert len(kit.dispatched("deliveries")) == 2
    assert_consistent(client, [])


def test_a_receiver_that_is_enabled_while_it_is_probed_gets_its_slots_back(kit: LaneKit, client: Any) -> None:
    """After a receiver with an open breaker is enabled, one successful probe allows two deliveries at once."""
    receiver = kit.receivers.add("acme", HOOK)
    fail_until_shut(kit, client)
    kit.receivers.set_disabled(receiver.id, False)
    for _ in range(10):
        ended(kit)
    kit.make_due("deliveries", "shut")
    kit.rescue()
    (probe,) = kit.dispatched("deliveries")
    deliver(kit, probe, 204)
    assert len(kit.dispatched("deliveries")) == 2


def test_failures_under_way_when_the_breaker_shuts_are_no_probes(kit: LaneKit, client: Any) -> None:
    """When the breaker opens, deliveries in flight that fail later do not double the time until the next probe."""
    kit.receivers.add("acme", HOOK)
    for _ in range(20):
        ended(kit)
    for _ in range(3):
        deliver(kit, kit.dispatched("deliveries")[0], 204)
    out = [claim(kit, item) for item in kit.dispatched("deliveries")]
    assert len(out) == 8
    for claimed in out:
        kit.deliveries.settle(claimed, settlement_of(DeliveryOutcome(500), 1, False, 0.0, 0.5))
    assert client.zscore("rt:deliveries:shut", TARGET) - client.time()[0] <= 31
    assert_consistent(client, [])


def test_a_delivery_whose_worker_died_is_sent_again(kit: LaneKit, client: Any) -> None:
    """When a worker dies, another worker repeats the attempt. A late settlement by the first worker has no effect."""
    kit.receivers.add("acme", HOOK)
    (record,) = kit.deliveries.of_job(ended(kit))
    frozen = claim(kit, record.id)
    kit.make_due("deliveries", "slots")
    assert ("deliveries", record.id) in kit.rescue()
    current = claim(kit, record.id)
    kit.deliveries.settle(frozen, settlement_of(DeliveryOutcome(500), 1, False, 0.0, 0.5))
    kit.deliveries.settle(current, settlement_of(DeliveryOutcome(204), 1, False, 0.0, 0.5))
    (record,) = kit.deliveries.records([record.id])
    assert (record.state, record.attempt) == ("delivered", 1)
    assert_consistent(client, [])


def test_a_receiver_is_made_once_and_rotated(kit: LaneKit) -> None:
    """`ensure` returns the same receiver for the same URL. After a rotation, the old secret also signs for a day."""
    first, again = kit.receivers.ensure("acme", HOOK), kit.receivers.ensure("acme", HOOK)
    assert first == again
    rotated = kit.receivers.rotate(first.id)
    assert rotated is not None
    assert (rotated.old_secret, rotated.secret != first.secret) == (first.secret, True)
    assert rotated.signing_keys(rotated.old_until - 1) == [rotated.secret, first.secret]
    assert kit.receivers.rotate("rc_none") is None


def test_a_job_outlives_its_deliveries(kit: LaneKit, client: Any) -> None:
    """While a delivery may still be sent, its job is kept for the whole schedule, even beyond its retention."""
    kit.receivers.add("acme", HOOK)
    heard, unheard = ended(kit), ended(kit, tenant="silent")
    assert client.ttl(f"rt:edits:spec:{heard}") > 75 * 3_600
    assert client.ttl(f"rt:edits:spec:{unheard}") <= 3_600


def test_a_failed_job_tells_why(kit: LaneKit) -> None:
    """The last entry in the timeline of a failed job has the error and the charges so far."""
    new = kit.new()
    kit.enqueue(new)
    kit.finish(new.id, Fail("bad_key", 'Invalid "Api" Key', retryable=False))
    entry = kit.jobs.timeline(new.id)[-1]
    assert (entry["type"], entry["charges"]) == ("edit.failed", [])
    assert entry["error"] == {"code": "bad_key", "message": 'Invalid "Api" Key', "retryable": False}
