"""
Imports redis-py as if the SDK of OpenTelemetry were not installed.

redis-py 8.1 imports the SDK, if it is installed, for a single annotation. That would cost each of our processes a third
of a second of CPU and 12 MB, even while traces are off. A module that may be the first to import redis-py imports it
from here.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from types import ModuleType

__all__ = ["redis"]

_SDK = "opentelemetry.sdk"


class _Hiding:
    """
    A finder of modules that hides the SDK from the thread that created the finder.

    Other threads may import the SDK at the same time, since a client imports redis-py only when it is first used.
    """

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None, /) -> None:  # noqa: ARG002 - the interface of a finder
        """Raise `ModuleNotFoundError` for the SDK in this thread; leave all other modules to the next finder."""
        if name.startswith(_SDK) and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"{name} is hidden while redis-py is imported", name=name)


_hiding = _Hiding()
# New lists: another thread may be walking the present one, and would skip a finder if the first one were removed.
sys.meta_path = [_hiding, *sys.meta_path]
try:
    import redis
finally:
    sys.meta_path = [finder for finder in sys.meta_path if finder is not _hiding]
