"""The well-behaved tenant: a steady load in which every request is timed from the moment it was due."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from tests.hostile.http_client import Answer, HttpClient
from tests.hostile.pictures import small_png

_LISTS = (
    "/v1/edits?limit=20",
    "/v1/edits?state=succeeded&limit=20",
    "/v1/edits?tag=order=3&limit=20",
    "/v1/receivers",
    "/v1/deliveries?limit=20",
    "/v1/status",
    "/v1/usage?by=tag",
    "/v1/events?limit=20",
)
RATES = {"enqueue": 3.0, "read": 10.0, "list": 5.0, "upload": 1.0}
"""Requests a second, by kind."""


@dataclass
class QuietTenant:
    """
    A tenant that uses a gateway. `times` has the seconds of each request under its kind, and the seconds of each
    webhook under `webhook`.
    """

    client: HttpClient
    server_url: str
    rng: random.Random
    times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    enqueued: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    _serial: int = 0

    async def work(self, seconds: float) -> None:
        """
        Send requests for `seconds` seconds, each at the moment when it is due. No request waits for an earlier answer.
        """
        kinds: dict[str, Callable[[], Awaitable[Answer | None]]] = {
            "enqueue": self._enqueue,
            "read": self._read,
            "list": self._list,
            "upload": self._upload,
        }
        await asyncio.gather(*(self._repeat(kind, step, seconds) for kind, step in kinds.items()))

    async def _repeat(self, kind: str, step: Callable[[], Awaitable[Answer | None]], seconds: float) -> None:
        began_at, tasks = time.perf_counter(), []
        for number in range(max(1, round(seconds * RATES[kind]))):
            due_at = began_at + number / RATES[kind]
            await asyncio.sleep(max(0.0, due_at - time.perf_counter()))
            tasks.append(asyncio.create_task(self._timed(kind, step, due_at)))
        await asyncio.gather(*tasks)

    async def _timed(self, kind: str, step: Callable[[], Awaitable[Answer | None]], due_at: float) -> None:
        answer = await step()
        self.times[kind].append(time.perf_counter() - due_at)
        if answer is None or answer.status >= 300:
            self.wrong.append(f"{kind}: {answer.body[:300]!r}" if answer else f"{kind}: no answer")

    async def _enqueue(self) -> Answer | None:
        self._serial += 1
        number = self._serial
        edit = {
            "prompt": f"in oil {number}",
            "init_image": f"{self.server_url}/photo?{number}",
            "webhook": f"{self.server_url}/good",
            "tags": {"order": str(number % 10)},
        }
        asked_at = time.monotonic()
        answer = await self.client.post("/v1/edits", edit, Idempotency_Key=f"{id(self)}-{number}")
        if answer and answer.status == 202:
            self.enqueued[json.loads(answer.body)["id"]] = asked_at
        return answer

    async def _read(self) -> Answer | None:
        job = self.rng.choice(list(self.enqueued)) if self.enqueued else ""
        return await self.client.get(f"/v1/edits/{job}" if job else "/v1/edits?limit=1")

    async def _list(self) -> Answer | None:
        return await self.client.get(self.rng.choice(_LISTS))

    async def _upload(self) -> Answer | None:
        return await self.client.request("POST", "/v1/uploads", small_png(self.rng), "image/png")

    async def wait_for_webhooks(self, within_s: float) -> set[str]:
        """
        Wait for the final webhook of every job. Return the ids of the jobs whose webhook did not come in time.

        If all webhooks came, record the seconds from each job's request to its webhook.
        """
        log = HttpClient(self.server_url, "")
        missing = set(self.enqueued)
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while missing:
                    answer = await log.get("/log")
                    ended = answer.json() if answer else {}
                    missing = set(self.enqueued) - ended.keys()
                    if missing:
                        await asyncio.sleep(0.2)
                    else:
                        self.times["webhook"] = [ended[job] - at for job, at in self.enqueued.items()]
        log.close()
        return missing
