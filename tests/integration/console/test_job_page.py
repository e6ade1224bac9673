"""Tests of the page of one job over real HTTP: the views of its pictures, and other runs of the same picture."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from retouch.outcomes import Fail, Succeed
from tests.gateway_process import Callers
from tests.integration.conftest import ParsedEdit
from tests.integration.console.conftest import People, words_of
from tests.lane_kit import IMAGE, LaneKit

MARKUP = "<script>alert(1)</script>"


def test_the_views_of_the_pictures(people: People, callers: Callers, edit_body: ParsedEdit, kit: LaneKit) -> None:
    """
    Slider, side by side and difference have URLs of their own, and work without JavaScript. An unknown view is answered
    422.
    """
    job = callers("acme").post("/v1/edits", edit_body()).json()["id"]
    kit.jobs.settle(kit.claim(job), Succeed(replace(IMAGE, name=f"ab/{'ab' * 32}.png")))
    person, address = people(), f"/console/jobs/{job}"
    assert 'type="range"' in person.text(address)
    assert 'class="compare beside"' in person.text(f"{address}?view=beside")
    difference = person.text(f"{address}?view=difference")
    assert 'class="compare difference"' in difference
    assert 'type="range"' not in difference
    assert "Four times as bright" in difference
    assert person.get(f"{address}?view=odd").status_code == 422


def test_other_runs_of_the_same_picture(
    people: People, callers: Callers, edit_body: ParsedEdit, kit: LaneKit, simulator: Any
) -> None:
    """
    The page links at most twelve other runs of the tenant with the same picture, and no run of another tenant. Markup
    in a prompt stays text.
    """
    kit.open(50, 0.0)
    api, other = callers("acme"), callers("globex")
    jobs = [api.post("/v1/edits", edit_body(prompt=f"{MARKUP} {number}")).json()["id"] for number in range(15)]
    foreign = other.post("/v1/edits", edit_body(prompt="of globex")).json()["id"]
    for job in (*jobs, foreign):
        kit.finish(job, Fail("invalid_request", "no", retryable=False))
    page = people().text(f"/console/jobs/{jobs[0]}")
    assert "Other runs of the same picture" in page
    assert "the newest 12 of 14" in words_of(page)
    assert f'href="/console/jobs/{jobs[14]}"' in page
    assert f'href="/console/jobs/{jobs[1]}"' not in page
    assert foreign not in page
    assert "<script>alert" not in page
    assert "Other runs" not in people("globex").text(f"/console/jobs/{foreign}")
