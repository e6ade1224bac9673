"""
Many tabs for a long time: `python -m tests.browser.tabs --tabs 20 --minutes 30`.

Chromium shows live pages of a gateway while a worker edits for three tenants. All tabs but one are closed and replaced
again and again. For each third of the time, the program prints the memory, streams, tasks and threads of the gateway,
and the JavaScript heap of the tab that stays open. It exits with 1 if memory grew, if closed tabs left streams behind,
or if the gateway did not have exactly one reader of the feed.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from retouch import Edit
from retouch.store.tenants import TenantStore
from tests.browser.conftest import CHROMIUM, OPTIONS
from tests.browser.watched_gateway import MODULE, holdings
from tests.chaos.soak import GROWTH_MOST, MEGABYTE, resident_bytes, thirds
from tests.chaos.stack import Stage, a_stage, environment_of
from tests.gateway_process import running_gateway
from tests.process_watch import Spoken, eventually
from tests.store_access import store_access

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, CDPSession, Page

TENANTS = ("acme", "globex", "initech")
FAULTS = {"failed": 0.03, "html_502": 0.02, "validation": 0.02}
RETENTION_S = 120.0
TURN_S, RENEW_TURNS, SAMPLE_TURNS = 1.0, 5, 10
"""
Each turn enqueues a job. Every `RENEW_TURNS` turns a tab is replaced; every `SAMPLE_TURNS` turns a sample is taken.
"""
SAMPLES_LEAST = 6


def feed_readers(client: Any) -> int:
    """Return how many connections to Redis wait for the feed at this moment."""
    return sum(one["cmd"] == "xread" and "b" in one["flags"] for one in client.client_list())


@dataclass
class Samples:
    """The measurements of a run; each list has one entry for each sample."""

    resident: list[float] = field(default_factory=list)
    blocks: list[float] = field(default_factory=list)
    streams: list[float] = field(default_factory=list)
    tasks: list[float] = field(default_factory=list)
    threads: list[float] = field(default_factory=list)
    heap: list[float] = field(default_factory=list)
    readers: list[float] = field(default_factory=list)

    def take(self, gateway: Spoken, client: Any, heap: CDPSession) -> None:
        """Add a sample. The garbage of the tab is collected before its heap is measured."""
        held = holdings(gateway)
        self.resident.append(resident_bytes(gateway.process.pid))
        self.blocks.append(held.blocks)
        self.streams.append(held.streams)
        self.tasks.append(held.tasks)
        self.threads.append(held.threads)
        heap.send("HeapProfiler.collectGarbage")
        self.heap.append(heap.send("Runtime.getHeapUsage")["usedSize"])
        self.readers.append(max(feed_readers(client) for _ in range(20)))


@dataclass
class Tabs:
    """Tabs of several people, each with a browser window of their own; all are on live pages."""

    url: str
    stage: Stage
    people: list[BrowserContext]
    opened: list[Page] = field(default_factory=list)
    _turn: Iterator[int] = field(default_factory=itertools.count)

    def open(self, count: int) -> None:
        """Open `count` more tabs."""
        for _ in range(count):
            turn = next(self._turn)
            page = self.people[turn % len(self.people)].new_page()
            addresses = self._addresses()
            page.goto(self.url + addresses[turn % len(addresses)])
            self.opened.append(page)

    def renew(self) -> None:
        """Close the oldest tab except for the very first, and open a new tab."""
        self.opened.pop(1).close()
        self.open(1)

    def _addresses(self) -> list[str]:
        jobs = list(store_access(self.stage.queue).client.zrevrange(f"rt:jobs:{TENANTS[0]}", 0, 0))
        about = [f"/console/jobs/{job}" for job in jobs]
        lists = ("/jobs", "/jobs?view=sheet", "/jobs?state=failed", "/deliveries", "/receivers", "/tenants", "/workers")
        return ["/console", *(f"/console{path}" for path in lists), f"/console/tenants/{TENANTS[0]}", *about]


@dataclass
class Run:
    """A running worker, a gateway, and tabs that show the gateway's pages."""

    stage: Stage
    gateway: Spoken
    tabs: Tabs
    heap: CDPSession
    samples: Samples = field(default_factory=Samples)
    jobs: int = 0

    def go(self, minutes: float, count: int) -> None:
        """Enqueue jobs and replace tabs for `minutes` minutes. Take samples as soon as `count` tabs are open."""
        until = time.monotonic() + minutes * 60
        for turn in itertools.count():
            if time.monotonic() > until:
                return
            self._enqueue(turn)
            # Nothing is measured before the tabs were all opened and each page was drawn.
            if len(self.tabs.opened) < count:
                self.tabs.open(1)
            elif turn % RENEW_TURNS == 0:
                self.tabs.renew()
            if len(self.tabs.opened) == count and turn % SAMPLE_TURNS == 0:
                self.samples.take(self.gateway, store_access(self.stage.queue).client, self.heap)
            self.tabs.opened[0].wait_for_timeout(TURN_S * 1000)

    def _enqueue(self, turn: int) -> None:
        if self.stage.queue.status().waiting > 20:
            return
        edit = Edit(prompt=f"make it winter, no. {turn}", init_image=self.stage.simulator.portrait_url)
        tags = {"order": str(turn % 7)}
        tenant = TENANTS[turn % len(TENANTS)]
        self.stage.queue.enqueue(edit, tenant=tenant, tags=tags, webhook=f"{self.stage.sink.url}/hook")
        self.jobs += 1

    def table(self) -> str:
        """Return the samples as a Markdown table, with the mean of each third of the run."""
        rows: list[tuple[str, list[float], float]] = [
            ("gateway, resident, MB", self.samples.resident, MEGABYTE),
            ("its blocks of memory in Python, thousands", self.samples.blocks, 1e3),
            ("its open streams", self.samples.streams, 1.0),
            ("tasks of its loop", self.samples.tasks, 1.0),
            ("its threads", self.samples.threads, 1.0),
            ("its readers of the feed", self.samples.readers, 1.0),
            ("JavaScript heap of a tab that stays, MB", self.samples.heap, MEGABYTE),
        ]
        lines = ["| | first third | second third | last third |", "|---|---|---|---|"]
        for name, values, unit in rows:
            first, second, last = (value / unit for value in thirds(values))
            lines.append(f"| {name} | {first:,.1f} | {second:,.1f} | {last:,.1f} |")
        return "\n".join(lines)

    def broken(self) -> list[str]:
        """Close all tabs; return a line for each fault: memory that grew, a wrong number of readers, open streams."""
        found = []
        for name in ("resident", "blocks", "heap"):
            _, second, last = thirds(getattr(self.samples, name))
            if last > second * GROWTH_MOST:
                found.append(f"{name} grew from {second:,.0f} to {last:,.0f}")
        # Between two waits there is none.
        if max(self.samples.readers) != 1:
            found.append(f"{max(self.samples.readers):.0f} readers of the feed")
        for person in self.tabs.people:
            person.close()
        if not eventually(lambda: holdings(self.gateway).streams == 0, 10.0):
            found.append(f"{holdings(self.gateway).streams} streams were left by closed tabs")
        return found


@contextmanager
def running(folder: Path, people: int) -> Iterator[Run]:
    """Context manager that starts the stack, a gateway and Chromium. It yields a run with one tab on the overview."""
    from playwright.sync_api import sync_playwright

    with ExitStack() as stack:
        stage = stack.enter_context(a_stage(folder, latency_s=0.6, in_flight_limit=5, retention_s=RETENTION_S))
        stage.simulator.faults(rates=FAULTS, seed=7)
        stage.worker(8)
        secret = TenantStore(store_access(stage.queue).client).create_key("staff", "ops", "tabs")[1]
        url, gateway = stack.enter_context(running_gateway(environment_of(stage.settings), MODULE))
        browser = stack.enter_context(sync_playwright()).chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        stack.callback(browser.close)
        tabs = Tabs(url, stage, [signed_in(browser, url, secret) for _ in range(people)])
        tabs.open(1)
        session = tabs.opened[0].context.new_cdp_session(tabs.opened[0])
        session.send("HeapProfiler.enable")
        yield Run(stage, gateway, tabs, session)


def signed_in(browser: Browser, url: str, secret: str, theme: Literal["light", "dark"] = "light") -> BrowserContext:
    """Return a browser window that is signed in to the console. It has no open tab."""
    person = browser.new_context(color_scheme=theme)
    page = person.new_page()
    page.goto(f"{url}/console/sign-in")
    page.get_by_label("API key").fill(secret)
    page.get_by_label("API key").press("Enter")
    page.wait_for_url(f"{url}/console")
    page.close()
    return person


def main() -> None:
    """Run the tabs and print the table; exit with 1 if `Run.broken` returns a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tabs", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--people", type=int, default=4, help="browser windows that the tabs are spread over")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), options.people) as run:
        run.go(options.minutes, options.tabs)
        count = len(run.samples.heap)
        assert count >= SAMPLES_LEAST, f"{count} samples are too few: it needs more minutes"
        table, broken = run.table(), run.broken()
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        sys.stdout.write(
            f"{options.tabs} tabs of {options.people} people, {options.minutes:g} minutes, {run.jobs} jobs, "
            f"load {load}\n\n{table}\n\nbroken: {broken}\n"
        )
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
