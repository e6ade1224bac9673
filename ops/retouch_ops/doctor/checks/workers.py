"""Checks that workers answer through the broker, that each lane is served, and that all have the same version."""

from __future__ import annotations

from collections.abc import Sequence

import redis

from retouch.broker import make_app
from retouch.publisher import lane_of
from retouch.settings import Settings
from retouch.store.redis_client import connect
from retouch.store.worker_presence import worker_presence
from retouch_ops.worker_command import LANES
from retouch_producer.findings import Finding, bad, good
from retouch_producer.findings.workers import CHECK, version_findings

TIMEOUT_S = 2.0


def check_workers(settings: Settings, expected: Sequence[str] = ()) -> list[Finding]:
    """
    Return a finding for each lane, which names the workers that serve the lane, and one if their versions differ.

    If `expected` has names of workers (`edits-1@host`), return a finding for each name instead. Then the check ends
    when all these workers have answered, or after 2 s.
    """
    try:
        with make_app(settings) as app:
            app.conf.broker_transport_options |= {"max_retries": 0}
            asked = app.control.inspect(
                destination=list(expected) or None, timeout=TIMEOUT_S, limit=len(expected) or None
            )
            answers = asked.active_queues() or {}
    except Exception as error:  # noqa: BLE001 - kombu raises a class of its own for each way to lose a broker
        why, do = "messages cannot be sent; jobs are kept in the store", "see the findings on redis"
        return [bad(CHECK, f"the broker does not answer ({type(error).__name__})", why, do)]
    if expected:
        return [_present(name, answers) for name in expected]
    return [*(_lane(lane, answers) for lane in LANES), *_versions(settings)]


def _versions(settings: Settings) -> list[Finding]:
    """Return what heartbeats in the store say; nothing if Redis does not answer, as the check of Redis reports that."""
    client = connect(settings)
    try:
        return version_findings(worker_presence(client))
    except (redis.RedisError, OSError):
        return []
    finally:
        client.close()


def _present(name: str, answers: dict[str, list[dict[str, str]]]) -> Finding:
    if name in answers:
        return good(CHECK, f"{name} answers")
    why = "its jobs go on elsewhere when their leases expire"
    return bad(CHECK, f"{name} does not answer within {TIMEOUT_S:g} s", why, "read its log; restart it")


def _lane(lane: str, answers: dict[str, list[dict[str, str]]]) -> Finding:
    names = sorted(name for name, queues in answers.items() if lane in {lane_of(queue["name"]) for queue in queues})
    if names:
        return good(CHECK, f"lane {lane} is served by {', '.join(names)}")
    why = {"edits": "jobs are kept and wait", "deliveries": "events are kept and no receiver hears of them"}[lane]
    return bad(CHECK, f"nobody serves lane {lane}", why, f"start `retouch worker --lanes {lane}`")
