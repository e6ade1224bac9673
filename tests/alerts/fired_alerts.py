"""
Tests each alert of ops/prometheus/rules.yml twice: by `promtool` on the series in rules_test.yml, and with a real
fault.

`make alerts-test` runs Valkey, the simulator, a worker and three gateways. One Prometheus scrapes one gateway, and
another Prometheus scrapes all three. In their rules, a minute lasts a second. At the end, the expressions of the
dashboard are evaluated on the scraped series.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from retouch import Edit
from retouch.store.ledger import Ledger
from retouch.store.tenants import TenantStore
from retouch_ops.dashboard import expressions
from tests.alerts.prometheus import RULES, Prometheus, alert_names, promtool
from tests.chaos.stack import Stage, a_stage, environment_of
from tests.gateway_process import running_gateway
from tests.process_watch import Spoken, eventually
from tests.store_access import store_access

pytestmark = pytest.mark.timeout(900)
WITHIN_S = 90.0
LATE_S = 6.0


class Receivers(BaseHTTPRequestHandler):
    """Receivers of webhooks: `/gone` answers 410, `/broken` answers with errors, any other path accepts the event."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response({"/gone": 410, "/broken": 500}.get(self.path, 204))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@dataclass
class Watched:
    """A running stack and the two servers that watch it: `single` scrapes one gateway, `triple` scrapes three."""

    stage: Stage
    gateways: list[Spoken]
    single: Prometheus
    triple: Prometheus
    receivers: str
    numbers: int = 0

    @property
    def client(self) -> Any:
        return store_access(self.stage.queue).client

    def enqueue(self, count: int = 1, **options: Any) -> list[Any]:
        """Enqueue `count` new edits, and return their jobs."""
        self.numbers += count
        numbers = range(self.numbers - count, self.numbers)
        edits = [Edit(prompt=f"winter [[{n}]]", init_image=self.stage.simulator.portrait_url) for n in numbers]
        return list(self.stage.queue.enqueue_many(edits, **options))

    def expect(self, alert: str) -> None:
        """Wait until both servers have fired an alert."""
        for watcher in (self.single, self.triple):
            assert eventually(partial(watcher.has_fired, alert), WITHIN_S), (alert, watcher.firing())


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("alerts")
    with ExitStack() as stack:
        stage = stack.enter_context(a_stage(folder, latency_s=0.1, in_flight_limit=40, backoff_cap_s=0.2))
        server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Receivers))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        stage.worker()
        running = [stack.enter_context(running_gateway(environment_of(stage.settings))) for _ in range(3)]
        urls = [url for url, _ in running]
        _, key = TenantStore(store_access(stage.queue).client).create_key("watching", "ops")
        single = stack.enter_context(Prometheus(folder / "single", key, store=urls[:1], gateways=urls[:1]))
        triple = stack.enter_context(Prometheus(folder / "triple", key, store=urls, gateways=urls))
        receivers = f"http://127.0.0.1:{server.server_port}"
        yield Watched(stage, [process for _, process in running], single, triple, receivers)


def test_alerts_fire_on_series_and_only_then() -> None:
    """Each alert fires on its series in rules_test.yml. It fires neither too early nor on series without the fault."""
    assert (result := promtool("test", "rules", "rules_test.yml")).returncode == 0, result.stderr + result.stdout


def test_three_gateways_change_no_alert(tmp_path: Path) -> None:
    """If three gateways report the same series of the store, no rule counts a series three times."""
    tests = yaml.safe_load((RULES / "rules_test.yml").read_text())
    for test in tests["tests"]:
        series = [one for one in test["input_series"] if not one["series"].startswith("up")]
        for one in series:
            name, _, labels = one["series"].partition("{")
            own = labels.rstrip("}")
            copies = [f'{name}{{{own}{"," if own else ""}instance="gateway-{n}"}}' for n in range(3)]
            test["input_series"] += [{**one, "series": copy} for copy in copies]
            test["input_series"].remove(one)
    (tmp_path / "rules_test.yml").write_text(yaml.safe_dump(tests))
    (tmp_path / "rules.yml").write_text((RULES / "rules.yml").read_text())
    result = promtool("test", "rules", "rules_test.yml", folder=tmp_path)
    assert result.returncode == 0, result.stderr + result.stdout


def test_nothing_fires_on_a_healthy_stack(watched: Watched) -> None:
    """While edits end in time, no alert fires, whether one gateway is scraped or three."""
    for job in watched.enqueue(20, webhook=f"{watched.receivers}/ok"):
        job.result(timeout_s=60)
    name = "retouch_jobs_ended_total"
    query = f'sum(max by (state, code) ({name}{{state="succeeded"}})) == 20'
    assert eventually(lambda: watched.single.query(query) and watched.triple.query(query))
    assert watched.single.firing() | watched.triple.firing() == set()


def late(watched: Watched) -> None:
    watched.stage.simulator.settings(latency_s=LATE_S)
    for _ in range(6):
        watched.enqueue(6)
        time.sleep(0.9)
    watched.expect("RetouchEditsLateFast")
    watched.stage.simulator.settings(latency_s=0.1)


def lost_answers(watched: Watched) -> None:
    watched.stage.simulator.faults(next=[{"kind": "reset_after_work", "times": 4}])
    watched.enqueue(4, max_charges=1)
    watched.expect("RetouchCallsUnknown")


def refused_key(watched: Watched) -> None:
    watched.stage.simulator.faults(next=[{"kind": "bad_key"}])
    watched.enqueue()
    watched.expect("RetouchAccountClosed")


def wasted_calls(watched: Watched) -> None:
    watched.stage.simulator.faults(next=[{"output_kind": "bomb", "times": 4}])
    watched.enqueue(4, max_charges=1)
    watched.expect("RetouchCallsWasted")


def endpoint_down(watched: Watched) -> None:
    watched.stage.simulator.faults(rates={"error_503": 1.0})
    watched.enqueue(10)
    watched.expect("RetouchBreakerOpen")
    watched.stage.simulator.faults(rates={})
    assert eventually(lambda: watched.stage.queue.status().waiting + watched.stage.queue.status().held == 0, WITHIN_S)


def spent_budget(watched: Watched) -> None:
    Ledger(watched.client).set_limits("tight", budget=1)
    watched.enqueue(tenant="tight")
    watched.expect("RetouchBudgetGone")


def bad_receivers(watched: Watched) -> None:
    watched.enqueue(tenant="gone", webhook=f"{watched.receivers}/gone")
    watched.expect("RetouchDeliveriesDead")
    watched.enqueue(tenant="broken", webhook=f"{watched.receivers}/broken")
    watched.expect("RetouchReceiverFailing")


def waiting_edits(watched: Watched) -> None:
    watched.stage.queue.pause()
    watched.enqueue()
    watched.expect("RetouchOldestEditWaits")
    watched.stage.queue.resume()


def saturation(watched: Watched) -> None:
    watched.client.hset("rt:edits:gate", "limit", 2)
    watched.stage.simulator.settings(latency_s=2.0)
    jobs = watched.enqueue(60)
    watched.expect("RetouchSaturated")
    for job in jobs:
        job.cancel()
    watched.client.hset("rt:edits:gate", "limit", 40)
    watched.stage.simulator.settings(latency_s=0.1)


def redis_at_risk(watched: Watched) -> None:
    watched.client.config_set("appendonly", "no")
    watched.expect("RetouchRedisNotDurable")
    watched.client.config_set("appendonly", "yes")
    watched.client.config_set("maxmemory", int(watched.client.info()["used_memory"] * 1.1))
    watched.expect("RetouchRedisNearlyFull")
    watched.client.config_set("maxmemory", 0)


def slow_burn(watched: Watched) -> None:
    watched.expect("RetouchEditsLate")
    watched.expect("RetouchEditsLateSlowly")


@pytest.mark.parametrize(
    "fault",
    [
        late,
        lost_answers,
        refused_key,
        wasted_calls,
        endpoint_down,
        spent_budget,
        bad_receivers,
        waiting_edits,
        saturation,
        redis_at_risk,
        slow_burn,
    ],
)
def test_a_real_fault_fires_its_alert(watched: Watched, fault: Callable[[Watched], None]) -> None:
    """A real fault fires its alert, whether Prometheus scrapes one gateway or three."""
    fault(watched)
    assert watched.single.query("up")


@pytest.mark.parametrize("expression", expressions())
def test_the_dashboard_shows_what_was_scraped(watched: Watched, expression: str) -> None:
    """Prometheus accepts each expression of the dashboard, and each had a value during these tests."""
    expression = expression.replace("$__rate_interval", "1m")
    assert watched.single.query(f"last_over_time(({expression})[30m:5s])")


def test_a_killed_worker_and_gateway_are_noticed(watched: Watched) -> None:
    """After the only worker and a gateway were killed, the alert of each fires. By then, every alert has fired."""
    watched.stage.workers[0].kill()
    watched.expect("RetouchNoWorker")
    watched.gateways[0].end()
    watched.expect("RetouchScrapeGone")
    assert [name for name in alert_names() if not watched.triple.has_fired(name)] == []
