"""How the console writes numbers, durations and instants."""

from __future__ import annotations

import time

import pytest

from retouch.store.records import Charge, JobRecord, JobSpec
from retouch_producer.gateway.console import wording
from retouch_producer.gateway.console.job_timeline import steps_of
from retouch_producer.gateway.console.money import Spent


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.2444, "0.24 s"),
        (4.6, "4.60 s"),
        (9.996, "10.0 s"),
        (42.04, "42.0 s"),
        (59.96, "1 min"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (7_500, "2 h 5 min"),
        (86_400, "1 d"),
        (273_600, "3 d 4 h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    """A duration is written with at most its two largest units, or with three digits if it is below a minute."""
    assert wording.duration(seconds) == text


def test_instants() -> None:
    """Past and future instants are written relative to now; None is "never"."""
    now = time.time()
    assert wording.ago(now) == "now"
    assert wording.ago(now - 90.5) == "1 min 30 s ago"
    assert wording.ago(now + 10.5) == "in 10 s"
    assert wording.ago(None) == "never"
    assert wording.instant(1_700_000_000.5) == "2023-11-14 22:13:20"
    assert wording.clock(1_700_000_000.5) == "22:13:20.500"


def test_words_and_money() -> None:
    """
    Numbers have the right plural and unit. A cost is written only if there is a price. Code and ids in a text are
    marked. A sentence has a capital and a full stop.
    """
    assert [wording.plural(number, "call") for number in (0, 1, 1_200)] == ["0 calls", "1 call", "1,200 calls"]
    assert wording.calls(2, 0.0125) == "2 calls · 0.03"
    assert wording.calls(1, 0) == "1 call"
    assert [wording.size(number) for number in (512, 281_000, 2_400_000)] == ["512 B", "281 kB", "2.4 MB"]
    assert list(wording.code_spans("run `retouch jobs` now")) == [
        (False, "run "),
        (True, "retouch jobs"),
        (False, " now"),
    ]
    receiver = "rc_" + "a" * 20
    spans = list(wording.linked_ids(f"receiver {receiver} of <b> fails"))
    assert spans == [("", "receiver "), (f"/console/receivers/{receiver}", receiver), ("", " of <b> fails")]
    assert wording.sentence("ask its owner") == "Ask its owner."


def test_a_bar_is_its_parts() -> None:
    """The parts of a bar are adjacent and fill the bar; without calls every part has width 0."""
    assert Spent(6, 2, 1, 1).parts == [
        ("useful", 6, 0.0, 60.0),
        ("repeated", 2, 60.0, 20.0),
        ("wasted", 1, 80.0, 10.0),
        ("unknown", 1, 90.0, 10.0),
    ]
    assert all(width == 0 for *_, width in Spent().parts)


def test_what_happened_in_one_millisecond_stands_in_order() -> None:
    """Steps with equal instants have this order: attempt, POST, answer, failure."""
    record = JobRecord(
        id="ed_1",
        spec=JobSpec("acme", {"prompt": "x"}, 60.0),
        state="retrying",
        created_at=1.0,
        started_at=2.0,
        finished_at=None,
        due_at=None,
        attempt=1,
        charges=(Charge(7, 2.0, "refused", 2.0),),
        error=None,
        images=(),
        cancelled="",
        cancel_requested=False,
        resumable=False,
    )
    titles = [
        step.title
        for step in steps_of(
            record,
            [
                {"sequence": 1, "type": "edit.running", "at": 2.0},
                {
                    "sequence": 2,
                    "type": "edit.retrying",
                    "at": 2.0,
                    "error": {"code": "spam_filter", "message": "wait", "retryable": True},
                    "delay_s": 31.0,
                },
            ],
            [],
        )
    ]
    assert titles == [
        "Enqueued",
        "Attempt began",
        "Intent to POST put on record",
        "POST answered: refused",
        "Attempt failed, another follows",
    ]
