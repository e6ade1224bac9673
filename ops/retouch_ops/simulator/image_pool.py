"""
Fetches and edits pictures in two small thread pools, with a cache for each.

If several requests need an init_image at the same time, it is fetched once. If several requests need the same edit of a
picture, it is made once. If the cache has dropped an edit before it is downloaded, the edit is made again.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import requests
from requests.adapters import HTTPAdapter

from retouch_ops.simulator.config import SimulatorConfig
from retouch_ops.simulator.effects import Plan
from retouch_ops.simulator.output_bytes import edited_png

FETCHERS, EDITORS = 32, 2
SEED_PICTURE = (
    "https://d1okzptojspljx.cloudfront.net/generations/b3341a09-082e-474e-989f-72ec3f3bf7aa-0.png",
    Path(__file__).parents[1] / "samples" / "portrait.jpg",
)
"""The URL of the picture in the endpoint's own examples, and a file that is used instead: no network is needed."""
_PIECE = 65_536
V = TypeVar("V")


class UnfetchableImage(Exception):
    """init_image could not be fetched within its limits."""


@dataclass(frozen=True)
class Source:
    """The bytes of one init_image, and their SHA-256 in hex."""

    content: bytes
    sha256: str


class Cache(Generic[V]):
    """
    A cache of values that take time to make. If several callers need the same value, it is made once. The oldest value
    is dropped first.
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._entries: OrderedDict[object, tuple[float, asyncio.Future[V]]] = OrderedDict()

    async def get(self, key: object, make: Callable[[], Awaitable[V]], lifetime_s: float = float("inf")) -> V:
        """
        Return the value of a key. Call `make` if there is no value, or if the value is older than `lifetime_s`.

        If `make` fails, every waiting caller gets the exception, and nothing is cached.
        """
        entry = self._entries.get(key)
        if entry is None or (entry[1].done() and time.monotonic() - entry[0] >= lifetime_s):
            entry = (time.monotonic(), asyncio.ensure_future(make()))
            self._entries[key] = entry
            self._drop_oldest()
        try:
            return await asyncio.shield(entry[1])
        except Exception:
            # A caller that wakes up late must not drop the value that another has begun to make meanwhile.
            if self._entries.get(key) is entry:
                del self._entries[key]
            raise

    def _drop_oldest(self) -> None:
        while len(self._entries) > self._largest:
            self._entries.popitem(last=False)


class ImagePool:
    """The threads and caches of one simulator."""

    def __init__(self) -> None:
        self._fetchers = ThreadPoolExecutor(FETCHERS, "simulator-fetch")
        self._editors = ThreadPoolExecutor(EDITORS, "simulator-edit")
        self._sources: Cache[Source] = Cache(256)
        self._edits: Cache[bytes] = Cache(128)
        self._session = requests.Session()
        # A simulator must not use proxies and netrc of the environment, whose reading also takes longer than a fetch.
        self._session.trust_env = False
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_connections=FETCHERS, pool_maxsize=FETCHERS))

    async def source(self, url: str, config: SimulatorConfig) -> Source:
        """
        Return the picture at a URL.

        Raises `UnfetchableImage` if the URL is not http(s), if the answer is an error, or if the picture is too large
        or too slow.
        """

        async def fetch() -> Source:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._fetchers, self._fetch, url, config)

        return await self._sources.get(url, fetch, config.init_image_cache_s)

    async def edited(self, source: Source, plan: Plan) -> bytes:
        """Return an edited picture as a PNG. Raises `UnreadableImage` if the source is no picture."""

        async def edit() -> bytes:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._editors, edited_png, source.content, plan)

        return await self._edits.get((source.sha256, plan), edit)

    def close(self) -> None:
        """Close the threads without waiting for their downloads."""
        self._fetchers.shutdown(wait=False, cancel_futures=True)
        self._editors.shutdown(wait=False, cancel_futures=True)
        self._session.close()

    def _fetch(self, url: str, config: SimulatorConfig) -> Source:
        try:
            known_url, sample = SEED_PICTURE
            limits = config.init_image_timeout_s, config.init_image_bytes
            content = sample.read_bytes() if url == known_url else self._download(url, *limits)
        except (requests.RequestException, ValueError) as error:
            raise UnfetchableImage from error
        return Source(content, hashlib.sha256(content).hexdigest())

    def _download(self, url: str, timeout_s: float, most_bytes: int) -> bytes:
        ends_at = time.monotonic() + timeout_s
        content = bytearray()
        with self._session.get(url, timeout=timeout_s, stream=True) as answer:
            answer.raise_for_status()
            for piece in answer.iter_content(_PIECE):
                content += piece
                if len(content) > most_bytes or time.monotonic() > ends_at:
                    raise UnfetchableImage
        return bytes(content)
