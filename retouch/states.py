"""
The states of a job and of a delivery: what each means, who moves it, how long it is kept.

Jobs. `queued → running → (polling ⇄ running) → succeeded | failed | cancelled`, and `running → retrying → queued`.
Deliveries. `queued → running → delivered | dead`, and `running → retrying → queued`.
"""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """Where a job is in its life."""

    QUEUED = "queued"
    """In the backlog, or dispatched (it holds a slot) and not yet claimed. A worker's claim moves it on."""
    RUNNING = "running"
    """A worker holds the lease. It ends by the worker's settlement, or by rescue when the lease expires."""
    POLLING = "polling"
    """The endpoint said processing; it keeps its slot, and rescue calls for the next look when that is due."""
    RETRYING = "retrying"
    """Waits out a backoff in the timetable, without a slot. Rescue puts it back into the backlog when due."""
    SUCCEEDED = "succeeded"
    """Final: the bytes are in our blob store and the record says where. Kept for `retention_s`."""
    FAILED = "failed"
    """Final: a dead letter with a code and a message; can be replayed while it is kept, `retention_s`."""
    CANCELLED = "cancelled"
    """Final: asked for. The record says `before_charge` or `after_charge`. Kept for `retention_s`."""

    @property
    def is_final(self) -> bool:
        """True when nothing moves the job any more but a replay by hand."""
        return self in _FINAL


class DeliveryState(StrEnum):
    """Where a delivery is in its life."""

    QUEUED = "queued"
    """Waits for a slot of its receiver, or for the worker that was called for it."""
    RUNNING = "running"
    """A worker holds the lease and POSTs the event."""
    RETRYING = "retrying"
    """The attempt failed; the next one is in the timetable, by the schedule."""
    DELIVERED = "delivered"
    """Final: the receiver answered 2xx. Kept for 30 days."""
    DEAD = "dead"
    """Final: out of attempts, or the receiver is gone. Kept for 30 days; redeliverable while its job is kept."""


_FINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
FINAL_EVENTS = frozenset(f"edit.{state}" for state in _FINAL)
EVENTS = FINAL_EVENTS | {"edit.running", "edit.retrying", "edit.recovered", "edit.adopted", "edit.replayed"}
