"""Reads style sheets and scripts once. Each address contains a hash of the file, so browsers may cache the file."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_FOLDER = files(__package__) / "static"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the folder `static`, plain and compressed by gzip. `version` is the start of the file's SHA-256."""

    content_type: str
    version: str
    plain: bytes = field(repr=False)
    compressed: bytes = field(repr=False)


@cache
def asset(name: str) -> Asset | None:
    """
    Return a file of the folder `static`. Return None if there is no file of this name, or if its type is not known.
    """
    stem, _, suffix = name.rpartition(".")
    if not stem or "/" in name or suffix not in _TYPES or not (_FOLDER / name).is_file():
        return None
    content = (_FOLDER / name).read_bytes()
    version = hashlib.sha256(content).hexdigest()[:16]
    return Asset(f"{_TYPES[suffix]}; charset=utf-8", version, content, gzip.compress(content, mtime=0))


def asset_url(name: str) -> str:
    """
    Return the address of a file of the folder `static`. The address changes whenever the file changes.

    Raises `LookupError` if there is no such file.
    """
    found = asset(name)
    if found is None:
        raise LookupError(f"no file {name!r} in the console's folder static")
    return f"/console/static/{name}?v={found.version}"
