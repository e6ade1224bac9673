"""
The argument IMAGE of a command: a URL, or a local file. A file is checked and stored, and the endpoint gets a link.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from retouch.blobs import BlobStore, content_name
from retouch.errors import InvalidEdit
from retouch.images.validation import ImageFault, ImageLimits, check
from retouch.store.blob_retention import keep_blob
from retouch.store.redis_commands import Client

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


@dataclass(frozen=True, slots=True)
class InputImage:
    """
    An input picture. It has a `url`, or it is a file at `path` that gets the name `blob` in the blob store.

    `stem` is the base of the result's file name. The bytes are not held in memory, since a batch may check thousands of
    files.
    """

    stem: str
    url: str = ""
    path: Path | None = None
    blob: str = ""

    @property
    def identity(self) -> str:
        """The URL, or the name of the blob for a file. Two files with the same bytes have the same name."""
        return self.url or self.blob

    def link(self, mint: Callable[[str], str]) -> str:
        """Return the URL that the endpoint reads. For a file, `mint` makes this URL from the name of the blob."""
        return self.url or mint(self.blob)

    def read(self) -> bytes:
        """Return the bytes of the file. Raises `InvalidEdit` if they changed since the file was checked."""
        data = self.path.read_bytes() if self.path else b""
        if content_name(data, self.blob.rpartition(".")[2]) != self.blob:
            name = self.path.name if self.path else ""
            raise InvalidEdit([("init_image", f"file {name!r} changed while it was read; run the command again")])
        return data

    def keep(self, blobs: BlobStore, client: Client, for_s: float, tenant: str) -> None:
        """
        Put the file into the blob store for `for_s` seconds, as a blob of this tenant. Do nothing for a URL.

        Raises `InvalidEdit` if the file has changed since it was checked.
        """
        if self.path is None:
            return
        # Before the bytes are written: retention could delete them in between if no record kept them.
        keep_blob(client, self.blob, for_s, tenant)
        blobs.put(self.read(), self.blob.rpartition(".")[2])


def find_input_image(text: str, folder: Path) -> InputImage:
    """
    Return the picture that an argument names: a URL, or a path relative to `folder`.

    Raises `InvalidEdit` for a file that is missing, too large or not a complete PNG, JPEG or WebP image.
    """
    if not text.strip():
        raise InvalidEdit([("init_image", "expected an http(s) URL or a file, got none")])
    if _SCHEME.match(text):
        stem = Path(unquote(urlsplit(text).path)).stem if text.lower().startswith("http") and len(text) < 2048 else ""
        return InputImage(stem, url=text)
    path = folder / Path(text).expanduser()
    data = _read(path, text)
    picture = check(data)
    if isinstance(picture, ImageFault):
        raise InvalidEdit([("init_image", f"{picture.message}, in {_short(text)}")])
    return InputImage(path.stem, path=path, blob=content_name(data, picture.suffix))


def _read(path: Path, text: str) -> bytes:
    most = ImageLimits().max_bytes
    try:
        size = path.stat().st_size
        if size > most:
            raise InvalidEdit([("init_image", f"expected a file of at most {most:,} bytes, got {size:,}")])
        return path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidEdit):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a path"
        fault = f"expected an http(s) URL or a file, got {_short(text)} ({reason.lower()})"
        raise InvalidEdit([("init_image", fault)]) from None


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:80] + "…")
