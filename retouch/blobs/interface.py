"""
What every blob store can do, the names of blobs, and the errors of keeping them.

A blob's name comes from its bytes, `ab/abcdef….png`: the same bytes are kept once, a name never changes its meaning,
and a name says nothing about the job, the tenant or the prompt.
"""

from __future__ import annotations

import hashlib
import re
from typing import Protocol

from retouch.errors import RetouchError

LINK_S = 7 * 86_400.0
"""How long a link lives unless asked otherwise: the longest that S3 signs."""

_NAME = re.compile(r"(?P<fan>[0-9a-f]{2})/(?P=fan)[0-9a-f]{62}(?:\.[a-z0-9]{1,12}){1,2}")
_THUMBNAIL = ".thumb.webp"
_SUFFIX = re.compile(r"[a-z0-9]{1,12}")


class BlobError(RetouchError):
    """The store could not do it; the message says what to look at. Trying again is safe."""


class BlobMissing(BlobError, LookupError):
    """No blob has this name: it was never stored, or its retention is over."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no blob is named {name}: it was never stored, or its retention is over")


class BlobStore(Protocol):
    """
    Bytes under names made from them. Safe for threads; every operation may be repeated.

    All raise `BlobError` if the store is unreachable, full or read-only, and `ValueError` for a malformed name.
    """

    def put(self, data: bytes, suffix: str) -> str:
        """Keep bytes and return their name; `suffix` without a dot. When it returns, the bytes are durable."""
        ...

    def put_as(self, name: str, data: bytes) -> None:
        """Keep bytes derived from a blob under a name from `thumbnail_name`, replacing what was there."""
        ...

    def get(self, name: str) -> bytes:
        """The whole blob; raises `BlobMissing`."""
        ...

    def size(self, name: str) -> int:
        """The blob's size in bytes; raises `BlobMissing`."""
        ...

    def exists(self, name: str) -> bool:
        """Whether `get` would find it."""
        ...

    def delete(self, name: str) -> None:
        """Remove a blob; one that is not there is fine."""
        ...

    def delete_idle(self, name: str, idle_s: float) -> bool:
        """
        Remove a blob unless its bytes were put within the last `idle_s` seconds; tells whether it is gone.

        Bytes that are put again just when their time is over must stay: `put` always writes, so they are not idle.
        """
        ...

    def link(self, name: str, expires_s: float = LINK_S) -> str:
        """A URL by which the outside can read the blob for at least `expires_s`, without other credentials."""
        ...


def content_name(data: bytes, suffix: str) -> str:
    """The name of bytes: two hex digits, a slash, their SHA-256, the suffix."""
    if not _SUFFIX.fullmatch(suffix):
        raise ValueError(f"expected a suffix of 1 to 12 letters and digits, got {suffix[:32]!r}")
    digest = hashlib.sha256(data).hexdigest()
    return f"{digest[:2]}/{digest}.{suffix}"


def thumbnail_name(name: str) -> str:
    """Return the name of an image's thumbnail, `ab/abcdef….thumb.webp`; it is made when first requested."""
    return name.split(".", 1)[0] + _THUMBNAIL


def is_thumbnail(name: str) -> bool:
    """Return whether a name is one of `thumbnail_name`."""
    return name.endswith(_THUMBNAIL)


def image_names(name: str) -> tuple[str, ...]:
    """Return the names that the image behind a name may have: its own, or for a thumbnail one for each suffix."""
    stem = name.removesuffix(_THUMBNAIL)
    return tuple(f"{stem}.{suffix}" for suffix in ("png", "jpg", "webp")) if is_thumbnail(name) else (name,)


def checked(name: str) -> str:
    """The name itself if it is well formed, so that no name can leave the store's folder or prefix."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"expected a blob name such as ab/abcdef….png, got {name[:100]!r}")
    return name


def name_in(url: str) -> str:
    """The name of the blob that a link leads to, by its path alone; "" for a URL that is no link to a blob."""
    path = url.partition("?")[0]
    found = _NAME.fullmatch("/".join(path.rsplit("/", 2)[-2:]))
    return found.group() if found else ""
