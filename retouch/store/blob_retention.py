"""
Decides how long blobs and index entries are kept: an index entry as long as its record, a blob while a record needs it.

A blob has one entry in `rt:blobs`, even if several jobs yielded the same bytes. A tenant owns the blobs of its jobs and
uploads. For each owner, the blob also has an entry in `rt:blobs:{tenant}`.
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
"""
A job may soon need a blob that is due, so deletion waits for this many seconds in two cases: after the blob's bytes
were written, and after another process has taken the blob to delete it.
"""

ACCOUNTS_KEPT_S = 90 * 86_400.0
"""If no file names an account, its gate is kept for this many seconds after a worker last served the account."""

_TURN_S = 50
_DUE_MOST = 200
_PART = 500
_LOOKED_AT_AGAIN = 0.25  # of the retention, until an index is due (again): it outlives its last job by that, or,
_INDEXES_MOST = 1_000  # if its tenant has more than these a minute, by more: a tenant can have 300,000 tags


def keep_blob(client: Client, name: str, for_s: float, tenant: str = "") -> None:
    """
    Keep a blob for at least `for_s` seconds from now; `tenant`, if any, owns it for the same time.

    This never shortens the time for which a blob is kept. Use it for uploads and input pictures. The images of a job
    are recorded by the script that ends the job.
    """
    # Not the clock of this process: the scripts decide by the clock of Redis what is due.
    seconds, _ = client.time()
    with client.pipeline(transaction=True) as pipe:
        pipe.zadd(keys.KEPT, {name: seconds + for_s}, gt=True)
        if tenant:
            # A tenant may begin with an upload. Erasing another tenant checks what each tenant of this set owns.
            pipe.sadd(keys.TENANTS, tenant).zadd(keys.owned(tenant), {name: seconds + for_s}, gt=True)
        pipe.execute()


def owns_blob(client: Client, tenant: str, name: str) -> bool:
    """Return whether a tenant owns an image; for a thumbnail, whether the tenant owns the image that it shows."""
    return any(score is not None for score in client.zmscore(keys.owned(tenant), list(image_names(name))))


def owned_blobs(client: Client, tenant: str) -> set[str]:
    """Return the names of the blobs that a tenant owns, including blobs whose time has just ended."""
    return set(client.zrange(keys.owned(tenant), 0, -1))


def disown_blobs(client: Client, tenant: str, names: Iterable[str]) -> None:
    """End a tenant's ownership of these blobs."""
    for part in batched(names, _PART):
        client.zrem(keys.owned(tenant), *part)


def owned_by_others(client: Client, tenant: str, names: Iterable[str]) -> set[str]:
    """
    Return those of `names` that another tenant owns too.

    Each round trip asks for up to 500 names and 500 tenants.
    """
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
    Take up to 200 blobs that no record needs any more; return {name: mark}, for `drop_blob`.

    For an hour, no other caller gets these blobs. If this caller dies, another caller gets them after the hour.
    """
    take: Script[list[str]] = load(client, "take_blobs")
    flat = take(args=[_DUE_MOST, AGAIN_S])
    return dict(zip(flat[::2], map(float, flat[1::2]), strict=True))


def release_blobs(client: Client, names: Iterable[str]) -> dict[str, tuple[float, float]]:
    """
    Make blobs due in an hour; return {name: (kept_until, mark)}.

    `kept_until` is the end of the time for which the blob was kept before this call, in Unix seconds. `mark` is for
    `drop_blob`.
    """
    seconds, micros = client.time()
    mark, wanted = seconds + micros / 1e6 + AGAIN_S, list(names)
    with client.pipeline(transaction=True) as pipe:
        for name in wanted:
            pipe.zscore(keys.KEPT, name).zadd(keys.KEPT, {name: mark})
        scores = pipe.execute()[::2]
    return {name: (score or mark, mark) for name, score in zip(wanted, scores, strict=True)}


def drop_blob(client: Client, blobs: BlobStore, name: str, mark: float) -> bool:
    """
    Delete a blob, its thumbnail and its entry in `rt:blobs`; return whether they were deleted. Raises `BlobError`.

    `mark` is the score of the entry when the caller took the blob.

    Failure policy: the blob stays if its score has changed, since a job needs it again. It also stays if its bytes were
    written within the last hour. A blob is lost in one case: between this check and the deletion, a job needs the blob
    again and does not write its bytes.
    """
    if client.zscore(keys.KEPT, name) != mark or not blobs.delete_idle(name, AGAIN_S):
        return False
    blobs.delete(thumbnail_name(name))
    forget: Script[str] = load(client, "forget_blob")
    forget(args=[name, mark])
    return True


class IndexTrimmer:
    """
    Drops those entries of an index that no longer have a record. Each call of the script reads a part of the index.
    """

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
    ) -> int:
        """
        Drop the entries of `index` that are older than `older_s` seconds and have no record in `lane`; return how many.

        The same entries are dropped from the indexes in `also`. If `listed_in` is given, it is a sorted set that lists
        indexes. There, the score of `index` becomes the present instant; an empty `index` is removed from `listed_in`.
        """
        gone = place = 0
        while place >= 0:
            went, place = self._script(args=[index, lane, older_s, place, listed_in, *also])
            gone += went
        return gone


def trim_indexes(client: Client, retention_s: float) -> int:
    """
    Drop index entries that have no record. Drop receivers that no job has named for 90 days, and accounts that have
    been gone for 90 days. Return how many were dropped.

    Every worker calls this. After a call that did the work, further calls do nothing for 50 seconds.
    """
    # The key expires by itself, so a worker that dies here delays the others by 50 seconds at most.
    if not client.set(keys.TRIMMED, 1, nx=True, ex=_TURN_S):
        return 0
    trim = IndexTrimmer(client)
    forget_unused: Script[int] = load(client, "forget_receivers")
    forget_gone: Script[int] = load(client, "forget_accounts")
    tenants = client.smembers(keys.TENANTS)
    for tenant in tenants:
        _trim_owned(client, tenant)
    indexes = [(keys.lane("edits", "dead"), "edits", retention_s)]
    indexes += [(keys.lane("deliveries", part), "deliveries", DELIVERIES_KEPT_S) for part in ("recent", "dead")]
    gone = forget_unused(args=[UNUSED_S]) + forget_gone(args=[ACCOUNTS_KEPT_S])
    gone += sum(trim(index, lane, older_s) for index, lane, older_s in indexes)
    for tenant in tenants:
        trim(keys.deliveries_by_tenant(tenant), "deliveries", DELIVERIES_KEPT_S)
    return gone + sum(_trim_jobs(client, trim, tenant, retention_s) for tenant in tenants)


def _trim_jobs(client: Client, trim: IndexTrimmer, tenant: str, retention_s: float) -> int:
    """
    Trim the indexes of a tenant's jobs; return how many entries of the index of all jobs were dropped.

    The index of all jobs and the indexes by state are always trimmed. Of the others, up to 1,000 that are due are
    trimmed.
    """
    by_state = [keys.jobs_by("state", tenant, state) for state in keys.JOB_STATES_INDEXED]
    gone = trim(keys.jobs(tenant), "edits", retention_s, also=by_state)
    own, (now, _) = keys.job_indexes(tenant), client.time()
    looked_at_before = now - max(_TURN_S, retention_s * _LOOKED_AT_AGAIN)
    for index in client.zrangebyscore(own, "-inf", looked_at_before, start=0, num=_INDEXES_MOST):
        trim(index, "edits", retention_s, listed_in=own)
    return gone


def trim_job_indexes(client: Client, tenant: str) -> None:
    """Trim the indexes of a tenant's jobs that `rt:job_indexes:{tenant}` lists, even if they are not due."""
    # Erasing must not leave the tenant's tags behind, and the names of these indexes contain them.
    trim, own = IndexTrimmer(client), keys.job_indexes(tenant)
    for index, _ in client.zscan_iter(own):
        trim(index, "edits", 0.0, listed_in=own)


def _trim_owned(client: Client, tenant: str) -> None:
    """End a tenant's ownership of the blobs whose time is over."""
    now, _ = client.time()
    # A thousand names at a time: one command for all of them could keep Redis busy for long.
    while names := client.zrangebyscore(keys.owned(tenant), "-inf", now, start=0, num=2 * _PART):
        client.zrem(keys.owned(tenant), *names)
