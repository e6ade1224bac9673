"""
Measure the console on a store with many jobs: `python -m tests.browser.many_jobs --jobs 100000`.

It prints three figures for each page: the time of the first paint in Chromium (the median of some visits with an empty
cache), the time of the gateway's answer, and the compressed size. Times on a busy machine prove little, so no test
asserts them. `tests/integration/console/test_weight.py` asserts the sizes.
"""

from __future__ import annotations

import argparse
import gzip
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from retouch.store.tenants import TenantStore
from tests.browser.conftest import CHROMIUM, OPTIONS
from tests.browser.tabs import signed_in
from tests.chaos.stack import a_stage, environment_of
from tests.full_store import FullStore
from tests.gateway_process import running_gateway
from tests.integration.console.test_weight import LISTS
from tests.store_access import store_access

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TENANTS, FAILURES, RECEIVERS, PROMPT = 100, 400, 40, 60
PAINTED = "performance.getEntriesByType('paint').find((one) => one.name === 'first-contentful-paint')?.startTime ?? 0"
ANSWERED = "performance.getEntriesByType('navigation')[0].responseEnd"


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of one page: medians in ms of the first paint and the end of the answer, and the compressed bytes."""

    painted_ms: float
    answered_ms: float
    size: int


def measure(browser: Browser, url: str, secret: str, address: str, visits: int) -> Measured:
    """Visit a page `visits` times, each time with an empty cache, and return its figures."""
    painted, answered, size = [], [], 0
    for _ in range(visits):
        person = signed_in(browser, url, secret)
        page = person.new_page()
        answer = page.goto(url + address, wait_until="load")
        painted.append(first_paint(page))
        answered.append(float(page.evaluate(ANSWERED)))
        size = len(gzip.compress(answer.body())) if answer else 0
        person.close()
        time.sleep(0.2)
    return Measured(median(painted), median(answered), size)


def first_paint(page: Page) -> float:
    """Return the milliseconds from the navigation to the first text or picture that was painted."""
    # Playwright's own waiting evaluates text in the page, which the policy of the console forbids.
    while not (painted := float(page.evaluate(PAINTED))):
        page.wait_for_timeout(50)
    return painted


def table(jobs: int, visits: int) -> str:
    """Fill a store, visit all pages, and return their figures as a Markdown table."""
    from playwright.sync_api import sync_playwright

    lines = ["| page | first paint | answered | sent, gzip |", "|---|---|---|---|"]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stage = stack.enter_context(a_stage(folder, latency_s=1.0))
        client = store_access(stage.queue).client
        FullStore(client, text=PROMPT).fill(jobs, tenants=TENANTS, failures=FAILURES, receivers=RECEIVERS)
        secret = TenantStore(client).create_key("staff", "ops")[1]
        url, _ = stack.enter_context(running_gateway(environment_of(stage.settings)))
        browser = stack.enter_context(sync_playwright()).chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        stack.callback(browser.close)
        for name, address in LISTS.items():
            one = measure(browser, url, secret, address, visits)
            lines.append(f"| {name} | {one.painted_ms:,.0f} ms | {one.answered_ms:,.0f} ms | {one.size:,} B |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--visits", type=int, default=5)
    options = parser.parse_args()
    measured = table(options.jobs, options.visits)
    sys.stdout.write(f"{options.jobs:,} jobs, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n\n{measured}\n")


if __name__ == "__main__":
    main()
