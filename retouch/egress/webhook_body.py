"""Makes the body of a webhook: at most 20,000 bytes, with a list of the parts that were cut to fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TypeVar

from retouch.json_types import Document, JsonObject

BODY_MOST_BYTES = 20_000

# How long each part may stay when the whole is too long. With the parts of fixed size, their sum is below the limit.
PROMPT_BYTES, URL_BYTES, RESULTS_BYTES, MESSAGE_BYTES, TAGS_BYTES = 2_000, 2_100, 5_000, 1_000, 6_000

Item = TypeVar("Item")


def event_body(event: Document) -> bytes:
    """
    Return an event as the bytes of a webhook, at most `BODY_MOST_BYTES`.

    Parts of a longer event are cut, in this order, until it fits: `edit.extra`, the end of `edit.prompt`,
    `edit.init_image`, the last of `results`, the end of `error.message`, the last of `tags`. `data.truncated` has the
    names of the parts that were cut. `edit.truncated` is true if a part of the edit was cut.
    """
    body = _dumps(event)
    data: JsonObject = dict(event["data"])
    for name, cut in _CUTS:
        if len(body) <= BODY_MOST_BYTES:
            return body
        shorter = cut(data)
        if shorter != data:
            data = {**shorter, "truncated": [*data.get("truncated", ()), name]}
            body = _dumps({**event, "data": data})
    return body


def _without_extra(data: JsonObject) -> JsonObject:
    edit = data.get("edit") or {}
    return {**data, "edit": _cut_edit(edit, "extra", None)} if "extra" in edit else data


def _with_short_prompt(data: JsonObject) -> JsonObject:
    edit = data.get("edit") or {}
    short = _start_of(edit.get("prompt", ""), PROMPT_BYTES)
    return data if short == edit.get("prompt", "") else {**data, "edit": _cut_edit(edit, "prompt", short)}


def _without_long_url(data: JsonObject) -> JsonObject:
    edit = data.get("edit") or {}
    long = len(_dumps(edit.get("init_image", ""))) > URL_BYTES
    return {**data, "edit": _cut_edit(edit, "init_image", None)} if long else data


def _with_first_results(data: JsonObject) -> JsonObject:
    results = data.get("results")
    return {**data, "results": _first(list(results), RESULTS_BYTES)} if results else data


def _with_short_message(data: JsonObject) -> JsonObject:
    error = data.get("error")
    return {**data, "error": {**error, "message": _start_of(error["message"], MESSAGE_BYTES)}} if error else data


def _with_first_tags(data: JsonObject) -> JsonObject:
    return {**data, "tags": dict(_first(list((data.get("tags") or {}).items()), TAGS_BYTES))}


_CUTS: tuple[tuple[str, Callable[[JsonObject], JsonObject]], ...] = (
    ("edit.extra", _without_extra),
    ("edit.prompt", _with_short_prompt),
    ("edit.init_image", _without_long_url),
    ("results", _with_first_results),
    ("error.message", _with_short_message),
    ("tags", _with_first_tags),
)


def _cut_edit(edit: Document, name: str, value: str | None) -> JsonObject:
    """Return the edit with one field replaced, or without that field if the value is None."""
    rest = {key: kept for key, kept in edit.items() if key != name or value is not None}
    return {**rest, **({} if value is None else {name: value}), "truncated": True}


def _start_of(text: str, most_bytes: int) -> str:
    """Return the start of a text that takes at most `most_bytes` as JSON. If the text was cut, an ellipsis follows."""
    if len(_dumps(text)) <= most_bytes:
        return text
    start = text[:most_bytes]
    # An escaped character takes up to six bytes, so a part of that many characters may still be too long.
    while len(_dumps(start)) > most_bytes:
        start = start[: len(start) * 3 // 4]
    return start + "…"


def _first(values: list[Item], most_bytes: int) -> list[Item]:
    """Return as many of the first values as fit into `most_bytes` when they are written as JSON."""
    used, kept = 0, []
    for value in values:
        used += len(_dumps(value))
        if used > most_bytes:
            break
        kept.append(value)
    return kept


def _dumps(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
