"""
A blob store in an S3 bucket, with `obstore`; clients read its images through presigned links.

Credentials, region and endpoint come from the standard variables (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
`AWS_REGION`, `AWS_ENDPOINT_URL`) or from the machine's role. A PUT is atomic in S3: nobody reads half an object.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import obstore
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from retouch.blobs.interface import LINK_S, BlobError, BlobMissing, checked, content_name, is_thumbnail
from retouch.blobs.links import GatewayLinks


class S3Blobs:
    """A `BlobStore` in `bucket`; each name is prefixed with `prefix`. `links` makes the links to thumbnails."""

    def __init__(self, bucket: str, prefix: str, links: GatewayLinks) -> None:
        plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
        self._links = links
        self._where = f"s3://{bucket}/{prefix}"
        self._store = S3Store(
            bucket,
            prefix=prefix or None,
            client_options={"allow_http": plain, "connect_timeout": "5s", "timeout": "60s"},
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=90)},
        )

    def put(self, data: bytes, suffix: str) -> str:
        """Store bytes and return their name; S3 has them when this returns."""
        name = content_name(data, suffix)
        self.put_as(name, data)
        return name

    def put_as(self, name: str, data: bytes) -> None:
        """Store bytes under a name. A reader never gets a part of a blob."""
        with self._explained("write"):
            # In one request: a multipart upload that is not finished stays in the bucket and costs money.
            obstore.put(self._store, checked(name), data, use_multipart=False)

    def get(self, name: str) -> bytes:
        """Return the whole blob; raise `BlobMissing` if there is none."""
        with self._explained("read", name):
            return obstore.get(self._store, checked(name)).bytes().to_bytes()

    def size(self, name: str) -> int:
        """Return the blob's size in bytes; raise `BlobMissing` if there is none."""
        with self._explained("read", name):
            return obstore.head(self._store, checked(name))["size"]

    def exists(self, name: str) -> bool:
        """Return whether the blob exists."""
        try:
            return self.size(name) >= 0
        except BlobMissing:
            return False

    def delete(self, name: str) -> None:
        """Delete a blob, if it exists."""
        with self._explained("delete"), contextlib.suppress(NotFoundError, FileNotFoundError):
            obstore.delete(self._store, checked(name))

    def delete_idle(self, name: str, idle_s: float) -> bool:
        """
        Delete a blob unless it was written within the last `idle_s` seconds; return whether it is gone.

        Failure policy: bytes that are written in the few milliseconds between the check and the deletion are lost,
        since not every S3 service has conditional deletes. A bucket with versioning still has these bytes.
        """
        try:
            with self._explained("read", name):
                put_at = obstore.head(self._store, checked(name))["last_modified"]
        except BlobMissing:
            return True
        idle = put_at < datetime.now(UTC) - timedelta(seconds=idle_s)
        if idle:
            self.delete(name)
        return idle

    def link(self, name: str, expires_s: float = LINK_S) -> str:
        """
        Return a presigned URL for an image, or a link through the gateway for a thumbnail.

        A presigned URL is valid for `expires_s` seconds, at most 7 days.
        """
        # A thumbnail is made when the gateway is first asked for it, so the bucket may not have it yet.
        if is_thumbnail(name):
            return self._links(name, expires_s)
        lives = timedelta(seconds=min(expires_s, LINK_S))
        with self._explained("sign a link"):
            return obstore.sign(self._store, "GET", checked(name), lives)

    @contextlib.contextmanager
    def _explained(self, verb: str, name: str = "") -> Iterator[None]:
        """
        Return a context manager that turns an error of S3 into a `BlobError` with advice.

        An object that is missing becomes `BlobMissing` if `name` is given.
        """
        try:
            yield
        except (NotFoundError, FileNotFoundError):
            if name:
                raise BlobMissing(name) from None
            raise BlobError(f"could not {verb} in {self._where}: there is no such bucket; make it") from None
        except (PermissionDeniedError, UnauthenticatedError):
            advice = "the credentials are missing or not allowed to: check AWS_ACCESS_KEY_ID and the bucket's policy"
            raise BlobError(f"could not {verb} in {self._where}: {advice}") from None
        except (BaseError, OSError) as error:
            advice = "check AWS_ENDPOINT_URL, AWS_REGION and the network"
            raise BlobError(f"could not {verb} in {self._where}: {advice} ({type(error).__name__})") from None
