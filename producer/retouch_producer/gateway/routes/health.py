"""`/healthz` and `/readyz`: the probes of load balancers and orchestrators."""

from __future__ import annotations

import redis
from fastapi import APIRouter

from retouch.store.redis_client import connect
from retouch_producer.gateway.dependencies import Injected
from retouch_producer.gateway.http.errors import STORE_WAIT_S, ProblemError, problem_responses

router = APIRouter(tags=["health"])


@router.get("/healthz", operation_id="is_alive")
def healthz() -> dict[str, str]:
    """Answer 200 while this process runs."""
    return {"status": "ok"}


@router.get("/readyz", operation_id="is_ready", responses=problem_responses(503))
def readyz(dependencies: Injected) -> dict[str, str]:
    """Answer 200 while Redis answers, else 503."""
    # A new connection without retries: a probe must not wait for what a request would wait for.
    client = connect(dependencies.settings, tries=0)
    try:
        client.ping()
    except redis.RedisError:
        detail = "Redis does not answer; nothing can be enqueued or read until it does"
        raise ProblemError("store-unavailable", detail, retry_after_s=STORE_WAIT_S) from None
    finally:
        client.close()
    return {"status": "ok"}
