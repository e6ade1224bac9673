"""Tests of history: after random lives of jobs, each reading of history equals the counts of the class `Model`."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retouch.accounts import DEFAULT_ACCOUNT
from retouch.outcomes import Cancel, Fail, Retry, Succeed
from retouch.store.history import By, History, roll_up
from retouch.store.history_counts import LATENCIES, HistoryCounts
from retouch.store.records import Claim
from retouch.store.stats import read_stats
from retouch_worker.deliveries.schedule import DeliveryOutcome, settlement_of
from tests.charge_kit import called_again
from tests.history_kit import age_minutes
from tests.lane_kit import IMAGE, LEASE_S, LaneKit, account

TENANTS = ("acme", "globex", "zeta")
PRICES = {DEFAULT_ACCOUNT: 0.01, "dear": 0.5}
RECEIVER = "https://r.example/hook"

answers = st.sampled_from(["succeeded", "processing", "refused", "failed", ""])
ends = st.sampled_from(["succeeded", "spam_filter", "endpoint_failed", "cancelled"])
lives = st.lists(
    st.tuples(st.sampled_from(TENANTS), st.lists(answers, max_size=3), answers, ends, st.booleans(), st.booleans()),
    min_size=1,
    max_size=6,
)


@dataclass
class Model:
    """
    The expected counts by row and name. A row is `*` for the total, `t:TENANT` or `a:ACCOUNT`. A latency is only
    counted: the model has no buckets.
    """

    counts: dict[str, Counter[str]] = field(default_factory=dict)

    def note(self, tenant: str, account: str | None, *names: str, by: int = 1) -> None:
        """Add `by` to each of the names in the rows of the tenant, of the account (if any) and of the total."""
        for row in ("*", f"t:{tenant}", *([f"a:{account}"] if account else [])):
            for name in names:
                self.counts.setdefault(row, Counter())[name] += by

    def row(self, row: str) -> Counter[str]:
        """Return the counts of a row. If the row is unknown, the counts are empty."""
        return self.counts.get(row, Counter())


def plain(counts: HistoryCounts) -> Counter[str]:
    """Return the same counts as a counter whose keys are the names that `Model` uses."""
    found = Counter[str]({"enqueued": counts.enqueued, "calls": counts.calls})
    for kind in ("answers", "charges", "deliveries", "rescues"):
        found.update({f"{kind}:{name}": count for name, count in getattr(counts, kind).items()})
    found.update({f"ended:{state}:{code}": n for state in counts.ended for code, n in counts.codes(state).items()})
    found.update({name: counts.latency(name).count for name in LATENCIES})
    return +found


class Stage:
    """Real stores with two accounts, and a `Model` that counts each action of the test."""

    def __init__(self, client: Any) -> None:
        client.flushdb()
        self.client, self.kit, self.model = client, LaneKit(client), Model()
        self.kit.open_accounts(
            account(DEFAULT_ACCOUNT, 3, price_per_call=PRICES[DEFAULT_ACCOUNT]),
            account("dear", 3, price_per_call=PRICES["dear"], tenants=("zeta",)),
        )

    def live(self, tenant: str, tries: list[str], last: str, end: str, *, hooked: bool, received: bool) -> None:
        """
        Run one job to its end: one attempt for each answer in `tries`, a last attempt with the answer `last`, and the
        settlement `end`.
        """
        own, charges = ("dear" if tenant == "zeta" else DEFAULT_ACCOUNT), list[str]()
        receivers = (self.kit.receivers.ensure(tenant, RECEIVER).id,) if hooked else ()
        job = self.kit.new(tenant, receivers=receivers)
        self.kit.enqueue(job)
        self.model.note(tenant, None, "enqueued")
        self.model.note(tenant, own, "wait")
        for kind in tries:
            claim = self._post(job.id, tenant, own, kind, charges)
            self.kit.jobs.settle(claim, Retry(0.0, "endpoint_failed", "again"))
            called_again(self.kit)
        claim = self._post(job.id, tenant, own, last, charges)
        decision: Any = {"succeeded": Succeed(IMAGE), "cancelled": Cancel()}.get(
            end, Fail(end, "enough", retryable=True)
        )
        self.kit.jobs.settle(claim, decision)
        self.kit.jobs.settle(claim, decision)  # the reply was lost: nothing counts twice
        self._note_end(tenant, own, end, charges)
        if hooked:
            self._deliver(tenant, received=received)

    def _post(self, job: str, tenant: str, own: str, kind: str, charges: list[str]) -> Claim:
        claim = self.kit.claim(job)
        for _ in range(2):
            assert self.kit.jobs.intend(claim) == "ok"
        self.model.note(tenant, own, "calls")
        if kind:
            for _ in range(2):
                self.kit.jobs.answer(claim, kind, None)
            self.model.note(tenant, own, f"answers:{kind}", "endpoint")
        charges.append(kind)
        return claim

    def _note_end(self, tenant: str, own: str, end: str, charges: list[str]) -> None:
        certain = sum(kind in ("succeeded", "processing") for kind in charges)
        unknown = charges.count("")
        useful = min(1, certain) if end == "succeeded" else 0
        uses = {"useful": useful, "repeated": certain - useful if end == "succeeded" else 0, "unknown": unknown}
        uses["wasted"] = 0 if end == "succeeded" else certain
        for use, count in uses.items():
            self.model.note(tenant, own, f"charges:{use}", by=count)
        code = {"succeeded": "", "cancelled": "after_charge" if certain + unknown else "before_charge"}.get(end, end)
        state = end if end in ("succeeded", "cancelled") else "failed"
        self.model.note(tenant, own, f"ended:{state}:{code}", *(["total"] if end != "cancelled" else []))

    def _deliver(self, tenant: str, *, received: bool) -> None:
        self.kit.make_due("deliveries", "shut")
        self.kit.make_due("deliveries", "timetable")
        self.kit.rescue()
        for item in self.kit.dispatched("deliveries"):
            claim = self.kit.deliveries.claim(item, LEASE_S)
            assert claim is not None
            outcome = DeliveryOutcome(204 if received else 410)
            settlement = settlement_of(outcome, claim.number, claim.by_hand, 0.0, 0.5)
            self.kit.deliveries.settle(claim, settlement)
            lag = ["lag"] if settlement.move == "delivered" else []
            self.model.note(tenant, None, f"deliveries:{settlement.move}", *lag)


def assert_all_readings(stage: Stage) -> None:
    """Assert that each reading of history, and the amounts of `stats`, equal the counts of `Model`."""
    history, model = History(stage.client), stage.model
    assert plain(history.between(0)) == plain(history.totals()) == +model.row("*")
    for tenant in TENANTS:
        assert plain(history.between(0, tenant=tenant)) == +model.row(f"t:{tenant}")
        assert plain(history.totals(tenant=tenant)) == +model.row(f"t:{tenant}")
    kinds: tuple[tuple[str, By], ...] = (("a", "account"), ("t", "tenant"))
    for prefix, by in kinds:
        rows = {row[2:]: +counts for row, counts in model.counts.items() if row[0] == prefix}
        assert {key: plain(counts) for key, counts in history.between_by(by, 0).items()} == rows
        assert {key: plain(counts) for key, counts in history.totals_by(by).items()} == rows
    assert_money(stage)


def assert_money(stage: Stage) -> None:
    """Assert that each charge costs the price of its account, in every row and in the sum."""

    def price(row: str) -> float:
        charges = {name: n for name, n in stage.model.row(row).items() if name.startswith("charges:")}
        return sum(charges.values()) * PRICES[row[2:] if row[0] == "a" else "dear" if row == "t:zeta" else "default"]

    rows: tuple[tuple[By, str], ...] = (("account", "a"), ("tenant", "t"))
    for by, prefix in rows:
        stats = read_stats(stage.client, 77.0, time.time() - 3_600, by=by)
        amounts = {row.key: row.cost.amount for row in stats.rows}
        expected = {row[2:]: round(price(row), 6) for row in stage.model.counts if row[0] == prefix}
        assert amounts == expected
        assert stats.total.cost.amount == round(sum(expected.values()), 6)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lives=lives, rolled=st.booleans())
def test_every_reading_is_that_of_a_plain_model(client: Any, lives: list[Any], rolled: bool) -> None:
    """Each reading of history equals the counts of `Model`, before and after the minutes are rolled up."""
    stage = Stage(client)
    for place, (tenant, tries, last, end, hooked, received) in enumerate(lives):
        if rolled and place == len(lives) // 2:
            age_minutes(client, 2)
            roll_up(client)
        stage.live(tenant, tries, last, end, hooked=hooked, received=received)
    assert_all_readings(stage)
    age_minutes(client, 2)
    roll_up(client)
    assert_all_readings(stage)
