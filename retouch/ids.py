"""
Ids that sort by time: `ed_` for a job, `rc_` for a receiver. A delivery's id is made by the store from its job's.

A tenant's name is the operator's; `TENANT` is what it may be.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from itertools import count

TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

_made = count()


def new_job_id() -> str:
    """
    Make a job id: `ed_`, the time in milliseconds in eleven hex digits, four that count, and nine random ones.

    Jobs of one process sort in the order in which they were made, so those enqueued together run in that order. Two
    processes that make 50 in the same millisecond collide once in 10⁹ times; the enqueue script would then take the
    second for a repeat of the first.
    """
    moment, place = time.time_ns() // 1_000_000, next(_made) & 0xFFFF
    return f"ed_{moment:011x}{place:04x}{secrets.randbits(36):09x}"


def receiver_id(tenant: str, url: str) -> str:
    """Name the receiver at `url` of one tenant: the same pair always has the same id."""
    return "rc_" + hashlib.sha256(f"{tenant}\n{url}".encode()).hexdigest()[:20]
