"""The tables and numbers of `docs/webhooks.md` agree with the code."""

from __future__ import annotations

import json
import re

from retouch.egress.webhook import CONNECT_TIMEOUT_S, TIMEOUT_S
from retouch.egress.webhook_body import BODY_MOST_BYTES
from retouch.events import event_object
from retouch.states import EVENTS, FINAL_EVENTS
from retouch.store.records import TimelineEntry, record_from
from retouch.webhooks import TOLERANCE_S
from retouch_worker.deliveries.schedule import SCHEDULE_S
from tests.docs.pages import DOCS, blocks, table

PAGE = DOCS / "webhooks.md"


def test_the_schedule_is_the_workers() -> None:
    """The table has a row for each attempt, with the wait of the worker's schedule."""
    rows = table(PAGE, "attempt")
    assert [int(row["attempt"]) for row in rows] == list(range(1, len(SCHEDULE_S) + 2))
    assert [float(row["seconds"]) for row in rows] == [0.0, *SCHEDULE_S]


def test_every_event_is_listed() -> None:
    """The page lists every event of a job, and says that the final events are sent by default."""
    rows = table(PAGE, "event")
    assert {row["event"] for row in rows} == EVENTS
    assert {row["event"] for row in rows if row["sent by default"] == "yes"} == FINAL_EVENTS


def test_the_example_has_the_members_of_an_event() -> None:
    """The event on the page has exactly the members of a real event, at every level."""
    shown = json.loads(blocks(PAGE, "json")[0].code)
    spec = json.dumps({"edit": shown["data"]["edit"], "tenant": "default", "deadline_s": 60})
    facts = ("sha256", "width", "height", "bytes", "format", "warnings")
    image = {"name": "5f/5f.png", **{name: shown["data"]["result"][name] for name in facts}}
    entry: TimelineEntry = {"type": "edit.succeeded", "at": 1.0, "sequence": 2, "result": image}
    ours = event_object(record_from("ed_1", spec, "0", {}), entry, str)
    assert shape(shown) == shape(ours)


def shape(value: object) -> object:
    """
    Return the names of an object's members, at every level. `tags` is left out, since the caller chooses its members.
    """
    if not isinstance(value, dict):
        return None
    return {name: shape(inner) for name, inner in value.items() if name != "tags"}


def test_the_numbers_are_those_of_the_code() -> None:
    """The limits on the page equal the constants."""
    page = " ".join(PAGE.read_text().split())
    assert (CONNECT_TIMEOUT_S, TIMEOUT_S, BODY_MOST_BYTES, TOLERANCE_S) == (5.0, 15.0, 20_000, 300.0)
    assert "connecting may take 5 s, all of it 15 s" in page
    assert "at most 20,000 bytes" in page
    assert re.search(r"more than five minutes off", page)
