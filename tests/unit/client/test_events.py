"""Events have the documented form; specs, checkpoints, claims and ids are read as they were written."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retouch import ids
from retouch.events import charge_summary, event_id, event_object, iso, queued_event
from retouch.ids import new_job_id, receiver_id
from retouch.outcomes import Image, Processing, Ready
from retouch.policy import RetryPolicy
from retouch.store.records import (
    Charge,
    JobRecord,
    JobSpec,
    TimelineEntry,
    charges_from,
    claim_from,
    record_from,
)
from retouch.store.results import checkpoint_from, checkpoint_json, image_from

EDIT = {"prompt": "planted prompt", "init_image": "https://planted.example/in.png", "steps": 20, "extra": {"a": 1}}
SPEC = JobSpec("acme", EDIT, 3_600.0, tags={"order": "17"})
IMAGE: dict[str, Any] = {
    "name": "ab/abc.png",
    "sha256": "abc",
    "format": "PNG",
    "width": 3,
    "height": 2,
    "bytes": 70,
    "warnings": ["flat_colour"],
}
RECORD = JobRecord(
    id="ed_1",
    spec=SPEC,
    state="succeeded",
    created_at=1_000.0,
    started_at=1_000.5,
    finished_at=1_003.0,
    due_at=None,
    attempt=1,
    charges=(),
    error=None,
    images=(image_from(IMAGE),),
    cancelled="",
    cancel_requested=False,
    resumable=False,
)
ENTRY: TimelineEntry = {
    "sequence": 2,
    "type": "edit.succeeded",
    "at": 1_003.0,
    "charges": [{"fence": 1, "intent_at": 1_000.6, "class": "succeeded", "answered_at": 1_002.6}],
    "result": IMAGE,
}


def link(name: str) -> str:
    return f"https://retouch.example/{name}"


def test_an_event_has_exactly_the_promised_members() -> None:
    """An event has exactly the documented members, and nothing else of the stored format."""
    event = event_object(RECORD, ENTRY, link, 0.01)
    promised = {
        "job_id",
        "sequence",
        "state",
        "tenant",
        "tags",
        "edit",
        "result",
        "results",
        "error",
        "charges",
        "timings_s",
    }
    assert event.keys() == {"type", "timestamp", "data"}
    assert event["data"].keys() - {"cancelled"} == promised
    assert event["data"]["result"] == {
        "url": link("ab/abc.png"),
        "thumbnail_url": link("ab/abc.thumb.webp"),
        "sha256": "abc",
        "width": 3,
        "height": 2,
        "bytes": 70,
        "format": "PNG",
        "warnings": ["flat_colour"],
    }
    assert event["data"]["results"] == [event["data"]["result"]]
    assert event["data"]["charges"] == {"certain": 1, "possible": 1, "amount": 0.01}
    assert event["data"]["timings_s"] == {"queued": 0.5, "endpoint": 2.0, "total": 3.0}
    assert event["timestamp"] == "1970-01-01T00:16:43.000Z"


def test_an_event_names_every_image_of_its_answer() -> None:
    """`results` has all images in order, and `result` is the first image."""
    other = {**IMAGE, "name": "cd/cde.png", "sha256": "cde", "warnings": []}
    data = event_object(RECORD, {**ENTRY, "result": {**IMAGE, "others": [other]}}, link)["data"]
    assert [one["sha256"] for one in data["results"]] == ["abc", "cde"]
    assert (data["result"], data["results"][1]["url"]) == (data["results"][0], link("cd/cde.png"))
    assert "others" not in (data["result"] or {})


def test_a_checkpoint_survives_its_trip_through_the_store() -> None:
    """
    A checkpoint with several images, some of them stored, is read as it was written. The older format is read too.
    """
    kept = Image("ab/abc.png", "abc", "PNG", 3, 2, 70, ("flat_colour",))
    ready = Ready(("https://a",), "7", True, (("https://b", "https://c"), ("https://d",)), ((0, kept), (2, None)), 17)
    assert checkpoint_from(checkpoint_json(ready)) == ready
    old = '{"kind":"ready","urls":["https://a","https://b"],"endpoint_id":"7","flagged":false}'
    assert checkpoint_from(old) == Ready(("https://a", "https://b"), "7")


def test_a_failed_event_says_why() -> None:
    """The event of a failed job has an error with code, message and `retryable`, and no result."""
    error = {"code": "bad_key", "message": "Invalid Api Key", "retryable": False}
    data = event_object(RECORD, {"sequence": 1, "type": "edit.failed", "at": 1_003.0, "error": error}, link)["data"]
    assert (data["error"], data["result"], data["state"]) == (error, None, "failed")
    assert data["charges"] == {"certain": 0, "possible": 0, "amount": 0.0}


def test_a_private_event_holds_nothing_that_the_customer_wrote() -> None:
    """An event with `private=True` has neither prompt, address nor extra."""
    text = json.dumps(event_object(RECORD, ENTRY, link, private=True))
    assert "planted" not in text
    assert event_object(RECORD, ENTRY, link, private=True)["data"]["edit"] == {"steps": 20}


@pytest.mark.parametrize("kind", ["recovered", "adopted", "replayed"])
def test_events_that_put_a_job_back_leave_it_queued(kind: str) -> None:
    """After the events recovered, adopted and replayed, a job is `queued`, so the events have this state."""
    event = event_object(RECORD, {"sequence": 1, "type": f"edit.{kind}", "at": 1_003.0}, link)
    assert event["data"]["state"] == "queued"


def test_a_timeline_begins_with_queued() -> None:
    """`queued_event` makes the first event of a job from the job's record; its sequence is 0."""
    event = queued_event(replace(RECORD, started_at=None))
    assert (event["type"], event["data"]["sequence"], event["data"]["state"]) == ("edit.queued", 0, "queued")
    assert event["data"]["timings_s"] == {"queued": None, "endpoint": None, "total": 0.0}


def test_charges_are_certain_possible_or_none() -> None:
    """
    A paid answer is a certain and a possible charge. A lost answer is only a possible charge. A refusal or failure is
    no charge.
    """
    kinds = ["succeeded", "processing", "", "unknown", "refused", "failed"]
    charges = [Charge(number, 0.0, kind) for number, kind in enumerate(kinds)]
    assert charge_summary(charges, 0.5) == {"certain": 2, "possible": 4, "amount": 2.0}
    assert [charge.certain for charge in charges] == [True, True, False, False, False, False]


@given(st.integers(0, 2**41), st.integers(0, 2**41))
def test_ids_sort_by_time(one_ms: int, other_ms: int) -> None:
    """A later job has a greater id, and all job ids have the same length. No event id contains a dot."""
    with mock.patch("time.time_ns", side_effect=[one_ms * 1_000_000, other_ms * 1_000_000]):
        one, other = new_job_id(), new_job_id()
    assert (one < other) == (one_ms < other_ms) or one_ms == other_ms
    assert len(one) == len(other)
    assert "." not in event_id(one, 3)


def test_ids_do_not_repeat() -> None:
    """
    Ten thousand job ids in a row are all different. The id of a receiver depends only on its tenant and its address.
    """
    assert len({new_job_id() for _ in range(10_000)}) == 10_000
    assert receiver_id("a", "https://x.example") == receiver_id("a", "https://x.example")
    assert receiver_id("a", "https://x.example") != receiver_id("b", "https://x.example")


texts = st.text(max_size=20)
checkpoints = st.builds(Processing, texts, texts, st.floats(0, 1e6)) | st.builds(
    Ready, st.lists(texts, max_size=3).map(tuple), texts, st.booleans()
)


@given(checkpoints)
def test_a_checkpoint_survives_the_store(checkpoint: Processing | Ready) -> None:
    """Any checkpoint is read as it was written, and an empty text is read as None."""
    assert checkpoint_from(checkpoint_json(checkpoint)) == checkpoint
    assert checkpoint_from("") is None


specs = st.builds(
    JobSpec,
    tenant=texts,
    edit=st.dictionaries(texts, texts | st.integers() | st.floats(allow_nan=False), max_size=3),
    deadline_s=st.floats(1, 1e6),
    policy=st.dictionaries(st.sampled_from(["max_attempts", "max_charges"]), st.integers(1, 9)),
    receivers=st.lists(texts, max_size=2).map(tuple),
    events=st.lists(texts, max_size=2).map(tuple),
    callback=texts,
    priority=st.sampled_from(["high", "normal", "low"]),
    tags=st.dictionaries(texts, texts, max_size=2),
)


@given(specs, texts)
def test_a_spec_survives_the_store(spec: JobSpec, tenant: str) -> None:
    """Any spec is read as it was written; its policy has the default values for options that were not set."""
    named = replace(spec, tenant=f"t{tenant}", edit={"prompt": "a", **spec.edit})
    assert JobSpec.from_json(named.to_json()) == named
    policy = named.retry_policy(RetryPolicy(max_attempts=5, max_charges=2))
    assert policy.max_attempts == spec.policy.get("max_attempts", 5)


def test_a_claim_reads_what_the_scripts_wrote() -> None:
    """
    A first claim has no charges, checkpoint or attempts. A later claim has the charges, counters and deadline from
    Redis.
    """
    first = claim_from("ed_1", SPEC.to_json(), 50.0, {"created_at": "40.5", "fence": "1"})
    assert (first.number, first.charges, first.checkpoint, first.deadline_at) == (0, [], None, 3_640.5)
    charges = '[{"fence":1,"intent_at":41.5,"class":"unknown","answered_at":42.0},{"fence":2,"intent_at":43}]'
    later = {"created_at": "40.5", "fence": "3", "deadline_at": "99.5", "attempt": "2", "charges": charges}
    claim = claim_from("ed_1", SPEC.to_json(), 50.0, {**later, "cancel": "1", "forgiven": "1", "waits": "4"})
    assert claim.charges == charges_from(json.loads(charges)) == [Charge(1, 41.5, "unknown", 42.0), Charge(2, 43)]
    assert (claim.possible_charges, claim.cancelled, claim.waits, claim.deadline_at) == (1, True, 4, 99.5)


def test_a_record_of_a_job_that_was_never_dispatched() -> None:
    """A job without a state in Redis is read as `queued`, with the instant at which it was enqueued."""
    record = record_from("ed_1", SPEC.to_json(), "40.5", {})
    assert (record.state, record.created_at, record.charges, record.due_at) == ("queued", 40.5, (), None)


def test_instants_are_iso_8601_in_utc() -> None:
    """`iso` returns an instant in UTC with milliseconds and a Z."""
    assert iso(1_700_000_000.1234) == "2023-11-14T22:13:20.123Z"


def test_job_ids_of_one_process_sort_in_the_order_in_which_they_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids that one process makes within one instant sort in the order in which they were made."""
    monkeypatch.setattr(ids, "_made", count())
    made = [new_job_id() for _ in range(5_000)]
    assert made == sorted(made)
