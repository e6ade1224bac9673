"""
The exceptions that `retouch` raises to its callers. Each message says what happened, what follows and what to do.

Messages contain ids and numbers, and never a prompt, a customer's URL, a key or a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class RetouchError(Exception):
    """The base class of all errors that Retouch raises on purpose."""


class SettingsError(RetouchError):
    """
    One or more settings are wrong; nothing was started.

    `faults` has one line for each wrong setting: the name of the variable, and what was expected.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = list(faults)
        super().__init__("settings are wrong, nothing was started:\n  " + "\n  ".join(self.faults))


class InvalidEdit(RetouchError, ValueError):
    """
    A request is invalid: nothing was enqueued, nothing was charged.

    `faults` is a list of (field, message) pairs; a message has the value and the range that was expected.
    """

    def __init__(self, faults: Sequence[tuple[str, str]]) -> None:
        self.faults = list(faults)
        super().__init__("; ".join(f"{field}: {message}" for field, message in self.faults))


class QueryFault(NamedTuple):
    """A fault in one term of a query. `at` is the term's position in the query, from 1; 0 means no position."""

    term: str
    at: int
    message: str

    def __str__(self) -> str:
        where = f"at {self.at}, {self.term!r}" if self.at else self.term or "query"
        return f"{where}: {self.message}"


class InvalidQuery(RetouchError, ValueError):
    """A query over jobs cannot be read; nothing was looked up or changed. `faults` names each wrong term."""

    def __init__(self, faults: Sequence[QueryFault]) -> None:
        self.faults = list(faults)
        super().__init__("the query is wrong: " + "; ".join(str(fault) for fault in self.faults))


class IdempotencyConflict(RetouchError):
    """An idempotency key was used before for another request; nothing was enqueued. Use a new key for a new request."""


class QueueFull(RetouchError):
    """
    A tenant has no room for a job, new or replayed. That job was not enqueued, and nothing was charged.

    `reason` is `backlog`, `budget` or `requests`. `backlog`: too many jobs of the tenant wait for a slot or for their
    next attempt. `budget`: the tenant's calls of today are spent or reserved. `requests`: too many requests of the
    tenant are at the gateway at once. Try again after `retry_after_s` seconds. If several edits were enqueued together,
    the edits that had room are enqueued.
    """

    def __init__(self, tenant: str, reason: str, refused: int, retry_after_s: float) -> None:
        self.tenant, self.reason, self.refused, self.retry_after_s = tenant, reason, refused, retry_after_s
        super().__init__(
            f"tenant {tenant} has no room ({reason}) for {refused} of the jobs; they were not enqueued. "
            f"Try again in {retry_after_s:.0f} s."
        )


class StoreUnavailable(RetouchError):
    """
    Redis or the gateway did not answer in time, or Redis refuses writes for a while. The message says which, and why.

    If there was no answer, the last command may have been carried out. If Redis refused the command, it was not carried
    out. Enqueueing again with the same idempotency key is safe.
    """


class Unauthorized(RetouchError):
    """The gateway does not know this API key, or the key's role does not permit the call; nothing was done."""


class UnknownJob(RetouchError, LookupError):
    """No job with this id is on record: it never existed, or its retention is over."""


class EditFailed(RetouchError):
    """
    The job ended without an image.

    `code` never changes its meaning; `message` is for people, in the endpoint's own words if it gave any. `retryable`
    is true if a replay may help; `charges` is how many POSTs may have been billed.
    """

    def __init__(self, job_id: str, code: str, message: str, retryable: bool, charges: int) -> None:
        self.job_id, self.code, self.message = job_id, code, message
        self.retryable, self.charges = retryable, charges
        super().__init__(f"job {job_id} failed: {code}: {message} (possible charges: {charges})")


class EditCancelled(RetouchError):
    """The job was cancelled; `when` is `before_charge` or `after_charge`."""

    def __init__(self, job_id: str, when: str) -> None:
        self.job_id, self.when = job_id, when
        super().__init__(f"job {job_id} was cancelled {when.replace('_', ' ')}")


class ResultTimeout(RetouchError, TimeoutError):
    """The job has not ended within `timeout_s` seconds. The job goes on, and `result()` may be called again."""

    def __init__(self, job_id: str, state: str, timeout_s: float) -> None:
        self.job_id, self.state, self.timeout_s = job_id, state, timeout_s
        super().__init__(f"job {job_id} is still {state} after {timeout_s:g} s; it goes on; call result() again")
