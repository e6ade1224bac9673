"""
Reads the counts of jobs and calls from each screen: the console, the CLI, the HTTP API, and the metrics of the store.

A count is called a *fact*, and each function returns facts by name. `enqueued`, `succeeded` and `failed` count jobs.
`posts` counts the intents. `useful`, `repeated`, `wasted` and `unknown` count the charges by their use.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from retouch.store.ledger import CLASSES
from tests.process_watch import retouch

Facts = Mapping[str, int]
BEGINNING = "2020-01-01"


class Terms(HTMLParser):
    """
    A parser that stores the text of each `<dt>` of a page with the text of the `<dd>` after it.

    If a term has several values, the first value is stored.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self._in, self._words, self._term = "", "", ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("dt", "dd"):
            self._in, self._words = tag, ""

    def handle_data(self, data: str) -> None:
        self._words += data if self._in else ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "dt":
            self._term = self._words.strip()
        elif tag == "dd":
            self.found.setdefault(self._term, self._words.strip())
        self._in = "" if tag in ("dt", "dd") else self._in


@dataclass
class Screens:
    """The screens of one gateway, and the CLI on the same Redis. `secret` is an API key that may see all tenants."""

    url: str
    secret: str
    environment: Mapping[str, str]
    tenants: tuple[str, ...]

    def all(self) -> dict[str, Facts]:
        """Return the facts that each screen shows, by the screen's name."""
        screens: dict[str, Callable[[], Facts]] = {
            "console: overview": lambda: self._page("/console", CLASSES),
            "console: tenants": lambda: self._page("/console/tenants", CLASSES),
            "console: each tenant": self._tenant_pages,
            "retouch stats": lambda: _stats(self._typed("stats", "--json", "--since", BEGINNING)),
            "retouch usage": lambda: _usage(self._typed("usage", "--json")),
            "retouch usage by tag": lambda: _usage(self._typed("usage", "--json", "--by", "tag")),
            "/v1/stats": lambda: _stats(self._api("/v1/stats", since=BEGINNING)),
            "/v1/usage": lambda: _usage(self._api("/v1/usage")["data"]),
            "/metrics/store": self._metrics,
        }
        return {name: read() for name, read in screens.items()}

    def _typed(self, *arguments: str) -> Any:
        ended = retouch(*arguments, environment=self.environment)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    def _api(self, path: str, **params: str) -> Any:
        return self._get(path, **params).json()

    def _get(self, path: str, **params: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.secret}"}
        return httpx.get(self.url + path, params=params, headers=headers, trust_env=False).raise_for_status()

    def _page(self, path: str, names: tuple[str, ...], **renamed: str) -> Facts:
        """
        Sign in to the console, and return the facts `names` from one page.

        `renamed` maps the name of a fact to its term on the page, if the two differ.
        """
        headers = {"Sec-Fetch-Site": "same-origin"}
        with httpx.Client(base_url=self.url, headers=headers, trust_env=False, follow_redirects=True) as browser:
            browser.post("/console/sign-in", data={"key": self.secret}).raise_for_status()
            terms = Terms()
            terms.feed(browser.get(path).raise_for_status().text)
        return {name: int(re.sub(r"\D", "", terms.found[renamed.get(name, name)])) for name in names}

    def _tenant_pages(self) -> Facts:
        sums = Counter[str]()
        for tenant in self.tenants:
            renamed = {state: f"{state}, on record" for state in ("succeeded", "failed")}
            sums.update(self._page(f"/console/tenants/{tenant}", (*CLASSES, *renamed), **renamed))
        return sums

    def _metrics(self) -> Facts:
        sums = Counter[str]()
        for family in text_string_to_metric_families(self._get("/metrics/store").text):
            for sample in family.samples:
                sums[fact_of(sample.name, sample.labels)] += int(sample.value) * (-1 if "_moved_" in sample.name else 1)
        return {name: sums[name] for name in ("enqueued", "succeeded", "failed", "posts", *CLASSES)}


def fact_of(name: str, labels: Mapping[str, str]) -> str:
    """Return the fact that a sample of the metrics belongs to, or an empty string for a sample without a fact."""
    if name in ("retouch_calls_total", "retouch_calls_moved_total"):
        return labels["use"]
    if name == "retouch_jobs_ended_total":
        return labels["state"]
    return {"retouch_jobs_enqueued_total": "enqueued", "retouch_calls_intended_total": "posts"}.get(name, "")


def _stats(document: Any) -> Facts:
    total, today = document["total"], document["today"]
    ended = {state: total["ended"].get(state, 0) for state in ("succeeded", "failed")}
    return {"enqueued": total["enqueued"], "posts": total["calls"], **ended, **{name: today[name] for name in CLASSES}}


def _usage(rows: list[Any]) -> Facts:
    return {name: sum(row[name] for row in rows) for name in CLASSES}
