"""`batched` and `batched_by`, which divide items into batches by number and by weight."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retouch.batches import batched, batched_by


@given(st.lists(st.integers()), st.integers(1, 20))
def test_batches_are_the_items_in_order(items: list[int], size: int) -> None:
    """All batches together are the items in order. Every batch but the last is full, and no batch is empty."""
    batches = list(batched(iter(items), size))
    assert [item for batch in batches for item in batch] == items
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1 if batches else 0)
    assert all(0 < len(batch) <= size for batch in batches)


def test_a_size_below_one_is_refused() -> None:
    """A size below one raises ValueError, so no items are lost."""
    with pytest.raises(ValueError, match="got 0"):
        list(batched([1], 0))


@given(st.lists(st.integers(0, 30)), st.integers(1, 40))
def test_batches_by_weight_keep_order_and_bound(weights: list[int], most: int) -> None:
    """The batches contain the items in order. Each batch has as many items as the limit allows, and at least one."""
    batches = list(batched_by(lambda weight: weight, most, weights))
    assert [item for batch in batches for item in batch] == weights
    assert all(len(batch) == 1 or sum(batch) <= most for batch in batches)
    assert all(sum(batch) + following[0] > most for batch, following in itertools.pairwise(batches))
