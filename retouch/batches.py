"""
Divides items into batches, for calls that take a limited number of them.

Python 3.12 has `itertools.batched`; this module works with 3.11 too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield the items in lists of `size`, in order; the last list may be shorter."""
    if size < 1:
        raise ValueError(f"expected a size of at least 1, got {size}")
    left = iter(items)
    while batch := list(islice(left, size)):
        yield batch


def batched_by(weight: Callable[[Item], int], most: int, items: Iterable[Item]) -> Iterator[list[Item]]:
    """
    Yield the items in lists, in order. The weights in one list add up to at most `most`.

    An item that is heavier than `most` is in a list of its own.
    """
    batch, sum_ = list[Item](), 0
    for item in items:
        own = weight(item)
        if batch and sum_ + own > most:
            yield batch
            batch, sum_ = [], 0
        batch.append(item)
        sum_ += own
    if batch:
        yield batch
