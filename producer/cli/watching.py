"""`retouch watch`: events as they come, from the feed."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from producer.cli import words
from producer.cli.desk import Desk, open_desk
from producer.cli.shown_job import event_line
from retouch.errors import UnknownJob
from retouch.events import Event, event_object, queued_event
from retouch.feed import last_cursor, next_page
from retouch.states import JobState
from retouch.store.lanes import LANES

_LATEST = 15
_WAIT_S = 0.5


def watch_jobs(given: Sequence[str], *, as_json: bool) -> int:
    """Print the events of these jobs, past and to come, until all have ended; 1 when one did not succeed."""
    tell = _teller(as_json)
    with open_desk() as desk:
        cursor = last_cursor(desk.connections.client)
        following = dict.fromkeys(words.ids(given), 0)
        if unknown := [job for job in following if desk.connections.jobs.record(job) is None]:
            raise UnknownJob(f"not on record: {', '.join(unknown)}; they never were, or their retention is over")
        ended: dict[str, str] = {}
        try:
            for job in following:
                tell(queued_event(desk.record(job), desk.settings.price_per_call))
            while True:
                for job in list(following):
                    _catch_up(desk, job, following, ended, tell)
                if not following:
                    break
                cursor = _until_something(desk, cursor, following)
        except KeyboardInterrupt:
            return 130
    return 0 if set(ended.values()) == {JobState.SUCCEEDED} else 1


def _catch_up(
    desk: Desk, job: str, following: dict[str, int], ended: dict[str, str], tell: Callable[[Event], None]
) -> None:
    """Tell what happened to a job since it was last looked at, and let go of it when it has ended."""
    record = desk.record(job)
    for entry in desk.connections.jobs.timeline(job, following[job]):
        following[job] = int(str(entry["sequence"]))
        tell(event_object(record, entry, desk.link, desk.settings.price_per_call))
    if JobState(record.state).is_final:
        ended[job] = record.state
        del following[job]


def _until_something(desk: Desk, cursor: str, following: dict[str, int]) -> str:
    while True:
        page = next_page(desk.connections.client, cursor)
        cursor = page[-1].cursor if page else cursor
        if any(entry.job in following for entry in page):
            return cursor


def watch_all(*, as_json: bool) -> int:
    """Print all events from now on, or at a terminal the lanes and the latest events, until Ctrl-C."""
    with open_desk() as desk:
        try:
            if as_json or not sys.stdout.isatty():
                tell = _teller(as_json)
                for event in _events(desk):
                    if event:
                        tell(event)
            else:
                _show_live(desk)
        except KeyboardInterrupt:
            pass
    return 0


def _events(desk: Desk) -> Iterator[Event | None]:
    """Give events as they come, and None whenever a while has passed without one."""
    cursor = last_cursor(desk.connections.client)
    while True:
        page = next_page(desk.connections.client, cursor, _WAIT_S)
        for _, event in desk.queue.events(cursor, limit=len(page)) if page else ():
            yield event
        cursor = page[-1].cursor if page else cursor
        yield None


def _teller(as_json: bool) -> Callable[[Event], None]:
    def tell(event: Event) -> None:
        print(json.dumps(event) if as_json else f"{event['data']['job_id']}  {event_line(event)}", flush=True)

    return tell


def _show_live(desk: Desk) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    latest: deque[str] = deque(maxlen=_LATEST)
    with Live(refresh_per_second=4) as live:
        for event in _events(desk):
            if event:
                latest.append(f"{event['data']['job_id']}  {event_line(event)}")
                continue
            live.update(Group(_lanes(desk), Text("\n".join(latest) or "no event yet; Ctrl-C leaves")))


def _lanes(desk: Desk) -> Any:
    from rich.table import Table

    table = Table("lane", "waiting", "in flight", "limit", "parked", "dead", "")
    for lane in LANES:
        n = desk.queue.status(lane)
        cells = (n.waiting, n.held, n.limit, n.parked, n.dead)
        table.add_row(lane, *(f"{cell:,}" for cell in cells), "paused" if n.paused else "")
    return table
