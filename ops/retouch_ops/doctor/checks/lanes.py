"""Checks the lanes for a forgotten pause, jobs that wait for long, dead letters, and receivers that fail."""

from __future__ import annotations

import redis

from retouch.settings import Settings
from retouch.store.redis_client import connect
from retouch_producer.findings import Finding, good
from retouch_producer.findings.lanes import CHECK, lane_findings


def check_lanes(settings: Settings) -> list[Finding]:
    """
    Return findings on both lanes.

    If Redis does not answer, return an empty list, since the check of Redis reports that fault.
    """
    client = connect(settings)
    try:
        findings = lane_findings(client)
    except (redis.RedisError, OSError):
        return []
    finally:
        client.close()
    return findings or [good(CHECK, "none is paused, nothing waits for long, nothing gave up")]
