"""Tests of raw answers: the endpoint's last answer to a job is kept unchanged, as long as the job's record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from retouch.blobs import open_blobs
from retouch.store.answers import RawAnswer
from retouch.store.erasure import erase_tenant
from tests.charge_kit import AGAIN, GIVE_UP, READY, called_again, one_job, posted
from tests.lane_kit import LaneKit

FULL, DONE = RawAnswer(429, "queue full"), RawAnswer(200, '{"status": "success", "ümlaut": "\\n"}', is_cut=True)


@pytest.fixture
def kit(client: Any) -> LaneKit:
    return LaneKit(client)


def test_the_last_answer_is_kept(kit: LaneKit) -> None:
    """
    The answer to a later POST replaces the earlier answer and its fence. A POST without an answer replaces nothing.
    """
    job = one_job(kit)
    assert kit.jobs.raw_answer(job) is None
    first = posted(kit, job)
    kit.jobs.answer(first, "refused", None, raw=FULL)
    kit.jobs.settle(first, AGAIN)
    assert kit.jobs.raw_answer(job) == RawAnswer(429, "queue full", fence=first.fence)
    assert called_again(kit) == [job]
    second = posted(kit, job)
    kit.jobs.answer(second, "unknown", None)
    kit.jobs.settle(second, AGAIN)
    assert kit.jobs.raw_answer(job) == RawAnswer(429, "queue full", fence=first.fence)
    assert called_again(kit) == [job]
    third = posted(kit, job)
    kit.jobs.answer(third, "succeeded", READY, raw=DONE)
    assert kit.jobs.raw_answer(job) == RawAnswer(200, DONE.text, is_cut=True, fence=third.fence)
    record = kit.jobs.record(job)
    assert record is not None
    assert [charge.kind for charge in record.charges] == ["refused", "unknown", "succeeded"]


def test_a_late_answer_is_kept_too(kit: LaneKit) -> None:
    """The late answer of a worker that lost its lease is kept, with the fence of its POST."""
    job = one_job(kit)
    claim = posted(kit, job)
    assert called_again(kit) == [job]
    kit.claim(job)
    kit.jobs.answer(claim, "succeeded", READY, raw=DONE)
    raw = kit.jobs.raw_answer(job)
    assert raw is not None
    assert (raw.status, raw.fence) == (200, claim.fence)


def test_it_lives_and_goes_with_its_job(kit: LaneKit, client: Any, tmp_path: Path) -> None:
    """
    A raw answer is stored with the record of its job. After the tenant is erased, Redis has no part of the answer.
    """
    job = one_job(kit)
    claim = posted(kit, job)
    kit.jobs.answer(claim, "failed", None, raw=RawAnswer(200, "planted"))
    kit.jobs.settle(claim, GIVE_UP)
    assert client.ttl(f"rt:edits:state:{job}") > 0
    assert any("planted" in text for text in texts(client))
    erase_tenant(client, kit.jobs, open_blobs(tmp_path.as_uri(), "http://127.0.0.1:8000"), "acme")
    assert kit.jobs.raw_answer(job) is None
    assert not any("planted" in text for text in texts(client))


def texts(client: Any) -> list[str]:
    """Return all values of all strings, hashes and lists in Redis."""
    found = list[str]()
    for name in client.scan_iter("*"):
        match client.type(name):
            case "hash":
                found += client.hvals(name)
            case "list":
                found += client.lrange(name, 0, -1)
            case "string":
                found.append(client.get(name))
    return found


def test_a_page_of_jobs_does_not_read_it(kit: LaneKit, client: Any) -> None:
    """The records of a list are the same with and without a raw answer, and Redis sends no raw answer for them."""
    job = one_job(kit)
    claim = posted(kit, job)
    kit.jobs.answer(claim, "failed", None, raw=RawAnswer(200, "x" * 4_000))
    before = int(client.info("stats")["total_net_output_bytes"])
    (record,) = kit.jobs.records([job])
    assert int(client.info("stats")["total_net_output_bytes"]) - before < 12_000
    client.hdel(f"rt:edits:state:{job}", "raw_answer")
    assert kit.jobs.records([job]) == [record]
