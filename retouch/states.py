"""
The states of jobs and deliveries: what each means, what ends it, how long it is kept.

Jobs. `queued → running → (polling ⇄ running) → succeeded | failed | cancelled`, and `running → retrying → queued`.
Deliveries. `queued → running → delivered | dead`, and `running → retrying → queued`.
"""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """The state of a job."""

    QUEUED = "queued"
    """It is in the backlog, or dispatched (it holds a slot) and not claimed yet. It ends with a worker's claim."""
    RUNNING = "running"
    """A worker holds the lease. It ends when the worker settles the attempt, or by rescue after the lease expired."""
    POLLING = "polling"
    """The endpoint is processing it. It keeps its slot, and rescue sends a message when the next poll is due."""
    RETRYING = "retrying"
    """It waits without a slot, in the timetable. Rescue puts it back into the backlog when it is due."""
    SUCCEEDED = "succeeded"
    """Final: the image is in our blob store, and the record has its name. Kept for `retention_s`."""
    FAILED = "failed"
    """Final: a dead letter with a code and a message. It can be replayed while it is kept, for `retention_s`."""
    CANCELLED = "cancelled"
    """Final: cancelled, `before_charge` or `after_charge` by its record. Kept for `retention_s`."""

    @property
    def is_final(self) -> bool:
        """Whether the job is over; only a replay by hand changes it."""
        return self in _FINAL


class DeliveryState(StrEnum):
    """The state of a delivery."""

    QUEUED = "queued"
    """It waits for a slot, or it has one and is not claimed yet."""
    RUNNING = "running"
    """A worker holds the lease and POSTs the event."""
    RETRYING = "retrying"
    """An attempt failed; the next one is in the timetable, when the schedule says."""
    DELIVERED = "delivered"
    """Final: the receiver answered 2xx. Kept for 30 days."""
    DEAD = "dead"
    """Final: out of attempts, or without a receiver. Kept for 30 days; it can be redelivered while its job is kept."""


_FINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
FINAL_EVENTS = frozenset(f"edit.{state}" for state in _FINAL)
EVENTS = FINAL_EVENTS | {"edit.running", "edit.retrying", "edit.recovered", "edit.adopted", "edit.replayed"}
