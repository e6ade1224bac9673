"""Tests of bulk runs on the console: preview, confirmation, progress, abort and history."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest

from retouch import Edit, EditQueue
from retouch.store.audit import AuditLog
from retouch_worker.deliveries.schedule import DeliveryOutcome
from tests.conftest import RunningWorker, Sink
from tests.gateway_process import Callers
from tests.integration.console.conftest import People, Person, words_of
from tests.lane_kit import LaneKit
from tests.process_watch import eventually

EDIT = Edit(prompt="a planted prompt", init_image="https://example.com/in.png")


def fields_of(page: str, address: str) -> dict[str, str]:
    """Return the hidden fields, by name, of the form that is sent to `address`."""
    (form,) = re.findall(rf'<form method="\w+" action="{address}".*?</form>', page, re.DOTALL)
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form)
    return {name: html.unescape(value) for name, value in found}


def confirmed(person: Person, preview: str) -> str:
    """Send the form of a preview page as `person`; return the path of the run that was started."""
    answer = person.post("/console/bulk", **fields_of(preview, "/console/bulk"))
    assert answer.status_code == 200, answer.text
    return answer.url.path


def is_over(person: Person, run: str) -> bool:
    return eventually(lambda: re.search(r'class="state state-(done|aborted)"', person.text(run)), within_s=30.0)


@pytest.fixture
def paused(queue: EditQueue) -> Any:
    queue.pause()
    yield
    queue.resume()


@pytest.mark.usefixtures("module_worker", "paused")
def test_preview_run_and_exact_counts(people: People, queue: EditQueue, callers: Callers, client: Any) -> None:
    """
    A preview changes nothing. The confirmed run cancels exactly the jobs of the preview, and a second click starts no
    second run.

    The audit log has the start and the end of the run.
    """
    jobs = queue.enqueue_many([EDIT] * 5, tags={"n": "1"})
    others = queue.enqueue_many([EDIT] * 2, tags={"n": "2"})
    ops = people("staff", "ops")
    bar = fields_of(ops.text("/console/jobs?tag=n%3D1"), "/console/bulk/preview")
    assert bar == {"q": "tag:n=1"}
    preview = ops.get("/console/bulk/preview", params={"action": "cancel", **bar}).text
    assert "Cancel 5 jobs?" in words_of(preview)
    assert {job.state for job in jobs} == {"queued"}
    queue.enqueue(EDIT, tags={"n": "1"})  # it is not meant, since it came after the preview
    run = confirmed(ops, preview)
    assert confirmed(ops, preview) == run
    assert is_over(ops, run)
    words = words_of(ops.text(run))
    assert "5 of 5 jobs" in words
    assert "cancelled cancelled at once 5" in words
    assert [job.state for job in (*jobs, *others)] == ["cancelled"] * 5 + ["queued"] * 2
    assert client.zcard("rt:bulk:runs") == 1
    assert run in ops.text("/console/bulk")
    shown = callers("staff", "ops").get(f"/v1/bulk/{run.rpartition('/')[2]}").json()
    assert (shown["outcomes"], shown["by"]["surface"]) == ({"cancelled": 5}, "console")
    assert eventually(lambda: len(AuditLog(client).lines()) == 3, within_s=10.0)
    lines = [(line.action, line.actor.surface) for line in AuditLog(client).lines() if line.action.startswith("bulk.")]
    assert lines == [("bulk.done", "console"), ("bulk.cancel", "console")]
    replay = words_of(ops.get("/console/bulk/preview", params={"action": "replay", **bar}).text)
    assert "jobs 5 resume free 0 calls at most 10" in replay


@pytest.mark.usefixtures("module_worker", "paused")
def test_priority_of_all_that_match(people: People, queue: EditQueue) -> None:
    """A run changes the priority of the waiting jobs that match. A producer's run changes no job of another tenant."""
    jobs = queue.enqueue_many([EDIT] * 3, tags={"n": "1"}, tenant="acme")
    foreign = queue.enqueue(EDIT, tags={"n": "1"}, tenant="globex")
    acme = people("acme")
    asked = {"action": "priority", "priority": "high", "q": "tag:n=1"}
    preview = acme.get("/console/bulk/preview", params=asked).text
    assert "Set the priority of 3 jobs to high?" in words_of(preview)
    run = confirmed(acme, preview)
    assert is_over(acme, run)
    assert {job.record().spec.priority for job in jobs} == {"high"}
    assert foreign.record().spec.priority == "normal"
    assert people("globex").get(run).status_code == 404
    assert run not in people("globex").text("/console/bulk")
    assert acme.get("/console/bulk/preview", params={**asked, "q": "tenant:globex"}).status_code == 404


@pytest.mark.usefixtures("module_worker", "paused")
def test_an_abort_half_way(people: People, queue: EditQueue, client: Any) -> None:
    """An aborted run has acted on exactly the number of jobs that it shows."""
    queue.enqueue_many([EDIT] * 3_000, tags={"n": "1"})
    ops = people("staff", "ops")
    run = confirmed(ops, ops.get("/console/bulk/preview", params={"action": "cancel", "q": "tag:n=1"}).text)
    key = f"rt:bulk:{run.rpartition('/')[2]}"
    assert eventually(lambda: client.hget(key, "outcome cancelled"), within_s=30.0)
    assert "Aborted. What was done stays done" in words_of(ops.post(f"{run}/abort").text)
    done = int(client.hget(key, "outcome cancelled"))
    assert 0 < done < 3_000
    assert f"{done:,} of 3,000 jobs" in words_of(ops.text(run))
    assert len(list(queue.jobs("state:cancelled", limit=5_000))) == done
    assert "The run was over before" in words_of(ops.post(f"{run}/abort").text)
    assert AuditLog(client).lines()[0].action == "bulk.abort"
    cancelled = ops.get("/console/bulk/preview", params={"action": "cancel", "q": "tag:n=1"}).text
    assert is_over(ops, confirmed(ops, cancelled))


@pytest.mark.usefixtures("paused")
def test_more_than_was_confirmed_is_not_begun(people: People, queue: EditQueue, client: Any) -> None:
    """
    If more jobs match now than in the confirmed preview, no run begins, and a new preview is shown.

    The confirmation of the new preview starts the run.
    """
    jobs = queue.enqueue_many([EDIT] * 3, tags={"n": "1"})
    jobs[0].cancel()
    ops = people("staff", "ops")
    preview = ops.get("/console/bulk/preview", params={"action": "replay", "q": "tag:n=1"}).text
    jobs[1].cancel()
    fields = fields_of(preview, "/console/bulk")
    again = ops.post("/console/bulk", **fields)
    assert "More jobs match now than in the preview" in words_of(again.text)
    assert "Replay 2 jobs?" in words_of(again.text)
    assert client.zcard("rt:bulk:runs") == 0
    run = confirmed(ops, again.text)
    words = words_of(ops.text(run))
    assert "0 of 2 jobs" in words
    assert "2 jobs; 0 resume free, 4 calls at most" in words
    assert "Aborted." in words_of(ops.post(f"{run}/abort").text)
    assert jobs[0].state == "cancelled"


def test_events_are_sent_again(people: People, kit: LaneKit, sink: Sink, module_worker: RunningWorker) -> None:
    """
    The form above the list of deliveries has the query of the list. The confirmed run sends the failed delivery again.
    """
    failing = kit.fail_delivery("acme", f"{sink.url}/hook", DeliveryOutcome(500, excerpt="busy"))
    person = people()
    page = person.text(f"/console/deliveries?receiver={failing.id}")
    assert f'name="q" value="receiver:{failing.id}"' in page
    query = {"action": "redeliver", "q": f"receiver:{failing.id}"}
    preview = person.get("/console/bulk/preview", params=query).text
    assert "Send 1 event of 1 job again?" in words_of(preview)
    dead = words_of(person.get("/console/bulk/preview", params={**query, "dead": "1"}).text)
    assert "nothing matches" in dead
    run = confirmed(person, preview)
    assert is_over(person, run)
    assert "1 of 1 deliveries" in words_of(person.text(run))


@pytest.mark.usefixtures("paused")
def test_a_viewer_sees_and_does_nothing(people: People, queue: EditQueue, client: Any) -> None:
    """A viewer sees the run of another person. The viewer's pages have no button, and each action is answered 403."""
    job = queue.enqueue(EDIT, tags={"n": "1"})
    ops, viewer = people("staff", "ops"), people("staff", "viewer")
    preview = ops.get("/console/bulk/preview", params={"action": "cancel", "q": "tag:n=1"}).text
    for address in ("/console/jobs?tag=n%3D1", "/console/deliveries", "/console/bulk"):
        assert "/console/bulk/preview" not in viewer.text(address)
    assert viewer.get("/console/bulk/preview?action=cancel&q=tag:n%3D1").status_code == 403
    assert viewer.post("/console/bulk", **fields_of(preview, "/console/bulk")).status_code == 403
    assert client.zcard("rt:bulk:runs") == 0
    run = confirmed(ops, preview)
    assert "/abort" in ops.text(run)
    assert "/abort" not in viewer.text(run)
    assert viewer.post(f"{run}/abort").status_code == 403
    assert job.state == "queued"
    ops.post(f"{run}/abort")


def test_wrong_requests_are_pages(people: People, client: Any) -> None:
    """A wrong query, action or priority is answered 422 with the expected values, and an unknown run 404."""
    ops = people("staff", "ops")
    for query, words in (
        ({"action": "cancel"}, "expected at least one term"),
        ({"action": "cancel", "q": "stat:x"}, "did you mean state"),
        ({"action": "erase", "q": "since:1h"}, "expected cancel, replay, redeliver, priority"),
        ({"action": "priority", "q": "since:1h", "priority": "odd"}, "expected high, normal, low"),
    ):
        answer = ops.get("/console/bulk/preview", params=query)
        assert answer.status_code == 422
        assert words in words_of(answer.text)
    assert ops.get("/console/bulk/bk_nothing").status_code == 404
