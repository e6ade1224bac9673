"""What a producing command works at: the settings, the queue and the stores behind it, once Redis has answered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import redis

from producer.cli.wrong_use import NoStore
from retouch.client import EditQueue
from retouch.connections import Connections
from retouch.errors import SettingsError, StoreUnavailable
from retouch.settings import Settings
from retouch.store.connect import clear_errors
from retouch.store.records import JobRecord


@dataclass(frozen=True, slots=True)
class Desk:
    """The queue for what a backend could do too, the connections for what only people ask for."""

    settings: Settings
    queue: EditQueue
    connections: Connections

    def link(self, name: str) -> str:
        """Mint a link to a kept image."""
        return self.connections.blobs.link(name)

    @property
    def input_for_s(self) -> float:
        """How long the picture of a job is kept: as long as the job may wait, and then as long as it is on record."""
        return self.settings.deadline_s + self.settings.retention_s

    def record(self, job: str) -> JobRecord:
        """Read one job; raises `UnknownJob`."""
        return self.queue.job(job).record()


@contextmanager
def open_desk() -> Iterator[Desk]:
    """
    Read the settings, make sure that Redis answers, and close the connections behind the command.

    Raises `SettingsError`, and `NoStore` whenever Redis falls silent.
    """
    settings = Settings.load()
    try:
        desk = Desk(settings, EditQueue(settings=settings), Connections(settings))
    except ValueError:
        raise SettingsError(["RETOUCH_REDIS_URL: expected redis://[user:password@]host[:port][/number]"]) from None
    _require_answer(desk)
    try:
        with clear_errors():
            yield desk
    except StoreUnavailable as error:
        raise NoStore(str(error)) from error
    finally:
        desk.queue.close()
        desk.connections.client.close()


def _require_answer(desk: Desk) -> None:
    try:
        desk.connections.client.ping()
    except redis.RedisError as error:
        where = desk.connections.client.connection_pool.connection_kwargs
        address = where.get("path") or f"{where.get('host')}:{where.get('port')}"
        raise NoStore(
            f"Redis at {address} does not answer ({type(error).__name__}); nothing was done. Run `retouch up` in this "
            "folder, or point RETOUCH_REDIS_URL at a Redis that runs."
        ) from error
