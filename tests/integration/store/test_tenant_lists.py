"""Lists of one tenant: other tenants do not make them slower, and are not visible in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from retouch.errors import InvalidEdit
from retouch.outcomes import Fail
from retouch.store.gauges import read_gauges
from retouch.store.receivers import OF_EVERY_JOB_MOST, ReceiverStore
from retouch.store.scripts import load
from retouch_worker.deliveries.schedule import DeliveryOutcome
from tests.gateway_process import Callers, problem
from tests.lane_kit import LaneKit


def calls(client: Any) -> int:
    """Return how many commands Redis has received since its statistics were last reset."""
    return sum(one["calls"] for one in client.info("commandstats").values())


def test_receivers_are_listed_by_tenant(kit: LaneKit, client: Any) -> None:
    """
    A thousand receivers of another tenant do not add commands to a list. Receivers that were removed or have expired
    leave the list.
    """
    for place in range(1_000):
        kit.receivers.ensure("loud", f"https://h{place}.example/")
    own = [kit.receivers.ensure("acme", f"https://own.example/{place}") for place in range(3)]
    kit.receivers.remove(own[0].id)
    client.zadd("rt:receivers_of_jobs", {own[1].id: 1.0})
    load(client, "forget_receivers")(args=[60.0])
    client.config_resetstat()
    assert [one.id for one in kit.receivers.all("acme")] == [own[2].id]
    assert calls(client) < 10
    assert len(list(kit.receivers.all())) == 1_001


def test_receivers_are_read_page_by_page(kit: LaneKit, client: Any) -> None:
    """
    If there are a thousand receivers, a page of ten takes few commands. The next page begins after the id in the
    cursor, even if the receiver with this id was removed.
    """
    made = sorted(kit.receivers.ensure("acme", f"https://h.example/{place}").id for place in range(1_000))
    client.config_resetstat()
    found, after = kit.receivers.page("acme", 10)
    assert ([one.id for one in found], after) == (made[:10], made[9])
    assert calls(client) < 15
    kit.receivers.remove(made[9])
    kit.receivers.remove(made[10])
    assert [one.id for one in kit.receivers.page("acme", 10, made[9])[0]] == made[11:21]
    assert kit.receivers.page("acme", 10, made[989]) == (kit.receivers.page("", 10, made[989])[0], None)
    assert [one.id for one in kit.receivers.all("acme")] == made[:9] + made[11:]


def test_disabled_receivers_are_counted_without_reading_receivers(kit: LaneKit, client: Any) -> None:
    """
    The gauge counts receivers that were disabled by hand or by an answer 410. Receivers that were enabled again,
    removed or deleted do not count.
    """
    one, two, three = (kit.receivers.ensure("acme", f"https://h.example/{place}") for place in range(3))
    for receiver in (one, two, three):
        kit.receivers.set_disabled(receiver.id, True)
    kit.fail_delivery("acme", "https://gone.example/", DeliveryOutcome(410))
    client.config_resetstat()
    assert read_gauges(client).receivers_disabled == 4
    assert "cmdstat_smembers" not in client.info("commandstats")
    kit.receivers.set_disabled(one.id, False)
    kit.receivers.remove(two.id)
    client.zadd("rt:receivers_of_jobs", {three.id: 1.0})
    load(client, "forget_receivers")(args=[60.0])
    assert read_gauges(client).receivers_disabled == 1


def test_receivers_of_every_job_are_bounded(kit: LaneKit) -> None:
    """
    A tenant cannot add a 21st receiver that gets the events of all jobs. It can still change an existing receiver, and
    another tenant can still add receivers.
    """
    for place in range(OF_EVERY_JOB_MOST):
        kit.receivers.add("acme", f"https://h.example/{place}")
    with pytest.raises(InvalidEdit, match="at most 20 receivers of every job"):
        kit.receivers.add("acme", "https://h.example/more")
    assert kit.receivers.add("acme", "https://h.example/0", ["edit.failed"]).events == ("edit.failed",)
    assert kit.receivers.add("globex", "https://h.example/more").every_job


def test_deliveries_and_their_cursors_are_of_ones_own(kit: LaneKit, client: Any, callers: Callers) -> None:
    """
    A producer lists only deliveries of its own tenant, and each cursor of the list ends with the id of such a delivery.
    """
    api = callers()
    for tenant in ("acme", "loud", "loud", "acme", "loud"):
        receiver = kit.receivers.ensure(tenant, f"https://{tenant}.example/")
        job = kit.new(tenant, receivers=[receiver.id])
        kit.enqueue(job)
        kit.finish(job.id, Fail("spam_filter", "no", retryable=True))
    first = api.get("/v1/deliveries", params={"limit": 1}).json()
    last = api.get("/v1/deliveries", params={"limit": 1, "cursor": first["next_cursor"]}).json()
    found = [first["data"][0], last["data"][0]]
    assert [one["tenant"] for one in found] == ["acme", "acme"]
    assert first["next_cursor"].endswith(found[0]["id"])
    assert api.get("/v1/deliveries").json()["data"] == found
    own = next(ReceiverStore(client).all("acme")).id
    counts = api.post(f"/v1/receivers/{own}/redeliver?since=2020-01-01").json()
    assert sum(counts.values()) == 2


def test_status_is_ones_own(callers: Callers, edit_body: Callable[..., Any]) -> None:
    """The status for a producer counts only jobs of its tenant. The status for ops counts all jobs."""
    api, other, ops = callers(), callers("globex"), callers("staff", "ops")
    ops.post("/v1/pause")
    jobs = [api.post("/v1/edits", edit_body()).json()["id"] for _ in range(3)]
    api.post(f"/v1/edits/{jobs[0]}/cancel")
    own, foreign = api.get("/v1/status").json(), other.get("/v1/status").json()
    assert (own["edits"]["waiting"], own["ended"]) == (2, {"cancelled": 1})
    assert (foreign["edits"]["waiting"], foreign["edits"]["waiting_by_group"], foreign["ended"]) == (0, {}, {})
    assert foreign["edits"]["paused"] is True
    assert ops.get("/v1/status").json()["edits"]["waiting"] == 2
    ops.post("/v1/resume")
    problem(other.get(f"/v1/edits/{jobs[0]}"), "not-found", 404)
