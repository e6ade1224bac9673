"""Tests of `/metrics/store`: each gateway returns the same numbers, labels are bounded, and no label is an id."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from retouch.outcomes import Fail, Succeed
from retouch.store.gauges import TENANTS_MOST, read_gauges
from retouch.store.history import History, roll_up
from retouch.store.ledger import Ledger
from retouch.store.tenants import TenantStore
from retouch_worker.deliveries.schedule import DeliveryOutcome
from tests.charge_kit import one_job, posted, tried
from tests.gateway_process import Api, running_gateway
from tests.lane_kit import IMAGE, LaneKit

LABELS = {"lane", "tenant", "account", "state", "code", "class", "use", "outcome", "why", "le"}
UNITS = ("_seconds", "_total", "_ratio", "_info", "_seconds_bucket", "_seconds_count")
Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def gateways(worker_environment: dict[str, str]) -> Iterator[list[str]]:
    """Yield the URLs of three gateways on one store."""
    with ExitStack() as running:
        yield [running.enter_context(running_gateway(worker_environment))[0] for _ in range(3)]


def scraped(url: str, client: Any, path: str = "/metrics/store") -> Samples:
    """Return the samples of one gateway at `path`, as a map from name and labels to the value."""
    api = Api(url, TenantStore(client).create_key("staff", "ops", "test")[1])
    try:
        text = api.get(path).text
    finally:
        api.close()
    families = text_string_to_metric_families(text)
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def test_each_gateway_has_the_same_numbers(gateways: list[str], kit: LaneKit, client: Any) -> None:
    """
    Three gateways return the same numbers, before and after minutes are rolled up. The number of calls is the one that
    `History` returns.
    """
    kit.open(5, 0.0)
    tried(kit, one_job(kit), "succeeded", Succeed(IMAGE))
    tried(kit, one_job(kit), "refused", Fail("bad_key", "no", retryable=False))
    posted(kit, one_job(kit))
    moving = ("seconds", "memory_ratio")
    for _ in range(2):
        each = [
            {name: found for name, found in scraped(url, client).items() if not name[0].endswith(moving)}
            for url in gateways
        ]
        assert each[0] == each[1] == each[2]
        roll_up(client)
    samples = each[0]
    assert value(samples, "retouch_jobs_enqueued_total") == 3
    assert value(samples, "retouch_jobs_ended_total", state="failed", code="bad_key") == 1
    assert value(samples, "retouch_calls_total", use="useful", account="default") == 1
    assert value(samples, "retouch_calls_intended_total", account="default") == History(client).totals().calls == 3
    assert value(samples, "retouch_account_slots_held", account="default") == 1
    assert value(samples, "retouch_job_seconds_bucket", le="300.0") == 2
    assert value(samples, "retouch_endpoint_call_seconds_count", account="default") == 2


def test_what_may_fire_begins_at_zero(gateways: list[str], client: Any) -> None:
    """On an empty store, the counters that alerts use have the value 0, so that the first count is an increase."""
    samples = scraped(gateways[0], client)
    assert value(samples, "retouch_deliveries_total", outcome="dead") == 0
    assert value(samples, "retouch_calls_total", use="unknown", account="default") == 0
    assert value(samples, "retouch_jobs_ended_total", state="failed", code="no_credits") == 0
    assert value(samples, "retouch_worker_last_seen_timestamp_seconds") == 0
    assert value(samples, "retouch_redis_durable") == 0
    assert 0 < value(samples, "retouch_redis_memory_ratio") < 1


def test_labels_are_bounded_and_hold_no_ids(gateways: list[str], kit: LaneKit, client: Any) -> None:
    """
    At most 50 tenants are labels, and no label has an id, an address or a tag. The name of each duration ends in a
    unit.
    """
    kit.fail_delivery("acme", "https://planted.example/hook", DeliveryOutcome(503, ""))
    for number in range(TENANTS_MOST + 20):
        one_job(kit, f"tenant-{number}", tags={"order": "secret-17"})
        Ledger(client).set_limits(f"tenant-{number}", budget=10)
    samples = scraped(gateways[0], client)
    for name in ("retouch_tenant_waiting", "retouch_budget_calls_left"):
        assert sum(one[0] == name for one in samples) == TENANTS_MOST
    assert {label for _, labels in samples for label, _ in labels} <= LABELS
    texts = " ".join(text for _, labels in samples for _, text in labels)
    assert not re.search(r"ed_|dl_|rc_|planted|secret-17", texts)
    assert all(name.endswith(UNITS) or "seconds" not in name for name, _ in samples)


def test_process_numbers_are_apart(gateways: list[str], client: Any) -> None:
    """`/metrics` has the numbers of the gateway's process, `/metrics/store` those of the store. No name is in both."""
    process, store = scraped(gateways[0], client, "/metrics"), scraped(gateways[0], client)
    assert {name for name, _ in process}.isdisjoint(name for name, _ in store)
    assert any(name == "retouch_build_info" for name, _ in process)
    assert any(name == "process_cpu_seconds_total" for name, _ in process)


def test_gauges_of_ages_and_budgets(kit: LaneKit, client: Any) -> None:
    """The gauge of the oldest waiting job grows with the job's age. A reserved call reduces the rest of the budget."""
    kit.open(2, 0.0)
    Ledger(client).set_limits("acme", budget=2)
    Ledger(client).set_limits("zeta", budget=5)
    posted(kit, one_job(kit))
    one_job(kit, "zeta")
    one_job(kit)
    gauges = read_gauges(client)
    assert gauges.budget_left == {"acme": 1, "zeta": 4}
    assert gauges.calls_reserved == 1
    waiting = client.zrange("rt:edits:backlog:acme", 0, 0)[0]
    client.zincrby("rt:jobs:acme", -100, waiting)
    assert 100 <= read_gauges(client).oldest_waiting_s < 160
