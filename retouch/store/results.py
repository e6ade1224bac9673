"""The stored images of a job, and the checkpoints from which an attempt goes on, as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from retouch.json_types import Document
from retouch.outcomes import Image, Processing, Ready


def checkpoint_from(text: str) -> Processing | Ready | None:
    """
    Parse a text of `checkpoint_json`, and return the checkpoint from which an attempt goes on.

    Returns None for an empty text, which means that no paid answer is on record.
    """
    if not text:
        return None
    raw = json.loads(text)
    if raw.pop("kind") == "processing":
        return Processing(**raw)
    # JSON has lists in place of these nested tuples.
    nested = {
        "urls": tuple(raw["urls"]),
        "more": tuple(tuple(urls) for urls in raw.get("more", ())),
        "brought": tuple((place, image and image_from(image)) for place, image in raw.get("brought", ())),
    }
    return Ready(**{**raw, **nested})


def image_from(raw: Document) -> Image:
    """Return one stored image of a result, from parsed JSON."""
    # Known fields only: the first image of a result also contains the others.
    known = {name: raw[name] for name in Image.__dataclass_fields__}
    return Image(**{**known, "warnings": tuple(raw["warnings"])})


def images_from(result: Document | None) -> tuple[Image, ...]:
    """Return all images of a job's result, in the order of the endpoint's answer; an empty tuple without a result."""
    return tuple(image_from(one) for one in (result, *result.get("others", ()))) if result else ()


def result_json(image: Image, others: Sequence[Image] = ()) -> str:
    """Return a job's images as the JSON of one result: the fields of the first image, with the others in `others`."""
    further = {"others": [asdict(one) for one in others]} if others else {}
    return json.dumps({**asdict(image), **further}, separators=(",", ":"))


def checkpoint_json(checkpoint: Processing | Ready) -> str:
    """Return a checkpoint as JSON, for `checkpoint_from`."""
    kind = "processing" if isinstance(checkpoint, Processing) else "ready"
    return json.dumps({"kind": kind, **asdict(checkpoint)}, separators=(",", ":"))
