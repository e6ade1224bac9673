"""
How long blobs and index entries are kept: an index entry as long as its record, a blob until no record needs it.

A blob has one entry in `rt:blobs`, because jobs that yielded the same bytes share it. It has one more for each tenant
whose jobs or uploads lead to it: these tenants own it.
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
"""A blob that is taken, or was written within this time, is due again so many seconds later: a job may need it soon."""

_TURN_S = 50
_DUE_MOST = 200
_PART = 500
_LOOKED_AT_AGAIN = 0.25  # of the retention: an index of a tag outlives its last job by that much at most


def keep_blob(client: Client, name: str, for_s: float, tenant: str = "") -> None:
    """
    Keep a blob for `for_s` seconds from now, or longer if it was already to be kept longer; `tenant` owns it meanwhile.

    This is for uploads and input pictures. The script that ends a job records the images of that job.
    """
    # The clock of Redis, by which the scripts decide what is due.
    seconds, _ = client.time()
    with client.pipeline(transaction=True) as pipe:
        pipe.zadd(keys.KEPT, {name: seconds + for_s}, gt=True)
        if tenant:
            # A tenant may begin with an upload. Erasing another tenant asks each one on this list what it owns.
            pipe.sadd(keys.TENANTS, tenant).zadd(keys.owned(tenant), {name: seconds + for_s}, gt=True)
        pipe.execute()


def owns_blob(client: Client, tenant: str, name: str) -> bool:
    """Return whether a tenant owns an image, or the image behind a thumbnail."""
    return any(score is not None for score in client.zmscore(keys.owned(tenant), list(image_names(name))))


def owned_blobs(client: Client, tenant: str) -> set[str]:
    """Return the blobs that a tenant owns, and those whose ownership ended a short time ago."""
    return set(client.zrange(keys.owned(tenant), 0, -1))


def disown_blobs(client: Client, tenant: str, names: Iterable[str]) -> None:
    """End a tenant's ownership of blobs."""
    for part in batched(names, _PART):
        client.zrem(keys.owned(tenant), *part)


def owned_by_others(client: Client, tenant: str, names: Iterable[str]) -> set[str]:
    """Return the blobs that other tenants own too. Each round trip asks up to 500 tenants about up to 500 names."""
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
    Take at most 200 blobs whose time is over; return each with the mark that `drop_blob` needs.

    For an hour no other caller gets them. They stay recorded, so if the caller dies they are taken again.
    """
    take: Script[list[str]] = load(client, "take_blobs")
    flat = take(args=[_DUE_MOST, AGAIN_S])
    return dict(zip(flat[::2], map(float, flat[1::2]), strict=True))


def release_blobs(client: Client, names: Iterable[str]) -> dict[str, tuple[float, float]]:
    """Make blobs due in an hour; return for each until when it was to be kept, and the mark for `drop_blob`."""
    seconds, micros = client.time()
    mark, wanted = seconds + micros / 1e6 + AGAIN_S, list(names)
    with client.pipeline(transaction=True) as pipe:
        for name in wanted:
            pipe.zscore(keys.KEPT, name).zadd(keys.KEPT, {name: mark})
        scores = pipe.execute()[::2]
    return {name: (score or mark, mark) for name, score in zip(wanted, scores, strict=True)}


def drop_blob(client: Client, blobs: BlobStore, name: str, mark: float) -> bool:
    """
    Delete a blob, its thumbnail and its entry; return whether it is gone. Raises `BlobError`.

    Failure policy: the blob stays if it was to be kept longer since it was marked, or if its bytes were written within
    the last hour. One case remains: a blob that is to be kept longer between this check and the deletion, without its
    bytes being written again, is lost.
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
    Drop index entries whose records are gone, and receivers that no job has named for long; return how many.

    All workers call this; each minute it runs in one of them.
    """
    # The key expires by itself, so a worker that dies in here holds up the others for one turn only.
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
    """Trim the index of a tenant's jobs and those by state, then its indexes by code and tag that are due."""
    by_state = [keys.jobs_by("state", tenant, state) for state in keys.JOB_STATES_INDEXED]
    gone = trim(keys.jobs(tenant), "edits", retention_s, also=[*by_state, keys.JOBS_BY_TIME])
    own, (now, _) = keys.job_indexes(tenant), client.time()
    while due := client.zrangebyscore(own, "-inf", now, start=0, num=_PART):
        for index in due:
            trim(index, "edits", retention_s, listed_in=own, again_s=max(_TURN_S, retention_s * _LOOKED_AT_AGAIN))
    return gone


def trim_job_indexes(client: Client, tenant: str) -> None:
    """Trim all of a tenant's indexes by code and tag now, whether they are due or not."""
    # Erasing must not leave the tenant's tags behind, and the names of these indexes hold them.
    trim, own = IndexTrimmer(client), keys.job_indexes(tenant)
    for index, _ in client.zscan_iter(own):
        trim(index, "edits", 0.0, listed_in=own, again_s=_TURN_S)


def _trim_owned(client: Client, tenant: str) -> None:
    """End the ownership of blobs whose time is over."""
    now, _ = client.time()
    # A thousand names at a time: one command for all of them could keep Redis busy for long.
    while names := client.zrangebyscore(keys.owned(tenant), "-inf", now, start=0, num=2 * _PART):
        client.zrem(keys.owned(tenant), *names)
