"""Moves recorded history into the past, so that tests need not wait for a minute to be over."""

from __future__ import annotations

from typing import Any

OPEN, UNROLLED = "rt:history:open:", "rt:history:unrolled"


def age_minutes(client: Any, minutes: int) -> None:
    """Move the counts of each minute that is not rolled up yet into the past, by `minutes` minutes."""
    for minute in sorted(map(int, client.smembers(UNROLLED))):
        client.rename(f"{OPEN}{minute}", f"{OPEN}{minute - minutes}")
        client.srem(UNROLLED, minute)
        client.sadd(UNROLLED, minute - minutes)


def put_counts(client: Any, minute: int, counts: dict[str, int]) -> None:
    """
    Add counts to one minute of history. `minute` is the number of minutes since 1970.

    Each key of `counts` is "NAMES ACCOUNT TENANT", a form that history.lua describes.
    """
    for name, count in counts.items():
        client.hincrby(f"{OPEN}{minute}", name, count)
    client.sadd(UNROLLED, minute)
