"""
`/metrics/store`: the numbers of the whole store, which are the same at each gateway.

Prometheus should scrape only one gateway, or one address for all of them. Otherwise a sum over gateways would count
each number several times. Counters and histograms come from history. Therefore a restart of the gateway does not reset
them, and `retouch stats` shows the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import nlargest

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from retouch.store.accounts import AccountNumbers, AccountStore
from retouch.store.failing_receivers import count_failing, count_shut
from retouch.store.gauges import TENANTS_MOST, Gauges, read_gauges
from retouch.store.history import History
from retouch.store.history_counts import HistoryCounts, Latency
from retouch.store.lanes import LANES, LaneNumbers
from retouch.store.ledger import CLASSES
from retouch.store.redis_client import clear_errors
from retouch_producer.gateway.dependencies import Dependencies, Injected
from retouch_producer.gateway.http.auth import Caller
from retouch_producer.gateway.http.errors import problem_responses
from retouch_producer.gateway.routes.account_metrics import ACCOUNT_GAUGES

router = APIRouter(tags=["health"])
_LANE_GAUGES = (
    ("waiting", "waiting", "Items in the backlog."),
    ("parked", "parked", "Items that wait for their time, without a slot."),
    ("paused", "paused", "1 while the lane is paused by hand."),
    ("slots_held", "held", "Slots held: items in flight."),
    ("slots_limit", "limit", "Slots in all."),
    ("dead_letters", "dead", "Dead letters on record."),
)
_HISTOGRAMS: tuple[tuple[str, Latency, str], ...] = (
    ("retouch_queue_wait_seconds", "wait", "From enqueueing to the first claim by a worker."),
    ("retouch_job_seconds", "total", "From enqueueing to the end of jobs that succeeded or failed."),
    ("retouch_delivery_lag_seconds", "lag", "From an event to its delivery."),
)
_DEFAULT_ACCOUNT = "default"
# These counters are 0 from the start. An alert would miss the first count of a counter that begins with that count.
_CLASSES = ("succeeded", "processing", "refused", "failed", "unknown")
_OUTCOMES = ("delivered", "retrying", "dead")
_RESCUES = ("lease_expired", "message_late")
_ENDS = (
    *(("succeeded", ""), ("cancelled", "before_charge"), ("cancelled", "after_charge")),
    *(("failed", code) for code in ("bad_key", "forbidden", "no_credits", "outcome_unknown", "deadline_passed")),
)
Sample = tuple[tuple[str, ...], float]


class StoreCollector(Collector):
    """A collector for Prometheus that reads all numbers from the store at each scrape."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies

    def collect(self) -> Iterator[Metric]:
        """
        Yield the metrics.

        Raises `StoreUnavailable` if the store cannot be read. Old numbers are never yielded, since they would look like
        present numbers.
        """
        with clear_errors():
            lanes = {lane: self._dependencies.connections.lanes.numbers(lane) for lane in LANES}
            gauges = read_gauges(self._dependencies.client)
            history = History(self._dependencies.client)
            totals = history.totals()
            accounts = {_DEFAULT_ACCOUNT: HistoryCounts(), **history.totals_by("account")}
            several = AccountStore(self._dependencies.client).all()
            failing, shut = count_failing(self._dependencies.client), count_shut(self._dependencies.client)
        yield from _lane_metrics(lanes, gauges)
        yield from _account_metrics(lanes["edits"], gauges, accounts, several)
        yield from _job_metrics(totals)
        yield from _money_metrics(gauges, accounts)
        yield from _delivery_metrics(totals, gauges, failing, shut)
        yield from _redis_metrics(gauges)


def _gauge(name: str, words: str, samples: Iterable[Sample], labels: tuple[str, ...] = ()) -> Metric:
    metric = GaugeMetricFamily(name, words, labels=labels)
    for values, value in samples:
        metric.add_metric(values, value)
    return metric


def _counter(name: str, words: str, samples: Iterable[Sample], labels: tuple[str, ...] = ()) -> Metric:
    metric = CounterMetricFamily(name, words, labels=labels)
    for values, value in samples:
        metric.add_metric(values, value)
    return metric


def _histogram(name: str, words: str, latency: Latency, rows: Mapping[str, HistoryCounts], label: str = "") -> Metric:
    """Return a histogram without `_sum`: history has counts in buckets, and no sum of seconds."""
    metric = Metric(name, words, "histogram")
    for key, counts in rows.items():
        own = {label: key} if label else {}
        distribution, below = counts.latency(latency), 0
        for bound, count in zip(distribution.bounds, distribution.counts, strict=False):
            below += count
            metric.add_sample(f"{name}_bucket", {**own, "le": str(bound)}, below)
        metric.add_sample(f"{name}_bucket", {**own, "le": "+Inf"}, distribution.count)
        metric.add_sample(f"{name}_count", own, distribution.count)
    return metric


def _lane_metrics(lanes: Mapping[str, LaneNumbers], gauges: Gauges) -> Iterator[Metric]:
    for name, field, words in _LANE_GAUGES:
        samples = [((lane,), float(getattr(numbers, field))) for lane, numbers in lanes.items()]
        yield _gauge(f"retouch_lane_{name}", words, samples, ("lane",))
    words = "Age of the oldest item that is next in its tenant's backlog; 0 when none waits."
    ages = [(("edits",), gauges.oldest_waiting_s), (("deliveries",), gauges.oldest_due_delivery_s)]
    yield _gauge("retouch_lane_oldest_waiting_age_seconds", words, ages, ("lane",))
    depths = lanes["edits"].waiting_by_group
    largest = [((tenant,), float(depths[tenant])) for tenant in nlargest(TENANTS_MOST, depths, key=depths.__getitem__)]
    words = f"Jobs of a tenant that wait; the {TENANTS_MOST} largest."
    yield _gauge("retouch_tenant_waiting", words, largest, ("tenant",))


def _account_metrics(
    edits: LaneNumbers, gauges: Gauges, accounts: Mapping[str, HistoryCounts], several: Sequence[AccountNumbers]
) -> Iterator[Metric]:
    """
    Yield the metrics of each account.

    Without an accounts file, `several` is empty, and the gauges of the account `default` come from `edits` and
    `gauges`.
    """
    one = ("account",)
    sole = {"slots_held": edits.held, "slots_limit": edits.limit, "breaker_open": edits.breaker_open_s > 0}
    sole["closed"] = _DEFAULT_ACCOUNT in gauges.closed_accounts
    for name, words, value in ACCOUNT_GAUGES:
        samples = [((account.id,), float(value(account))) for account in several]
        if not several and name in sole:
            samples = [((_DEFAULT_ACCOUNT,), float(sole[name]))]
        yield _gauge(f"retouch_account_{name}", words, samples, one)
    words = "POSTs that were intended, each of which may have been sent."
    calls = [((account,), float(counts.calls)) for account, counts in accounts.items()]
    yield _counter("retouch_calls_intended", words, calls, one)
    words = "Answers of the endpoint by class; `processing` counts again when its polls are over."
    yield _counter("retouch_attempts", words, _by_account(accounts, "answers", _CLASSES), ("class", "account"))
    words = "From the intent of a POST to its answer."
    yield _histogram("retouch_endpoint_call_seconds", words, "endpoint", accounts, "account")


def _by_account(accounts: Mapping[str, HistoryCounts], field: str, kinds: Iterable[str]) -> Iterator[Sample]:
    for account, counts in accounts.items():
        for kind, count in {**dict.fromkeys(kinds, 0), **getattr(counts, field)}.items():
            yield (kind, account), float(count)


def _job_metrics(totals: HistoryCounts) -> Iterator[Metric]:
    yield _counter("retouch_jobs_enqueued", "Jobs that were enqueued.", [((), totals.enqueued)])
    ends = {(state, code): count for state in totals.ended for code, count in totals.codes(state).items()}
    ended = [(end, float(count)) for end, count in {**dict.fromkeys(_ENDS, 0), **ends}.items()]
    yield _counter("retouch_jobs_ended", "Ends of jobs, by state and code.", ended, ("state", "code"))
    rescues = [((why,), float(count)) for why, count in {**dict.fromkeys(_RESCUES, 0), **totals.rescues}.items()]
    yield _counter("retouch_rescues", "Items that rescue sent again, by reason.", rescues, ("why",))
    for name, latency, words in _HISTOGRAMS:
        yield _histogram(name, words, latency, {"": totals})


def _money_metrics(gauges: Gauges, accounts: Mapping[str, HistoryCounts]) -> Iterator[Metric]:
    labels = ("use", "account")
    words = "Calls that may have been billed, by what they led to, once their job had ended."
    yield _counter("retouch_calls", words, _by_account(accounts, "charges_booked", CLASSES), labels)
    words = "Calls that a late answer moved to another use, by the former one: subtract them from retouch_calls_total."
    yield _counter("retouch_calls_moved", words, _by_account(accounts, "charges_moved", CLASSES), labels)
    yield _gauge(
        "retouch_calls_reserved", "Calls of budgets promised to jobs in flight.", [((), gauges.calls_reserved)]
    )
    words = f"Calls left today; the {TENANTS_MOST} tenants that used most of their budget."
    left = [((tenant,), float(calls)) for tenant, calls in gauges.budget_left.items()]
    yield _gauge("retouch_budget_calls_left", words, left, ("tenant",))


def _delivery_metrics(totals: HistoryCounts, gauges: Gauges, failing: int, shut: int) -> Iterator[Metric]:
    known = {**dict.fromkeys(_OUTCOMES, 0), **totals.deliveries}
    outcomes = [((outcome,), float(count)) for outcome, count in known.items()]
    yield _counter("retouch_deliveries", "Delivery attempts by what followed.", outcomes, ("outcome",))
    for name, words, value in (
        ("deliveries_oldest_due_age_seconds", "For how long a delivery is due.", gauges.oldest_due_delivery_s),
        ("receivers_disabled", "Receivers that get nothing more.", gauges.receivers_disabled),
        ("receivers_failing", "Receivers whose last attempts failed.", failing),
        ("receivers_shut", "Hosts and tasks whose breaker is open.", shut),
        ("receivers_failing_oldest_age_seconds", "For how long a receiver fails.", gauges.oldest_failing_receiver_s),
    ):
        yield _gauge(f"retouch_{name}", words, [((), float(value))])


def _redis_metrics(gauges: Gauges) -> Iterator[Metric]:
    words = "When any worker last took part in rescue, which each does about once a second."
    yield _gauge("retouch_worker_last_seen_timestamp_seconds", words, [((), gauges.worker_seen_at)])
    if gauges.redis_durable is not None:
        words = "1 while Redis appends all writes to its file."
        yield _gauge("retouch_redis_durable", words, [((), float(gauges.redis_durable))])
    if gauges.redis_memory_ratio is not None:
        words = "Memory of Redis in use, of its maxmemory or of the machine's memory."
        yield _gauge("retouch_redis_memory_ratio", words, [((), gauges.redis_memory_ratio)])


@router.get(
    "/metrics/store",
    operation_id="read_store_metrics",
    response_class=Response,
    responses={
        200: {"description": "Metrics for Prometheus.", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **problem_responses(401, 403, 503),
    },
)
def read_store_metrics(_key: Caller, dependencies: Injected) -> Response:
    """
    Return the metrics of the whole store for Prometheus, which should scrape one gateway.

    The caller needs a key of role ops or viewer.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StoreCollector(dependencies))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
