"""
Which role may call which route: the gateway checks each request with an API key against these tables.

`CHANGES` has the routes that change something. If such a route is missing from `CHANGES`, no role may call it. All
roles may call the routes that only read, except the routes in `READS_OF_OPS`. The table for the console's actions is
`ACTIONS` in `console/visitors.py`.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers

OPS = frozenset({"ops"})
PRODUCERS = frozenset({"producer", "ops"})
ALL = frozenset({"producer", "viewer", "ops"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

CHANGES: dict[tuple[str, str], frozenset[str]] = {
    ("POST", "/v1/edits"): PRODUCERS,
    ("POST", "/v1/edits/batch"): PRODUCERS,
    ("POST", "/v1/edits/{job_id}/cancel"): PRODUCERS,
    ("POST", "/v1/edits/{job_id}/replay"): PRODUCERS,
    ("POST", "/v1/edits/{job_id}/approve"): PRODUCERS,
    ("POST", "/v1/edits/{job_id}/unapprove"): PRODUCERS,
    ("POST", "/v1/bulk"): PRODUCERS,
    ("POST", "/v1/bulk/{run_id}/abort"): PRODUCERS,
    ("POST", "/v1/uploads"): PRODUCERS,
    ("POST", "/v1/receivers"): PRODUCERS,
    ("DELETE", "/v1/receivers/{receiver_id}"): PRODUCERS,
    ("POST", "/v1/receivers/{receiver_id}/rotate"): PRODUCERS,
    ("POST", "/v1/receivers/{receiver_id}/disable"): PRODUCERS,
    ("POST", "/v1/receivers/{receiver_id}/enable"): PRODUCERS,
    ("POST", "/v1/receivers/{receiver_id}/test"): PRODUCERS,
    ("POST", "/v1/receivers/{receiver_id}/redeliver"): PRODUCERS,
    ("POST", "/v1/deliveries/{delivery_id}/redeliver"): PRODUCERS,
    ("POST", "/v1/pause"): OPS,
    ("POST", "/v1/resume"): OPS,
    ("POST", "/v1/accounts/{account_id}/test"): OPS,
    ("POST", "/v1/accounts/{account_id}/pause"): OPS,
    ("POST", "/v1/accounts/{account_id}/drain"): OPS,
    ("POST", "/v1/accounts/{account_id}/resume"): OPS,
    ("POST", "/api/v5/pix2pix"): PRODUCERS,
    ("POST", "/api/v3/fetch/{job_id}"): ALL,
}
"""The roles that may call each route whose method is not safe. The drop-in's `fetch` is a POST, but only reads."""

READS_OF_OPS: dict[tuple[str, str], frozenset[str]] = {
    ("GET", "/v1/audit"): OPS,
    ("GET", "/metrics"): frozenset({"viewer", "ops"}),
    ("GET", "/metrics/store"): frozenset({"viewer", "ops"}),
    ("GET", "/v1/accounts"): frozenset({"viewer", "ops"}),
    ("GET", "/v1/accounts/{account_id}"): frozenset({"viewer", "ops"}),
}


def allows(role: str, method: str, path: str) -> bool:
    """Return whether a role may call a route, named by its method and its path template."""
    return role in roles_for(method, path)


def roles_for(method: str, path: str) -> frozenset[str]:
    """Return the roles that may call a route."""
    if method in SAFE_METHODS:
        return READS_OF_OPS.get((method, path), ALL)
    return CHANGES.get((method, path), frozenset())


def sees_all(role: str) -> bool:
    """
    Return whether a role sees the jobs and settings of all tenants. Any other role gets 404 for other tenants' things.
    """
    return role in ("viewer", "ops")


def is_cross_site(method: str, headers: Headers) -> bool:
    """
    Return whether a page of another site made the browser send a request that may change something.

    Browsers name the source of a request in `Sec-Fetch-Site`; older browsers send only `Origin`. Other clients send
    neither header.
    """
    if method in SAFE_METHODS:
        return False
    if site := headers.get("sec-fetch-site"):
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host")
