"""Shared fixtures: people with browsers without JavaScript, each signed in with an API key of their own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from retouch.store.tenants import TenantStore

OWN = {"Sec-Fetch-Site": "same-origin"}


class Person:
    """A person with a browser without JavaScript; `secret` is the secret of the person's API key."""

    def __init__(self, url: str, secret: str = "") -> None:
        self.secret = secret
        self.browser = httpx.Client(base_url=url, headers=OWN, timeout=20, trust_env=False, follow_redirects=True)

    def sign_in(self, secret: str = "", **fields: str) -> httpx.Response:
        return self.post("/console/sign-in", key=secret or self.secret, **fields)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.browser.get(path, **options)

    def post(self, path: str, **fields: str) -> httpx.Response:
        return self.browser.post(path, data=fields)

    def text(self, path: str) -> str:
        """Return the HTML of a page as it was sent; fail the test if the status is not 200."""
        answer = self.get(path)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:500]}"
        return answer.text


People = Callable[..., Person]


@pytest.fixture
def people(gateway_url: str, client: Any) -> Iterator[People]:
    """Yield a function that makes people who are signed in: `people("acme")`, `people("staff", "ops")`."""
    made: list[Person] = []

    def make(tenant: str = "acme", role: str = "producer") -> Person:
        secret = TenantStore(client).create_key(tenant, role, f"{tenant}'s {role}")[1]
        person = Person(gateway_url, secret)
        made.append(person)
        assert person.sign_in().status_code == 200
        return person

    yield make
    for person in made:
        person.browser.close()


@pytest.fixture
def stranger(gateway_url: str, client: Any) -> Iterator[Person]:
    """Yield a person who is not signed in."""
    person = Person(gateway_url)
    yield person
    person.browser.close()


def words_of(page: str) -> str:
    """Return the text of a page on one line, without tags."""
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())
