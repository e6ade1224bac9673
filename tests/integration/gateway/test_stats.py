"""`GET /v1/stats` and `retouch stats`, over Redis and over a gateway, return the same numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from retouch.outcomes import Succeed
from retouch.store.tenants import TenantStore
from tests.charge_kit import GIVE_UP, one_job, tried
from tests.command_line import typed
from tests.gateway_process import Callers, problem
from tests.history_kit import age_minutes
from tests.lane_kit import IMAGE, LaneKit


@pytest.fixture
def worked(kit: LaneKit, callers: Callers) -> Iterator[LaneKit]:
    """Yield a `LaneKit` with two jobs of acme, of which one failed, and a waiting job of globex."""
    tried(kit, one_job(kit), "succeeded", Succeed(IMAGE))
    tried(kit, one_job(kit), "failed", GIVE_UP)
    kit.lanes.pause()
    one_job(kit, "globex")
    yield kit
    kit.client.delete(*kit.client.keys("rt:jobs:*"))  # `callers` lists jobs at its end, and these have no whole edit


def test_each_key_sees_its_own(worked: LaneKit, callers: Callers) -> None:
    """
    A key of role producer gets the numbers of its tenant, and no rows by account. A key of role ops gets the numbers of
    all tenants.
    """
    acme, globex, ops = callers("acme"), callers("globex"), callers("staff", "ops")
    answer = acme.get("/v1/stats", params={"by": "tenant"}).json()
    assert (answer["total"]["enqueued"], answer["total"]["failures"]) == (2, {"endpoint_failed": 1})
    assert [row["key"] for row in answer["data"]] == ["acme"]
    assert (answer["today"]["useful"], answer["yesterday"]["useful"]) == (1, 0)
    assert answer["oldest_waiting_s"] is None
    waiting = globex.get("/v1/stats").json()
    assert (waiting["total"]["enqueued"], waiting["total"]["ended"], waiting["data"]) == (1, {}, [])
    assert waiting["oldest_waiting_s"] >= 0
    everything = ops.get("/v1/stats", params={"by": "account"}).json()
    assert everything["total"]["enqueued"] == 3
    assert [(row["key"], row["calls"], row["enqueued"]) for row in everything["data"]] == [("default", 2, 0)]
    problem(acme.get("/v1/stats", params={"by": "account"}), "forbidden", 403)
    problem(acme.get("/v1/stats", params={"tenant": "globex"}), "not-found", 404)
    problem(ops.get("/v1/stats", params={"since": "soon"}), "invalid-request", 422)


def test_since_narrows_the_range(worked: LaneKit, callers: Callers, client: Any) -> None:
    """Jobs that were enqueued before `since` are not counted. By default, `since` is an hour ago."""
    age_minutes(client, 90)
    ops = callers("staff", "ops")
    assert ops.get("/v1/stats").json()["total"]["enqueued"] == 0
    assert ops.get("/v1/stats", params={"since": "2020-01-01"}).json()["total"]["enqueued"] == 3


def test_the_command_shows_the_same_over_redis_and_a_gateway(
    worked: LaneKit, gateway_url: str, client: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`retouch stats` prints the same counts, latencies and rows over Redis and over a gateway."""
    monkeypatch.setenv("RETOUCH_REDIS_URL", redis_url)
    over_redis = typed("stats", "--by", "tenant", "--json").json
    assert [row["key"] for row in over_redis["data"]] == ["acme", "globex"]
    text = typed("stats", "--by", "account").out
    assert "3 enqueued, ended: 1 succeeded, 1 failed" in text
    assert "failed: 1 endpoint_failed" in text
    assert "cost today: 0 (1 useful)" in text
    assert typed("stats", "--by", "day").code == 2
    assert typed("stats", "--by", "account", "--tenant", "acme").code == 2
    _, secret = TenantStore(client).create_key("staff", "ops", "test")
    monkeypatch.setenv("RETOUCH_GATEWAY_URL", gateway_url)
    monkeypatch.setenv("RETOUCH_API_KEY", secret)
    over_gateway = typed("stats", "--by", "tenant", "--json").json

    def lasting(document: dict[str, Any]) -> dict[str, Any]:
        moving = ("since", "until", "oldest_waiting_s", "ended_per_s")
        rows = [document["total"], *document["data"]]
        return {"rows": [{name: row[name] for name in row if name not in moving} for row in rows]}

    assert lasting(over_gateway) == lasting(over_redis)
    assert typed("stats", "--tenant", "globex", "--json").json["total"]["enqueued"] == 1
