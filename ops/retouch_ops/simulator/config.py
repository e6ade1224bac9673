"""
The settings of the simulator. Each can be changed while the simulator runs, by `POST /control/settings`.

Durations are float seconds. `docs/simulator.md` lists every setting; a test checks that the list is up to date.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

OutputKind = Literal["png", "html", "truncated", "bomb", "flat", "same_as_input", "svg"]


class ControlError(ValueError):
    """A control call was wrong, and changed nothing. `faults` has one line per fault."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        super().__init__("; ".join(faults))


class SimulatorConfig(BaseModel):
    """One immutable set of settings; `changed` returns another set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[str, ...] = Field((), description="API keys that are accepted; empty accepts any non-empty key.")
    cap: int = Field(5, ge=1, le=100_000, description="Requests that one key may have in flight.")
    queue_full_status: Literal[429, 200] = Field(429, description="HTTP status of the queue-full answer.")
    retry_after_s: float = Field(30.0, ge=0, description="The retry_after of the queue-full answer.")
    spam_filter_s: float = Field(30.0, ge=0, description="The same body is refused again for this long; 0 disables.")
    errors_inside_200: bool = Field(True, description="Errors come with HTTP 200, as in 2022 to 2024; else 400 to 403.")
    latency_s: float = Field(0.2, ge=0, le=3600, description="Time from an accepted POST to its answer.")
    latency_spread: float = Field(
        0.0, ge=0, le=1, description="Standard deviation of the latency, as a share of it; never below a tenth of it."
    )
    processing_share: float = Field(0.0, ge=0, le=1, description="Share of POSTs answered with processing.")
    processing_s: float = Field(1.0, ge=0, le=86_400, description="Time from a processing answer to its success.")
    eta_s: float | None = Field(None, ge=0, description="The eta of processing answers; null: processing_s.")
    stuck_in_flight_s: float = Field(
        30.0, ge=0, description="How long processing_forever and fetch_not_found count as in flight."
    )
    fetch_unknown_s: float = Field(0.0, ge=0, description="How long a fetch does not find a new id.")
    list_output: bool = Field(False, description="output is a list with proxy_links, as v6 answers; else a string.")
    output_kind: OutputKind = Field("png", description="What an output link serves.")
    output_delay_s: float = Field(0.0, ge=0, description="How long a new output link cannot be read.")
    output_early: Literal["404", "html"] = Field(
        "404", description="The answer of a link that is read too early; html has status 200."
    )
    output_lifetime_s: float = Field(86_400.0, gt=0, description="How long an output link lives.")
    output_gone_status: Literal[404, 410] = Field(404, description="HTTP status of an expired output link.")
    output_bytes_per_s: float = Field(0.0, ge=0, description="Slow downloads of outputs; 0 sends at full speed.")
    drip_bytes_per_s: float = Field(40.0, gt=0, description="Speed of the fault drip, headers and body.")
    init_image_timeout_s: float = Field(10.0, gt=0, description="Total limit of fetching one init_image.")
    init_image_bytes: int = Field(20_000_000, gt=0, description="Largest init_image that is fetched.")
    init_image_cache_s: float = Field(60.0, ge=0, description="How long a fetched init_image is reused; 0 disables.")
    public_url: str = Field("", description="Start of the links in answers; empty uses the request's Host header.")

    def changed(self, changes: Mapping[str, object]) -> SimulatorConfig:
        """
        Return a copy of these settings with `changes` applied.

        Raises `ControlError` with one line per fault. For an unknown name, the line lists the known names.
        """
        unknown = sorted(set(changes) - set(SimulatorConfig.model_fields))
        if unknown:
            known = ", ".join(SimulatorConfig.model_fields)
            raise ControlError([f"unknown setting {', '.join(map(repr, unknown))}; known: {known}"])
        try:
            return SimulatorConfig.model_validate({**self.model_dump(), **changes})
        except ValidationError as error:
            raise ControlError([_line(fault) for fault in error.errors()]) from None

    @property
    def reported_eta_s(self) -> float:
        """The seconds that a processing answer names as `eta`."""
        return self.processing_s if self.eta_s is None else self.eta_s

    def as_json(self) -> dict[str, object]:
        """Return the settings as a JSON object. A text with the number of API keys replaces the keys."""
        return {**self.model_dump(mode="json"), "keys": f"{len(self.keys)} accepted" if self.keys else "any"}


def _line(fault: ErrorDetails) -> str:
    name = fault["loc"][0]
    return f"{name}: {fault['msg']}" + ("" if name == "keys" else f", got {fault['input']!r}")
