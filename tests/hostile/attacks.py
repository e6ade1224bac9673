"""The attacks of a hostile tenant on the gateway: for each a name, a number of requests, a rate and a concurrency."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from tests.hostile.http_client import NO_ANSWER, HttpClient
from tests.hostile.pictures import big_png, many_scans

HOLD_S, DRIP_EVERY_S = 60.0, 0.9


@dataclass
class HostileTenant:
    """The state that all attacks of a tenant share: the addresses of servers, and the ids of its jobs and receivers."""

    server_url: str
    rng: random.Random
    jobs: list[str] = field(default_factory=list)
    receivers: list[str] = field(default_factory=list)

    def edit(self, number: int, **more: Any) -> dict[str, Any]:
        """Return the body of an edit."""
        return {"prompt": f"make it winter {number}", "init_image": f"{self.server_url}/photo", **more}

    def job(self) -> str:
        """Return the id of one of the tenant's jobs."""
        return self.rng.choice(self.jobs) if self.jobs else "ed_none"


Step = Callable[[HostileTenant, HttpClient, int], Awaitable[object]]


@dataclass(frozen=True)
class Attack:
    """
    One kind of attack.

    `step` is run up to `count` times, at most `per_s` times a second and `concurrency` times at once. `prepares` names
    the records that the store gets before the attack: jobs, tags, receivers or every_job (see `preparation.py`).
    """

    name: str
    step: Step
    count: int
    per_s: float
    concurrency: int
    prepares: tuple[str, ...] = ()


def get_in_turn(*templates: str) -> Step:
    """Return a step that GETs these paths in turn; `{job}` and `{receiver}` become ids of the tenant."""

    async def step(tenant: HostileTenant, client: HttpClient, number: int) -> None:
        receiver = tenant.rng.choice(tenant.receivers or ["rc_none"])
        path = templates[number % len(templates)]
        await client.get(path.replace("{job}", tenant.job()).replace("{receiver}", receiver))

    return step


async def enqueue_batches(tenant: HostileTenant, client: HttpClient, number: int) -> None:
    """Enqueue a batch of 1,000 edits."""
    edits = [tenant.edit(1_000 * number + place) for place in range(1_000)]
    answer = await client.post("/v1/edits/batch", {"edits": edits})
    if answer and answer.status == 200:
        tenant.jobs += [item["id"] for item in answer.json()["items"][:100] if item["id"]]


async def enqueue_large_batches(tenant: HostileTenant, client: HttpClient, number: int) -> None:
    """Enqueue a batch of 1,000 edits in a body of nearly 4 MB: long prompts, and twenty tags each."""
    tags = {f"t{one}": "v" * 20 for one in range(20)}
    edits = [tenant.edit(place, prompt=f"{number} {place} " + "x" * 3_200, tags=tags) for place in range(1_000)]
    await client.post("/v1/edits/batch", {"edits": edits})


async def enqueue_with_idempotency_keys(tenant: HostileTenant, client: HttpClient, number: int) -> None:
    """Enqueue a batch of 1,000 edits with an idempotency key. Two batches in a row have the same key."""
    edits = [tenant.edit(place) for place in range(1_000)]
    await client.post("/v1/edits/batch", {"edits": edits}, Idempotency_Key=f"order-{number // 2}")


async def page_through(tenant: HostileTenant, client: HttpClient, number: int) -> None:
    """Read a list page by page, 1,000 at a time, from the newest to the oldest."""
    query, pages = ("limit=1000", "limit=1000&state=succeeded", "limit=1000&tag=order=17")[number % 3], 0
    cursor = ""
    while pages < 100:
        answer = await client.get(f"/v1/edits?{query}{cursor}")
        if not (answer and answer.status == 200) or not (following := answer.json()["next_cursor"]):
            return
        cursor, pages = f"&cursor={following}", pages + 1


async def add_receivers(tenant: HostileTenant, client: HttpClient, number: int) -> None:
    """Add a receiver for single jobs; every tenth request lists all receivers instead."""
    if number % 10 == 9:
        await client.get("/v1/receivers")
        return
    url = f"{tenant.server_url}/hang/{number}"
    answer = await client.post("/v1/receivers", {"url": url, "every_job": False})
    if answer and answer.status == 201:
        tenant.receivers.append(answer.json()["id"])


async def enqueue_for_harmful_receivers(tenant: HostileTenant, client: HttpClient, number: int) -> None:
    """Enqueue and cancel twenty jobs, each with its own webhook URL. All receivers of one request do the same harm."""
    kind = ("hang", "fail", "drip", "slow", "large")[number % 5]
    edits = [tenant.edit(number, webhook=f"{tenant.server_url}/{kind}/{number}-{place}") for place in range(20)]
    answer = await client.post("/v1/edits/batch", {"edits": edits})
    if answer and answer.status == 200:
        for item in answer.json()["items"]:
            if item["id"]:
                await client.post(f"/v1/edits/{item['id']}/cancel")


async def enqueue_for_many_receivers(tenant: HostileTenant, client: HttpClient, number: int) -> None:
    """Enqueue one job and cancel it, which sends events to thousands of receivers."""
    answer = await client.post("/v1/edits", tenant.edit(number))
    if answer and answer.status == 202:
        await client.post(f"/v1/edits/{answer.json()['id']}/cancel")


async def send_test_events(tenant: HostileTenant, client: HttpClient, number: int) -> None:
    """Send a test event to a receiver that hangs, drips or answers without end."""
    url = f"{tenant.server_url}/{('hang', 'drip', 'large')[number % 3]}/test-{number % 40}"
    answer = await client.post("/v1/receivers", {"url": url, "every_job": False})
    if answer and answer.status == 201:
        await client.post(f"/v1/receivers/{answer.json()['id']}/test")


@cache
def _scans() -> bytes:
    return many_scans(4_000, 800)


@cache
def _large() -> bytes:
    return big_png(random.Random(2))


async def upload_scans(tenant: HostileTenant, client: HttpClient, number: int) -> None:
    """Upload a progressive JPEG of 16 megapixels with hundreds of scans, and ask for its thumbnail."""
    body = _scans() + str(number).encode()
    answer = await client.request("POST", "/v1/uploads", body, "image/jpeg")
    if answer and answer.status == 201:
        link = "/" + answer.json()["url"].split("/", 3)[3].partition("?")[0]
        await client.get(link.rpartition(".")[0] + ".thumb.webp")


async def upload_large(tenant: HostileTenant, client: HttpClient, number: int) -> None:
    """Upload a PNG of 49 MB, and ask for its thumbnail."""
    answer = await client.request("POST", "/v1/uploads", _large() + str(number).encode(), "image/png")
    if answer and answer.status == 201:
        link = "/" + answer.json()["url"].split("/", 3)[3].partition("?")[0]
        await client.get(link.rpartition(".")[0] + ".thumb.webp")


async def capture_large(tenant: HostileTenant, client: HttpClient, number: int) -> None:
    """Enqueue a job whose picture is a PNG of 49 MB, at an address of its own."""
    await client.post("/v1/edits", tenant.edit(number, init_image=f"{tenant.server_url}/big?{number}"))


async def capture_hanging(tenant: HostileTenant, client: HttpClient, number: int) -> None:
    """Enqueue a job whose picture comes from a server that hangs, drips or never ends."""
    kind = ("hang", "drip", "large")[number % 3]
    await client.post("/v1/edits", tenant.edit(number, init_image=f"{tenant.server_url}/{kind}/{number}"))


async def hold_streams(tenant: HostileTenant, client: HttpClient, _: int) -> None:
    """Hold one stream of a job's events open."""
    await _hold(client, client.head("GET", f"/v1/edits/{tenant.job()}/events"))


async def wait_for_feed(tenant: HostileTenant, client: HttpClient, number: int) -> None:
    """Wait for an event in the feed, or for the end of a job."""
    if number % 2:
        await client.get("/v1/events?after=latest", Prefer="wait=60")
    else:
        await client.post("/v1/edits", tenant.edit(number), Prefer="wait=60")


async def call_drop_in(tenant: HostileTenant, client: HttpClient, number: int) -> None:
    """Call the pix2pix-compatible route, which waits eight seconds for its image."""
    await client.post("/api/v5/pix2pix", {"key": client.secret, **tenant.edit(number)})


async def cancel_and_replay(tenant: HostileTenant, client: HttpClient, number: int) -> None:
    """Cancel a job, or replay it."""
    await client.post(f"/v1/edits/{tenant.job()}/{('cancel', 'replay')[number % 2]}")


async def redeliver(tenant: HostileTenant, client: HttpClient, _: int) -> None:
    """Redeliver all deliveries of one receiver."""
    receiver = tenant.rng.choice(tenant.receivers or ["rc_none"])
    await client.post(f"/v1/receivers/{receiver}/redeliver?since=2020-01-01T00:00:00Z")


async def send_dry_runs(tenant: HostileTenant, client: HttpClient, number: int) -> None:
    """Send a dry run."""
    await client.post("/v1/edits?dry_run=1", tenant.edit(number))


async def drip_bodies(tenant: HostileTenant, client: HttpClient, number: int) -> None:
    """Send a body byte by byte. Every second body belongs to an upload, the others to an edit."""
    path, most = (("/v1/edits", 60_000), ("/v1/uploads", 40_000_000))[number % 2]
    kind = ("application/json", "image/png")[number % 2]
    with suppress(*NO_ANSWER):
        reader, writer = await client.connect()
        writer.write(client.head("POST", path, most, kind))
        for _ in range(int(HOLD_S / DRIP_EVERY_S)):
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(DRIP_EVERY_S)
        writer.close()
        del reader


async def send_half_heads(_: HostileTenant, client: HttpClient, number: int) -> None:
    """Open a connection and send half of a request's head, or nothing."""
    await _hold(client, b"GET /v1/edits HTTP/1.1\r\nHo" if number % 2 else b"")


async def guess_keys(_: HostileTenant, client: HttpClient, number: int) -> None:
    """Send a request with an unknown key."""
    guess = HttpClient(f"http://{client.host}:{client.port}", f"rtk_{number:043}")
    await guess.get("/v1/edits")
    client.statuses += guess.statuses
    guess.close()


async def send_malformed(tenant: HostileTenant, client: HttpClient, number: int) -> None:
    """Send JSON that is as expensive to refuse as possible: deep, long, or with a thousand faults."""
    bodies = (
        b"[" * 60_000,
        b'{"edits": [' + b"{}," * 100_000 + b"{}]}",
        json.dumps({"edits": [{f"f{place}": 1, "steps": "x", "tags": {"a": 1}} for place in range(1_000)]}).encode(),
        b'{"a": ' + b"9" * 4_000 + b"}",
    )
    await client.request("POST", "/v1/edits/batch", bodies[number % len(bodies)])


async def _hold(client: HttpClient, message: bytes) -> None:
    with suppress(*NO_ANSWER):
        reader, writer = await client.connect()
        writer.write(message)
        with suppress(TimeoutError):
            async with asyncio.timeout(HOLD_S):
                first = await reader.read(65_536)
                client.statuses[first.split(b" ", 2)[1].decode() if first.startswith(b"HTTP/") else "none"] += 1
                while await reader.read(65_536):
                    pass
        writer.close()


_FILTERS = (
    "/v1/edits?limit=1000",
    "/v1/edits?state=failed&limit=1000",
    "/v1/edits?state=queued&limit=1000",
    "/v1/edits?tag=order=17",
    "/v1/edits?tag=none=none&limit=1000",
    "/v1/edits?since=2020-01-01T00:00:00Z",
    "/v1/deliveries?limit=1000",
    "/v1/deliveries?state=dead",
    "/v1/deliveries?state=delivered&receiver={receiver}",
    "/v1/edits/{job}",
    "/v1/edits/{job}/timeline",
    "/v1/status",
)
ATTACKS = {
    attack.name: attack
    for attack in (
        Attack("jobs", enqueue_batches, 100, 2.0, 4),
        Attack("large-batches", enqueue_large_batches, 60, 2.0, 4),
        Attack("idempotency-keys", enqueue_with_idempotency_keys, 200, 2.0, 4),
        Attack("lists", get_in_turn(*_FILTERS), 6_000, 100.0, 60, ("jobs", "receivers")),
        Attack("pages", page_through, 600, 10.0, 20, ("jobs",)),
        Attack("usage", get_in_turn("/v1/usage?by=tag", "/v1/usage?by=day", "/v1/usage"), 1_000, 20.0, 20, ("tags",)),
        Attack(
            "status", get_in_turn("/v1/status", "/v1/receivers", "/v1/usage?by=tag"), 3_000, 50.0, 60, ("receivers",)
        ),
        Attack("receivers", add_receivers, 20_000, 300.0, 30),
        Attack("webhooks", enqueue_for_harmful_receivers, 600, 5.0, 8),
        Attack("every-job", enqueue_for_many_receivers, 600, 5.0, 8, ("every_job",)),
        Attack("receiver-tests", send_test_events, 1_000, 60.0, 120),
        Attack("scans", upload_scans, 200, 4.0, 8),
        Attack("uploads", upload_large, 100, 2.0, 8),
        Attack("captures", capture_large, 100, 4.0, 16),
        Attack("hanging-captures", capture_hanging, 1_000, 20.0, 200),
        Attack("streams", hold_streams, 1_000, 200.0, 1_000, ("jobs",)),
        Attack("waits", wait_for_feed, 1_000, 50.0, 400),
        Attack("feed", get_in_turn("/v1/events?limit=1000", "/v1/events?after=0"), 2_000, 30.0, 30, ("jobs",)),
        Attack("drop-in", call_drop_in, 1_000, 20.0, 200),
        Attack("moves", cancel_and_replay, 20_000, 200.0, 40, ("jobs",)),
        Attack("redeliver", redeliver, 600, 5.0, 20, ("receivers", "every_job")),
        Attack("dry-runs", send_dry_runs, 2_000, 30.0, 30, ("jobs", "receivers")),
        Attack("drips", drip_bodies, 500, 100.0, 500),
        Attack("half-open", send_half_heads, 1_000, 200.0, 1_000),
        Attack("wrong-keys", guess_keys, 5_000, 100.0, 50),
        Attack("malformed", send_malformed, 1_000, 10.0, 16),
    )
}
