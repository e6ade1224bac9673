"""Until when images are kept: one entry for each blob, since jobs that yielded the same bytes share them."""

from __future__ import annotations

from retouch.store.connect import Client

KEPT = "rt:blobs"


def keep_blob(client: Client, name: str, for_s: float) -> None:
    """
    Keep a blob for so long from now, or longer if somebody already asked for that. For uploads and inputs: the
    images of finished jobs are put on this record by the script that finishes them.
    """
    seconds, _ = client.time()
    client.zadd(KEPT, {name: seconds + for_s}, gt=True)
