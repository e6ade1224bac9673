"""Estimates when a waiting job starts and ends, from its position, the lane's limit and usual durations."""

from __future__ import annotations

from itertools import islice
from statistics import fmean

from retouch.connections import Connections
from retouch.store.queue_position import QueuePosition

USUAL_S = 5.0
"""
The assumed duration of an edit in seconds, for a tenant without finished edits. The endpoint's sample edit took 4.6 s.
"""
_SAMPLE = 20
_UNFORESEEABLE = ("paused", "backlog", "budget", "account")


def start_and_end(line: QueuePosition, usual_s: float) -> tuple[float, float] | None:
    """
    Return the estimated seconds until a job starts and until it ends. An edit is assumed to take `usual_s` seconds.

    Return None if the end of the wait is unknown, such as during a pause.
    """
    if line.binding in _UNFORESEEABLE:
        return None
    wait_s = 0.0 if line.binding == "none" else line.position / line.per_s(usual_s) + line.lane.breaker_open_s
    return wait_s, wait_s + usual_s


def usual_duration_s(connections: Connections, tenant: str) -> float:
    """Return the average duration in seconds of a tenant's latest edits, or `USUAL_S` if there are none."""
    records = connections.jobs.records(list(islice(connections.jobs.ids(tenant), _SAMPLE)))
    durations_s = [
        record.finished_at - record.started_at
        for record in records
        if record.images and record.finished_at and record.started_at
    ]
    # Never zero, since the rate of the lane is divided by it.
    return max(fmean(durations_s), 0.01) if durations_s else USUAL_S
