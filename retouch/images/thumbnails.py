"""Makes each thumbnail on the first request for it, since decoding a picture would be the slowest step of a job."""

from __future__ import annotations

from contextlib import AbstractContextManager

from retouch.blobs import BlobStore, thumbnail_name
from retouch.images.validation import thumbnail


def thumbnail_of(blobs: BlobStore, name: str, turn: AbstractContextManager[None]) -> str:
    """
    Return the name of a blob's thumbnail; make the thumbnail first if it is missing.

    `turn` is the context in which the image is decoded. Raises `BlobMissing`, and `ValueError` for a blob that is not
    an image.
    """
    # Two calls at once may both make it. They write the same bytes, so that does no harm.
    small = thumbnail_name(name)
    if not blobs.exists(small):
        data = blobs.get(name)
        with turn:
            made = thumbnail(data)
        blobs.put_as(small, made)
    return small
