"""Tests of the headers of an error answer: the API and the page of the console send the same ones."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from retouch_producer.gateway.console.routing import error_page
from retouch_producer.gateway.http.errors import ProblemError


@pytest.mark.parametrize(
    ("retry_after_s", "header"), [(None, None), (0.0, "0"), (0.2, "1"), (2.0, "2"), (2.5, "3"), (60.0, "60")]
)
def test_retry_after_is_rounded_up(retry_after_s: float | None, header: str | None) -> None:
    """Retry-After is rounded up to whole seconds, in the answer of the API and in that of the console alike."""
    problem = ProblemError("too-many-at-once", "wait", retry_after_s=retry_after_s, headers={"X-Own": "kept"})
    scope = {"type": "http", "method": "GET", "path": "/console/jobs", "query_string": b"", "headers": []}
    for answer in (problem.response(), error_page(Request(scope), problem)):
        assert answer.headers.get("retry-after") == header
        assert answer.headers["x-own"] == "kept"
