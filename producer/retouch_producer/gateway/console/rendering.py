"""Renders pages from templates. Every text of a customer is escaped before it reaches a page."""

from __future__ import annotations

import time
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from retouch_producer.gateway.console import wording
from retouch_producer.gateway.console.assets import asset_url

if TYPE_CHECKING:
    from retouch_producer.gateway.console.visitors import Visitor

_FILTERS = [
    "ago",
    "calls",
    "clock",
    "code_spans",
    "count",
    "duration",
    "instant",
    "iso_instant",
    "linked_ids",
    "plural",
    "sentence",
]
EXCERPT = 200
"""How many characters of a customer's text a list shows. A list of whole texts could be megabytes long."""
THEME_COOKIE = "retouch-theme"
THEMES = ("auto", "light", "dark")


@cache
def environment() -> Environment:
    """Return the environment of the templates, which escapes every value and raises an error for an undefined name."""
    made = Environment(
        loader=PackageLoader("retouch_producer.gateway.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {name: getattr(wording, name) for name in _FILTERS}
    made.filters["filesize"] = wording.size
    made.globals |= {"asset_url": asset_url, "release": version("retouch"), "EXCERPT": EXCERPT}
    return made


def theme_of(request: Request) -> str:
    """Return the theme that the visitor chose: `auto` follows the system."""
    chosen = request.cookies.get(THEME_COOKIE, "auto")
    return chosen if chosen in THEMES else "auto"


def page(
    request: Request, template: str, visitor: Visitor | None, *, status: int = 200, **values: object
) -> HTMLResponse:
    """
    Return a page rendered from a template.

    `values` are the template's own variables. Every template also gets the visitor, the theme, the address of the page
    and the time.
    """
    query = f"?{request.url.query}" if request.url.query else ""
    shared = {
        "visitor": visitor,
        "theme": theme_of(request),
        "here": request.url.path + query,
        "path": request.url.path,
        "now": time.time(),
    }
    return HTMLResponse(environment().get_template(template).render(**shared, **values), status)
