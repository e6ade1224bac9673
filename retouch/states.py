"""
The states of jobs and deliveries: what each state means, what ends it, and how long a record in a final state is kept.

A job goes `queued → running → (polling ⇄ running) → succeeded | failed | cancelled`, and may go `running → retrying →
queued`.

A delivery goes `queued → running → delivered | dead`, and may go `running → retrying → queued`.
"""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """The state of a job."""

    QUEUED = "queued"
    """The job is in the backlog, or it holds a slot and no worker has claimed it yet. The claim ends this state."""
    RUNNING = "running"
    """
    A worker holds the lease. The state ends when the worker settles the attempt, or when rescue finds that the lease
    has expired.
    """
    POLLING = "polling"
    """The endpoint is processing the job, which keeps its slot. Rescue sends a message when the next poll is due."""
    RETRYING = "retrying"
    """The job waits without a slot, in the timetable. Rescue puts it back into the backlog when it is due."""
    SUCCEEDED = "succeeded"
    """Final: the image is in our blob store, and the record has its name. The record is kept for `retention_s`."""
    FAILED = "failed"
    """
    Final: a dead letter with a code and a message. The record is kept for `retention_s`, and the job can be replayed
    until then.
    """
    CANCELLED = "cancelled"
    """
    Final: somebody cancelled the job; the record says `before_charge` or `after_charge`, and is kept for `retention_s`.
    """

    @property
    def is_final(self) -> bool:
        """Return whether the job has ended; only a replay by hand changes that."""
        return self in _FINAL


class DeliveryState(StrEnum):
    """The state of a delivery."""

    QUEUED = "queued"
    """The delivery waits for a slot, or it has one and no worker has claimed it yet."""
    RUNNING = "running"
    """A worker holds the lease and POSTs the event."""
    RETRYING = "retrying"
    """An attempt failed; the next one is in the timetable."""
    DELIVERED = "delivered"
    """Final: the receiver answered 2xx. The record is kept for 30 days."""
    DEAD = "dead"
    """
    Final: no attempt is left, or there is no receiver. The record is kept for 30 days, and the delivery can be
    redelivered while its job is on record.
    """


_FINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
FINAL_EVENTS = frozenset(f"edit.{state}" for state in _FINAL)
EVENTS = FINAL_EVENTS | {"edit.running", "edit.retrying", "edit.recovered", "edit.adopted", "edit.replayed"}
