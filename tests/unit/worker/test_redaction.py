"""The endpoint's messages are shown without the key, the customer's addresses and the prompt."""

from __future__ import annotations

import pytest

from retouch.outcomes import Failed, Processing, Ready
from retouch_worker.edits.redaction import MESSAGE_MOST, redacted

KEY = "sk/live+0123456789"
URL = "https://Customer.example/private/in.png?token=planted&size=1"
EDIT = {"prompt": "a secret wedding", "init_image": URL, "extra": {"mask": "http://masks.example:8080/planted.png"}}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (f"Unable to fetch image from {URL}", "Unable to fetch image from [link]"),
        (f"Unable to fetch image from '{URL.replace('&', '&amp;')}'.", "Unable to fetch image from '[link]'."),
        (f"failed: {URL[:-20].lower()}… (cut)", "failed: [link] (cut)"),
        (URL.replace("/", "\\/"), "[link]"),
        ("no mask at http://masks.example:8080/planted.png", "no mask at [link]"),
        ("add credits at https://vendor.example/pricing", "add credits at https://vendor.example/pricing"),
        (f"Invalid Api Key {KEY}: {KEY}", "Invalid Api Key [key]: [key]"),
        ("Failed for prompt: a secret wedding", "Failed for prompt: [prompt]"),
        ("half a pair: \ud800", "half a pair: ?"),
        ("x" * (MESSAGE_MOST - 10) + URL, "x" * (MESSAGE_MOST - 10) + "[link]"),
        ("x" * 2_000, "x" * MESSAGE_MOST),
    ],
)
def test_what_is_shown_of_the_endpoints_words(said: str, expected: str) -> None:
    """Key, addresses and prompt are replaced in any spelling; after that a long message is cut."""
    assert redacted(Failed(said), EDIT, KEY) == Failed(expected)


def test_a_prompt_of_one_word_is_no_secret() -> None:
    """A prompt of one short word is not replaced, since a message may contain the same word."""
    assert redacted(Failed("a prompt is required"), {**EDIT, "prompt": "a"}, "") == Failed("a prompt is required")


def test_links_of_an_answer_stay_but_for_the_key() -> None:
    """
    The links of an answer keep the customer's addresses, since an output may be on the customer's host. A key is
    replaced even there.
    """
    assert redacted(Ready((URL,), KEY, flagged=True), EDIT, KEY) == Ready((URL,), "[key]", flagged=True)
    asked = Processing("1", f"https://endpoint.example/fetch/1?key={KEY}", 3.0)
    assert redacted(asked, EDIT, KEY) == Processing("1", "https://endpoint.example/fetch/1?key=[key]", 3.0)
