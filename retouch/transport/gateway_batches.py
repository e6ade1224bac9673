"""Cuts a list of edits into batches that fit into one HTTP call each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from retouch.json_types import JsonObject

_BATCH_MOST, _BATCH_BYTES_MOST = 1_000, 3_000_000  # the gateway takes 4 MB; here characters are counted, for speed


def batches_of(items: Sequence[JsonObject]) -> Iterator[tuple[int, list[JsonObject]]]:
    """Yield batches of items that fit into one HTTP call, each with the position of its first item."""
    start, size = 0, 0
    for place, item in enumerate(items):
        weight = len(repr(item))  # close to the length of its JSON, and quicker to find
        if place - start == _BATCH_MOST or (size + weight > _BATCH_BYTES_MOST and place > start):
            yield start, list(items[start:place])
            start, size = place, 0
        size += weight
    if items:
        yield start, list(items[start:])
