"""The endpoint's messages are shown without the key, the customer's addresses and the prompt."""

from __future__ import annotations

import pytest

from retouch.outcomes import Failed, Processing, Ready
from retouch.store.answers import RAW_ANSWER_MOST_BYTES, RawAnswer
from retouch_worker.edits.redaction import MESSAGE_MOST, raw_answer, redacted

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
    """
    In a message of the endpoint, the key, the edit's addresses and the prompt are replaced, however they are spelt.
    After that, a long message is cut.
    """
    assert redacted(Failed(said), EDIT, KEY) == Failed(expected)


def test_a_prompt_of_one_word_is_no_secret() -> None:
    """A prompt of one short word is not replaced, since a message may contain the same word."""
    assert redacted(Failed("a prompt is required"), {**EDIT, "prompt": "a"}, "") == Failed("a prompt is required")


def test_links_of_an_answer_stay_but_for_the_key() -> None:
    """The links of an answer keep the customer's addresses. A key in a link is replaced."""
    assert redacted(Ready((URL,), KEY, flagged=True), EDIT, KEY) == Ready((URL,), "[key]", flagged=True)
    asked = Processing("1", f"https://endpoint.example/fetch/1?key={KEY}", 3.0)
    assert redacted(asked, EDIT, KEY) == Processing("1", "https://endpoint.example/fetch/1?key=[key]", 3.0)


QUOTED = 'sk"<&>/1'
"""A key that JSON, HTML and URLs spell in ways of their own."""


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"status": "error", "key": "sk\\/live\\u002b0123456789"}', '{"status": "error", "key": "[key]"}'),
        (b'{"meta": [{"sk/live+0123456789": ["sk/live+0123456789!"]}]}', '{"meta": [{"[key]": ["[key]!"]}]}'),
        (b'{"echo": "{\\"key\\": \\"sk\\\\/live+0123456789\\"}"}', '{"echo": "{\\"key\\": \\"[key]\\"}"}'),
        (b"<p>?key=sk%2Flive%2B0123456789 of sk/live+0123456789</p>", "<p>?key=[key] of [key]</p>"),
        (b'{"broken": "sk\\/live+0123456789', '{"broken": "[key]'),
        (b"sk&quot;&lt;&amp;&gt;/1", "[key]"),
        (b'"sk\\"<&>\\/1', '"[key]'),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b'"\\ud800"', '"?"'),
        (b"[" * 100_000, "[" * RAW_ANSWER_MOST_BYTES),
        (b"", ""),
    ],
)
def test_a_raw_answer_has_no_key(body: bytes, expected: str) -> None:
    """Each key is masked in any spelling, in names and values of JSON, and in answers that are no JSON."""
    assert raw_answer(200, body, (KEY, QUOTED, "")) == RawAnswer(200, expected, is_cut=len(body) > 4_096)


def test_a_raw_answer_is_cut_after_masking() -> None:
    """A raw answer is cut to 4 kB after its keys are masked, so no part of a key is left at the end."""
    raw = raw_answer(500, b"x" * (RAW_ANSWER_MOST_BYTES - 6) + KEY.encode() + "ü".encode() * 9, (KEY,))
    assert raw == RawAnswer(500, "x" * (RAW_ANSWER_MOST_BYTES - 6) + "[key]", is_cut=True)


def test_of_two_keys_the_longer_is_masked_first() -> None:
    """If one key begins with another key, the longer key is masked as a whole."""
    assert raw_answer(200, b"sk-1 sk-12", ("sk-1", "sk-12")).text == "[key] [key]"
