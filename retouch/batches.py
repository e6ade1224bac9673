"""Batches of what is too much for one call. Python has `itertools.batched` from 3.12 on; this is for 3.11."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Return the items in lists of `size`, in order, the last one shorter; none where there are no items."""
    if size < 1:
        raise ValueError(f"expected a size of at least 1, got {size}")
    left = iter(items)
    while batch := list(islice(left, size)):
        yield batch
