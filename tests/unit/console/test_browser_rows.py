"""The browser tests cover each route of the console: a new route fails here until a page or an action has it."""

from __future__ import annotations

from typing import Any

from tests.browser import actions
from tests.browser.routes import PAGE_ROUTES, PARTS, routes

SAFE = {"GET", "HEAD"}


def marks(test: Any) -> dict[str, tuple[Any, ...]]:
    return {mark.name: mark.args for mark in getattr(test, "pytestmark", ())}


def done_by_all_means() -> set[str]:
    """Return the routes that browser tests call by mouse and by keyboard, with and without JavaScript."""
    tests = [marks(test) for name, test in vars(actions).items() if name.startswith("test_")]
    return {
        route for found in tests if found.get("parametrize") == actions.HOWS.args for route in found.get("does", ())
    }


def test_each_page_is_opened() -> None:
    """The routes for GET are exactly the pages of `PAGE_ROUTES` and the parts of pages in `PARTS`."""
    read = {route.path for route in routes() if (route.methods or set()) & SAFE}
    assert read == {*PAGE_ROUTES.values(), *PARTS}


def test_each_action_is_done() -> None:
    """Each route that changes something has a browser test by mouse and by keyboard, with and without JavaScript."""
    changing = {f"POST {route.path}" for route in routes() if (route.methods or set()) - SAFE}
    assert changing == done_by_all_means()
