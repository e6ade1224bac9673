"""
`Edit`: one requested edit. It is checked when it is made, so that no invalid edit is enqueued or paid for.

The endpoint's documentation states the ranges: its v5 page states the range of guidance_scale (1 to 20), and its v6
page states all others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from retouch.errors import InvalidEdit
from retouch.json_types import JsonObject

PROMPT_MOST, EXTRA_MOST = 10_000, 16_384
EXTRA_LEVELS_MOST = 32  # cjson in Redis fails at 1,000 levels, and a job that scripts cannot read never ends
_NUMBERS = {
    "image_guidance_scale": ("a number", 1, 8),
    "steps": ("a whole number", 1, 50),
    "guidance_scale": ("a number", 1, 20),
}
_URL = re.compile(r"https?://[^\s\\/?#]+", re.IGNORECASE)
_RESERVED = frozenset({"key", "prompt", "init_image", *_NUMBERS})


class Edit(BaseModel):
    """
    One requested edit: `prompt` says what to change, and `init_image` is the http(s) URL of the picture, which the
    endpoint must be able to read.

    `image_guidance_scale` is from 1 to 8, `steps` from 1 to 50, `guidance_scale` from 1 to 20. `extra` goes to the
    endpoint unchanged, for parameters that it does not document. Raises `InvalidEdit`, which names every invalid field
    with its value and range. Neither that message nor the `repr` of an edit contains the prompt or the URL.
    """

    # Built when the first edit is made: that takes a fifth of the time of the import, which may be for types alone.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)

    prompt: str = Field(strict=True)
    init_image: str = Field(strict=True)
    image_guidance_scale: float = Field(1, strict=True, ge=1, le=8, allow_inf_nan=False)
    steps: int = Field(20, strict=True, ge=1, le=50)
    guidance_scale: float = Field(7, strict=True, ge=1, le=20, allow_inf_nan=False)
    extra: JsonObject = Field(default_factory=dict)

    if not TYPE_CHECKING:  # so that a type checker knows the fields as arguments, and finds a misspelt one

        def __init__(self, **values: object) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                faults = [
                    _fault(str(fault["loc"][0]), fault["type"], values) for fault in error.errors(include_input=False)
                ]
            else:
                faults = []
            # All faults at once, so that a caller can correct them together.
            faults += [(name, message) for name, message in _text_faults(values) if name not in dict(faults)]
            if faults:
                raise InvalidEdit(faults)

    def __repr_args__(self) -> Iterable[tuple[str, object]]:
        yield "prompt", f"<{len(self.prompt)} characters>"
        yield "init_image", "<url>"
        yield from ((name, getattr(self, name)) for name in _NUMBERS)

    def fields(self) -> JsonObject:
        """Return the fields as a JSON object. Whole numbers are int, and `extra` is left out if it is empty."""
        values = {
            "prompt": self.prompt,
            "init_image": self.init_image,
            **{name: _short(getattr(self, name)) for name in _NUMBERS},
        }
        return {**values, "extra": self.extra} if self.extra else values


def _short(number: float) -> float:
    """Return whole numbers as int, so that JSON has `7` and not `7.0`, as in the endpoint's examples."""
    return int(number) if number == int(number) else number


def _fault(name: str, kind: str, values: Mapping[str, object]) -> tuple[str, str]:
    """Return (field, message) for a field that pydantic refused; `kind` is pydantic's type of the error."""
    if kind == "missing":
        return name, "expected a value, got none"
    if kind == "extra_forbidden":
        return name, "is not a field of an edit; put parameters that the endpoint does not document into extra"
    got = values.get(name)
    if name in _NUMBERS:
        what, least, most = _NUMBERS[name]
        return name, f"expected {what} from {least} to {most}, got {_shown(got)}"
    return name, f"expected {'an object' if name == 'extra' else 'text'}, got {type(got).__name__}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:40] + "…"


def _text_faults(values: Mapping[str, object]) -> Iterable[tuple[str, str]]:
    prompt, url, extra = values.get("prompt"), values.get("init_image"), values.get("extra")
    if isinstance(prompt, str) and not is_text(prompt):
        yield "prompt", "expected text that UTF-8 can carry"
    elif isinstance(prompt, str) and not (prompt.strip() and len(prompt) <= PROMPT_MOST):
        got = f"{len(prompt):,}" if prompt.strip() or not prompt else "only white space"
        yield "prompt", f"expected 1 to {PROMPT_MOST:,} characters, got {got}"
    if isinstance(url, str) and not (_URL.match(url) and is_text(url)):
        yield "init_image", f"expected an http(s) URL, got {_other_address(url)}"
    if isinstance(extra, dict):
        yield from (("extra", fault) for fault in _extra_faults(extra))


def _other_address(url: str) -> str:
    if scheme := re.match(r"[a-zA-Z][a-zA-Z0-9+.-]{1,20}(?=:)", url):
        return scheme.group() + ":"
    if re.match(r"[a-zA-Z]:|[.~]{0,2}[/\\\\]|[^/]+\\.(png|jpe?g|webp)$", url, re.IGNORECASE):
        return "a path on this machine, which the endpoint cannot read: upload it (POST /v1/uploads, or retouch edit)"
    return "something else"


def _extra_faults(extra: Mapping[str, object]) -> Iterable[str]:
    if taken := sorted(_RESERVED & extra.keys()):
        yield f"must not hold {', '.join(taken)}"
    try:
        size = len(json.dumps(extra, ensure_ascii=False, allow_nan=False).encode())
    except (TypeError, ValueError, RecursionError):
        yield "expected values that JSON can carry"
        return
    # In bytes: that is what a record takes in Redis, where a million may wait.
    if size > EXTRA_MOST:
        yield f"expected at most {EXTRA_MOST:,} bytes of JSON, got {size:,}"
    if not _nests_within(extra, EXTRA_LEVELS_MOST):
        yield f"expected at most {EXTRA_LEVELS_MOST} levels of nesting"


def _nests_within(value: object, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return levels >= 0 and all(_nests_within(one, levels - 1) for one in inner)


def is_text(value: str) -> bool:
    """Return whether a text can be encoded as UTF-8; a text with half of a surrogate pair cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
