"""Which way a client goes: by its URL, or by the settings."""

from __future__ import annotations

from typing import Any

from retouch.concurrency import Concurrency, LoopConcurrency
from retouch.connections import Connections
from retouch.settings import Settings
from retouch.store.audit import Surface
from retouch.transport.interface import Transport
from retouch.transport.redis_transport import RedisTransport

_HTTP = ("http://", "https://")


def settings_for(
    url: str | None, api_key: str | None, settings: Settings | None, overrides: dict[str, Any]
) -> Settings:  # fmt: skip
    """
    Give a client's settings: those made elsewhere, or the environment's with a URL, a key and more on top.

    A Redis URL that is given here goes before a gateway that the environment names.
    """
    given = dict(overrides)
    if url is not None:
        given["gateway_url" if url.lower().startswith(_HTTP) else "redis_url"] = url
    if api_key is not None:
        given["api_key"] = api_key
    if settings is not None:
        if given:
            raise TypeError(f"expected settings or single values, got settings and {', '.join(given)}")
        return settings
    if "redis_url" in given:
        given.setdefault("gateway_url", "")
    return Settings.load(**given)


def open_transport(settings: Settings, concurrency: Concurrency, surface: Surface = "python") -> Transport:
    """Give the access that the settings name; nothing connects yet. `surface` is what the audit has of this process."""
    if settings.gateway_url:
        from retouch.transport.gateway_transport import GatewayTransport

        return GatewayTransport(settings, concurrency)
    connections = Connections(settings, on_loop=isinstance(concurrency, LoopConcurrency))
    return RedisTransport(connections, concurrency, surface)
