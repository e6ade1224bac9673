"""Measures every list, page and read of the gateway and the command line with a million jobs on record."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode, urlsplit

from redis import Redis

from retouch.store import keys
from retouch.store.redis_client import connect
from retouch.store.redis_commands import Client
from retouch.store.tenants import TenantStore
from retouch_ops.bench import seeding
from retouch_ops.bench.child import MeasuredChild, NotMeasured
from retouch_ops.bench.figures import Row, Scale, percentile
from retouch_ops.bench.harness import Harness

REQUESTS, COMMANDS, AIM_MS = 20, 3, 100.0
QUERIES = (
    *("", "state:failed", "state:queued", "state:running", "state:succeeded,cancelled", "code:spam_filter"),
    *("code:rare", "tenant:tenant3", "account:dear", "account:rare", "tag:campaign=3", "tag:order=rare"),
    *("tag:order=500", "receiver:{receiver}", "receiver:rc_rare", "id:{job}", "cost:>1", "cost:>3"),
    *("since:1h", "until:2d", "since:2d until:1d state:failed", "state:failed tag:campaign=3 code:endpoint_failed"),
    *("state:cancelled tag:order=rare", "tenant:tenant3 account:rare", "code:rare account:rare"),
    "state:succeeded tag:campaign=3 cost:>1",
)
"""Queries over all jobs. A query whose only field has the value `rare` matches three jobs."""
ROUTES = (
    *("/v1/edits/{job}", "/v1/edits/{job}/timeline", "/v1/stats?since={days90}", "/v1/stats?since={days3}&by=tenant"),
    *(
        "/v1/stats?since={days3}&by=account",
        "/v1/usage",
        "/v1/usage?by=day",
        "/v1/usage?by=tag",
        "/v1/usage?by=account",
    ),
    *("/v1/status", "/metrics", "/metrics/store", "/v1/audit", "/v1/deliveries", "/v1/deliveries?state=dead"),
    *("/v1/deliveries?receiver={receiver}", "/v1/deliveries/{delivery}", "/v1/receivers?tenant=tenant3"),
    *("/v1/accounts", "/v1/bulk", "/v1/events?limit=100"),
)
PAGES = (
    *("", "/jobs", "/jobs?state=failed", "/jobs?code=rare", "/jobs?q=tag%3Aorder%3Drare", "/jobs?view=sheet"),
    *("/jobs/{job}", "/deliveries", "/deliveries?state=dead", "/deliveries/{delivery}", "/receivers"),
    *("/receivers/{receiver}", "/tenants", "/tenants/tenant0", "/workers"),
)
READS = ("--version", "jobs code:rare", "jobs tag:order=rare", "status", "stats --since 3d", "usage", "deliveries")
"""Commands of `retouch`. The first shows how long the start of the program takes."""


@dataclass
class Reader:
    """A client of the gateway with one connection. `processes` are the processes whose CPU time is measured."""

    url: str
    client: Redis
    processes: list[MeasuredChild]
    headers: dict[str, str]
    _connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)

    def ask(self, method: str, path: str, body: str = "", headers: Mapping[str, str] | None = None) -> str:
        """
        Send a request. Return the `Set-Cookie` header of the answer, or an empty string if there is none.

        Raises `NotMeasured` if the answer is an error.
        """
        self._connection.request(method, path, body or None, {**self.headers, **(headers or {})})
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise NotMeasured(f"{method} {path} was answered {answer.status}: {text[:200]!r}")
        return answer.headers.get("Set-Cookie", "")

    def sign_in(self, secret: str) -> None:
        """Begin a session of the console."""
        form = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
        cookie = self.ask("POST", "/console/sign-in", urlencode({"key": secret}), form)
        self.headers = {"Cookie": cookie.partition(";")[0]}

    def row(self, name: str, path: str) -> Row:
        """
        GET a path 20 times. Return a row with the wall time, and with the CPU time and Redis commands of one request.
        """
        self.ask("GET", path)
        return _row(name, lambda: self.ask("GET", path), REQUESTS, self.client, self.processes)


def measure(harness: Harness, scale: Scale) -> list[Row]:
    """
    Return the 95th percentile of the wall time of each read, with 1,000,000 jobs on record (20,000 if `scale` is
    small).

    The note of a row has three more figures: the median, the CPU time of gateway and Redis, and the number of Redis
    commands.
    """
    count = 1_000_000 if scale == "full" else 20_000
    client = connect(harness.settings())
    harness.client.config_set("appendonly", "no")  # what is measured reads only
    for so_far in seeding.seed(client, harness.client, count):
        harness.say(f"{so_far:,} of {count:,} jobs on record")
    return reads(harness, client)


def reads(harness: Harness, client: Client) -> list[Row]:
    """Return a row for each query, route, page and command, measured on the jobs that are on record."""
    _, secret = TenantStore(client).create_key("staff", "ops")
    url, child = harness.web("retouch_producer.gateway")
    reader = Reader(url, harness.client, [child, harness.valkey], {"Authorization": f"Bearer {secret}"})
    names = _names(client)
    rows = [reader.row(f"q={query}", f"/v1/edits?q={quote(query.format(**names))}") for query in QUERIES]
    rows += [reader.row(path, path.format(**names)) for path in ROUTES]
    reader.sign_in(secret)
    rows += [reader.row(f"/console{path}", f"/console{path.format(**names)}") for path in PAGES]
    return [*rows, *_commands(harness)]


def _names(client: Client) -> dict[str, str]:
    """Return a value for each placeholder in paths. The job and the delivery are from the middle of their lists."""
    jobs, deliveries = keys.jobs("tenant5"), keys.lane("deliveries", "recent")
    (job,) = client.zrange(jobs, client.zcard(jobs) // 2, client.zcard(jobs) // 2)
    (delivery,) = client.zrange(deliveries, client.zcard(deliveries) // 2, client.zcard(deliveries) // 2)
    days = {f"days{number}": f"{time.time() - number * 86_400:.0f}" for number in (3, 90)}
    return {"job": job, "delivery": delivery, "receiver": seeding.receiver(50), **days}


def _commands(harness: Harness) -> Iterator[Row]:
    """Yield a row for each command in `READS`. Most of a command's time is the start of the program."""
    environment = {**os.environ, "RETOUCH_REDIS_URL": harness.redis_url}
    for read in READS:
        command = [sys.executable, "-P", "-m", "retouch_ops.cli", *read.split()]

        def run(command: list[str] = command) -> None:
            subprocess.run(command, env=environment, check=True, capture_output=True)

        yield _row(f"retouch {read}", run, COMMANDS, harness.client, [harness.valkey], aim=None)


def _row(
    name: str,
    read: Callable[[], object],
    times: int,
    client: Redis,
    processes: list[MeasuredChild],
    aim: float | None = AIM_MS,
) -> Row:
    took_s, cpu_s, commands = list[float](), sum(one.cpu_s() for one in processes), _commands_so_far(client)
    for _ in range(times):
        began_at = time.perf_counter()
        read()
        took_s.append(time.perf_counter() - began_at)
    cpu_ms = (sum(one.cpu_s() for one in processes) - cpu_s) / times * 1e3
    asked = (_commands_so_far(client) - commands - 1) / times
    note = f"p50 {percentile(took_s, 0.5) * 1e3:.1f} ms, CPU {cpu_ms:.1f} ms, {asked:.0f} commands"
    return Row(f"{name} p95", "ms", percentile(took_s, 0.95) * 1e3, aim=aim, note=note)


def _commands_so_far(client: Redis) -> int:
    return int(client.info("stats")["total_commands_processed"])
