"""
Retouch: a durable, money-safe queue in front of a paid image-editing endpoint.

This is what a backend imports. None of it loads an HTTP library, an image library or a web framework. Each name is
imported when it is first used: a process that only verifies webhooks does not load redis-py.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
    from retouch.async_client import AsyncEditQueue
    from retouch.async_handles import AsyncEditResult, AsyncJob
    from retouch.client import EditQueue
    from retouch.edit import Edit
    from retouch.errors import (
        EditCancelled,
        EditFailed,
        IdempotencyConflict,
        InvalidEdit,
        InvalidQuery,
        QueueFull,
        ResultTimeout,
        RetouchError,
        SettingsError,
        StoreUnavailable,
        Unauthorized,
        UnknownJob,
    )
    from retouch.handles import EditResult, Job
    from retouch.options import EventName, JobOptions, Priority, StateName
    from retouch.settings import Settings
    from retouch.states import DeliveryState, JobState
    from retouch.webhooks import WebhookNotVerified, verify_webhook

_HOMES = {
    "async_client": ("AsyncEditQueue",),
    "async_handles": ("AsyncEditResult", "AsyncJob"),
    "client": ("EditQueue",),
    "edit": ("Edit",),
    "errors": (
        "EditCancelled",
        "EditFailed",
        "IdempotencyConflict",
        "InvalidEdit",
        "InvalidQuery",
        "QueueFull",
        "ResultTimeout",
        "RetouchError",
        "SettingsError",
        "StoreUnavailable",
        "Unauthorized",
        "UnknownJob",
    ),
    "handles": ("EditResult", "Job"),
    "options": ("EventName", "JobOptions", "Priority", "StateName"),
    "settings": ("Settings",),
    "states": ("DeliveryState", "JobState"),
    "webhooks": ("WebhookNotVerified", "verify_webhook"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AsyncEditQueue",
    "AsyncEditResult",
    "AsyncJob",
    "DeliveryState",
    "Edit",
    "EditCancelled",
    "EditFailed",
    "EditQueue",
    "EditResult",
    "EventName",
    "IdempotencyConflict",
    "InvalidEdit",
    "InvalidQuery",
    "Job",
    "JobOptions",
    "JobState",
    "Priority",
    "QueueFull",
    "ResultTimeout",
    "RetouchError",
    "Settings",
    "SettingsError",
    "StateName",
    "StoreUnavailable",
    "Unauthorized",
    "UnknownJob",
    "WebhookNotVerified",
    "__version__",
    "verify_webhook",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        # Imported here, since it costs more than the rest of `import retouch`.
        from importlib.metadata import version

        return version("retouch")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'retouch' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"retouch.{_HOME_OF[name]}"), name)
    return value


def __dir__() -> list[str]:
    return __all__
