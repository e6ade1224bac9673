"""
A blob store in a folder, for one machine or a shared file system; the gateway serves its files under `/files/`.

A file is written under `.partial/`, flushed to disk and then renamed, so a file with its final name is always whole. If
a process dies during a write, a part of a file stays under `.partial/`. When a store is opened, it removes files there
that are older than an hour.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from retouch.blobs.interface import LINK_S, BlobError, BlobMissing, checked, content_name
from retouch.blobs.links import GatewayLinks, Sign

_ABANDONED_AFTER_S = 3600.0
_FLUSHED_BYTES = 1_048_576
_ADVICE = {
    errno.ENOSPC: "the disk is full: free space or move RETOUCH_STORE_URL to a larger one",
    errno.EDQUOT: "the disk quota is used up: raise it or move RETOUCH_STORE_URL",
    errno.EROFS: "the file system is read-only: remount it or move RETOUCH_STORE_URL",
    errno.EACCES: "this user may not write there: change the folder's owner or RETOUCH_STORE_URL",
    errno.EPERM: "this user may not write there: change the folder's owner or RETOUCH_STORE_URL",
    errno.ENOTDIR: "a part of the path is a file: point RETOUCH_STORE_URL at a folder",
}


class FileBlobs:
    """
    A `BlobStore` in `folder`, which is made if it is missing. `public_url` and `sign` are for the links to the blobs.

    With `durable=False`, the operating system decides when to flush. This is faster, but a power cut may lose recent
    files.
    """

    def __init__(self, folder: Path, public_url: str, *, sign: Sign | None = None, durable: bool = True) -> None:
        self._folder = folder.absolute()
        self._partial = self._folder / ".partial"
        self._links = GatewayLinks(public_url, sign)
        self._durable = durable
        with self._explained("open"):
            self._partial.mkdir(parents=True, exist_ok=True)
            self._remove_abandoned()

    def put(self, data: bytes, suffix: str) -> str:
        """Store bytes and return their name. If the store is `durable`, the bytes are on disk when this returns."""
        name = content_name(data, suffix)
        self.put_as(name, data)
        return name

    def put_as(self, name: str, data: bytes) -> None:
        """
        Store bytes under a name. A reader never gets a part of a blob.

        Failure policy: if only the folder cannot be flushed, an error is raised although the blob can be read. A power
        cut may then remove its name. Storing the blob again is safe.
        """
        target = self._path(name)
        partial = self._partial / f"{target.name}.{secrets.token_hex(8)}"
        with self._explained("write"):
            try:
                self._write(partial, data)
                self._move(partial, target)
            except OSError:
                partial.unlink(missing_ok=True)
                raise

    def get(self, name: str) -> bytes:
        """Return the whole blob; raise `BlobMissing` if there is none."""
        with self._explained("read", name):
            return self._path(name).read_bytes()

    def size(self, name: str) -> int:
        """Return the blob's size in bytes; raise `BlobMissing` if there is none."""
        with self._explained("read", name):
            return self._path(name).stat().st_size

    def exists(self, name: str) -> bool:
        """Return whether the blob exists."""
        return self._path(name).is_file()

    def delete(self, name: str) -> None:
        """Delete a blob, if it exists."""
        with self._explained("delete"):
            self._path(name).unlink(missing_ok=True)

    def delete_idle(self, name: str, idle_s: float) -> bool:
        """
        Delete a blob unless it was written within the last `idle_s` seconds; return whether it is gone.

        Failure policy: bytes that were just written stay, except in one case. They are lost if another process writes
        the blob just before this process moves the file aside, and this process is killed before it moves the file
        back.
        """
        target, before = self._path(name), time.time() - idle_s
        aside = self._partial / f"{target.name}.{secrets.token_hex(8)}"
        with self._explained("delete"):
            try:
                if target.stat().st_mtime >= before:
                    return False
                # Moved aside and checked again: another process may have written the file since the check above.
                target.rename(aside)
                if aside.stat().st_mtime >= before:
                    self._move(aside, target)
                    return False
                aside.unlink()
            except FileNotFoundError:
                return True
            return True

    def link(self, name: str, expires_s: float = LINK_S) -> str:
        """Return a URL on the gateway that is valid for at least `expires_s` seconds."""
        return self._links(name, expires_s)

    def _path(self, name: str) -> Path:
        return self._folder / checked(name)

    def _write(self, path: Path, data: bytes) -> None:
        with open(path, "xb", buffering=0) as file:
            rest = memoryview(data)
            while rest:  # an unbuffered write may take a part only
                rest = rest[file.write(rest[:_FLUSHED_BYTES]) :]
                # In parts: who flushes a small file meanwhile waits until all that was written here is on disk (ext4).
                if self._durable:
                    os.fsync(file.fileno())

    def _move(self, partial: Path, target: Path) -> None:
        try:
            partial.replace(target)
        except FileNotFoundError:  # the first blob of this subfolder
            target.parent.mkdir(exist_ok=True)
            partial.replace(target)
            self._sync(self._folder)
        self._sync(target.parent)

    def _sync(self, folder: Path) -> None:
        """Flush a folder to disk, with the names of its files. Flushing a file does not flush its name."""
        if self._durable:
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _remove_abandoned(self) -> None:
        before = time.time() - _ABANDONED_AFTER_S
        for partial in self._partial.iterdir():
            with contextlib.suppress(OSError):
                if partial.stat().st_mtime < before:
                    partial.unlink()

    @contextlib.contextmanager
    def _explained(self, verb: str, name: str = "") -> Iterator[None]:
        """
        Return a context manager that turns an `OSError` into a `BlobError` with advice.

        A file that is missing becomes `BlobMissing` if `name` is given.
        """
        try:
            yield
        except FileNotFoundError as error:
            if name:
                raise BlobMissing(name) from None
            raise BlobError(f"could not {verb} in {self._folder}: the folder is gone; make it again") from error
        except OSError as error:
            advice = _ADVICE.get(error.errno or 0, f"{error.strerror}: check the folder that RETOUCH_STORE_URL names")
            raise BlobError(f"could not {verb} in {self._folder}: {advice}") from error
