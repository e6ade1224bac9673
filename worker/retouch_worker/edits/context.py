"""The dependencies that edit attempts use: stores, endpoints, settings."""

from __future__ import annotations

from dataclasses import dataclass, field

from retouch.blobs import BlobStore
from retouch.egress.fair_limiter import FairLimiter, decoding_limiter
from retouch.policy import RetryPolicy
from retouch.publisher import Publisher
from retouch.settings import Settings
from retouch.store.audit import AuditLog
from retouch.store.jobs import JobStore
from retouch.tracing import OFF, Tracing
from retouch_worker.edits.endpoint import Endpoints
from retouch_worker.pulse import Pulse


@dataclass(frozen=True, slots=True)
class EditDependencies:
    """The stores, the endpoints and the settings that edit attempts use. There is one per worker process."""

    jobs: JobStore
    audit: AuditLog
    endpoints: Endpoints
    blobs: BlobStore
    publisher: Publisher
    pulse: Pulse
    settings: Settings
    policy: RetryPolicy
    tracing: Tracing = OFF
    decoding: FairLimiter = field(default_factory=decoding_limiter)
