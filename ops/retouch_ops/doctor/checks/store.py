"""Checks the blob store: writes a probe, reads it and deletes it."""

from __future__ import annotations

import secrets
from contextlib import suppress
from urllib.parse import urlsplit

from retouch.blobs import BlobError, BlobStore, open_blobs
from retouch.settings import Settings
from retouch_producer.findings import Finding, bad, good

CHECK = "store"
PROBE_SIZE = 1024


def check_store(settings: Settings) -> list[Finding]:
    """Store, read and delete a probe as if it were an image. Return one finding about the result."""
    kind = urlsplit(settings.store).scheme
    why = "no result can be kept: jobs fail after they were paid for"
    try:
        blobs = open_blobs(settings.store, settings.public_url)
        _probe(blobs)
    except BlobError as error:
        return [bad(CHECK, str(error), why, "correct RETOUCH_STORE_URL, or what it names")]
    return [good(CHECK, f"{kind}:// takes, gives back and deletes a probe")]


def _probe(blobs: BlobStore) -> None:
    data = secrets.token_bytes(PROBE_SIZE)
    name = blobs.put(data, "probe")
    try:
        if blobs.get(name) != data:
            raise BlobError("a probe was read back with other bytes than were written")
    finally:
        with suppress(BlobError):
            blobs.delete(name)
    if blobs.exists(name):
        raise BlobError("a deleted probe is still there, so retention cannot free anything")
