"""Finds living workers of different versions. `retouch doctor` and the console show this finding."""

from __future__ import annotations

from collections import defaultdict

from retouch.store.worker_presence import WorkerPresence
from retouch_producer.findings import Finding, note

CHECK = "workers"
WORKERS_NAMED = 3


def version_findings(presence: WorkerPresence) -> list[Finding]:
    """Return a finding if the workers of a store have different versions; a worker without a version has one too."""
    names = defaultdict[str, list[str]](list)
    for worker in presence.workers:
        names[worker.version].append(worker.name)
    if len(names) < 2:
        return []
    versions = "; ".join(f"{version} ({_some(sorted(names[version]))})" for version in sorted(names))
    why = "an upgrade is under way or stopped half-way; two versions run together only if their scripts are compatible"
    do = "replace the workers of the older version; the changelog says which versions are compatible"
    return [note(CHECK, f"different versions run: {versions}", why, do)]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - WORKERS_NAMED} more" if len(names) > WORKERS_NAMED else ""
    return ", ".join(names[:WORKERS_NAMED]) + more
