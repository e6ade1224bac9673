"""Makes the ids of jobs (`ed_`) and receivers (`rc_`). Scripts make a delivery's id from its job's id."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from itertools import count

TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""The form of a tenant's name."""

_made = count()


def new_job_id() -> str:
    """
    Return a new job id: `ed_`, then in hex digits the time in milliseconds (11), a counter (4) and a random number (9).

    Ids of one process sort in the order in which they were made, so jobs that are enqueued together run in that order.
    """
    # Two processes that each make 50 ids in one millisecond collide once in 10⁹ times. After a collision, the enqueue
    # script would take the second job for a repetition of the first.
    moment, place = time.time_ns() // 1_000_000, next(_made) & 0xFFFF
    return f"ed_{moment:011x}{place:04x}{secrets.randbits(36):09x}"


def receiver_id(tenant: str, url: str) -> str:
    """Return the id of the receiver at `url` of one tenant; the same pair always has the same id."""
    return "rc_" + hashlib.sha256(f"{tenant}\n{url}".encode()).hexdigest()[:20]
