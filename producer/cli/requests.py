"""One request as a command takes it: checked whole, before anything is kept or enqueued."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from producer.cli import words
from retouch.edit import Edit
from retouch.intake import Options, Terms, agree
from retouch.settings import Settings

NUMBERS = ("steps", "guidance_scale", "image_guidance_scale")


def edit_of(prompt: Any, link: str, numbers: Mapping[str, Any]) -> Edit:
    """Make the edit; numbers come as text or as they are, None is the default. Raises `InvalidEdit`."""
    given = {name: words.number(value) if isinstance(value, str) else value for name, value in numbers.items()}
    values = {"prompt": prompt, "init_image": link, **given}
    return Edit(**{name: value for name, value in values.items() if value is not None})


def options_of(**given: Any) -> dict[str, Any]:
    """Keep the options that were given, numbers read from their text, for `EditQueue.enqueue`."""
    read = {
        name: words.number(value) if name in ("deadline_s", "max_charges") and isinstance(value, str) else value
        for name, value in given.items()
    }
    return {name: value for name, value in read.items() if value is not None}


def terms_of(options: Mapping[str, Any], settings: Settings) -> Terms:
    """Check the options as the door will, without making a receiver for the webhook. Raises `InvalidEdit`."""
    return agree(Options(**options), settings, lambda _tenant, _url: "")
