"""Makes claims for tests of pure functions. No worker has claimed the job before."""

from __future__ import annotations

from retouch.store.records import Claim, JobSpec


def fresh_claim(spec: JobSpec, now_at: float) -> Claim:
    """Return the first claim of a job that was enqueued at `now_at` and has a deadline an hour later."""
    return Claim(
        job="ed_1",
        fence=1,
        spec=spec,
        now_at=now_at,
        created_at=now_at,
        deadline_at=now_at + 3_600.0,
        number=0,
        charges=[],
        checkpoint=None,
        cancelled=False,
        crashes=0,
        polls=0,
        waits=0,
        forgiven=0,
    )
