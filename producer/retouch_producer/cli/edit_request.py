"""Builds an edit and its options from the arguments of a command, before anything is stored or enqueued."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from retouch import admission
from retouch.admission import ResolvedOptions, resolve_options
from retouch.edit import Edit
from retouch.errors import InvalidEdit
from retouch.options import JobOptions
from retouch.outcomes import OUTPUTS_MOST
from retouch.settings import Settings
from retouch_producer.cli import parsing

NUMBERS = ("steps", "guidance_scale", "image_guidance_scale")


def edit_of(prompt: object, link: str, numbers: Mapping[str, object], samples: object = None) -> Edit:
    """
    Return an `Edit` made from arguments of a command. Raises `InvalidEdit`.

    Numbers may be text, and None stands for the default. `samples` is the number of images. The endpoint takes it as an
    extra parameter.
    """
    typed = {name: _number(value) for name, value in numbers.items()}
    # `Edit` checks every type itself, and its faults name the field.
    values: dict[str, Any] = {"prompt": prompt, "init_image": link, **typed, "extra": _extra(_number(samples))}
    return Edit(**{name: value for name, value in values.items() if value is not None})


def _extra(samples: object) -> dict[str, int] | None:
    if samples is None:
        return None
    if isinstance(samples, bool) or not isinstance(samples, int) or not 1 <= samples <= OUTPUTS_MOST:
        raise InvalidEdit([("samples", f"expected a whole number from 1 to {OUTPUTS_MOST}, got {str(samples)[:40]!r}")])
    return {"samples": samples}


def _number(value: object) -> object:
    return parsing.number(value) if isinstance(value, str) else value


def options_of(**typed: object) -> JobOptions:
    """
    Return the options for `EditQueue.enqueue` that are not None, with numbers converted from text.

    The options are not checked yet. A text that is no number stays text until `terms_of` refuses it.
    """
    read = {
        name: parsing.number(value) if name in ("deadline_s", "max_charges") and isinstance(value, str) else value
        for name, value in typed.items()
    }
    return cast(JobOptions, {name: value for name, value in read.items() if value is not None})


def terms_of(options: JobOptions, settings: Settings) -> ResolvedOptions:
    """
    Return the options, checked and resolved against the settings. Raises `InvalidEdit`.

    Unlike an enqueue, this creates no receiver for the webhook.
    """
    return resolve_options(admission.options_of(options), settings, lambda _tenant, _url: "")
