"""Tests of the page of one job over real HTTP: the views of its pictures, and other runs of the same picture."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from retouch.outcomes import Fail, Succeed
from retouch.store.answers import RawAnswer
from tests.gateway_process import Callers
from tests.integration.conftest import ParsedEdit
from tests.integration.console.conftest import People, words_of
from tests.lane_kit import IMAGE, LaneKit

MARKUP = "<script>alert(1)</script>"


def test_the_views_of_the_pictures(people: People, callers: Callers, edit_body: ParsedEdit, kit: LaneKit) -> None:
    """Each view of the pictures has its own URL and works without JavaScript. An unknown view is answered 422."""
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


def test_the_raw_answer(people: People, callers: Callers, edit_body: ParsedEdit, kit: LaneKit) -> None:
    """
    The page shows the endpoint's last answer as text, with indented JSON and escaped markup.

    The API returns the same answer. Another tenant gets 404 from both.
    """
    api = callers("acme")
    job = api.post("/v1/edits", edit_body()).json()["id"]
    assert "Raw answer" not in people().text(f"/console/jobs/{job}")
    assert api.get(f"/v1/edits/{job}/timeline").json()["raw_answer"] is None
    claim = kit.claim(job)
    kit.jobs.intend(claim)
    text = f'{{"status": "error", "message": "{MARKUP}"}}'
    kit.jobs.answer(claim, "failed", None, raw=RawAnswer(503, text))
    page = people().text(f"/console/jobs/{job}")
    assert '<details class="panel act" id="raw-answer">' in page
    assert "HTTP 503 to the POST of" in words_of(page)
    assert "{\n  &#34;status&#34;: &#34;error&#34;,\n" in page
    assert "<script>alert" not in page
    shown = api.get(f"/v1/edits/{job}/timeline").json()
    assert shown["raw_answer"] == {"fence": claim.fence, "status": 503, "text": text, "cut": False}
    assert [charge["fence"] for charge in shown["charges"]] == [claim.fence]
    assert callers("globex").get(f"/v1/edits/{job}/timeline").status_code == 404
    assert people("globex").get(f"/console/jobs/{job}").status_code == 404


def test_a_cut_raw_answer(people: People, callers: Callers, edit_body: ParsedEdit, kit: LaneKit) -> None:
    """The page says that an answer was cut, and shows it unchanged."""
    job = callers("acme").post("/v1/edits", edit_body()).json()["id"]
    claim = kit.claim(job)
    kit.jobs.intend(claim)
    kit.jobs.answer(claim, "failed", None, raw=RawAnswer(200, '{"status": "fai', is_cut=True))
    page = people().text(f"/console/jobs/{job}")
    assert "{&#34;status&#34;: &#34;fai</pre>" in page
    assert "only the first 4 kB are kept" in words_of(page)


def test_other_runs_of_the_same_picture(
    people: People, callers: Callers, edit_body: ParsedEdit, kit: LaneKit, simulator: Any
) -> None:
    """
    The page links at most twelve other runs of the same picture, and no run of another tenant.

    Markup in a prompt stays text.
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
