"""
What is kept until when: index entries as long as their records, blobs until nobody on record wants them.

A blob has one entry on the record of kept blobs, since jobs that yielded the same bytes share it, and one with each
tenant whose jobs or uploads lead to it: these tenants own it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from retouch.batches import batched
from retouch.blobs import BlobStore, image_names, thumbnail_name
from retouch.store import keys
from retouch.store.receivers import UNUSED_S
from retouch.store.redis_commands import Client, Script
from retouch.store.scripts import load

DELIVERIES_KEPT_S = 30 * 86_400.0
AGAIN_S = 3_600.0
"""A blob that was taken, or put within this time, is looked at again so much later: its job may be about to end."""

_TURN_S = 50
_DUE_MOST = 200
_PART = 500
_LOOKED_AT_AGAIN = 0.25  # of the retention: so much longer than its last job may an index of a tag stay


def keep_blob(client: Client, name: str, for_s: float, tenant: str = "") -> None:
    """
    Keep a blob for so long from now, or longer if somebody already asked for that; `tenant` owns it for that time.

    For uploads and inputs: the images of finished jobs are put on record by the script that finishes them.
    """
    seconds, _ = client.time()
    with client.pipeline(transaction=True) as pipe:
        pipe.zadd(keys.KEPT, {name: seconds + for_s}, gt=True)
        if tenant:
            # An upload may be the first that is seen of a tenant; erasing others asks every tenant on this list.
            pipe.sadd(keys.TENANTS, tenant).zadd(keys.owned(tenant), {name: seconds + for_s}, gt=True)
        pipe.execute()


def owns_blob(client: Client, tenant: str, name: str) -> bool:
    """Return whether a tenant owns an image; whoever owns an image owns its thumbnail."""
    return any(score is not None for score in client.zmscore(keys.owned(tenant), list(image_names(name))))


def owned_blobs(client: Client, tenant: str) -> set[str]:
    """Return what a tenant owns, and may have owned until a moment ago."""
    return set(client.zrange(keys.owned(tenant), 0, -1))


def disown_blobs(client: Client, tenant: str, names: Iterable[str]) -> None:
    """End a tenant's ownership of blobs."""
    for part in batched(names, _PART):
        client.zrem(keys.owned(tenant), *part)


def owned_by_others(client: Client, tenant: str, names: Iterable[str]) -> set[str]:
    """Return those of the names that tenants other than this one own; asks once for each tenant and 500 names."""
    found = set[str]()
    others = client.smembers(keys.TENANTS) - {tenant}
    for part in batched(names, _PART):
        for some in batched(sorted(others), _PART):
            with client.pipeline(transaction=False) as pipe:
                for other in some:
                    pipe.zmscore(keys.owned(other), part)
                for scores in pipe.execute():
                    found |= {name for name, score in zip(part, scores, strict=True) if score is not None}
    return found


def take_due_blobs(client: Client) -> dict[str, float]:
    """
    Take some blobs whose time is over, at most 200, each with the mark that `drop_blob` asks for.

    Nobody else is given them for an hour; they stay on the record, so that a taker who dies leaves none behind.
    """
    take: Script[list[str]] = load(client, "take_blobs")
    flat = take(args=[_DUE_MOST, AGAIN_S])
    return dict(zip(flat[::2], map(float, flat[1::2]), strict=True))


def release_blobs(client: Client, names: Iterable[str]) -> dict[str, tuple[float, float]]:
    """Let blobs be due in an hour, whatever was asked for; gives what was, and the mark that `drop_blob` asks for."""
    seconds, micros = client.time()
    mark, wanted = seconds + micros / 1e6 + AGAIN_S, list(names)
    with client.pipeline(transaction=True) as pipe:
        for name in wanted:
            pipe.zscore(keys.KEPT, name).zadd(keys.KEPT, {name: mark})
        scores = pipe.execute()[::2]
    return {name: (score or mark, mark) for name, score in zip(wanted, scores, strict=True)}


def drop_blob(client: Client, blobs: BlobStore, name: str, mark: float) -> bool:
    """
    Delete a blob with its thumbnail and take it off the record; tells whether it is gone. Raises `BlobError`.

    Failure policy: it stays when somebody asked for it since it was marked, or put its bytes within the last hour.
    What remains: one that is asked for between the look and the deletion, without its bytes being put, is gone.
    """
    if client.zscore(keys.KEPT, name) != mark or not blobs.delete_idle(name, AGAIN_S):
        return False
    blobs.delete(thumbnail_name(name))
    forget: Script[str] = load(client, "forget_blob")
    forget(args=[name, mark])
    return True


class IndexTrimmer:
    """Drops entries of an index whose records are gone, a part of the index for each call of the script."""

    def __init__(self, client: Client) -> None:
        self._script: Script[tuple[int, int]] = load(client, "retention")

    def __call__(
        self,
        index: str,
        lane: str,
        older_s: float,
        *,
        also: Sequence[str] = (),
        listed_in: str = "",
        again_s: float = 0.0,
    ) -> int:
        """
        Drop from an index, and from those in `also`, what is older than `older_s` and no longer on record.

        Returns how many entries went. An index that is `listed_in` another is due there again in `again_s`.
        """
        gone = place = 0
        while place >= 0:
            went, place = self._script(args=[index, lane, older_s, place, listed_in, again_s, *also])
            gone += went
        return gone


def trim_indexes(client: Client, retention_s: float) -> int:
    """
    Drop the index entries whose records are gone, and receivers that no job has named for long; gives how many.

    One worker process a minute does it for all.
    """
    if not client.set(keys.TRIMMED, 1, nx=True, ex=_TURN_S):
        return 0
    trim = IndexTrimmer(client)
    forget_unused: Script[int] = load(client, "forget_receivers")
    tenants = client.smembers(keys.TENANTS)
    for tenant in tenants:
        _trim_owned(client, tenant)
    indexes = [(keys.lane("edits", "dead"), "edits", retention_s)]
    indexes += [(keys.lane("deliveries", part), "deliveries", DELIVERIES_KEPT_S) for part in ("recent", "dead")]
    gone = forget_unused(args=[UNUSED_S])
    gone += sum(trim(index, lane, older_s) for index, lane, older_s in indexes)
    for tenant in tenants:
        trim(keys.deliveries_by_tenant(tenant), "deliveries", DELIVERIES_KEPT_S)
    return gone + sum(_trim_jobs(client, trim, tenant, retention_s) for tenant in tenants)


def _trim_jobs(client: Client, trim: IndexTrimmer, tenant: str, retention_s: float) -> int:
    """Trim a tenant's list of jobs with those by state, then its indexes by code and tag that are due."""
    by_state = [keys.jobs_by("state", tenant, state) for state in keys.JOB_STATES_INDEXED]
    gone = trim(keys.jobs(tenant), "edits", retention_s, also=by_state)
    own, (now, _) = keys.job_indexes(tenant), client.time()
    while due := client.zrangebyscore(own, "-inf", now, start=0, num=_PART):
        for index in due:
            trim(index, "edits", retention_s, listed_in=own, again_s=max(_TURN_S, retention_s * _LOOKED_AT_AGAIN))
    return gone


def trim_job_indexes(client: Client, tenant: str) -> None:
    """Drop a tenant's indexes by code and tag whose jobs are gone, now: their names hold its tags."""
    trim, own = IndexTrimmer(client), keys.job_indexes(tenant)
    for index, _ in client.zscan_iter(own):
        trim(index, "edits", 0.0, listed_in=own, again_s=_TURN_S)


def _trim_owned(client: Client, tenant: str) -> None:
    """Drop what a tenant owned until now, a thousand names at a time so that Redis is never busy for long."""
    now, _ = client.time()
    while names := client.zrangebyscore(keys.owned(tenant), "-inf", now, start=0, num=2 * _PART):
        client.zrem(keys.owned(tenant), *names)
