"""
The endpoint's own words, as they may be shown: they go into errors, logs, events and messages of callbacks.

Judged on what was decoded, since a key or an address is spelt in many ways in JSON, and before anything is on record.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

MESSAGE_MOST = 500
_LINK = re.compile(r"https?:[/\\]{2,}([^/\\?#\s\"']+)[^\s\"'<>]*", re.IGNORECASE)

Outcome = TypeVar("Outcome", bound=Any)


def shown(outcome: Outcome, edit: Mapping[str, Any], key: str, others: Sequence[str] = ()) -> Outcome:
    """
    Give an outcome without the key anywhere, and its message without the edit's own addresses and prompt.

    An address goes if its host is one that the edit names, however it was cut or escaped. A prompt of one word stays:
    it may be any word of the endpoint's. `others` are keys of other accounts, which the job may have been on before:
    they go from the message alone, since no link of this account's answers can hold one on purpose.
    """
    told = {field.name: _clean(getattr(outcome, field.name), key) for field in fields(outcome)}
    if "message" in told:
        for other in others:
            told["message"] = _clean(told["message"], other)
        told["message"] = _message(told["message"], edit)
    clean: Outcome = replace(outcome, **told)
    return clean


def _clean(value: Any, key: str) -> Any:
    if isinstance(value, tuple):
        return tuple(_clean(one, key) for one in value)
    if not isinstance(value, str):
        return value
    text = value.encode(errors="replace").decode()  # half a surrogate pair fits into no message of ours
    return text.replace(key, "[key]") if key else text


def _message(text: str, edit: Mapping[str, Any]) -> str:
    hosts = {host.lower() for host in _LINK.findall(json.dumps(edit))}
    text = _LINK.sub(lambda link: "[link]" if link[1].lower() in hosts else link[0], text)
    prompt = str(edit.get("prompt", "")).strip()
    if len(prompt.split()) > 1:
        text = text.replace(prompt, "[prompt]")
    return text[:MESSAGE_MOST]
