"""Runs the checks of `retouch doctor`, and prints the findings."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict

from retouch.errors import RetouchError
from retouch.settings import Settings
from retouch_ops.doctor.checks.accounts import check_accounts
from retouch_ops.doctor.checks.endpoint import check_endpoint
from retouch_ops.doctor.checks.lanes import check_lanes
from retouch_ops.doctor.checks.redis import check_redis
from retouch_ops.doctor.checks.settings import check_names, check_settings, load_settings
from retouch_ops.doctor.checks.store import check_store
from retouch_ops.doctor.checks.workers import check_workers
from retouch_producer.findings import Finding, as_lines


class UnknownCheck(RetouchError):
    """A name after `--only` is not the name of a check."""

    is_usage_error = True


def examine(*, as_json: bool, only: Sequence[str], expected_workers: Sequence[str]) -> bool:
    """
    Run the checks named in `only`, or all checks, and print the findings. Return False if a finding is bad, else True.
    """
    findings = run_checks(only, expected_workers)
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        print("\n".join(as_lines(findings)))
    return all(finding.level != "bad" for finding in findings)


def run_checks(only: Sequence[str] = (), expected_workers: Sequence[str] = ()) -> list[Finding]:
    """
    Return the findings of the checks named in `only`, or of all checks. Raises `UnknownCheck` for an unknown name.

    Every check needs the settings. If the settings are wrong, return only the findings about them.
    """
    checks: dict[str, Callable[[Settings], list[Finding]]] = {
        "settings": check_settings,
        "redis": check_redis,
        "store": check_store,
        "endpoint": check_endpoint,
        "accounts": check_accounts,
        "workers": lambda known: check_workers(known, expected_workers),
        "lanes": check_lanes,
    }
    if unknown := set(only) - checks.keys():
        raise UnknownCheck(f"--only: expected some of {', '.join(checks)}, got {', '.join(sorted(unknown))!r}")
    settings, faults = load_settings()
    if settings is None:
        return faults + check_names()
    return [finding for name, check in checks.items() if not only or name in only for finding in check(settings)]
