"""Reading and writing JSON: each accepted body can be written again, and one bad item does not fail its batch."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retouch_producer.gateway.http.body import parse_object
from retouch_producer.gateway.http.errors import ProblemError
from retouch_producer.gateway.routes.edits import write_item

TEXT = st.text(st.characters(exclude_categories=()))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXT, VALUES, max_size=4), st.booleans())
def test_what_was_parsed_can_be_written(body: dict[str, Any], escaped: bool) -> None:
    """Any JSON object, with any code points, is refused or can be written as UTF-8 with the same content."""
    sent = json.dumps(body, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    try:
        parsed = parse_object(sent)
    except ProblemError:
        return
    assert json.loads(json.dumps(parsed, ensure_ascii=False, allow_nan=False).encode()) == parsed == body


@pytest.mark.parametrize(
    "body",
    [
        b'{"\\ud800": 1}',
        b'{"a": {"\\uDFFF": 1}}',
        b'{"a": ["\\udbff"]}',
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * 5_000 + b"}",
        b'{"a": ' + b"[" * 60_000 + b"}",
        b"[]",
        b'{"a": ' + b"[" * 20_000 + b'"\\ud800"' + b"]" * 20_000 + b"}",
        b"",
        b"\xff\xfe{\x00}\x00",
        b'{"a": 1} x',
    ],
)
def test_malformed_bodies(body: bytes) -> None:
    """
    A body is refused as malformed-body if it is no JSON object in UTF-8, is nested too deeply, or has a value that
    cannot be written again.
    """
    with pytest.raises(ProblemError) as refused:
        parse_object(body)
    assert refused.value.name == "malformed-body"


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": "\\ud83d\\ude00"}', "\U0001f600"),
        (b'\xef\xbb\xbf{"a": 1.5}', 1.5),
        (b'{"a": "\\\\ud800"}', "\\ud800"),
        (b'{"a": 1, "a": 2}', 2),
    ],
)
def test_bodies_that_are_fine(body: bytes, value: object) -> None:
    """
    A body with a surrogate pair, a byte order mark or an escaped backslash is accepted. If a name occurs twice, the
    last value counts.
    """
    assert parse_object(body) == {"a": value}


def test_an_item_that_cannot_be_written() -> None:
    """If an item cannot be written, `write_item` returns a problem with the item's id and does not raise."""
    written = json.loads(write_item({"index": 3, "id": "job", "problem": None, "status": 202, "url": "\ud800"}))
    assert (written["index"], written["id"], written["status"]) == (3, "job", 500)
    assert written["problem"]["type"] == "/problems/internal"
