"""
The endpoint's own words, as they may be shown: they go into errors, logs, events and messages of callbacks.

Judged on what was decoded, since a key or an address is spelt in many ways in JSON, and before anything is on record.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import Field, fields, replace
from typing import ClassVar, Protocol, TypeVar

MESSAGE_MOST = 500
_LINK = re.compile(r"https?:[/\\]{2,}([^/\\?#\s\"']+)[^\s\"'<>]*", re.IGNORECASE)


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Field[object]]]


Outcome = TypeVar("Outcome", bound=_Dataclass)


def redacted(outcome: Outcome, edit: Mapping[str, object], key: str) -> Outcome:
    """
    Give an outcome without the key anywhere, and its message without the edit's own addresses and prompt.

    An address goes if its host is one that the edit names, however it was cut or escaped. A prompt of one word stays:
    it may be any word of the endpoint's.
    """
    cleaned = {field.name: _without_key(getattr(outcome, field.name), key) for field in fields(outcome)}
    if "message" in cleaned:
        cleaned["message"] = _redacted_message(str(cleaned["message"]), edit)
    return replace(outcome, **cleaned)


def _without_key(value: object, key: str) -> object:
    if isinstance(value, tuple):
        return tuple(_without_key(item, key) for item in value)
    if not isinstance(value, str):
        return value
    text = value.encode(errors="replace").decode()  # half a surrogate pair fits into no message of ours
    return text.replace(key, "[key]") if key else text


def _redacted_message(text: str, edit: Mapping[str, object]) -> str:
    hosts = {host.lower() for host in _LINK.findall(json.dumps(edit))}
    text = _LINK.sub(lambda link: "[link]" if link[1].lower() in hosts else link[0], text)
    prompt = str(edit.get("prompt", "")).strip()
    if len(prompt.split()) > 1:
        text = text.replace(prompt, "[prompt]")
    return text[:MESSAGE_MOST]
