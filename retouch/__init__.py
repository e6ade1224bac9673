"""
Retouch: a durable, money-safe queue in front of a paid image-editing endpoint.

What a backend needs is here; nothing of it imports an HTTP library, an image library or a web framework.
"""

from retouch.client import EditQueue
from retouch.edit import Edit
from retouch.errors import (
    EditCancelled,
    EditFailed,
    IdempotencyConflict,
    InvalidEdit,
    ResultTimeout,
    RetouchError,
    SettingsError,
    StoreUnavailable,
    UnknownJob,
)
from retouch.handles import EditResult, Job
from retouch.settings import Settings
from retouch.states import DeliveryState, JobState
from retouch.webhooks import WebhookNotVerified, verify_webhook

__all__ = [
    "DeliveryState",
    "Edit",
    "EditCancelled",
    "EditFailed",
    "EditQueue",
    "EditResult",
    "IdempotencyConflict",
    "InvalidEdit",
    "Job",
    "JobState",
    "ResultTimeout",
    "RetouchError",
    "Settings",
    "SettingsError",
    "StoreUnavailable",
    "UnknownJob",
    "WebhookNotVerified",
    "verify_webhook",
]
