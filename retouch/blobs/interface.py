"""
The interface of blob stores, the names of blobs, and the errors.

A blob's name is made from its bytes, as in `ab/abcdef….png`. Therefore equal bytes are stored once, a name always
stands for the same bytes, and a name shows nothing of the job, the tenant or the prompt.
"""

from __future__ import annotations

import hashlib
import re
from typing import Protocol

from retouch.errors import RetouchError

LINK_S = 7 * 86_400.0
"""The default validity of a link in seconds, which is also the longest that S3 permits."""

_NAME = re.compile(r"(?P<fan>[0-9a-f]{2})/(?P=fan)[0-9a-f]{62}(?:\.[a-z0-9]{1,12}){1,2}")
_THUMBNAIL = ".thumb.webp"
_SUFFIX = re.compile(r"[a-z0-9]{1,12}")


class BlobError(RetouchError):
    """The blob store failed; the message says what to check. Trying again is safe."""


class BlobMissing(BlobError, LookupError):
    """No blob has this name: it was never stored, or its retention is over."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no blob is named {name}: it was never stored, or its retention is over")


class BlobStore(Protocol):
    """
    A store of bytes; the name of a blob is made from its bytes. Threads may share a store. Every operation may be
    repeated.

    All operations raise `BlobError` if the store is unreachable, full or read-only, and `ValueError` for a malformed
    name.
    """

    def put(self, data: bytes, suffix: str) -> str:
        """Store bytes and return their name; `suffix` has no dot. The bytes are durable when this returns."""
        ...

    def put_as(self, name: str, data: bytes) -> None:
        """Store bytes under a name from `thumbnail_name`, in place of any earlier bytes."""
        ...

    def get(self, name: str) -> bytes:
        """Return the whole blob; raise `BlobMissing` if there is none."""
        ...

    def size(self, name: str) -> int:
        """Return the blob's size in bytes; raise `BlobMissing` if there is none."""
        ...

    def exists(self, name: str) -> bool:
        """Return whether the blob exists."""
        ...

    def delete(self, name: str) -> None:
        """Delete a blob, if it exists."""
        ...

    def delete_idle(self, name: str, idle_s: float) -> bool:
        """
        Delete a blob unless its bytes were written within the last `idle_s` seconds; return whether it is gone.

        `put` writes the bytes even if they are already stored, so a blob that is needed again is not idle.
        """
        ...

    def link(self, name: str, expires_s: float = LINK_S) -> str:
        """Return a URL that reads the blob without other credentials for at least `expires_s` seconds."""
        ...


def content_name(data: bytes, suffix: str) -> str:
    """
    Return the name for bytes: two hex digits, a slash, their SHA-256, a dot and the suffix.

    Raises `ValueError` for a malformed suffix.
    """
    if not _SUFFIX.fullmatch(suffix):
        raise ValueError(f"expected a suffix of 1 to 12 letters and digits, got {suffix[:32]!r}")
    digest = hashlib.sha256(data).hexdigest()
    return f"{digest[:2]}/{digest}.{suffix}"


def thumbnail_name(name: str) -> str:
    """Return the name of an image's thumbnail, `ab/abcdef….thumb.webp`; it is made when first requested."""
    return name.split(".", 1)[0] + _THUMBNAIL


def is_thumbnail(name: str) -> bool:
    """Return whether a name is that of a thumbnail."""
    return name.endswith(_THUMBNAIL)


def image_names(name: str) -> tuple[str, ...]:
    """
    If `name` is a thumbnail, return the names that its image may have, one for each format. Else return only `name`.
    """
    # The name of a thumbnail does not show the format of its image.
    stem = name.removesuffix(_THUMBNAIL)
    return tuple(f"{stem}.{suffix}" for suffix in ("png", "jpg", "webp")) if is_thumbnail(name) else (name,)


def checked(name: str) -> str:
    """
    Return the name if it is well-formed. Raise `ValueError` for any other text, which could be a path outside the
    store.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"expected a blob name such as ab/abcdef….png, got {name[:100]!r}")
    return name


def name_in(url: str) -> str:
    """Return the name of the blob in the path of a URL; "" if there is none."""
    path = url.partition("?")[0]
    found = _NAME.fullmatch("/".join(path.rsplit("/", 2)[-2:]))
    return found.group() if found else ""
