"""Which images an answer of the endpoint has, and which links lead to each image."""

from __future__ import annotations

import json
from typing import Any

import pytest

from retouch.egress.http import Answer
from retouch.outcomes import Ready
from retouch_worker.edits.classification import classify

LINK = "https://a.example/0.png"
ANSWERS: list[tuple[str, dict[str, Any], int, Ready]] = [
    (
        "several outputs, each with its fallbacks",
        {
            "status": "success",
            "id": 7,
            "output": [LINK, "", "https://a.example/2.png"],
            "proxy_links": ["https://b.example/0.png", "https://b.example/1.png"],
            "future_links": ["https://c.example/0.png", None, "https://a.example/2.png", "https://c.example/3.png"],
        },
        200,
        Ready(
            (LINK, "https://b.example/0.png", "https://c.example/0.png"),
            "7",
            more=(("https://b.example/1.png",), ("https://a.example/2.png",), ("https://c.example/3.png",)),
        ),
    ),
    (
        "one output as text, with mirrors",
        {
            "status": "success",
            "id": 7,
            "output": LINK,
            "proxy_links": ["https://b.example/0.png", "https://c.example/0.png"],
        },
        200,
        Ready((LINK, "https://b.example/0.png", "https://c.example/0.png"), "7"),
    ),
    (
        "more outputs than are kept",
        {"status": "success", "id": 7, "output": [f"https://a.example/{n}.png" for n in range(19)]},
        200,
        Ready(
            ("https://a.example/0.png",),
            "7",
            more=tuple((f"https://a.example/{n}.png",) for n in range(1, 16)),
            beyond=19,
        ),
    ),
    (
        "a flag for each output",
        {"status": "success", "id": 7, "output": [LINK], "nsfw_content_detected": [False]},
        200,
        Ready((LINK,), "7"),
    ),
]


@pytest.mark.parametrize(
    ("said", "status", "outcome"), [case[1:] for case in ANSWERS], ids=[case[0] for case in ANSWERS]
)
def test_images_are_read_place_by_place(said: dict[str, Any], status: int, outcome: Ready) -> None:
    """
    In the lists of an answer, the links at the same index lead to one image. If `output` is a text, all links lead to
    one image.
    """
    assert classify(Answer(status, {}, json.dumps(said).encode(), 0.1), "https://e.example/fetch") == outcome
