"""Ids that sort by time: `ed_` for a job, `rc_` for a receiver. A delivery's id is made by the store from its job's."""

from __future__ import annotations

import hashlib
import secrets
import time

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no letter that reads like a digit
_TIME_DIGITS, _RANDOM_DIGITS = 10, 10


def _encode(number: int, digits: int) -> str:
    return "".join(_DIGITS[number >> 5 * place & 31] for place in reversed(range(digits)))


def new_job_id() -> str:
    """
    Make a job id: `ed_` and 20 characters, the first ten of which are the time in milliseconds.

    Fifty random bits beside the millisecond: two producers that enqueue 50 jobs in the same millisecond collide once
    in 10¹¹ times, and the enqueue script then treats the second as a repeat of the first.
    """
    moment = time.time_ns() // 1_000_000
    return "ed_" + _encode(moment, _TIME_DIGITS) + _encode(secrets.randbits(50), _RANDOM_DIGITS)


def receiver_id(tenant: str, url: str) -> str:
    """Name the receiver at `url` of one tenant: the same pair always has the same id."""
    return "rc_" + hashlib.sha256(f"{tenant}\n{url}".encode()).hexdigest()[:20]
