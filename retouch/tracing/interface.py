"""The interface to traces, as it is while they are off: each method returns at once. `otel.py` has the other one."""

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
    """One span. It takes values of ours, and `otel.py` alone decides what of them is an attribute."""

    def enqueued(self, results: Sequence[EnqueueResult]) -> None:
        """Add what became of the requests of an enqueue."""

    def decided(self, outcome: Outcome, decision: Decision) -> None:
        """Add what an attempt saw, and what follows."""

    def answered(self, outcome: Outcome | None, status: int | None, size: int, trouble: str = "") -> None:
        """
        Add the answer to a call: its class, its status and the bytes of its body.

        `status` is None if there was no answer; `trouble` then is the kind of a `Trouble`.
        """

    def settled(self, settlement: Settlement) -> None:
        """Add what follows a delivery attempt."""


class Tracing:
    """Traces that are off. What returns a context manager traces the block as one span."""

    def incoming(self, headers: Mapping[str, str]) -> AbstractContextManager[None]:
        """Make the `traceparent` of a request's headers the parent of the spans in the block."""
        del headers
        return _NOTHING

    def enqueue(self, jobs: Sequence[NewJob]) -> AbstractContextManager[tuple[Sequence[NewJob], Span]]:
        """Trace an enqueue. The block gets the jobs to enqueue, whose specs name this span, and the span."""
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
        """Trace a delivery attempt; `trace` is that of its job's spec. It links to the enqueue, as `attempt` does."""
        del claim, trace
        return _UNTRACED

    def headers(self) -> dict[str, str]:
        """Return the header `traceparent` that makes the present span the parent of what a peer does, or none."""
        return {}

    def close(self) -> None:
        """Export what is left, for two seconds at most."""


_NOTHING = nullcontext()
_NO_SPAN = Span()
_UNTRACED = nullcontext(_NO_SPAN)
OFF = Tracing()
