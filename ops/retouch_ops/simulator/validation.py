"""
The endpoint's checks of a request body, with the endpoint's messages.

Faults map the name of a field to a list of messages. Numbers must be JSON numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Field: (least, most, whole numbers only, default); of v5 only the range for guidance_scale is documented.
_V6: dict[str, tuple[float, float, bool, float]] = {
    "image_guidance_scale": (1, 8, False, 1),
    "steps": (1, 50, True, 20),
    "guidance_scale": (1, 20, False, 7),
}
SAMPLES_MOST = 20  # related endpoints accept `samples` up to 4; more is for tests of limits
_V5 = _V6 | {"image_guidance_scale": (0, 100, False, 1), "steps": (1, 1000, True, 20)}


@dataclass(frozen=True)
class EditRequest:
    """A request body that has passed the checks."""

    prompt: str
    init_image: str
    image_guidance_scale: float
    steps: int
    guidance_scale: float
    samples: int = 1


def validate(body: Mapping[str, object], *, is_v6: bool) -> EditRequest | dict[str, object]:
    """Return the checked request. If the body is wrong, return the `message` object of the error answer instead."""
    ranges = _V6 if is_v6 else _V5
    faults: dict[str, object] = {}
    for field in ("prompt", "init_image"):
        value = body.get(field)
        if not isinstance(value, str) or not value.strip():
            faults[field] = [f"The {_readable(field)} field is required."]
    ranges = ranges | {"samples": (1, SAMPLES_MOST, True, 1)}
    numbers = {field: _number(field, body.get(field), ranges[field], faults) for field in ranges}
    if faults:
        return faults
    return EditRequest(
        prompt=str(body["prompt"]),
        init_image=str(body["init_image"]),
        image_guidance_scale=numbers["image_guidance_scale"],
        steps=int(numbers["steps"]),
        guidance_scale=numbers["guidance_scale"],
        samples=int(numbers["samples"]),
    )


def _number(field: str, value: object, limits: tuple[float, float, bool, float], faults: dict[str, object]) -> float:
    lowest, highest, integer, default = limits
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int if integer else int | float):
        faults[field] = [f"The {_readable(field)} must be {'an integer' if integer else 'a number'}."]
        return default
    if not lowest <= value <= highest:
        faults[field] = [f"The {_readable(field)} must be between {lowest} and {highest}."]
    return float(value)


def _readable(field: str) -> str:
    return field.replace("_", " ")
