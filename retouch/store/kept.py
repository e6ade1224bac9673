"""
What is kept until when: index entries as long as their records, blobs until nobody on record wants them.

A blob has one entry on the record of kept blobs, since jobs that yielded the same bytes share it.
"""

from __future__ import annotations

from retouch.store import keys
from retouch.store.connect import Client
from retouch.store.scripts import load

DELIVERIES_KEPT_S = 30 * 86_400.0
_TURN_S = 50
_DUE_MOST = 200


def keep_blob(client: Client, name: str, for_s: float) -> None:
    """
    Keep a blob for so long from now, or longer if somebody already asked for that. For uploads and inputs: the
    images of finished jobs are put on this record by the script that finishes them.
    """
    seconds, _ = client.time()
    client.zadd(keys.KEPT, {name: seconds + for_s}, gt=True)


def take_due_blobs(client: Client) -> list[str]:
    """Take some blobs whose time is over off the record; nobody else is given them, at most 200 at a time."""
    seconds, _ = client.time()
    due = client.zrange(keys.KEPT, "-inf", seconds, byscore=True, offset=0, num=_DUE_MOST)
    return [name for name in due if client.zrem(keys.KEPT, name)]


def trim_indexes(client: Client, retention_s: float) -> int:
    """Drop the index entries whose records are gone; gives how many. One worker process a minute does it for all."""
    if not client.set(keys.TRIMMED, 1, nx=True, ex=_TURN_S):
        return 0
    script = load(client, "retention")
    indexes = [(keys.jobs(tenant), "edits", retention_s) for tenant in client.smembers(keys.TENANTS)]
    indexes.append((keys.lane("edits", "dead"), "edits", retention_s))
    indexes += [(keys.lane("deliveries", part), "deliveries", DELIVERIES_KEPT_S) for part in ("recent", "dead")]
    gone = 0
    for index, lane, older_s in indexes:
        place = 0
        while place >= 0:
            went, place = script(args=[index, lane, older_s, place])
            gone += went
    return gone
