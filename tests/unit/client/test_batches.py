"""`batched`, which divides items into batches for one call each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retouch.batches import batched


@given(st.lists(st.integers()), st.integers(1, 20))
def test_batches_are_the_items_in_order(items: list[int], size: int) -> None:
    """The batches together are the items; every batch but the last is full, and none is empty."""
    batches = list(batched(iter(items), size))
    assert [item for batch in batches for item in batch] == items
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1 if batches else 0)
    assert all(0 < len(batch) <= size for batch in batches)


def test_a_size_below_one_is_refused() -> None:
    """A wrong size raises; no items are lost silently."""
    with pytest.raises(ValueError, match="got 0"):
        list(batched([1], 0))
