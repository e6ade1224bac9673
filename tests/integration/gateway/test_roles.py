"""Tests of the table of roles: each unsafe route is called by each role, from this site and from others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from retouch import Settings
from retouch.store.tenants import TenantStore
from retouch_producer.gateway.app import make_gateway
from retouch_producer.gateway.http.roles import ALL, CHANGES, OPS, READS_OF_OPS, SAFE_METHODS, allows
from tests.gateway_process import Api, Callers, problem

HOST = "retouch.example"
SITES: dict[str, dict[str, str]] = {
    "no header": {},
    "same origin": {"Sec-Fetch-Site": "same-origin", "Origin": f"http://{HOST}", "Host": HOST},
    "same origin, older browser": {"Origin": f"http://{HOST}", "Host": HOST},
    "cross-site": {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example", "Host": HOST},
    "same site": {"Sec-Fetch-Site": "same-site", "Origin": "https://other.retouch.example", "Host": HOST},
    "cross-site, older browser": {"Origin": "https://evil.example", "Host": HOST},
}
ROLES = ("none", "producer", "viewer", "ops", "revoked")
DROP_IN = "/api/"


def unsafe_routes() -> list[tuple[str, str]]:
    """Return (method, path) of every route whose method is not safe."""
    paths = make_gateway(Settings.load()).openapi()["paths"]
    found = {(method.upper(), path) for path, item in paths.items() for method in item}
    return sorted(one for one in found if one[0] not in SAFE_METHODS)


def test_each_route_that_changes_something_is_in_the_table() -> None:
    """
    The table has exactly the routes with an unsafe method. A route that is not in the table is refused to all roles.
    """
    assert unsafe_routes() == sorted(CHANGES)
    assert not any(allows(role, "POST", "/v1/new") for role in ALL)


@pytest.fixture
def keys_of(callers: Callers, client: Any) -> Callable[[str], Api]:
    """
    Return a function that takes a role and returns a caller with this role. The caller for `none` has no key, and the
    caller for `revoked` has a revoked key.
    """

    def caller(role: str) -> Api:
        if role == "none":
            return callers.with_secret()
        if role != "revoked":
            return callers("acme", role)
        store = TenantStore(client)
        key, secret = store.create_key("acme", "ops", "gone")
        store.revoke(key.id)
        return callers.with_secret(secret)

    return caller


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("site", SITES)
def test_every_change_for_every_role_and_site(keys_of: Callable[[str], Api], role: str, site: str) -> None:
    """A change is allowed exactly if the table names the role of the key, and the request is not from another site."""
    api, is_foreign = keys_of(role), "cross" in site or site == "same site"
    for method, path in unsafe_routes():
        body = {"key": api.secret, "prompt": "x", "init_image": "nowhere"} if path.startswith(DROP_IN) else {}
        target = path.replace("{", "").replace("}", "_that_is_nowhere")
        answer = api.ask(method, target, json=body, headers=SITES[site])
        allowed = role in CHANGES[method, path] and not is_foreign
        assert was_let_in(answer, path) is allowed, (
            f"{role}, {site}: {method} {path}: {answer.status_code} {answer.text}"
        )


def was_let_in(answer: httpx.Response, path: str) -> bool:
    if path.startswith(DROP_IN):  # errors come with status 200, in the endpoint's words
        tip = str(answer.json().get("tip", ""))
        return "no Retouch key" not in tip and "valid" not in tip and "nothing was done" not in tip
    return answer.status_code not in {401, 403}


def test_a_viewer_sees_all_tenants_and_changes_nothing(callers: Callers, edit_body: Callable[..., Any]) -> None:
    """
    A viewer reads the jobs, usage and metrics of every tenant. Cancels, bulk runs and the audit log are refused with
    403.
    """
    api, viewer, ops = callers(), callers("watchers", "viewer"), callers("staff", "ops")
    ops.post("/v1/pause")
    job = api.post("/v1/edits", edit_body()).json()["id"]
    assert [one["id"] for one in viewer.get("/v1/edits").json()["data"]] == [job]
    assert viewer.get(f"/v1/edits/{job}").status_code == viewer.get(f"/v1/edits/{job}/timeline").status_code == 200
    assert viewer.get("/v1/status").json()["edits"]["waiting"] == 1
    for path in ("/v1/usage", "/v1/deliveries", "/v1/receivers", "/v1/bulk", "/v1/events", "/metrics"):
        assert viewer.get(path).status_code == 200, path
    problem(viewer.post(f"/v1/edits/{job}/cancel"), "forbidden", 403)
    problem(viewer.post("/v1/bulk", {"action": "cancel", "query": "since:1h", "dry_run": True}), "forbidden", 403)
    problem(viewer.get("/v1/audit"), "forbidden", 403)
    problem(api.get("/v1/audit"), "forbidden", 403)
    problem(api.get("/metrics"), "forbidden", 403)
    assert api.get(f"/v1/edits/{job}").json()["state"] == "queued"
    assert READS_OF_OPS["GET", "/v1/audit"] == OPS
    ops.post("/v1/resume")
