"""Retention: what a worker clears away once a minute, when nobody wants it any more."""

from __future__ import annotations

from dataclasses import dataclass

from retouch.blobs import BlobError, BlobStore, derived_name
from retouch.store.connect import Client
from retouch.store.kept import keep_blob, take_due_blobs, trim_indexes
from worker.logs import log

_IDLE_S = 3_600.0
_THUMBNAIL = ("thumb", "webp")


@dataclass(frozen=True, slots=True)
class Retention:
    """Clears index entries of jobs that are gone, and images that no job on record leads to."""

    client: Client
    blobs: BlobStore
    retention_s: float

    def sweep(self) -> bool:
        """
        Clear the indexes, and some of the images that are due; True when there may be more of those.

        Failure policy: an image that cannot be deleted now, or was just put again, goes back on the record for an hour.
        """
        gone, names = trim_indexes(self.client, self.retention_s), take_due_blobs(self.client)
        for name in names:
            self._delete(name)
        if gone or names:
            log.info("retention_swept", index_entries=gone, images=len(names))
        return len(names) > 0

    def _delete(self, name: str) -> None:
        try:
            if self.blobs.delete_idle(name, _IDLE_S):
                self.blobs.delete(derived_name(name, *_THUMBNAIL))
                return
        except BlobError as fault:
            log.warning("image_not_deleted", reason=str(fault))
        keep_blob(self.client, name, _IDLE_S)
