"""The lanes: not paused and forgotten, no old backlog, no dead letters that nobody looked at, receivers that answer."""

from __future__ import annotations

import redis

from retouch.settings import Settings
from retouch.store.redis_client import connect
from retouch_producer.findings import Finding, good
from retouch_producer.findings.lanes import CHECK, lane_findings


def check_lanes(settings: Settings) -> list[Finding]:
    """Look at what waits, what gave up and what fails; nothing where Redis does not answer, which its check reports."""
    client = connect(settings)
    try:
        findings = lane_findings(client)
    except (redis.RedisError, OSError):
        return []
    finally:
        client.close()
    return findings or [good(CHECK, "none is paused, nothing waits for long, nothing gave up")]
