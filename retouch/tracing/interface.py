"""
The interface to traces. The classes here are used while traces are off, and record nothing. `otel.py` has those that
record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

from retouch.outcomes import Decision, Outcome
from retouch.store.deliveries import DeliveryClaim, Settlement
from retouch.store.jobs import EnqueueResult, NewJob
from retouch.store.records import Claim

EndpointCall = Literal["post", "poll", "download"]


class Span:
    """One span. Callers pass Retouch's objects; only `otel.py` decides which of their values become attributes."""

    def enqueued(self, results: Sequence[EnqueueResult]) -> None:
        """Add the results of an enqueue."""

    def decided(self, outcome: Outcome, decision: Decision) -> None:
        """Add the outcome of an attempt, and the decision that follows."""

    def answered(self, outcome: Outcome | None, status: int | None, size: int, trouble: str = "") -> None:
        """
        Add the answer to a call: its class, its status and the bytes of its body.

        `status` is None if there was no answer; `trouble` then is the kind of a `Trouble`.
        """

    def settled(self, settlement: Settlement) -> None:
        """Add the decision that follows a delivery attempt."""


class Tracing:
    """
    The methods that record traces. Those of this class record nothing: it is used while traces are off.

    In the class that records, each method that returns a context manager records its block as one span.
    """

    def incoming(self, headers: Mapping[str, str]) -> AbstractContextManager[None]:
        """Make the `traceparent` of a request's headers the parent of the spans in the block."""
        del headers
        return _NOTHING

    def enqueue(self, jobs: Sequence[NewJob]) -> AbstractContextManager[tuple[Sequence[NewJob], Span]]:
        """Trace an enqueue. The block gets the span, and the jobs to enqueue; the specs of the jobs name the span."""
        return nullcontext((jobs, _NO_SPAN))

    def attempt(self, claim: Claim) -> AbstractContextManager[Span]:
        """Trace an attempt. The span begins a trace of its own, and links to the span of the enqueue."""
        del claim
        return _UNTRACED

    def endpoint_call(self, call: EndpointCall, account: str = "") -> AbstractContextManager[Span]:
        """Trace a call of the endpoint, as a part of the attempt."""
        del call, account
        return _UNTRACED

    def delivery(self, claim: DeliveryClaim, trace: str) -> AbstractContextManager[Span]:
        """Trace a delivery attempt. The span links to the span of the enqueue, which `trace` names."""
        del claim, trace
        return _UNTRACED

    def headers(self) -> dict[str, str]:
        """
        Return the header `traceparent`: the server that gets it can continue the present trace. Without a span, return
        an empty dict.
        """
        return {}

    def close(self) -> None:
        """Export the spans that are left, for two seconds at most."""


_NOTHING = nullcontext()
_NO_SPAN = Span()
_UNTRACED = nullcontext(_NO_SPAN)
OFF = Tracing()
