"""Thumbnails are made when somebody first asks for one, since decoding a picture outweighs all other work on a job."""

from __future__ import annotations

from contextlib import AbstractContextManager

from retouch.blobs import BlobStore, thumbnail_name
from retouch.images.validation import thumbnail


def thumbnail_of(blobs: BlobStore, name: str, turn: AbstractContextManager[None]) -> str:
    """
    The name of a blob's thumbnail, kept beside it; the first call makes it in its `turn`, the others only look.

    Two first calls at once make the same bytes twice, which is harmless. Raises `BlobMissing` and, for a blob that is
    no image, `ValueError`.
    """
    small = thumbnail_name(name)
    if not blobs.exists(small):
        data = blobs.get(name)
        with turn:
            made = thumbnail(data)
        blobs.put_as(small, made)
    return small
