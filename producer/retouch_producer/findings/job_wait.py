"""Explains why a job waits: its position in the backlog, its estimated start, and the limit that causes the wait."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from retouch.connections import Connections
from retouch.events import iso
from retouch.json_types import JsonObject
from retouch.states import JobState
from retouch.store import keys
from retouch.store.jobs import PRIORITY_BOOST_S
from retouch.store.queue_position import Binding, queue_position
from retouch.store.records import JobRecord
from retouch_producer.findings.forecast import start_and_end, usual_duration_s

_BINDING: dict[Binding, str] = {
    "none": "Nothing holds it: it starts with the next sweep.",
    "paused": "The lane is paused by hand. It starts when somebody resumes it.",
    "breaker": "The endpoint is down and the breaker is open. Jobs wait and lose no attempt.",
    "budget": "The calls of the tenant's day are spent or promised. It starts after midnight UTC.",
    "account": "No account of the endpoint takes it: each is paused, draining, closed or served by no worker.",
    "backlog": "The tenant's backlog is full; this job is in it and keeps its place.",
    "tenant_in_flight": "The tenant has as many calls in flight as it may have.",
    "in_flight": "Every slot of the endpoint is taken.",
    "rate": "The rate limit of dispatches binds.",
}


@dataclass(frozen=True, slots=True)
class Wait:
    """
    The reason why an open job waits; `words` states it for people.

    `binding` names the limit that causes the wait. `place` is the job's position among the waiting jobs of all tenants,
    from 1. `starts_at` and `ends_at` are estimates in Unix seconds, or None if no estimate is possible.
    """

    words: str
    place: int | None = None
    binding: str = ""
    starts_at: float | None = None
    ends_at: float | None = None

    @property
    def document(self) -> JsonObject:
        """Return the reason as a JSON object."""
        return {
            "reason": self.words,
            "position": self.place,
            "binding": self.binding or None,
            "estimated_start_at": iso(self.starts_at) if self.starts_at else None,
            "estimated_end_at": iso(self.ends_at) if self.ends_at else None,
        }


def wait_of(record: JobRecord, connections: Connections) -> Wait | None:
    """Return why a job waits, or None if the job has ended."""
    match JobState(record.state):
        case JobState.QUEUED:
            return _in_line(record, connections)
        case JobState.RETRYING:
            return Wait("It waits out a backoff, without a slot.", starts_at=record.due_at)
        case JobState.POLLING:
            return Wait("The endpoint works on it; it is paid, and the answer is looked up until it is there.")
        case JobState.RUNNING:
            return Wait("A worker holds it.")
        case _:
            return None


def _in_line(record: JobRecord, connections: Connections) -> Wait:
    tenant = record.spec.tenant
    rank = connections.client.zrank(keys.lane("edits", f"backlog:{tenant}"), record.id)
    if rank is None:
        return Wait("It has a slot. The next free worker takes it within a second or two.")
    line = queue_position(connections.client, tenant, PRIORITY_BOOST_S[record.spec.priority])
    # The job is in line already, so jobs that were enqueued after it do not count.
    line = replace(line, ahead=rank, no_room="" if line.no_room == "backlog" else line.no_room)
    delays = start_and_end(line, usual_duration_s(connections, tenant))
    starts_at, ends_at = (time.time() + delays[0], time.time() + delays[1]) if delays else (None, None)
    return Wait(_BINDING[line.binding], line.position, line.binding, starts_at, ends_at)
