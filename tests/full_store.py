"""Fills a store with a number of records: jobs of many tenants, failed jobs, receivers and deliveries."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from retouch.ids import new_job_id
from retouch.outcomes import Fail
from retouch.store.jobs import NewJob
from retouch.store.records import JobSpec
from retouch.store.tenants import TenantStore
from retouch_worker.deliveries.schedule import DeliveryOutcome
from tests.lane_kit import LaneKit

LETTERS = "abcdefghijklmnopqrstuvwxyz     "
CODES = ("no_credits", "invalid_request", "outcome_unknown", "result_rejected", "bad_key")
BATCH = 1_000
SLOTS = 60
DEADLINE_S = 86_400.0


class FullStore:
    """Writes records directly to a store. Each prompt has `text` random letters."""

    def __init__(self, client: Any, *, text: int, seed: int = 1) -> None:
        self.kit, self._text, self._rng = LaneKit(client), text, random.Random(seed)
        self._client = client

    def fill(self, jobs: int, *, tenants: int, failures: int, receivers: int) -> None:
        """
        Create `receivers` failed deliveries and `failures` failed jobs. Then enqueue `jobs` jobs. At most 60 jobs get
        slots.
        """
        names = [f"customer-{number:03}" for number in range(tenants)]
        for name in names:
            TenantStore(self._client).create_key(name)
        self.kit.open(SLOTS, 0.0)
        for number in range(receivers):
            self._fail_delivery(names[number % tenants])
        for number in range(failures):
            self._fail(names[number % tenants], CODES[number % len(CODES)])
        for size in self._batches(jobs):
            self.kit.jobs.enqueue([self._new(self._rng.choice(names), number) for number in range(size)])

    def _batches(self, jobs: int) -> Iterator[int]:
        yield from [BATCH] * (jobs // BATCH)
        if jobs % BATCH:
            yield jobs % BATCH

    def _new(self, tenant: str, number: int = 0) -> NewJob:
        edit = {"prompt": self._words(self._text), "init_image": f"https://images.example/{self._words(40)}.png"}
        spec = JobSpec(
            tenant, edit, DEADLINE_S, tags={"order": str(number), "shop": self._rng.choice(("se", "de", "it"))}
        )
        return NewJob(new_job_id(), spec.to_json(), tenant, "normal", DEADLINE_S)

    def _words(self, length: int) -> str:
        return "".join(self._rng.choices(LETTERS, k=length))

    def _fail(self, tenant: str, code: Any) -> None:
        job = self._new(tenant)
        self.kit.enqueue(job)
        self.kit.finish(job.id, Fail(code, self._words(120), retryable=False))

    def _fail_delivery(self, tenant: str) -> None:
        address = f"https://receiver.example/{self._words(self._text).replace(' ', '-')[:1_500]}"
        self.kit.fail_delivery(tenant, address, DeliveryOutcome(503, excerpt=self._words(200)))
