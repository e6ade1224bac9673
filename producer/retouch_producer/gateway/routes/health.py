"""Whether this process runs and whether it can do its work, for those who route to it."""

from __future__ import annotations

import redis
from fastapi import APIRouter

from retouch.store.redis_client import connect
from retouch_producer.gateway.dependencies import Tools
from retouch_producer.gateway.http.errors import STORE_WAIT_S, ProblemError, documented

router = APIRouter(tags=["health"])


@router.get("/healthz", operation_id="is_alive")
def healthz() -> dict[str, str]:
    """Whether this process runs."""
    return {"status": "ok"}


@router.get("/readyz", operation_id="is_ready", responses=documented(503))
def readyz(tools: Tools) -> dict[str, str]:
    """Whether it can do its work: Redis answers."""
    client = connect(tools.settings, tries=0)
    try:
        client.ping()
    except redis.RedisError:
        detail = "Redis does not answer; jobs are kept and nothing can be enqueued"
        raise ProblemError("store-unavailable", detail, retry_after_s=STORE_WAIT_S) from None
    finally:
        client.close()
    return {"status": "ok"}
