"""Moves recorded history into the past, so that tests need not wait for a minute to be over."""

from __future__ import annotations

from typing import Any

OPEN, UNROLLED = "rt:history:open:", "rt:history:unrolled"


def age_minutes(client: Any, minutes: int) -> None:
    """Move all open minutes some minutes into the past; counts of one minute stay together."""
    for minute in sorted(map(int, client.smembers(UNROLLED))):
        client.rename(f"{OPEN}{minute}", f"{OPEN}{minute - minutes}")
        client.srem(UNROLLED, minute)
        client.sadd(UNROLLED, minute - minutes)


def put_counts(client: Any, minute: int, counts: dict[str, int]) -> None:
    """Write counts of a minute since 1970, each named `names account tenant`, as the scripts do."""
    for name, count in counts.items():
        client.hincrby(f"{OPEN}{minute}", name, count)
    client.sadd(UNROLLED, minute)
