"""Tests of the rights in the console: each unsafe address is called by each role and from each origin."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi.routing import APIRoute

from retouch.store.tenants import TenantStore
from retouch_producer.gateway.console.router import PAGES
from retouch_producer.gateway.console.visitors import ACTIONS, Acting
from tests.integration.console.conftest import People, Person

OPEN = {"/console/sign-in", "/console/sign-out", "/console/enter", "/console/theme"}
"""Unsafe addresses that need no session: they change nobody's jobs."""
EXAMPLES = {
    "lane": "edits",
    "job_id": "ed_x",
    "delivery_id": "dl_x",
    "receiver_id": "rc_x",
    "run_id": "bk_x",
    "account_id": "moon",
    "tenant": "globex",
}
SWITCHES = {
    "/console/lanes/{lane}/{switch}": "pause",
    "/console/receivers/{receiver_id}/{switch}": "disable",
    "/console/accounts/{account_id}/{switch}": "pause",
}


def unsafe_routes() -> list[APIRoute]:
    routes = [route for page in PAGES for route in page.router.routes if isinstance(route, APIRoute)]
    return [route for route in routes if (route.methods or set()) - {"GET", "HEAD"}]


def acting(route: APIRoute) -> Acting | None:
    """Return the `Acting` dependency of a route, from which its action is known, or None if the route has none."""
    return next((one.call for one in route.dependant.dependencies if isinstance(one.call, Acting)), None)


ROUTES = {route.path: acting(route) for route in unsafe_routes()}
ACTED = {path: declared.action for path, declared in ROUTES.items() if declared}


def example(path: str) -> str:
    filled = path.replace("{switch}", SWITCHES.get(path, ""))
    return re.sub(r"{(\w+)}", lambda found: EXAMPLES[found[1]], filled)


def test_every_unsafe_route_declares_its_action() -> None:
    """Each unsafe route outside `OPEN` declares an action of `ACTIONS`, and each action is declared by a route."""
    assert {path for path, declared in ROUTES.items() if declared is None} == OPEN
    assert set(ACTED.values()) == set(ACTIONS)


@pytest.mark.parametrize("path", sorted(ACTED))
def test_roles(people: People, stranger: Person, client: Any, path: str) -> None:
    """
    A role without the right to an action gets 403. A person without a session is redirected to the sign-in page.

    A role with the right gets 404 for an object that does not exist or belongs to another tenant.
    """
    TenantStore(client).create_key("globex")
    address, action = example(path), ACTED[path]
    for role in ("producer", "viewer", "ops"):
        status = people("acme", role).post(address).status_code
        assert status == (403 if role not in ACTIONS[action] else ANSWERS.get(action, 404)), f"{role}: {path}"
    assert stranger.post(address).url.path == "/console/sign-in"


ANSWERS = {"switch_lane": 200, "set_limits": 200, "start_bulk": 422, "compare_bill": 200}
"""The status of each action that does not answer 404, because its object exists or it needs none."""


@pytest.mark.parametrize("path", sorted(ACTED))
def test_a_revoked_key_changes_nothing(people: People, client: Any, path: str) -> None:
    """A session whose key was revoked is redirected to the sign-in page, and nothing changes."""
    person = people("staff", "ops")
    (key,) = TenantStore(client).api_keys("staff")
    TenantStore(client).revoke(key.id)
    assert person.post(example(path)).url.path == "/console/sign-in"
    assert client.hget("rt:edits:gate", "paused") is None


CROSS = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "{own}"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1"},
    {},
]


@pytest.mark.parametrize("headers", CROSS, ids=str)
@pytest.mark.parametrize("path", sorted(ROUTES))
def test_other_sites_change_nothing(people: People, client: Any, path: str, headers: dict[str, str]) -> None:
    """A request from a page of another site gets 403 at every unsafe address, even with a session."""
    person = people("staff", "ops")
    del person.browser.headers["Sec-Fetch-Site"]
    own = str(person.browser.base_url).rstrip("/")
    answer = person.browser.post(
        example(path), headers={name: value.replace("{own}", own) for name, value in headers.items()}
    )
    assert answer.status_code == 403
    assert client.hget("rt:edits:gate", "paused") is None
    assert len(list(client.scan_iter("rt:console_session:*"))) == 1


def test_an_old_browser_is_known_by_its_origin(people: People, client: Any) -> None:
    """Without `Sec-Fetch-Site`, a request whose Origin equals its Host is accepted."""
    person = people("staff", "ops")
    del person.browser.headers["Sec-Fetch-Site"]
    own = str(person.browser.base_url).rstrip("/")
    assert person.browser.post("/console/lanes/edits/pause", headers={"Origin": own}).status_code == 200
    assert client.hget("rt:edits:gate", "paused") == "1"


def test_tenants_are_apart(people: People, client: Any) -> None:
    """A producer gets 404 for the page and the jobs of another tenant. A viewer sees all tenants."""
    TenantStore(client).create_key("globex")
    producer, viewer = people("acme"), people("staff", "viewer")
    assert producer.get("/console/tenants/globex").status_code == 404
    assert producer.get("/console/jobs?tenant=globex").status_code == 404
    assert producer.get("/console/tenants").url.path == "/console/tenants/acme"
    assert viewer.get("/console/tenants/globex").status_code == 200
    assert "globex" in viewer.text("/console/tenants")
    assert '<form method="post" action="/console/lanes' not in viewer.text("/console")
