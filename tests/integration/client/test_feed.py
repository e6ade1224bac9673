"""Tests of the feed of events, read from a real server."""

from __future__ import annotations

import threading
from typing import Any

from retouch import Edit, EditQueue
from retouch.feed import last_cursor, next_page
from tests.process_watch import eventually


def test_a_queue_closed_under_its_reader_leaves_no_trace(queue: EditQueue) -> None:
    """If the connections are closed while the feed's reader waits, the reader ends without an exception."""
    faults: list[object] = []
    before, threading.excepthook = threading.excepthook, faults.append
    try:
        job = queue.enqueue(Edit(prompt="x", init_image="https://example.com/a.png"))
        assert next(job.events())["type"] == "edit.queued"
        queue.close()
        assert eventually(lambda: not any(thread.name == "retouch-feed" for thread in threading.enumerate()))
    finally:
        threading.excepthook = before
    assert faults == []


def test_the_feed_is_waited_on_page_by_page(queue: EditQueue, client: Any) -> None:
    """`next_page` returns the events after a cursor, or an empty page if no event comes in time."""
    cursor = last_cursor(client)
    assert next_page(client, cursor, 0.01) == []
    job = queue.enqueue(Edit(prompt="x", init_image="https://example.com/a.png"))
    job.cancel()
    page = next_page(client, cursor, 0.01)
    assert [(entry.job, entry.type) for entry in page] == [(job.id, "edit.cancelled")]
    assert next_page(client, page[-1].cursor, 0.01) == []
