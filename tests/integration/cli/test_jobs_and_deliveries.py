"""The commands for jobs, deliveries and receivers from the command line, against a real server."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks.webhooks import Webhook

from retouch import Edit, EditQueue, Job, verify_webhook
from retouch.connections import Connections
from retouch.outcomes import Fail, Ready
from retouch.store.deliveries import DeliveryAttempt, DeliveryRecord, Settlement
from retouch_producer.cli.context import open_context
from retouch_producer.cli.jobs.watch import events_of_all
from retouch_worker.deliveries.schedule import DeliveryOutcome
from tests.command_line import typed
from tests.conftest import Sink
from tests.lane_kit import LaneKit

EDIT = Edit(prompt="a planted prompt", init_image="https://example.com/in.png")


@pytest.fixture
def stores(queue: EditQueue) -> Connections:
    return Connections(queue.settings)


def failed_job(queue: EditQueue, stores: Connections, *, paid: bool) -> Job:
    """
    Return a failed job. With `paid`, the endpoint made an image that nobody fetched; else the endpoint refused the job.
    """
    job = queue.enqueue(EDIT)
    claim = stores.jobs.claim(job.id, 15)
    assert claim is not None
    assert stores.jobs.intend(claim) == "ok"
    if paid:
        stores.jobs.answer(claim, "succeeded", Ready(("https://example.com/out.png",)))
    else:
        stores.jobs.answer(claim, "refused", None)
    stores.jobs.settle(claim, Fail("deadline_passed" if paid else "no_credits", "it is over", retryable=True))
    return job


def dead_delivery(queue: EditQueue, stores: Connections, url: str) -> DeliveryRecord:
    """Return a dead delivery, whose receiver answered 410."""
    job = queue.enqueue(EDIT, webhook=url)
    job.cancel()
    claim = stores.deliveries.claim(job.deliveries()[0].id, 15)
    assert claim is not None
    log = DeliveryAttempt(at=1.7e9, attempt=1, status=410, latency_s=0.1, excerpt="gone")
    stores.deliveries.settle(claim, Settlement("dead", 0.0, log))
    return job.deliveries()[0]


def test_jobs_are_listed_newest_first_over_all_tenants(queue: EditQueue) -> None:
    """
    `jobs` lists the jobs of all tenants, newest first, or the jobs of a state or a tenant. No prompt or URL is shown.
    """
    jobs = [queue.enqueue(EDIT, tenant=tenant) for tenant in ("acme", "zoo", "acme")]
    jobs[1].cancel()
    assert [row["id"] for row in typed("jobs", "--json").json] == [job.id for job in reversed(jobs)]
    assert [row["id"] for row in typed("jobs", "--state", "cancelled", "--json").json] == [jobs[1].id]
    assert [row["id"] for row in typed("jobs", "--tenant", "acme", "--limit", "1", "--json").json] == [jobs[2].id]
    table = typed("jobs").out
    assert table.splitlines()[0].split()[:3] == ["ID", "STATE", "TENANT"]
    assert jobs[0].id in table
    assert "planted" not in table
    assert "example.com" not in table


@pytest.mark.parametrize("spell", ["1h", "15m", "{unix:.0f}", "{iso}"])
def test_a_time_may_be_an_age_iso_or_unix(spell: str, queue: EditQueue) -> None:
    """
    `--since` takes an age, an ISO 8601 time or Unix seconds. A time in the past finds a new job, and a time in the
    future finds no job.
    """
    job = queue.enqueue(EDIT)
    for minutes, found in ((-5, [job.id]), (5, [])):
        at = datetime.now(UTC) + timedelta(minutes=minutes)
        if "{" in spell or minutes < 0:
            text = spell.format(unix=at.timestamp(), iso=at.isoformat())
            assert [row["id"] for row in typed("jobs", "--since", text, "--json").json] == found


@pytest.mark.parametrize("text", ["yesterday", "30", "-1h", "2026-99-99", "nan"])
def test_a_time_that_is_none_is_refused(text: str, queue: EditQueue) -> None:
    """With a wrong time, `jobs` exits with 2 and prints the known forms. A small number such as 30 is a wrong time."""
    ended = typed("jobs", "--since", text)
    assert ended.code == 2
    assert "expected an age such as 15m, 1h or 2d, an ISO 8601 time or Unix seconds" in ended.err


def test_one_job_with_all_that_is_known(queue: EditQueue, stores: Connections) -> None:
    """`retouch job` shows the request, each charge, the timeline, and the deliveries with their attempts."""
    job = failed_job(queue, stores, paid=True)
    shown = typed("job", job.id, "--json").json
    assert [event["type"] for event in shown["timeline"]] == ["edit.queued", "edit.running", "edit.failed"]
    assert [charge["class"] for charge in shown["charge_log"]] == ["succeeded"]
    assert shown["error"]["code"] == "deadline_passed"
    delivery = dead_delivery(queue, stores, "https://example.com/hook")
    shown = typed("job", delivery.job, "--json").json
    assert [one["status"] for one in shown["deliveries"][0]["attempts"]] == [410]
    text = typed("job", delivery.job).out
    assert "410" in text
    assert "edit.cancelled" in text
    assert typed("job", job.id, "--out", "/tmp/never.png").code == 1
    assert typed("job", "ed_nowhere").code == 2


def test_cancel_reports_each_job_and_reads_ids_from_standard_input(queue: EditQueue) -> None:
    """
    `cancel` exits with 0 if it cancelled all jobs, with 1 if a job had ended before, and with 2 for an unknown id.

    With `-`, the ids are read from standard input.
    """
    jobs = [queue.enqueue(EDIT).id for _ in range(3)]
    assert typed("cancel", jobs[0], "--json").json == {jobs[0]: "cancelled"}
    ended = typed("cancel", "-", given=f"{jobs[0]}\n{jobs[1]}\n")
    assert (ended.code, ended.out) == (1, f"{jobs[0]}  final: the job had ended already\n{jobs[1]}  cancelled\n")
    assert typed("cancel", jobs[2], "ed_nowhere").code == 2
    assert typed("cancel", "-", given=" ").code == 2
    assert typed("jobs", "--state", "cancelled", "--json").out.count('"id"') == 3


def test_replay_says_what_it_may_cost(queue: EditQueue, stores: Connections) -> None:
    """
    The replay of a paid job continues from the paid answer; that of an unpaid job POSTs again. `--dry-run` only prints
    this.
    """
    paid, unpaid = failed_job(queue, stores, paid=True), failed_job(queue, stores, paid=False)
    expected = {
        unpaid.id: "would be replayed: POSTs again, a new charge",
        paid.id: "would be replayed: resumes from the paid answer, no new charge",
    }
    assert typed("replay", "--failed", "--since", "1h", "--dry-run", "--json").json == expected
    assert paid.state == "failed"
    ended = typed("replay", "--failed")
    assert ended.code == 0
    assert "1 of 2 are POSTed again, and the endpoint may bill for them" in ended.out
    assert {paid.state, unpaid.state} == {"queued"}
    assert typed("replay", paid.id).out.startswith(f"{paid.id}  open")
    nowhere = typed("replay", "ed_nowhere")
    assert (nowhere.code, nowhere.out) == (2, "ed_nowhere  unknown: it never existed, or its retention is over\n")
    assert typed("replay").code == 2
    assert typed("replay", paid.id, "--since", "1h").code == 2


def test_pause_and_resume_one_lane(queue: EditQueue) -> None:
    """A paused lane dispatches nothing, and `status` shows the pause. The other lane is not paused."""
    assert typed("pause").code == 0
    queue.enqueue(EDIT)
    status = typed("status", "--json").json
    assert (status["edits"]["paused"], status["edits"]["waiting"], status["edits"]["held"]) == (True, 1, 0)
    assert status["deliveries"]["paused"] is False
    assert "paused" in typed("status").out
    assert typed("resume", "--lane", "edits").code == 0
    assert typed("status", "--json").json["edits"]["paused"] is False
    assert typed("pause", "--lane", "dreams").code == 2


def test_dead_deliveries_are_listed_and_sent_again(queue: EditQueue, stores: Connections) -> None:
    """
    `redeliver` sends one delivery again by its id, or all deliveries of a receiver since a time.

    A delivery that is under way stays unchanged.
    """
    first, second = (dead_delivery(queue, stores, f"https://example.com/{name}") for name in "ab")
    queue.enqueue(EDIT, webhook="https://example.com/c").cancel()
    assert {row["id"] for row in typed("deliveries", "--dead", "--json").json} == {first.id, second.id}
    assert [row["id"] for row in typed("deliveries", "--job", first.job, "--json").json] == [first.id]
    assert "410" in typed("deliveries").out
    assert typed("redeliver", first.id, "--json").json == {first.id: "redelivered"}
    assert typed("redeliver", "--receiver", second.receiver, "--since", "1h", "--json").json == {
        second.id: "redelivered"
    }
    assert typed("redeliver", first.id).out == f"{first.id}  open: it is still under way, nothing to do\n"
    assert typed("redeliver", "--dead").out == "no delivery\n"
    third = dead_delivery(queue, stores, "https://elsewhere.example.com/d")  # at example.com two are under way
    stores.client.delete(f"rt:edits:spec:{third.job}")
    ended = typed("redeliver", third.id)
    assert (ended.code, ended.out) == (1, f"{third.id}  gone: its job is no longer on record, so nothing was sent\n")
    for wrong in (["dl_nowhere"], [], ["--receiver", "rc_nowhere", "--since", "1h"], ["--receiver", first.receiver]):
        assert typed("redeliver", *wrong).code == 2


def test_the_life_of_a_receiver(queue: EditQueue, sink: Sink) -> None:
    """A receiver is added, tested, disabled, enabled and removed. After a rotation, both secrets verify an event."""
    added = typed("receivers", "add", f"{sink.url}/hook", "--event", "edit.failed", "--json").json
    assert (added["every_job"], added["events"], added["disabled"]) == (True, ["edit.failed"], False)
    assert typed("receivers", "test", added["id"]).code == 0
    got = sink.wait_for(1)[0]
    assert verify_webhook(got.body, got.headers, added["secret"])["type"] == "receiver.test"
    Webhook(added["secret"]).verify(got.body, dict(got.headers))
    rotated = typed("receivers", "rotate", added["id"], "--json").json
    assert rotated["secret"] != added["secret"]
    typed("receivers", "test", added["id"])
    both = sink.wait_for(2)[1]
    for secret in (added["secret"], rotated["secret"]):
        Webhook(secret).verify(both.body, dict(both.headers))
    assert typed("receivers", "disable", added["id"], "--json").json["disabled"] is True
    assert typed("receivers", "enable", added["id"], "--json").json["disabled"] is False
    assert "secret" not in typed("receivers", "list", "--json").json[0]
    typed("receivers", "add", f"{sink.url}/second", "--json")
    first, second = typed("receivers", "list", "--json").json
    assert typed("receivers", "list", "--limit", "1", "--json").json == [first]
    other = second if first["id"] == added["id"] else first
    assert typed("receivers", "remove", other["id"]).code == 0
    assert rotated["secret"] not in typed("receivers", "list").out
    assert rotated["secret"] in typed("receivers", "list", "--show-secret").out
    assert typed("receivers", "remove", added["id"], "--json").json["removed"] is True
    assert typed("receivers", "list", "--json").json == []
    assert typed("receivers", "remove", added["id"]).code == 2


def test_a_receiver_that_refuses_is_exit_1(queue: EditQueue, sink: Sink) -> None:
    """
    If the receiver answers 500, `receivers test` prints the answer and exits with 1.

    For a forbidden address, `receivers add` exits with 2 and adds nothing.
    """
    sink.answers.append((500, {}))
    added = typed("receivers", "add", sink.url, "--json").json
    ended = typed("receivers", "test", added["id"], "--json")
    assert (ended.code, ended.json["status"], ended.json["accepted"]) == (1, 500, False)
    refused = typed("receivers", "add", "http://10.0.0.1/hook")
    assert refused.code == 2
    assert "URL: expected a public address, got private 10.0.0.1" in refused.err
    assert typed("receivers", "add", sink.url, "--event", "edit.dreamt").code == 2
    assert typed("receivers", "test", "rc_nowhere").code == 2
    assert len(typed("receivers", "list", "--json").json) == 1


def test_watch_follows_jobs_to_their_ends(queue: EditQueue) -> None:
    """`watch` prints past and new events, one per line, and exits with 1 if a job was cancelled."""
    done, open_ = queue.enqueue(EDIT), queue.enqueue(EDIT)
    done.cancel()
    later = threading.Timer(0.5, open_.cancel)
    later.start()
    ended = typed("watch", done.id, open_.id, "--json")
    later.join()
    events = [json.loads(line) for line in ended.out.splitlines()]
    assert ended.code == 1
    for job in (done, open_):
        types = [event["type"] for event in events if event["data"]["job_id"] == job.id]
        assert types == ["edit.queued", "edit.cancelled"]
    assert typed("watch", "ed_nowhere").code == 2


def test_events_of_all_jobs_begin_with_the_next_one(queue: EditQueue) -> None:
    """`events_of_all` yields the new events of all jobs, and None while there is no new event."""
    queue.enqueue(EDIT).cancel()
    job = queue.enqueue(EDIT)
    with open_context() as context:
        events = events_of_all(context)
        assert next(events) is None
        job.cancel()
        event = next(event for event in events if event)
    assert (event["type"], event["data"]["job_id"]) == ("edit.cancelled", job.id)


def test_a_receiver_that_fails_is_named(stores: Connections) -> None:
    """
    `status` and the list of receivers show a failing receiver with the reason, the number of failures and the next
    attempt.
    """
    timeout = DeliveryOutcome(None, "timeout", elapsed_s=15.0)
    receiver = LaneKit(stores.client).fail_delivery("acme", "https://dead.example/hook", timeout)
    ended = typed("status", "--json")
    assert ended.code == 0, ended.err
    status = ended.json
    assert (status["receivers_failing"], status["failing_receivers"][0]["id"]) == (1, receiver.id)
    line = next(line for line in typed("status").out.splitlines() if line.startswith("failing: "))
    assert f"{receiver.id} of acme" in line
    assert "timeout, 1 failures, 0 waiting, next attempt in " in line
    (listed,) = typed("receivers", "list", "--json").json
    assert listed["failing"] == status["failing_receivers"][0]
    assert "timeout, 1 failures" in typed("receivers", "list").out
    shown = typed("receivers", "show", receiver.id)
    assert shown.code == 0, shown.err
    assert "Of the last 1: 0 delivered, 1 waiting, 0 dead; since 2" in shown.out
    assert shown.out.endswith("X dead):\nw\n")
    document = typed("receivers", "show", receiver.id, "--json").json
    assert (document["failing"], document["health"]["waiting"]) == (listed["failing"], 1)
    assert "secret" not in document
    assert typed("receivers", "show", "rc_nowhere").code == 2
