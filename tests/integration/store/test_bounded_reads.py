"""Reads of a large store send few Redis commands: the tests count commands, not seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from retouch.outcomes import Cancel
from retouch.store import keys
from retouch.store.blob_retention import trim_indexes
from retouch.store.gauges import read_gauges
from retouch.store.ledger import DAY_S, Ledger, day_of
from retouch.store.receivers import UNUSED_S
from retouch.store.tenants import TenantStore
from tests.charge_kit import one_job
from tests.integration.store.test_deliveries import HOOK, deliver, ended
from tests.lane_kit import LaneKit


def commands_of(client: Any) -> int:
    """Return how many commands clients have sent so far."""
    return int(client.info("stats")["total_commands_processed"])


@contextmanager
def at_most(client: Any, most: int) -> Iterator[None]:
    """Fail if the server processes more than `most` commands during the block."""
    before = commands_of(client)
    yield
    sent = commands_of(client) - before - 1
    assert sent <= most, f"{sent} commands, at most {most} are allowed"


@contextmanager
def round_trips(client: Any, monkeypatch: pytest.MonkeyPatch, most: int) -> Iterator[None]:
    """Fail if more than `most` pipelines are executed during the block."""
    trips = list[int]()
    execute: Any = type(client.pipeline()).execute

    def noted(self: Any, raise_on_error: bool = True) -> Any:
        trips.append(1)
        return execute(self, raise_on_error)

    monkeypatch.setattr(type(client.pipeline()), "execute", noted)
    yield
    assert len(trips) <= most


def disabled(client: Any) -> int:
    return read_gauges(client).receivers_disabled


def test_a_scrape_does_not_read_receivers(kit: LaneKit, client: Any) -> None:
    """The gauges take as many commands with 500 receivers, of which 50 are disabled, as without receivers."""
    before = commands_of(client)
    assert disabled(client) == 0
    most = commands_of(client) - before - 1
    receivers = [kit.receivers.ensure("acme", f"https://r.example/{number}") for number in range(500)]
    for receiver in receivers[:50]:
        kit.receivers.set_disabled(receiver.id, disabled=True)
    with at_most(client, most):
        assert disabled(client) == 50


def test_disabled_receivers_are_counted_however_they_come_and_go(kit: LaneKit, client: Any) -> None:
    """
    The gauge counts receivers that were disabled by hand or by an answer 410. A receiver that is enabled, removed or
    deleted no longer counts.
    """
    gone = kit.receivers.add("acme", HOOK)
    deliver(kit, kit.deliveries.of_job(ended(kit))[0].id, 410)
    by_hand, idle = (kit.receivers.ensure("acme", f"https://r.example/{number}") for number in range(2))
    for receiver in (by_hand, idle):
        kit.receivers.set_disabled(receiver.id, disabled=True)
    assert disabled(client) == 3
    kit.receivers.set_disabled(gone.id, disabled=False)
    assert disabled(client) == 2
    assert kit.receivers.remove(by_hand.id)
    assert disabled(client) == 1
    client.zadd(keys.RECEIVERS_OF_JOBS, {idle.id: client.time()[0] - UNUSED_S - 60})
    trim_indexes(client, 3_600.0)
    assert disabled(client) == 0


def test_a_filter_of_deliveries_reads_what_decides(kit: LaneKit, client: Any) -> None:
    """
    A filter by receiver, tenant or state reads only the compared field of each delivery. Full records are read only for
    matches.
    """
    rare = kit.receivers.ensure("acme", "https://r.example/rare")
    common = kit.receivers.ensure("acme", "https://r.example/common")
    for number in range(100):
        job = one_job(kit, receivers=((rare if number == 50 else common).id,))
        kit.finish(job, Cancel())
    ids = client.zrange(keys.lane("deliveries", "recent"), 0, -1)
    assert len(ids) == 100
    with at_most(client, 1 + 3):
        (found,) = kit.deliveries.matching(ids, receiver=rare.id)
    assert found.receiver == rare.id
    with at_most(client, 1):
        assert kit.deliveries.matching(ids, tenant="globex") == []
    with at_most(client, 100):
        assert kit.deliveries.matching(ids, state="delivered") == []
    with at_most(client, 1 + 100 + 3):
        assert kit.deliveries.matching(ids, receiver=rare.id, state=found.state) == [found]
    assert [one.id for one in kit.deliveries.matching(ids)] == ids


def test_deliveries_to_a_receiver_are_sent_again_in_pages(
    kit: LaneKit, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Three pages of deliveries to a receiver take at most nine commands. Each delivery is returned once, even if another
    is added between two pages.
    """
    monkeypatch.setattr("retouch.store.deliveries._PAGE", 40)
    rare = kit.receivers.ensure("acme", "https://r.example/rare")
    common = kit.receivers.ensure("acme", "https://r.example/common")
    for number in range(100):
        kit.finish(one_job(kit, receivers=((rare if number % 10 == 0 else common).id,)), Cancel())
    expected = [one.id for one in kit.deliveries.matching(kit.deliveries.page(0, 100), receiver=rare.id)]
    with at_most(client, 3 * 3):
        pages = list(kit.deliveries.pages_to_receiver("acme", rare.id))
    assert [len(page) for page in pages] == [4, 4, 2]
    assert [item for page in pages for item in page] == expected
    assert sum(map(len, kit.deliveries.pages_to_receiver("acme", rare.id, state="delivered"))) == 0
    assert list(kit.deliveries.pages_to_receiver("acme", rare.id, since=client.time()[0] + 60.0)) == []
    walked = kit.deliveries.pages_to_receiver("acme", rare.id)
    found = next(walked)
    kit.finish(one_job(kit, receivers=(rare.id,)), Cancel())
    assert [*found, *(item for page in walked for item in page)] == expected
    words, _ = kit.deliveries.redeliver_many([*expected, "dl_unknown"])
    assert words == ["open"] * 10 + ["unknown"]


def test_keys_are_listed_and_revoked_in_few_round_trips(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of 50 keys takes one command for each key, in a few pipelines. A revocation reads no other key."""
    monkeypatch.setattr("retouch.store.tenants._PAGE", 20)
    tenants = TenantStore(client)
    made = [tenants.create_key("acme", name=f"{number}")[0] for number in range(50)]
    with round_trips(client, monkeypatch, 3):
        assert [key.id for key in tenants.api_keys()] == [key.id for key in made]
    with at_most(client, 1 + 4):
        revoked = tenants.revoke(made[7].id)
    assert revoked is not None
    assert revoked.id == made[7].id
    for odd in ("key_*", "key_", "", made[8].id[:-1], made[8].id.upper()):
        assert tenants.revoke(odd) is None
    assert [key.id for key in tenants.api_keys() if key.revoked_at] == [made[7].id]


def test_usage_by_tag_takes_few_round_trips(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Usage by tag over 90 days and three tenants takes three round trips, and adds up the counts of each tag."""
    today = day_of(client.time()[0])
    for tenant in ("acme", "globex", "zeta"):
        client.sadd(keys.TENANTS, tenant)
        for ago in range(90):
            name = keys.ledger_tags(tenant, today - ago)
            client.hset(name, mapping={"order=1": "1 0 0 0", f"day={ago}": "0 1 2 3"})
            client.expire(name, DAY_S)
    with round_trips(client, monkeypatch, 3):
        rows = {row.key: row for row in Ledger(client).usage(by="tag", price_per_call=0.5)}
    assert (rows["order=1"].useful, rows["order=1"].amount) == (270, 135.0)
    assert (rows["day=7"].repeated, rows["day=7"].wasted, rows["day=7"].unknown) == (3, 6, 9)
