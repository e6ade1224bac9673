"""Retention: once a minute a worker deletes images and index entries that no job needs any more."""

from __future__ import annotations

from dataclasses import dataclass

from retouch.blobs import BlobError, BlobStore
from retouch.store import keys
from retouch.store.blob_retention import drop_blob, take_due_blobs, trim_indexes
from retouch.store.history import roll_up
from retouch.store.redis_commands import Client
from retouch_worker.logs import log


@dataclass(frozen=True, slots=True)
class Retention:
    """Deletes index entries of jobs that have expired, and images that no job on record needs."""

    client: Client
    blobs: BlobStore
    retention_s: float

    def sweep(self) -> bool:
        """
        Sum up the counts of past minutes, trim the indexes and delete a batch of due images. Return True if more images
        may be due.

        Failure policy: if an image cannot be deleted, or was just stored again, a sweep looks at it again in an hour.
        """
        roll_up(self.client)
        index_entries, due_blobs = trim_indexes(self.client, self.retention_s), take_due_blobs(self.client)
        for name, mark in due_blobs.items():
            self._drop(name, mark)
        if index_entries or due_blobs:
            log.info("retention_swept", index_entries=index_entries, images=len(due_blobs))
        return len(due_blobs) > 0

    def _drop(self, name: str, mark: float) -> None:
        try:
            drop_blob(self.client, self.blobs, name, mark)
        except (BlobError, OSError) as fault:
            log.warning("image_not_deleted", reason=str(fault))
        except ValueError as fault:  # no blob can have this name, so there is nothing to delete, now or later
            log.warning("image_not_deleted", reason=str(fault))
            self.client.zrem(keys.KEPT, name)
