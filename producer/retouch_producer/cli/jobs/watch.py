"""`retouch watch`: events as they come, from the feed."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from retouch.errors import UnknownJob
from retouch.events import Event
from retouch.states import FINAL_EVENTS, JobState
from retouch.store.lanes import LANES
from retouch_producer.cli import parsing
from retouch_producer.cli.context import CommandContext, open_context
from retouch_producer.cli.jobs.show import event_line

if TYPE_CHECKING:
    from rich.table import Table

_LATEST = 15
PrintEvent = Callable[[Event], None]


def watch_jobs(ids: Sequence[str], *, as_json: bool) -> int:
    """Print the events of these jobs, past and to come, until all have ended; 1 when one did not succeed."""
    print_event = _event_printer(as_json)
    with open_context() as context:
        cursor, _ = context.news(None)
        following = dict.fromkeys(parsing.ids(ids), -1)
        known = {record.id for record in context.records(list(following))}
        if unknown := [job for job in following if job not in known]:
            raise UnknownJob(f"not on record: {', '.join(unknown)}; they never were, or their retention is over")
        ended: dict[str, str] = {}
        news = set(following)
        try:
            while following:
                for job in [job for job in following if job in news]:
                    _catch_up(context, job, following, ended, print_event)
                if following:
                    cursor, news = context.news(cursor)
        except KeyboardInterrupt:
            return 130
    return 0 if set(ended.values()) == {JobState.SUCCEEDED} else 1


def _catch_up(
    context: CommandContext, job: str, following: dict[str, int], ended: dict[str, str], print_event: PrintEvent
) -> None:
    """Tell what happened to a job since it was last looked at, and let go of it when it has ended."""
    events, is_final = context.events(job, following[job])
    for event in events:
        following[job] = event["data"]["sequence"]
        print_event(event)
    # An end that came between the two reads is not among these events; there will be news of it.
    if events[-1]["type"] in FINAL_EVENTS if events else is_final:
        ended[job] = context.record(job).state
        del following[job]


def watch_all(*, as_json: bool) -> int:
    """Print all events from now on, or at a terminal the lanes and the latest events, until Ctrl-C."""
    with open_context() as context:
        try:
            if as_json or not sys.stdout.isatty():
                print_event = _event_printer(as_json)
                for event in events_of_all(context):
                    if event:
                        print_event(event)
            else:
                _show_live(context)
        except KeyboardInterrupt:
            pass
    return 0


def events_of_all(context: CommandContext) -> Iterator[Event | None]:
    """Give events as they come, and None whenever a while has passed without one."""
    cursor, _ = context.news(None)
    while True:
        newest, jobs = context.news(cursor)
        page = context.queue.events(cursor) if jobs else []
        for _, event in page:
            yield event
        cursor = page[-1][0] if page else newest
        yield None


def _event_printer(as_json: bool) -> PrintEvent:
    def print_event(event: Event) -> None:
        print(json.dumps(event) if as_json else f"{event['data']['job_id']}  {event_line(event)}", flush=True)

    return print_event


def _show_live(context: CommandContext) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    latest: deque[str] = deque(maxlen=_LATEST)
    with Live(refresh_per_second=4) as live:
        for event in events_of_all(context):
            if event:
                latest.append(f"{event['data']['job_id']}  {event_line(event)}")
                continue
            live.update(Group(_lanes(context), Text("\n".join(latest) or "no event yet; Ctrl-C leaves")))


def _lanes(context: CommandContext) -> Table:
    from rich.table import Table

    table = Table("lane", "waiting", "in flight", "limit", "parked", "dead", "")
    for lane in LANES:
        numbers = context.queue.status(lane)
        cells = (numbers.waiting, numbers.held, numbers.limit, numbers.parked, numbers.dead)
        table.add_row(lane, *(f"{cell:,}" for cell in cells), "paused" if numbers.paused else "")
    return table
