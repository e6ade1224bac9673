"""
The blob store keeps images under names made from their bytes, in a folder or in an S3 bucket.

A job becomes `succeeded` only after its image is in the blob store. From then on, no copy elsewhere is needed.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from retouch.blobs.file import FileBlobs
from retouch.blobs.interface import (
    BlobError,
    BlobMissing,
    BlobStore,
    content_name,
    image_names,
    is_thumbnail,
    name_in,
    thumbnail_name,
)
from retouch.blobs.links import GatewayLinks, Sign

__all__ = [
    "BlobError",
    "BlobMissing",
    "BlobStore",
    "content_name",
    "image_names",
    "is_thumbnail",
    "name_in",
    "open_blobs",
    "thumbnail_name",
]


def open_blobs(store_url: str, public_url: str, sign: Sign | None = None) -> BlobStore:
    """
    Open and return the store at a URL such as `file:///folder` or `s3://bucket/prefix`.

    `sign` signs links through the gateway: links to files in a folder, and links to thumbnails. Links to images in a
    bucket go to S3 and do not use `sign`.

    Raises `BlobError` for any other URL, for a folder that cannot be made, and if the `s3` extra is missing.
    """
    parts = urlsplit(store_url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
        # Imported here, since it brings an HTTP client, and a process that only enqueues opens no blob store.
        from urllib.request import url2pathname

        return FileBlobs(Path(url2pathname(parts.path)), public_url, sign=sign)
    if parts.scheme == "s3" and parts.netloc:
        return _open_s3(parts.netloc, parts.path.strip("/"), GatewayLinks(public_url, sign))
    raise BlobError(f"expected a store such as file:///folder or s3://bucket/prefix, got scheme {parts.scheme!r}")


def _open_s3(bucket: str, prefix: str, links: GatewayLinks) -> BlobStore:
    try:
        from retouch.blobs.s3 import S3Blobs
    except ModuleNotFoundError as error:
        raise BlobError("an s3:// store needs obstore: pip install 'retouch[s3]'") from error
    return S3Blobs(bucket, prefix, links)
