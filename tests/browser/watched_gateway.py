"""
A gateway that reports what its process holds: `python -m tests.browser.watched_gateway`.

On SIGUSR1 the gateway prints one line with the numbers of `Holdings`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import sys
import threading
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from retouch.connections import Connections
from retouch_producer.gateway import dependencies
from retouch_producer.gateway.events.event_hub import EventHub
from retouch_producer.gateway.server import serve
from tests.process_watch import Spoken, eventually

MODULE = "tests.browser.watched_gateway"
_OPENING = "holds "


@dataclass(frozen=True, slots=True)
class Holdings:
    """
    The numbers that a gateway reports.

    `streams` counts the open streams of the console. `watchers` counts the requests that watch a job. `tasks` counts
    the tasks of the event loop. `blocks` counts the blocks of memory that Python has allocated.
    """

    streams: int
    watchers: int
    tasks: int
    threads: int
    blocks: int


def holdings(running: Spoken) -> Holdings:
    """Send SIGUSR1 to a running gateway, and return the numbers that it prints."""
    before = len(_lines(running))
    running.process.send_signal(signal.SIGUSR1)
    assert eventually(lambda: len(_lines(running)) > before, 30.0), "the gateway does not answer to SIGUSR1"
    return Holdings(**json.loads(_lines(running)[-1].removeprefix(_OPENING)))


def _lines(running: Spoken) -> list[str]:
    return [line for line in list(running.lines) if line.startswith(_OPENING)]


def _count(hub: EventHub) -> Holdings:
    reader = hub._reader
    return Holdings(
        streams=sum(map(len, hub._listeners.values())),
        watchers=sum(map(len, hub._watchers.values())),
        tasks=len(asyncio.all_tasks(reader.get_loop())) if reader else 0,
        threads=threading.active_count(),
        blocks=sys.getallocatedblocks(),
    )


class WatchedHub(EventHub):
    """An event hub that adds itself to `made`, so that the report finds the hub of this gateway."""

    made: ClassVar[list[EventHub]] = []

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections)
        self.made.append(self)


def _report(*_: Any) -> None:
    gc.collect()
    (hub,) = WatchedHub.made
    print(_OPENING + json.dumps(asdict(_count(hub))), flush=True)  # noqa: T201 - what it is for


if __name__ == "__main__":
    setattr(dependencies, "EventHub", WatchedHub)  # noqa: B010 - the gateway makes one hub, of the class it finds here
    signal.signal(signal.SIGUSR1, _report)
    serve()
