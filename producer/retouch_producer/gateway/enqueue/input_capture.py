"""
Fetches, checks and stores the input picture of a job. Only then is the job enqueued.

A wrong link is refused at once, before its job waits in the backlog or costs money. If a link expires while its job
waits, the job still has the stored picture. Addresses are vetted like all addresses that users supply.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import parse_qsl, urlsplit

import requests

from retouch.blobs import BlobStore, name_in
from retouch.egress.fair_limiter import FairLimiter
from retouch.egress.http import Trouble, download, make_session
from retouch.images.validation import ImageFault, ImageLimits, check
from retouch.settings import Settings
from retouch.store.blob_retention import keep_blob, owns_blob
from retouch.store.links import LinkSigner
from retouch.store.redis_client import clear_errors
from retouch.store.redis_commands import Client
from retouch_producer.gateway.http.errors import ProblemError
from retouch_producer.gateway.http.limiter import Bulkhead
from retouch_producer.gateway.http.tenant_load import TenantLoad

FETCH_WITHIN_S = 10.0
AT_ONCE, AT_ONCE_PER_TENANT, WAITING_PER_TENANT = 16, 8, 2_000
_COPIES = 2  # a download holds the received chunks and then the joined body
_FRESH_S = 10.0
_TRANSIENT = {"not_connected", "timeout", "reset"}


@dataclass(frozen=True, slots=True)
class CapturedInput:
    """
    An input picture in the blob store.

    `blob` is the name of the picture in the store. `link` is our signed link to the picture. `is_ours` is true if the
    request itself named one of our links.
    """

    blob: str
    link: str
    is_ours: bool

    @property
    def sha256(self) -> str:
        """The SHA-256 of the picture's bytes, in hex."""
        return self.blob.partition("/")[2].partition(".")[0]


class InputCapture:
    """Captures input pictures. Requests of one tenant for the same URL within ten seconds share one fetch."""

    def __init__(
        self, settings: Settings, blobs: BlobStore, client: Client, decoding: FairLimiter, load: TenantLoad
    ) -> None:
        self._settings, self._blobs, self._client, self._decoding = settings, blobs, client, decoding
        self._load = load
        self._signer = LinkSigner(client)
        self._own_prefix = f"{settings.public_url.rstrip('/')}/files/"
        self._fetches: dict[tuple[str, str, float], asyncio.Task[CapturedInput]] = {}
        memory = settings.capture_memory_mb * 1_000_000
        self._memory = FairLimiter(memory, memory // 2)
        self._threads = Bulkhead("inputs", AT_ONCE, AT_ONCE_PER_TENANT, WAITING_PER_TENANT, FETCH_WITHIN_S)

    @cached_property
    def _session(self) -> requests.Session:
        return make_session(self._settings.dangerous_allow_private_networks, AT_ONCE)

    async def capture(self, url: str, tenant: str, for_s: float) -> CapturedInput:
        """
        Store the picture at a URL for at least `for_s` seconds, and return it.

        Requests of one tenant share a fetch for ten seconds. After that the URL is fetched again, since its content may
        change. Raises the problem `input-unreadable`.
        """
        fetch_key = url, tenant, for_s
        fetch = self._fetches.get(fetch_key)
        if fetch is None:
            name = self.name_of(url)
            if name:
                work = self._threads.run(tenant, self._capture_own, name, url, tenant, for_s)
            else:
                work = self._threads.run(tenant, self._fetch, url, tenant, for_s)
            fetch = self._fetches[fetch_key] = asyncio.create_task(work)
            fetch.add_done_callback(lambda done: self._forget_later(fetch_key, done))
        # Others may wait for the same fetch: a caller that is cancelled must not cancel it.
        return await asyncio.shield(fetch)

    def name_of(self, url: str) -> str:
        """Return the name of the blob that one of our own links leads to, or "" for any other URL."""
        return name_in(url) if url.startswith(self._own_prefix) else ""

    def _forget_later(self, fetch_key: tuple[str, str, float], done: asyncio.Task[CapturedInput]) -> None:
        # A failed fetch is not shared: the next request tries again.
        failed = done.cancelled() or done.exception() is not None
        asyncio.get_running_loop().call_later(0 if failed else _FRESH_S, self._fetches.pop, fetch_key, None)

    def _capture_own(self, name: str, url: str, tenant: str, for_s: float) -> CapturedInput:
        if fault := self._fault_of_own(name, url, tenant):
            raise _unreadable(fault, retryable=False)
        return self._keep(name, tenant, for_s, is_ours=True)

    def _fault_of_own(self, name: str, url: str, tenant: str) -> str:
        """Return the reason why a tenant may not use one of our own links, or "" if the tenant may use the link."""
        query = dict(parse_qsl(urlsplit(url).query))
        signature = query.get("signature", "")
        with clear_errors():
            if signature and not self._signer.verify(name, query.get("expires", ""), signature):
                return "this link of the gateway has expired or was altered; read the job again for a fresh link"
            # Whoever holds a signed link may use it. A name without a signature is only good for the blob's owner, and
            # another tenant's blob is reported like a missing one.
            is_open = bool(signature) or owns_blob(self._client, tenant, name)
        return "" if is_open and self._blobs.exists(name) else "this link of the gateway leads to no picture: not found"

    def _fetch(self, url: str, tenant: str, for_s: float) -> CapturedInput:
        with ExitStack() as memory:
            body = self._download(url, tenant, memory)
            with self._decoding.hold(tenant), self._load.timed(tenant):
                picture = check(body)
            if isinstance(picture, ImageFault):
                raise _unreadable(picture.message, retryable=False)
            return self._keep(self._blobs.put(body, picture.suffix), tenant, for_s, is_ours=False)

    def _download(self, url: str, tenant: str, memory: ExitStack) -> bytes:
        """Return the body of a URL. The memory for the body is reserved until the caller closes `memory`."""

        def admit(size: int) -> bool:
            memory.close()  # frees the share of the redirect before, whose body is gone
            try:
                memory.enter_context(self._memory.hold(tenant, _COPIES * size, FETCH_WITHIN_S))
            except TimeoutError:
                return False
            return True

        max_bytes = ImageLimits().max_bytes
        answer = download(self._session, url, timeout_s=FETCH_WITHIN_S, max_bytes=max_bytes, admit=admit)
        if isinstance(answer, Trouble):
            raise _unreadable(answer.detail, retryable=answer.kind in _TRANSIENT)
        if answer.status != 200:
            raise _unreadable(f"its server answered with status {answer.status}", retryable=answer.status >= 500)
        return answer.body

    def _keep(self, name: str, tenant: str, for_s: float, *, is_ours: bool) -> CapturedInput:
        with clear_errors():
            keep_blob(self._client, name, for_s, tenant)
            return CapturedInput(name, self._blobs.link(name, for_s), is_ours)

    def close(self) -> None:
        """Close the threads; a fetch in flight ends within its own deadline."""
        self._threads.close()


def _unreadable(fault: str, *, retryable: bool) -> ProblemError:
    detail = "init_image could not be read; nothing was enqueued or charged"
    return ProblemError("input-unreadable", detail, faults=[("init_image", fault)], retryable=retryable)
