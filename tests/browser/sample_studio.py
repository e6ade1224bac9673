"""
A stack with sample data that is the same each time: photographs, simulated edits, failures, and a month of calls.

All steps run one after another and use a fixed random seed, so that new screenshots of the pages look like the old
ones.
"""

from __future__ import annotations

import io
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from retouch.states import JobState
from retouch.store import keys
from retouch.store.ledger import Ledger, day_of
from retouch.store.tenants import TenantStore
from tests.browser.watched_gateway import MODULE
from tests.chaos.stack import Stage, a_stage, environment_of
from tests.free_ports import free_port
from tests.gateway_process import Api, running_gateway
from tests.history_kit import age_minutes
from tests.process_watch import eventually
from tests.store_access import store_access

TENANTS = ("northlight", "acme", "palmgren-studio")
LOOKS = (
    "turn it into an oil painting",
    "make it winter, with snow in the hair",
    "a pencil sketch",
    "golden sunset light",
    "night, under moonlight",
    "vivid neon colours",
    "an old photo in sepia",
    "black and white, high contrast",
    "as a comic poster",
    "8-bit pixel art",
    "dreamy soft light",
    "an autumn portrait in warm tones",
    "crisp, high detail",
)
# The edits that go wrong, by their place, and how: some end well all the same.
FAULTS = {5: "failed", 16: "html_502", 22: "image_unfetchable", 27: "processing", 33: "validation", 40: "no_credits"}
SHOWN = 16
"""The index of the edit whose page is shown. The answer to its first call was lost."""
EDITS, IN_FLIGHT, WAITING = 48, 7, 9
LATENCIES_S, LAST_LATENCY_S = (0.05, 0.4), 120.0
PRICE, BUDGET, DAYS = 0.0125, 400, 30
WITHIN_S = 60.0


@dataclass
class Studio:
    """A running stack with sample data. `jobs` has the ids of the edits, in the order in which they were enqueued."""

    url: str
    secret: str
    stage: Stage
    api: Api
    jobs: list[str] = field(default_factory=list)

    def fill(self) -> None:
        """Make all of the data; at the end some edits are in flight and others wait."""
        client = store_access(self.stage.queue).client
        rng = random.Random(17)
        pictures = [self._upload(picture) for picture in photographs()]
        for tenant in TENANTS:
            TenantStore(client).create_key(tenant)
            _spend_a_month(client, tenant, rng)
        Ledger(client).set_limits(TENANTS[0], budget=BUDGET)
        for place in range(EDITS):
            if fault := FAULTS.get(place):
                self.stage.simulator.faults(next=[{"kind": fault}])
            self.stage.simulator.settings(latency_s=rng.uniform(*LATENCIES_S))
            self.jobs.append(self._edit(place, pictures, rng))
            assert eventually(lambda: self.state(self.jobs[-1]).is_final, WITHIN_S)
            if place % 6 == 5:
                age_minutes(client, 4)
        self.stage.simulator.settings(latency_s=LAST_LATENCY_S)
        self.jobs += [self._edit(place, pictures, rng) for place in range(EDITS, EDITS + IN_FLIGHT + WAITING)]
        assert eventually(lambda: self.stage.simulator.books()["in_flight"] == IN_FLIGHT, WITHIN_S)

    def state(self, job: str) -> JobState:
        """Return the state of a job."""
        return JobState(self.api.get(f"/v1/edits/{job}").json()["state"])

    def _upload(self, picture: bytes) -> str:
        answer = self.api.ask("POST", "/v1/uploads", content=picture, headers={"Content-Type": "image/jpeg"})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["url"])

    def _edit(self, place: int, pictures: list[str], rng: random.Random) -> str:
        tenant = TENANTS[place % len(TENANTS)]
        body = {
            "prompt": LOOKS[place % len(LOOKS)],
            "init_image": pictures[place % len(pictures)],
            "steps": rng.choice((20, 30, 40)),
            "tenant": tenant,
            "tags": {"order": str(4_100 + place // 4), "shop": rng.choice(("se", "de"))},
            "webhook": f"{self.stage.sink.url}/hooks/{tenant}",
        }
        answer = self.api.post("/v1/edits", body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])


def photographs() -> list[bytes]:
    """Return crops of the sample photograph. They look like pictures from different customers."""
    whole = Image.open(io.BytesIO((files("retouch_ops") / "samples/portrait.jpg").read_bytes())).convert("RGB")
    wide, high = whole.size
    boxes = (
        (0.0, 0.0, 1.0, 1.0),
        (0.0, 0.0, 1.0, 0.7),
        (0.15, 0.05, 0.85, 0.75),
        (0.0, 0.2, 0.8, 1.0),
    )
    found = []
    for place, (left, top, right, bottom) in enumerate(boxes):
        crop = whole.crop((int(left * wide), int(top * high), int(right * wide), int(bottom * high)))
        data = io.BytesIO()
        (ImageOps.mirror(crop) if place % 2 else crop).save(data, "JPEG", quality=92)
        found.append(data.getvalue())
    return found


def _spend_a_month(client: Any, tenant: str, rng: random.Random) -> None:
    """Write random numbers of calls into the tenant's ledger, for each of the last `DAYS` days before today."""
    today = day_of(time.time())
    for day in range(today - DAYS + 1, today):
        useful = rng.randint(60, 220)
        counts = {
            "useful": useful,
            "repeated": useful // 60,
            "wasted": rng.randint(0, 9),
            "unknown": rng.choice((0, 0, 1)),
        }
        client.hset(keys.ledger(tenant), mapping={f"{day} {use}": count for use, count in counts.items()})


@contextmanager
def studio(folder: Path) -> Iterator[Studio]:
    """Context manager that starts the stack, fills it with the sample data, and yields it."""
    port = free_port()
    with ExitStack() as stack:
        stage = stack.enter_context(
            a_stage(
                folder,
                latency_s=LATENCIES_S[0],
                in_flight_limit=IN_FLIGHT,
                price_per_call=PRICE,
                max_attempts=3,
                public_url=f"http://127.0.0.1:{port}",
            )
        )
        stage.worker(16)
        secret = TenantStore(store_access(stage.queue).client).create_key("staff", "ops", "operations")[1]
        url, _ = stack.enter_context(running_gateway(environment_of(stage.settings), MODULE, port=port))
        made = Studio(url, secret, stage, Api(url, secret))
        stack.callback(made.api.close)
        made.fill()
        yield made
