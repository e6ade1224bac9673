"""The body of a webhook is shortened to its limit for the largest edits, and names the parts that were cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retouch.edit import PROMPT_MOST
from retouch.egress.webhook_body import BODY_MOST_BYTES, event_body

# One, two, three and four bytes; a control character takes six, a quote two.
LETTERS = ["a", "é", "中", "🖌", "\u0001", '"', "\\"]
LARGEST_URL = "https://shop.example/" + "é" * 2_027


def event(letter: str, tags: int, results: int, extra_bytes: int, *, failed: bool) -> dict[str, Any]:
    """Return an event with the longest prompt. One letter fills the prompt, the tags and the error message."""
    image = {"url": "https://retouch.example/files/" + "a" * 300, "thumbnail_url": "b" * 300, "sha256": "c" * 64}
    data = {
        "job_id": "ed_1",
        "sequence": 2,
        "state": "failed" if failed else "succeeded",
        "tenant": "t" * 64,
        "tags": {f"{number:03}{letter * 97}": letter * 100 for number in range(tags)},
        "edit": {
            "prompt": letter * PROMPT_MOST,
            "init_image": LARGEST_URL,
            "steps": 20,
            "extra": {"x": "y" * extra_bytes},
        },
        "result": None if failed else image,
        "results": [image] * results,
        "error": {"code": "x", "message": letter * 500, "retryable": False} if failed else None,
    }
    return {"type": "edit.failed", "timestamp": "2026-11-22T09:03:47.030Z", "data": data}


@given(
    st.sampled_from(LETTERS), st.integers(0, 20), st.integers(0, 40), st.sampled_from([0, 10, 16_000]), st.booleans()
)
def test_no_accepted_edit_makes_a_longer_body(letter: str, tags: int, results: int, extra: int, failed: bool) -> None:
    """
    Whatever letters an edit contains, the body is JSON within the limit. `truncated` names exactly the parts that were
    cut.
    """
    whole = event(letter, tags, results, extra, failed=failed)
    body = event_body(whole)
    assert len(body) <= BODY_MOST_BYTES
    sent, data = json.loads(body)["data"], whole["data"]
    differing = {name for name in ("results", "tags") if sent[name] != data[name]}
    differing |= {f"edit.{name}" for name in data["edit"] if sent["edit"].get(name) != data["edit"][name]}
    differing |= {"error.message"} if sent["error"] != data["error"] else set()
    assert set(sent.get("truncated", ())) == differing
    assert sent["edit"].get("truncated", False) == any(name.startswith("edit.") for name in differing)
    assert sent["result"] == data["result"]


@pytest.mark.parametrize("letter", LETTERS)
def test_the_largest_edit_keeps_the_start_of_each_part(letter: str) -> None:
    """A prompt, tags and results that are cut keep their first part unchanged."""
    whole = event(letter, 20, 40, 16_000, failed=False)
    sent = json.loads(event_body(whole))["data"]
    assert whole["data"]["edit"]["prompt"].startswith(sent["edit"]["prompt"].removesuffix("…"))
    assert len(sent["edit"]["prompt"]) > 200
    for name in ("tags", "results"):
        kept = list(sent[name].items() if name == "tags" else sent[name])
        before = list(whole["data"][name].items() if name == "tags" else whole["data"][name])
        assert kept, name
        assert kept == before[: len(kept)]


def test_a_body_that_fits_is_not_touched() -> None:
    """A body of exactly the limit is sent unchanged; with one byte more, only `extra` is left out."""
    data: dict[str, Any] = {"tags": {}, "edit": {"prompt": "p", "extra": {"x": ""}}}
    whole = {"type": "edit.running", "timestamp": "", "data": data}
    room = BODY_MOST_BYTES - len(event_body(whole))
    data["edit"]["extra"]["x"] = "y" * room
    assert json.loads(event_body(whole)) == whole
    assert len(event_body(whole)) == BODY_MOST_BYTES
    data["edit"]["extra"]["x"] += "y"
    assert json.loads(event_body(whole))["data"]["truncated"] == ["edit.extra"]
