"""Tests of the size of pages while the store is full of records with long texts that do not compress."""

from __future__ import annotations

import gzip
import re
from typing import Any

import pytest

from tests.full_store import FullStore
from tests.integration.console.conftest import People, Person

HEAVIEST = 60_000
LISTS = {
    "overview": "/console",
    "jobs": "/console/jobs",
    "sheet": "/console/jobs?view=sheet",
    "failed": "/console/jobs?state=failed",
    "filtered": "/console/jobs?tenant=customer-003&tag=shop%3Dse",
    "deliveries": "/console/deliveries",
    "receivers": "/console/receivers",
    "tenants": "/console/tenants",
    "tenant": "/console/tenants/customer-003",
    "workers": "/console/workers",
}
"""Pages whose length depends on what is on record."""


def weight(person: Person, address: str) -> int:
    """Return the size in bytes of a compressed page with its scripts and styles, but without its images."""
    page = person.text(address)
    assets = set(re.findall(r'(?:src|href)="(/console/static/[^"]+)"', page))
    return len(gzip.compress(page.encode())) + sum(int(person.get(one).headers["content-length"]) for one in assets)


@pytest.mark.timeout(240)
def test_pages_of_a_full_store_are_light(people: People, client: Any) -> None:
    """While prompts have 4,000 characters, each list and the page of one job are smaller than 60 kB when compressed."""
    FullStore(client, text=4_000).fill(1_500, tenants=150, failures=60, receivers=40)
    person = people("staff", "ops")
    weights = {name: weight(person, address) for name, address in LISTS.items()}
    jobs = re.findall(r"/console/jobs/ed_\w+", person.text("/console/jobs?state=failed"))
    weights["job"] = weight(person, jobs[0])
    assert {name: bytes_ for name, bytes_ in weights.items() if bytes_ > HEAVIEST} == {}
    assert person.text("/console/jobs").count("<tr>") == 31
