"""
Removes secrets from the endpoint's texts before these go into errors, logs, events and webhooks.

Secrets are removed from decoded values, since JSON can spell a key or an address in many ways. This happens before
anything goes on record.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, fields, replace
from typing import ClassVar, Protocol, TypeVar
from urllib.parse import quote

from retouch.store.answers import RAW_ANSWER_MOST_BYTES, RawAnswer

MESSAGE_MOST = 500
_LINK = re.compile(r"https?:[/\\]{2,}([^/\\?#\s\"']+)[^\s\"'<>]*", re.IGNORECASE)


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Field[object]]]


Outcome = TypeVar("Outcome", bound=_Dataclass)


def redacted(outcome: Outcome, edit: Mapping[str, object], key: str, others: Sequence[str] = ()) -> Outcome:
    """
    Return the outcome without `key` in any field, and without the edit's addresses and prompt in its message.

    An address is removed if the edit contains the host of the address, even if the rest was cut or escaped. A prompt of
    one word stays, since the endpoint may use this word itself. `others` are the keys of other accounts, since an
    earlier attempt may have used one. They are removed only from the message, since a link must stay whole.
    """
    cleaned = {field.name: _without_key(getattr(outcome, field.name), key) for field in fields(outcome)}
    if "message" in cleaned:
        for other in others:
            cleaned["message"] = _without_key(cleaned["message"], other)
        cleaned["message"] = _redacted_message(str(cleaned["message"]), edit)
    return replace(outcome, **cleaned)


def raw_answer(status: int, body: bytes, keys: Iterable[str]) -> RawAnswer:
    """Return an answer as it came, but without the keys in any spelling, and cut to 4 kB."""
    # The longest first: a key may be the beginning of another one.
    spellings = sorted({spelling for key in keys if key for spelling in _spellings(key)}, key=len, reverse=True)
    try:
        text = json.dumps(_masked(json.loads(body), spellings), ensure_ascii=False)
    except (ValueError, RecursionError):  # no JSON, or nested too deeply
        text = _masked_text(body.decode(errors="replace"), spellings)
    encoded = text.encode(errors="replace")
    # The text is cut after the keys are masked: no part of a key stays at its end.
    kept = encoded[:RAW_ANSWER_MOST_BYTES].decode(errors="ignore")
    return RawAnswer(status, kept, is_cut=len(encoded) > RAW_ANSWER_MOST_BYTES)


def _spellings(key: str) -> set[str]:
    in_json = json.dumps(key)[1:-1]
    return {key, in_json, in_json.replace("/", "\\/"), quote(key, safe=""), html.escape(key)}


def _masked(value: object, spellings: Sequence[str]) -> object:
    if isinstance(value, dict):
        return {_masked_text(name, spellings): _masked(member, spellings) for name, member in value.items()}
    if isinstance(value, list):
        return [_masked(item, spellings) for item in value]
    return _masked_text(value, spellings) if isinstance(value, str) else value


def _masked_text(text: str, spellings: Sequence[str]) -> str:
    for spelling in spellings:
        text = text.replace(spelling, "[key]")
    return text


def _without_key(value: object, key: str) -> object:
    if isinstance(value, tuple):
        return tuple(_without_key(item, key) for item in value)
    if not isinstance(value, str):
        return value
    text = value.encode(errors="replace").decode()  # half a surrogate pair cannot be stored or sent
    return text.replace(key, "[key]") if key else text


def _redacted_message(text: str, edit: Mapping[str, object]) -> str:
    hosts = {host.lower() for host in _LINK.findall(json.dumps(edit))}
    text = _LINK.sub(lambda link: "[link]" if link[1].lower() in hosts else link[0], text)
    prompt = str(edit.get("prompt", "")).strip()
    if len(prompt.split()) > 1:
        text = text.replace(prompt, "[prompt]")
    return text[:MESSAGE_MOST]
