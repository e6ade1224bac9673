"""`retouch watch`: prints events from the feed as they happen."""

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
    """
    Print past and future events of jobs until all have ended. Raises `UnknownJob`.

    Return exit code 0 if all jobs succeeded, 1 if a job did not, or 130 after Ctrl-C.
    """
    print_event = _event_printer(as_json)
    with open_context() as context:
        # The cursor is read before the past events, so that no event is missed in between.
        cursor, _ = context.news(None)
        following = dict.fromkeys(parsing.ids(ids), -1)
        known = {record.id for record in context.records(list(following))}
        if unknown := [job for job in following if job not in known]:
            raise UnknownJob(f"not on record: {', '.join(unknown)}; they never existed, or their retention is over")
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
    """
    Print the new events of a job. If the job has ended, move it from `following` to `ended`.

    `following` maps a job to the sequence number of its last printed event. `ended` maps a job to its final state.
    """
    events, is_final = context.events(job, following[job])
    for event in events:
        following[job] = event["data"]["sequence"]
        print_event(event)
    # A job may end between the two reads: then the feed reports its final event, which the next call prints.
    if events[-1]["type"] in FINAL_EVENTS if events else is_final:
        ended[job] = context.record(job).state
        del following[job]


def watch_all(*, as_json: bool) -> int:
    """
    Print all new events until Ctrl-C, and return exit code 0.

    At a terminal, show the lanes and the latest events instead, unless `as_json` is set.
    """
    with open_context() as context:
        try:
            if as_json or not sys.stdout.isatty():
                print_event = _event_printer(as_json)
                for event in events_of_all(context):
                    if event:
                        print_event(event)
            else:
                _show_live(context)
        # Ctrl-C is the usual way to end this command, so it is no failure.
        except KeyboardInterrupt:
            pass
    return 0


def events_of_all(context: CommandContext) -> Iterator[Event | None]:
    """
    Yield the events of all jobs as they happen. After each read of the feed, yield None, so that a display can refresh.
    """
    cursor, _ = context.news(None)
    while True:
        newest, jobs = context.news(cursor)
        page = context.queue.events(cursor) if jobs else []
        for _, event in page:
            yield event
        # A page may hold fewer events than the feed has: the next read continues after the last one.
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
            live.update(Group(_lanes(context), Text("\n".join(latest) or "no events yet; Ctrl-C exits")))


def _lanes(context: CommandContext) -> Table:
    from rich.table import Table

    table = Table("lane", "waiting", "in flight", "limit", "parked", "dead", "")
    for lane in LANES:
        numbers = context.queue.status(lane)
        cells = (numbers.waiting, numbers.held, numbers.limit, numbers.parked, numbers.dead)
        table.add_row(lane, *(f"{cell:,}" for cell in cells), "paused" if numbers.paused else "")
    return table
