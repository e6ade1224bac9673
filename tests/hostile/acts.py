"""What a hostile tenant does to the gateway: each act has a name, a count at scale 1, a rate and a concurrency."""

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
class Attack:
    """What the acts of one tenant share: the addresses of the servers, and ids of its own jobs and receivers."""

    peers: str
    rng: random.Random
    jobs: list[str] = field(default_factory=list)
    receivers: list[str] = field(default_factory=list)

    def edit(self, number: int, **more: Any) -> dict[str, Any]:
        """Return the body of an edit."""
        return {"prompt": f"make it winter {number}", "init_image": f"{self.peers}/photo", **more}

    def job(self) -> str:
        """Choose one of its jobs."""
        return self.rng.choice(self.jobs) if self.jobs else "ed_none"


Step = Callable[[Attack, HttpClient, int], Awaitable[object]]


@dataclass(frozen=True)
class Act:
    """
    One way to hurt: `step` is run up to `count` times, `per_s` a second at most, `run_sync` at the same time.

    `prepares` names what is put into the store before: jobs, tags, receivers or every_job (see `preparation.py`).
    """

    name: str
    step: Step
    count: int
    per_s: float
    run_sync: int
    prepares: tuple[str, ...] = ()


def paths(*templates: str) -> Step:
    """Return a step that GETs these paths in turn; `{job}` and `{receiver}` become ids of the tenant."""

    async def step(attack: Attack, client: HttpClient, number: int) -> None:
        receiver = attack.rng.choice(attack.receivers or ["rc_none"])
        path = templates[number % len(templates)]
        await client.get(path.replace("{job}", attack.job()).replace("{receiver}", receiver))

    return step


async def put_in_batches(attack: Attack, client: HttpClient, number: int) -> None:
    """Enqueue a batch of 1,000."""
    edits = [attack.edit(1_000 * number + place) for place in range(1_000)]
    answer = await client.post("/v1/edits/batch", {"edits": edits})
    if answer and answer.status == 200:
        attack.jobs += [item["id"] for item in answer.json()["items"][:100] if item["id"]]


async def large_batches(attack: Attack, client: HttpClient, number: int) -> None:
    """Enqueue a batch of 1,000 in a body of nearly 4 MB: long prompts, twenty tags each."""
    tags = {f"t{one}": "v" * 20 for one in range(20)}
    edits = [attack.edit(place, prompt=f"{number} {place} " + "x" * 3_200, tags=tags) for place in range(1_000)]
    await client.post("/v1/edits/batch", {"edits": edits})


async def keyed_batches(attack: Attack, client: HttpClient, number: int) -> None:
    """Enqueue a batch of 1,000, each item with its own idempotency key, every second one a repetition."""
    edits = [attack.edit(place) for place in range(1_000)]
    await client.post("/v1/edits/batch", {"edits": edits}, Idempotency_Key=f"order-{number // 2}")


async def page_through(attack: Attack, client: HttpClient, number: int) -> None:
    """Read a list page by page, 1,000 at a time, from the newest to the oldest."""
    query, pages = ("limit=1000", "limit=1000&state=succeeded", "limit=1000&tag=order=17")[number % 3], 0
    cursor = ""
    while pages < 100:
        answer = await client.get(f"/v1/edits?{query}{cursor}")
        if not (answer and answer.status == 200) or not (following := answer.json()["next_cursor"]):
            return
        cursor, pages = f"&cursor={following}", pages + 1


async def add_receivers(attack: Attack, client: HttpClient, number: int) -> None:
    """Add a receiver of single jobs; every tenth request lists them all."""
    if number % 10 == 9:
        await client.get("/v1/receivers")
        return
    url = f"{attack.peers}/hang/{number}"
    answer = await client.post("/v1/receivers", {"url": url, "every_job": False})
    if answer and answer.status == 201:
        attack.receivers.append(answer.json()["id"])


async def webhooks_of_one_host(attack: Attack, client: HttpClient, number: int) -> None:
    """Enqueue twenty jobs and cancel them: each has a webhook URL of its own at one host that hangs, fails or drips."""
    kind = ("hang", "fail", "drip", "slow", "large")[number % 5]
    edits = [attack.edit(number, webhook=f"{attack.peers}/{kind}/{number}-{place}") for place in range(20)]
    answer = await client.post("/v1/edits/batch", {"edits": edits})
    if answer and answer.status == 200:
        for item in answer.json()["items"]:
            if item["id"]:
                await client.post(f"/v1/edits/{item['id']}/cancel")


async def hear_of_every_job(attack: Attack, client: HttpClient, number: int) -> None:
    """Enqueue one job and cancel it; thousands of receivers get its events."""
    answer = await client.post("/v1/edits", attack.edit(number))
    if answer and answer.status == 202:
        await client.post(f"/v1/edits/{answer.json()['id']}/cancel")


async def try_receivers(attack: Attack, client: HttpClient, number: int) -> None:
    """Send a test event to a receiver that hangs or drips."""
    url = f"{attack.peers}/{('hang', 'drip', 'large')[number % 3]}/test-{number % 40}"
    answer = await client.post("/v1/receivers", {"url": url, "every_job": False})
    if answer and answer.status == 201:
        await client.post(f"/v1/receivers/{answer.json()['id']}/test")


@cache
def _scans() -> bytes:
    return many_scans(4_000, 800)


@cache
def _large() -> bytes:
    return big_png(random.Random(2))


async def upload_scans(attack: Attack, client: HttpClient, number: int) -> None:
    """Upload a progressive JPEG of 16 megapixels with hundreds of scans, and ask for its thumbnail."""
    body = _scans() + str(number).encode()
    answer = await client.request("POST", "/v1/uploads", body, "image/jpeg")
    if answer and answer.status == 201:
        link = "/" + answer.json()["url"].split("/", 3)[3].partition("?")[0]
        await client.get(link.rpartition(".")[0] + ".thumb.webp")


async def upload_large(attack: Attack, client: HttpClient, number: int) -> None:
    """Upload a PNG of 49 MB, and ask for its thumbnail."""
    answer = await client.request("POST", "/v1/uploads", _large() + str(number).encode(), "image/png")
    if answer and answer.status == 201:
        link = "/" + answer.json()["url"].split("/", 3)[3].partition("?")[0]
        await client.get(link.rpartition(".")[0] + ".thumb.webp")


async def capture_large(attack: Attack, client: HttpClient, number: int) -> None:
    """Enqueue a job whose picture is a PNG of 49 MB, at its own URL."""
    await client.post("/v1/edits", attack.edit(number, init_image=f"{attack.peers}/big?{number}"))


async def capture_hanging(attack: Attack, client: HttpClient, number: int) -> None:
    """Enqueue a job whose picture comes from a server that hangs, drips or never ends."""
    kind = ("hang", "drip", "large")[number % 3]
    await client.post("/v1/edits", attack.edit(number, init_image=f"{attack.peers}/{kind}/{number}"))


async def hold_streams(attack: Attack, client: HttpClient, _: int) -> None:
    """Hold one stream of a job's events open."""
    await _hold(client, client.head("GET", f"/v1/edits/{attack.job()}/events"))


async def wait_for_feed(attack: Attack, client: HttpClient, number: int) -> None:
    """Wait for an event in the feed, or for the end of a job."""
    if number % 2:
        await client.get("/v1/events?after=latest", Prefer="wait=60")
    else:
        await client.post("/v1/edits", attack.edit(number), Prefer="wait=60")


async def drop_in(attack: Attack, client: HttpClient, number: int) -> None:
    """Call the pix2pix-compatible route, which waits eight seconds for its image."""
    await client.post("/api/v5/pix2pix", {"key": client.secret, **attack.edit(number)})


async def cancel_and_replay(attack: Attack, client: HttpClient, number: int) -> None:
    """Cancel a job, or replay it."""
    await client.post(f"/v1/edits/{attack.job()}/{('cancel', 'replay')[number % 2]}")


async def redeliver(attack: Attack, client: HttpClient, _: int) -> None:
    """Redeliver all deliveries of one receiver."""
    receiver = attack.rng.choice(attack.receivers or ["rc_none"])
    await client.post(f"/v1/receivers/{receiver}/redeliver?since=2020-01-01T00:00:00Z")


async def dry_runs(attack: Attack, client: HttpClient, number: int) -> None:
    """Send a dry run."""
    await client.post("/v1/edits?dry_run=1", attack.edit(number))


async def drip_bodies(attack: Attack, client: HttpClient, number: int) -> None:
    """Send a body byte by byte, half of the time that of an upload."""
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


async def open_half(_: Attack, client: HttpClient, number: int) -> None:
    """Open a connection and send half a head, or nothing."""
    await _hold(client, b"GET /v1/edits HTTP/1.1\r\nHo" if number % 2 else b"")


async def guess_keys(_: Attack, client: HttpClient, number: int) -> None:
    """Send a request with an unknown key."""
    guess = HttpClient(f"http://{client.host}:{client.port}", f"rtk_{number:043}")
    await guess.get("/v1/edits")
    client.statuses += guess.statuses
    guess.close()


async def malformed(attack: Attack, client: HttpClient, number: int) -> None:
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
ACTS = {
    act.name: act
    for act in (
        Act("jobs", put_in_batches, 100, 2.0, 4),
        Act("large-batches", large_batches, 60, 2.0, 4),
        Act("idempotency-keys", keyed_batches, 200, 2.0, 4),
        Act("lists", paths(*_FILTERS), 6_000, 100.0, 60, ("jobs", "receivers")),
        Act("pages", page_through, 600, 10.0, 20, ("jobs",)),
        Act("usage", paths("/v1/usage?by=tag", "/v1/usage?by=day", "/v1/usage"), 1_000, 20.0, 20, ("tags",)),
        Act("status", paths("/v1/status", "/v1/receivers", "/v1/usage?by=tag"), 3_000, 50.0, 60, ("receivers",)),
        Act("receivers", add_receivers, 20_000, 300.0, 30),
        Act("webhooks", webhooks_of_one_host, 600, 5.0, 8),
        Act("every-job", hear_of_every_job, 600, 5.0, 8, ("every_job",)),
        Act("receiver-tests", try_receivers, 1_000, 60.0, 120),
        Act("scans", upload_scans, 200, 4.0, 8),
        Act("uploads", upload_large, 100, 2.0, 8),
        Act("captures", capture_large, 100, 4.0, 16),
        Act("hanging-captures", capture_hanging, 1_000, 20.0, 200),
        Act("streams", hold_streams, 1_000, 200.0, 1_000, ("jobs",)),
        Act("waits", wait_for_feed, 1_000, 50.0, 400),
        Act("feed", paths("/v1/events?limit=1000", "/v1/events?after=0"), 2_000, 30.0, 30, ("jobs",)),
        Act("drop-in", drop_in, 1_000, 20.0, 200),
        Act("moves", cancel_and_replay, 20_000, 200.0, 40, ("jobs",)),
        Act("redeliver", redeliver, 600, 5.0, 20, ("receivers", "every_job")),
        Act("dry-runs", dry_runs, 2_000, 30.0, 30, ("jobs", "receivers")),
        Act("drips", drip_bodies, 500, 100.0, 500),
        Act("half-open", open_half, 1_000, 200.0, 1_000),
        Act("wrong-keys", guess_keys, 5_000, 100.0, 50),
        Act("malformed", malformed, 1_000, 10.0, 16),
    )
}
