"""The metrics of the endpoint's accounts, read at each scrape; none while there is one account alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from retouch.store.accounts import AccountNumbers, AccountStore
from retouch.store.redis_client import clear_errors
from retouch.store.redis_commands import Client

_GAUGES: tuple[tuple[str, str, Callable[[AccountNumbers], float]], ...] = (
    ("slots_held", "Requests in flight at an account.", lambda one: one.held),
    ("slots_limit", "Requests that an account may have in flight.", lambda one: one.limit),
    ("workers", "Living workers that hold the key of an account; 0: nobody serves it.", lambda one: one.workers),
    ("breaker_open", "1 while the breaker of an account is open.", lambda one: one.breaker_open_s > 0),
    ("closed", "1 while an account is closed, because the endpoint refuses it.", lambda one: bool(one.closed)),
)


class AccountCollector(Collector):
    """Reads the numbers of all accounts at each scrape; ids of accounts are the only label."""

    def __init__(self, client: Client) -> None:
        self._accounts = AccountStore(client)

    def collect(self) -> Iterator[Metric]:
        """Yield one gauge for each number. Raises `StoreUnavailable`: old numbers would look like good ones."""
        with clear_errors():
            accounts = self._accounts.all()
        for name, words, value in _GAUGES if accounts else ():
            gauge = GaugeMetricFamily(f"retouch_account_{name}", words, labels=["account"])
            for one in accounts:
                gauge.add_metric([one.id], float(value(one)))
            yield gauge
