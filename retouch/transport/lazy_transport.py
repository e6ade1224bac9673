"""
Opens a client's transport when the client is first used.

pydantic, redis-py and the modules that need them take most of the time and memory of a client's first call. Some
processes only make a client: a web application that starts, a command, a test run. Therefore `retouch.client`, and the
modules that it imports at its top, import none of them. `LazyTransport` imports them inside its methods. A method of
the client that needs one of them also imports it inside. Types of these modules are imported under `TYPE_CHECKING`.

A wrong setting still raises at once: unless `are_plain` finds that all settings are right, the transport is opened
without delay.
"""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from retouch.transport.client_settings import are_plain, from_environment

if TYPE_CHECKING:
    from retouch.settings import Settings
    from retouch.store.audit import Surface
    from retouch.transport.interface import BlockingTransport


class Opened(NamedTuple):
    """The settings of a client and the transport that they name."""

    settings: Settings
    transport: BlockingTransport


class LazyTransport:
    """
    The settings and the transport of a client, loaded and opened when first used. Threads may share it.

    The constructor reads the environment, and raises `SettingsError` for a wrong setting.
    """

    def __init__(self, given: Mapping[str, object], settings: Settings | None, surface: Surface) -> None:
        self._surface, self._lock = surface, Lock()
        self._values = {**from_environment(), **given}
        self._opened: Opened | None = None
        if settings is not None or not are_plain(self._values):
            from retouch.settings import Settings

            self._opened = self._open(settings or Settings.load(**given))

    @property
    def is_open(self) -> bool:
        """Return whether the transport has been opened."""
        return self._opened is not None

    @property
    def opened(self) -> Opened:
        """Return the settings and the transport; the first call loads and opens them."""
        with self._lock:  # two transports would connect twice, and follow the feed of events twice
            if self._opened is None:
                from retouch.settings import Settings

                # Each setting gets a value, so that what the environment has now does not count.
                defaults = {name: field.default for name, field in Settings.model_fields.items()}
                self._opened = self._open(Settings.load(**{**defaults, **self._values}))
            return self._opened

    def _open(self, settings: Settings) -> Opened:
        from retouch.transport.factory import open_transport

        return Opened(settings, open_transport(settings, self._surface))
