"""Accepting edits: the picture is captured, duplicates are found, and the job goes in through the door."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from producer.gateway.capture import Input, InputKeeper
from producer.gateway.door import Door
from producer.gateway.problems import ProblemError
from producer.gateway.wishes import Wish
from retouch.connections import Connections
from retouch.errors import IdempotencyConflict
from retouch.intake import refusal
from retouch.states import JobState
from retouch.store import keys
from retouch.store.connect import clear_errors
from retouch.store.jobs import NewJob, Verdict
from retouch.store.tenants import TenantStore

_KNOWN_FOR_S = 2.0
_KNOWN_MOST = 10_000
_REMEMBER_KEY_S = 86_400
_OVER_WITHOUT_IMAGE = (JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True, slots=True)
class Accepted:
    """
    A wish that has a job. `new` is None where that job was there before.

    `replayed`: its idempotency key led there; `shared`: it is an exact duplicate.
    """

    id: str
    new: NewJob | None = None
    replayed: bool = False
    shared: bool = False


class Reception:
    """Turns wishes into jobs for one process."""

    def __init__(self, connections: Connections, tenants: TenantStore, keeper: InputKeeper) -> None:
        self._connections, self._tenants, self._keeper = connections, tenants, keeper
        self._settings = connections.settings
        self._door = Door(connections.jobs, connections.publisher)
        self._sharing: dict[str, tuple[bool, float]] = {}
        self._receivers: dict[tuple[str, str], float] = {}

    async def accept(self, wish: Wish, *, lenient: bool = False) -> Accepted:
        """
        Accept one wish; raises the problem that stands against it, and then nothing was enqueued.

        `lenient`: a picture that cannot be reached from here now is left to the endpoint, which refuses it for free.
        """
        told = (await self.accept_all([wish], lenient=lenient))[0]
        if isinstance(told, BaseException):
            raise told
        return told

    async def accept_all(self, wishes: Sequence[Wish], *, lenient: bool = False) -> list[Accepted | Exception]:
        """Accept each wish on its own, in order; what may go in goes in together."""
        ready = await asyncio.gather(*(self._prepare(wish, lenient=lenient) for wish in wishes), return_exceptions=True)
        new = [one for one in ready if isinstance(one, NewJob)]
        try:
            verdicts = iter(await self._door.put_in(new) if new else [])
        except Exception as error:  # noqa: BLE001 - each wish is answered on its own
            return [error if isinstance(one, NewJob) else _told(one) for one in ready]
        told: list[Accepted | Exception] = []
        for wish, one in zip(wishes, ready, strict=True):
            if isinstance(one, NewJob):
                told.append(await self._follow_up(wish, one, next(verdicts)))
            else:
                told.append(_told(one))
        return told

    async def _prepare(self, wish: Wish, *, lenient: bool) -> NewJob | Accepted:
        ours = bool(self._keeper.name_of(wish.edit.init_image))
        captures = ours or self._settings.capture_input != "off"
        shares = captures and await self._shares(wish.tenant)
        if wish.new.idempotency_key and captures and (shares or not ours):
            # A repeated request is answered without fetching its picture again, which may be gone by now.
            earlier = await run_in_threadpool(self._earlier, wish)
            if earlier:
                return earlier
        try:
            new = await self._capture(wish, shares=shares) if captures else wish.new
        except ProblemError as problem:
            if not (lenient and problem.retryable):
                raise
            new = wish.new
        await self._ensure_receiver(wish)
        return new

    async def _capture(self, wish: Wish, *, shares: bool) -> NewJob:
        kept = await self._keeper.keep(wish.edit.init_image, wish.tenant, self._keep_for_s(wish))
        sends_ours = kept.ours or self._settings.capture_input == "ours"
        new = wish.with_input(kept.link if sends_ours else wish.edit.init_image, kept.blob)
        return new._replace(idempotency_key=f"same:{_same(wish, kept)}", fingerprint="same") if shares else new

    async def _ensure_receiver(self, wish: Wish) -> None:
        target = wish.tenant, wish.options.webhook
        if not wish.options.webhook or time.monotonic() < self._receivers.get(target, 0):
            return
        with clear_errors():
            await run_in_threadpool(self._connections.receivers.ensure, *target)
        if len(self._receivers) > _KNOWN_MOST:
            self._receivers.clear()
        self._receivers[target] = time.monotonic() + _KNOWN_FOR_S

    def _keep_for_s(self, wish: Wish) -> float:
        return wish.new.deadline_s + self._settings.retention_s

    def _earlier(self, wish: Wish) -> Accepted | None:
        with clear_errors():
            found = self._connections.client.get(keys.idempotency(wish.tenant, wish.new.idempotency_key))
        if not found:
            return None
        identity, _, print_ = found.partition(" ")
        if print_ != wish.new.fingerprint:
            raise IdempotencyConflict("the key was used for another request")
        return Accepted(identity, replayed=True)

    async def _shares(self, tenant: str) -> bool:
        known = self._sharing.get(tenant)
        if known is None or time.monotonic() > known[1]:
            with clear_errors():
                shares = (await run_in_threadpool(self._tenants.tenant, tenant)).share_duplicates
            if len(self._sharing) > _KNOWN_MOST:
                self._sharing.clear()
            known = self._sharing[tenant] = shares, time.monotonic() + _KNOWN_FOR_S
        return known[0]

    async def _follow_up(self, wish: Wish, new: NewJob, verdict: Verdict) -> Accepted | Exception:
        if refused := refusal([new], [verdict]):
            return refused
        shares = new.idempotency_key != wish.new.idempotency_key
        if verdict.kind == "new" and not shares:
            return Accepted(new.id, new)
        if not shares:
            return Accepted(verdict.id, replayed=True)
        try:
            with clear_errors():
                return await self._share(wish, new, verdict)
        except Exception as error:  # noqa: BLE001 - each wish is answered on its own
            return error

    async def _share(self, wish: Wish, new: NewJob, verdict: Verdict) -> Accepted | Exception:
        accepted = Accepted(new.id, new) if verdict.kind == "new" else Accepted(verdict.id, shared=True)
        if accepted.shared and await run_in_threadpool(self._is_over_without_image, wish.tenant, new, verdict.id):
            again = (await self._door.put_in([new]))[0]
            if refused := refusal([new], [again]):
                return refused
            accepted = Accepted(again.id, new if again.kind == "new" else None, shared=again.kind == "same")
        if wish.new.idempotency_key:
            own = f"{accepted.id} {wish.new.fingerprint}"
            name = keys.idempotency(wish.tenant, wish.new.idempotency_key)
            await run_in_threadpool(self._connections.client.set, name, own, nx=True, ex=_REMEMBER_KEY_S)
        return accepted

    def _is_over_without_image(self, tenant: str, new: NewJob, job: str) -> bool:
        record = self._connections.jobs.record(job)
        if record is not None and record.state not in _OVER_WITHOUT_IMAGE:
            return False
        self._connections.client.delete(keys.idempotency(tenant, new.idempotency_key))
        return True


def _told(one: NewJob | Accepted | BaseException) -> Accepted | Exception:
    assert isinstance(one, Accepted | Exception)
    return one


def _same(wish: Wish, kept: Input) -> str:
    """Hash what makes two wishes the same edit: the bytes, the words, the numbers, and who is told."""
    fields = {**wish.edit.fields(), "init_image": kept.sha256}
    common = wish.terms.common
    told = [list(common["receivers"]), common["callback"], list(common["events"])]
    return hashlib.sha256(json.dumps([fields, told], sort_keys=True).encode()).hexdigest()
