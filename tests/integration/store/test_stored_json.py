"""Tests of JSON that scripts write: the form in Redis, and how Python reads the JSON."""

from __future__ import annotations

import json
import re
from typing import Any

from retouch.outcomes import Image, Ready, Retry, Succeed
from retouch.store.records import JobError
from tests.lane_kit import LaneKit

IMAGE = Image("ab/abc.png", "abc", "PNG", 1, 1, 12_345_678_901, warnings=())


def entries(client: Any, job: str) -> list[str]:
    """Return the entries of a job's timeline as JSON texts, oldest first."""
    texts: list[str] = client.lrange(f"rt:timeline:{job}", 0, -1)
    return texts


def test_events_keep_their_form(kit: LaneKit, client: Any) -> None:
    """
    In a stored event, instants have three decimals and fences have all digits. The result is the same JSON text that
    the worker wrote.
    """
    job = kit.new()
    kit.enqueue(job)
    claim = kit.claim(job.id)
    assert kit.jobs.intend(claim) == "ok"
    kit.jobs.answer(claim, "succeeded", Ready(("https://a.example/1.png",)), "ok")
    kit.jobs.settle(claim, Succeed(IMAGE))
    running, succeeded = entries(client, job.id)
    assert re.fullmatch(r'\{"type":"edit\.running","at":\d{10}\.\d{3}\}', running)
    assert re.search(r'"at":\d{10}\.\d{3},', succeeded)
    assert re.search(r'"fence":\d{13}[,}]', succeeded)
    assert client.hget(f"rt:edits:state:{job.id}", "result") in succeeded
    charge = json.loads(succeeded)["charges"][0]
    assert charge["fence"] == claim.fence
    assert json.loads(succeeded)["result"]["warnings"] == []


def test_a_job_without_a_charge_has_an_empty_list(kit: LaneKit, client: Any) -> None:
    """
    The event of a job that was cancelled before a charge has `before_charge` as `cancelled`, and `[]` as `charges`.
    """
    job = kit.new()
    kit.enqueue(job)
    kit.jobs.cancel(job.id)
    (cancelled,) = entries(client, job.id)
    assert '"charges":[]' in cancelled
    assert json.loads(cancelled)["cancelled"] == "before_charge"


def test_words_of_an_error_come_through(kit: LaneKit, client: Any) -> None:
    """The message of an error reaches the event unchanged, with quotes, backslashes and letters of any language."""
    job, message = kit.new(), 'said "no"\\n — ნ 🙂 \x00'
    kit.enqueue(job)
    kit.jobs.settle(kit.claim(job.id), Retry(2.5, "endpoint_busy", message, True, True))
    retrying = entries(client, job.id)[-1]
    assert '"delay_s":2.500,' in retrying
    assert json.loads(retrying)["error"]["message"] == message


def test_what_a_deadline_says(kit: LaneKit, client: Any) -> None:
    """
    The error that the script writes for a job past its deadline is read as a JobError, like the error of a worker.
    """
    kit.lanes.pause()
    job = kit.new(deadline_s=0.001)
    kit.enqueue(job)
    swept = int(client.hget("rt:edits:gate", "deadlines_swept"))
    client.hset("rt:edits:gate", "deadlines_swept", swept - 10)
    (bucket,) = client.keys("rt:edits:deadlines:*")
    client.rename(bucket, f"rt:edits:deadlines:{swept - 5}")
    kit.rescue()
    record = kit.jobs.record(job.id)
    assert record is not None
    assert record.error == JobError("deadline_passed", "the job was not done by its deadline", retryable=True)
