"""
All settings of Retouch, read from environment variables with the prefix `RETOUCH_`.

`docs/settings.md` and `retouch settings` are generated from this model, with its descriptions. Durations are float
seconds (`_s`). All faults are reported together, in one `SettingsError`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from retouch.errors import SettingsError

ALL_ADDRESSES = ("0.0.0.0/0", "::/0")
_REDIS_SCHEMES = ("redis", "rediss", "unix")
_TRUE, _FALSE = {"1", "true", "yes", "all"}, {"", "0", "false", "no"}


class Settings(BaseSettings):
    """
    The configuration of one process.

    A value comes from a keyword argument, else from the environment, else from the default below. Only workers need the
    endpoint's key.
    """

    model_config = SettingsConfigDict(env_prefix="RETOUCH_", frozen=True, extra="forbid", hide_input_in_errors=True)

    redis_url: str = Field("redis://127.0.0.1:6379/0", description="The store: jobs, lanes, events, deliveries.")
    broker_url: str = Field("", description="Celery's broker; empty means the same Redis as REDIS_URL.")
    gateway_url: str = Field(
        "", description="A Retouch gateway (http or https) for clients to go through, in place of REDIS_URL."
    )
    api_key: SecretStr = Field(SecretStr(""), description="The key that such a gateway knows a client by.")
    gateway_timeout_s: float = Field(
        30.0, ge=2, le=900, description="Longest silence of that gateway before a client gets a clear error."
    )
    redis_timeout_s: float = Field(
        2.0, gt=0, le=60, description="Longest wait for one Redis answer before a producer gets a clear error."
    )
    pix2pix_url: str = Field(
        "https://stablediffusionapi.com/api/v5/pix2pix", description="Where an edit is POSTed. It costs money."
    )
    pix2pix_fetch_url: str = Field(
        "https://stablediffusionapi.com/api/v3/fetch",
        description="Where a processing edit is looked up when its answer names no fetch_result; the id is appended.",
    )
    pix2pix_key: SecretStr = Field(
        SecretStr(""), description="The endpoint's API key. Lives in the worker's memory alone."
    )
    pix2pix_timeout_s: float = Field(120.0, ge=1, le=900, description="Total limit of one call to the endpoint.")
    accounts: str = Field(
        "",
        description="A TOML file of the endpoint's accounts (docs/accounts.md); empty: one account, made of the "
        "settings around this one.",
    )
    in_flight_limit: Literal["auto"] | Annotated[int, Field(ge=1, le=10_000)] = Field(
        "auto", description="Requests in flight at the endpoint: a number, or auto to learn it from its 429 answers."
    )
    rate_per_s: float = Field(0.0, ge=0, description="Most edits dispatched per second; 0 means no limit.")
    spam_filter_s: float = Field(
        30.0, ge=0, le=600, description="The endpoint refuses the same body again within this time."
    )
    store_url: str = Field(
        "", description="Where images are kept: file:///folder or s3://bucket/prefix; empty means var/blobs here."
    )
    public_url: str = Field(
        "http://127.0.0.1:8000", description="How the outside reaches the gateway; result links start with it."
    )
    max_attempts: int = Field(5, ge=1, le=100, description="Total runs of a job that may POST, counted from 1.")
    backoff_base_s: float = Field(2.0, gt=0, le=3600, description="Wait before the second attempt; doubles each time.")
    backoff_cap_s: float = Field(300.0, gt=0, le=86_400, description="Longest wait between two attempts.")
    deadline_s: float = Field(86_400.0, gt=0, le=30 * 86_400, description="Longest life of a job, from enqueueing.")
    max_charges: int = Field(
        2, ge=1, le=10, description="Most POSTs of one job that may have been billed; 1 never risks paying twice."
    )
    price_per_call: float = Field(0.0, ge=0, description="What one charged call costs, in your currency.")
    retention_s: float = Field(7 * 86_400.0, gt=0, description="How long a finished job and its image are kept.")
    durable_intents: bool = Field(
        False, description="Wait for Redis' disk before each POST (WAITAOF): intents survive a crash of Redis' host."
    )
    lease_s: float = Field(
        15.0, ge=1, le=300, description="A worker silent for this long has lost its jobs to the others."
    )
    dangerous_allow_private_networks: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Networks (comma-separated CIDR, or 'all') that user-supplied addresses may reach although they "
        "are private. The local stack sets loopback alone.",
    )
    callback_tasks: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Celery tasks that a job may name as its callback: comma-separated, each task or task@queue."
    )
    log_format: Literal["console", "json"] = Field("console", description="How log lines look.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least level that is logged.")
    traces: bool = Field(
        False, description="Export traces (OpenTelemetry), as the OTEL_ variables say; needs the extra otel."
    )
    flower_address: str = Field("127.0.0.1", description="Address that Flower listens on; keep it inside.")
    flower_port: int = Field(5555, ge=0, le=65_535, description="Port that Flower listens on.")
    flower_read_only: bool = Field(True, description="Flower only shows. Its controls can end calls that are paid for.")
    flower_basic_auth: SecretStr = Field(SecretStr(""), description="user:password for Flower; empty means none.")
    capture_input: Literal["off", "keep", "ours"] = Field(
        "keep",
        description="What the gateway does with init_image when it accepts a job: off, keep a checked copy, whose link "
        "the endpoint is sent if it cannot read init_image, or ours: keep one and send its link at once.",
    )
    capture_memory_mb: int = Field(
        400,
        ge=200,
        le=1_000_000,
        description="Most memory, in MB, for the bytes of all init_image pictures that a "
        "gateway fetches at once; one tenant gets half. A picture takes twice its size.",
    )
    drop_in_wait_s: float = Field(
        8.0,
        ge=0,
        le=600,
        description="How long POST /api/v5/pix2pix waits for the image before it says processing; OkHttp gives up "
        "after 10 s.",
    )
    gateway_address: str = Field("127.0.0.1", description="Address that the gateway listens on.")
    gateway_port: int = Field(8000, ge=0, le=65_535, description="Port that the gateway listens on.")

    @field_validator("dangerous_allow_private_networks", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        if isinstance(value, str):
            text = value.strip().lower()
            if text in _TRUE | _FALSE:
                return ALL_ADDRESSES if text in _TRUE else ()
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        networks = value if isinstance(value, Iterable) else (value,)
        return tuple(str(ipaddress.ip_network(str(network))) for network in networks)

    @field_validator("redis_url", "broker_url")
    @classmethod
    def _redis(cls, value: str) -> str:
        if value and urlsplit(value).scheme not in _REDIS_SCHEMES:
            raise ValueError("expected redis://host:port/number, rediss:// with TLS, or unix:///path")
        return value

    @field_validator("gateway_url")
    @classmethod
    def _gateway(cls, value: str) -> str:
        parts = urlsplit(value)
        # Addresses are shown in messages, so a password must not be in this one; the key has a setting of its own.
        if value and not (parts.scheme in ("http", "https") and parts.hostname and not parts.username):
            raise ValueError("expected http(s)://host[:port][/path], without a password")
        return value.rstrip("/")

    @field_validator("callback_tasks", mode="before")
    @classmethod
    def _tasks(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("traces")
    @classmethod
    def _otel(cls, value: bool) -> bool:
        if value and not _is_installed("opentelemetry.exporter.otlp.proto.http"):
            raise ValueError("traces need OpenTelemetry, which is not installed: pip install 'retouch[otel]'")
        return value

    @model_validator(mode="after")
    def _cross_checks(self) -> Self:
        if self.backoff_cap_s < self.backoff_base_s:
            raise ValueError(
                f"backoff_cap_s: expected at least backoff_base_s ({self.backoff_base_s}), got {self.backoff_cap_s}"
            )
        # A heartbeat every third of the lease must still get through when one Redis answer takes the longest time.
        if self.lease_s < 3 * self.redis_timeout_s / 2:
            raise ValueError(
                f"lease_s: expected at least 1.5 x redis_timeout_s ({self.redis_timeout_s}), got {self.lease_s}"
            )
        return self

    @property
    def address(self) -> str:
        """Return the URL of the gateway or of Redis that a client uses, without user and password."""
        parts = urlsplit(self.gateway_url or self.redis_url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()

    @property
    def broker(self) -> str:
        """Return the URL of the broker: `broker_url`, or `redis_url` if `broker_url` is empty."""
        return self.broker_url or self.redis_url

    @property
    def store(self) -> str:
        """
        Return `store_url`, the URL of the blob store. If it is empty, return the URL of `var/blobs` in the working
        folder.
        """
        return self.store_url or (Path.cwd() / "var" / "blobs").as_uri()

    @classmethod
    def load(cls, **overrides: object) -> Settings:
        """
        Return the settings of the environment, overridden by keyword arguments.

        Raises `SettingsError`, which names every wrong setting and what was expected. The message shows no values,
        since one of them may be a secret.
        """
        try:
            return cls(**overrides)  # type: ignore[arg-type] # the model checks each value
        except ValidationError as error:
            raise SettingsError(
                [_line(fault["loc"], fault["msg"]) for fault in error.errors(include_input=False)]
            ) from None


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package above it
        return False


def _line(where: Sequence[int | str], message: str) -> str:
    name = f"RETOUCH_{str(where[0]).upper()}: " if where else ""
    return name + message.removeprefix("Value error, ")
