"""
Imports redis-py as if the SDK of OpenTelemetry were not installed.

redis-py 8.1 imports that SDK for one annotation, if the SDK is installed. That would cost each process of ours a third
of a second of CPU and 12 MB, whether traces are on or off. Modules that may be the first to need redis-py import it
here.
"""

from __future__ import annotations

import sys
import threading

__all__ = ["redis"]

_SDK = "opentelemetry.sdk.metrics"

# Another thread may be about to import the SDK for good reason, and would not find it.
_hides = _SDK not in sys.modules and threading.active_count() == 1
if _hides:
    sys.modules[_SDK] = None  # type: ignore[assignment]  # the documented way to make an import fail
try:
    import redis
finally:
    if _hides:
        del sys.modules[_SDK]
