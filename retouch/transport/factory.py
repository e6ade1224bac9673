"""Opens the transport of a client: over Redis or over a gateway, as its settings say."""

from __future__ import annotations

from collections.abc import Mapping

from retouch.concurrency import LoopConcurrency
from retouch.connections import Connections, LoopConnections
from retouch.settings import Settings
from retouch.store.audit import Surface
from retouch.transport.client_settings import given_values
from retouch.transport.interface import BlockingTransport, Transport
from retouch.transport.redis_transport import BlockingRedisTransport, RedisTransport


def settings_for(
    url: str | None, api_key: str | None, settings: Settings | None, overrides: Mapping[str, object]
) -> Settings:
    """
    Return a client's settings: `settings` if given, otherwise the settings of the environment.

    `url`, `api_key` and `overrides` override settings of the environment. Raises `TypeError` if one of them is given
    together with `settings`.
    """
    given = given_values(url, api_key, settings, overrides)
    return settings or Settings.load(**given)


def open_transport(settings: Settings, surface: Surface = "python") -> BlockingTransport:
    """Return the transport that the settings name, for code that may block; it connects when first used."""
    if settings.gateway_url:
        # Imported here: a client over Redis needs no HTTP.
        from retouch.transport.gateway_transport import BlockingGatewayTransport

        return BlockingGatewayTransport(settings)
    return BlockingRedisTransport(Connections(settings), surface)


def open_loop_transport(settings: Settings, surface: Surface = "python") -> Transport:
    """Return the transport that the settings name, for an event loop; it connects when first used."""
    if settings.gateway_url:
        from retouch.transport.gateway_transport import GatewayTransport

        return GatewayTransport(settings, LoopConcurrency())
    return RedisTransport(LoopConnections(settings), LoopConcurrency(), surface)
