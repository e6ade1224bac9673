"""
The routes of the console, and the pages and tests of `tests/browser` that open them.

`tests/unit/console/test_browser_rows.py` fails if a route is neither in this module nor requested by a test of
`actions.py`.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi.routing import APIRoute

from retouch_producer.gateway.console.router import PAGES

PAGE_ROUTES = {
    "overview": "/console",
    "jobs": "/console/jobs",
    "sheet": "/console/jobs",
    "filters": "/console/jobs",
    "job": "/console/jobs/{job_id}",
    "markup": "/console/jobs/{job_id}",
    "refused": "/console/jobs/{job_id}",
    "waiting": "/console/jobs/{job_id}",
    "deliveries": "/console/deliveries",
    "delivery": "/console/deliveries/{delivery_id}",
    "receivers": "/console/receivers",
    "receiver": "/console/receivers/{receiver_id}",
    "tenants": "/console/tenants",
    "tenant": "/console/tenants/{tenant}",
    "workers": "/console/workers",
    "accounts": "/console/accounts",
    "account": "/console/accounts/{account_id}",
    "bill": "/console/bill",
    "tables": "/console",
    "audit": "/console/audit",
    "bulk": "/console/bulk",
    "bulk-preview": "/console/bulk/preview",
    "bulk-run": "/console/bulk/{run_id}",
    "sign-in": "/console/sign-in",
    "link": "/console/enter/{link}",
    "problem": "/console/jobs/{job_id}",
}
"""The route of each page, by the page's name in `Site.pages`. The tests of `pages.py` open every page."""

PARTS = {
    "/console/live": "tests/browser/streams.py",
    "/console/jobs/{job_id}/image/{index}": "test_all_pictures_load",
    "/console/jobs/{job_id}/thumbnail/{index}": "test_all_pictures_load",
    "/console/jobs/{job_id}/input": "test_all_pictures_load",
    "/console/jobs/{job_id}/input/thumbnail": "test_all_pictures_load",
}
"""Routes that pages load by themselves, with the test of each route."""


def routes() -> list[APIRoute]:
    """Return the routes of all pages."""
    return [route for page in PAGES for route in page.router.routes if isinstance(route, APIRoute)]


def template_of(method: str, address: str) -> str:
    """Return the path of the route that serves an address, or the address itself if there is none."""
    path = urlsplit(address).path
    found = (route.path for route in routes() if method in (route.methods or ()) and route.path_regex.match(path))
    return next(found, path)
