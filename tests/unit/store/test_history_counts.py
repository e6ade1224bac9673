"""Values that are computed from counts: percentiles, sums by code, and the hashes that cover a range of time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retouch.store.history import spans
from retouch.store.history_counts import BOUNDS, Distribution, HistoryCounts, summed

NOW = 1_800_000_000 + 1234.0  # 34 minutes after a full hour


def test_percentiles_lie_in_the_bucket_of_their_rank() -> None:
    """With ten latencies up to 1 s and ten up to 2 s, the median is 1 s and the 95th percentile 1.9 s."""
    counts = Distribution((1.0, 2.0), (10, 10, 0))
    assert counts.percentile(50) == 1.0
    assert counts.percentile(95) == pytest.approx(1.9)
    assert counts.count == 20


def test_percentiles_without_latencies_or_beyond_the_last_bound() -> None:
    """
    Without latencies a percentile is None. If all latencies are above the last bound, a percentile is the last bound.
    """
    assert Distribution((1.0,), (0, 0)).percentile(50) is None
    assert Distribution((1.0,), (0, 3)).percentile(50) == 1.0


@given(st.lists(st.floats(0, 100), min_size=1), st.integers(1, 99))
def test_a_percentile_is_within_the_bucket_of_the_true_one(latencies: list[float], percent: int) -> None:
    """The percentile that is computed from buckets lies in the same bucket as the exact percentile."""
    bounds = BOUNDS["endpoint"]
    counts = [
        sum(1 for one in latencies if low < one <= high) for low, high in zip((-1.0, *bounds), bounds, strict=False)
    ]
    exact = sorted(latencies)[max(0, -(-len(latencies) * percent // 100) - 1)]
    upper = next(bound for bound in bounds if exact <= bound)
    lower = max((bound for bound in bounds if bound < exact), default=0.0)
    found = Distribution(bounds, (*counts, 0)).percentile(percent)
    assert found is not None
    assert lower <= found <= upper


def test_sums_by_state_and_code() -> None:
    """
    Counts of several hashes are added by state, code and use. A charge whose use changed counts only for the new use.
    """
    counts = summed(
        [
            HistoryCounts({"ended:succeeded": 3, "ended:failed:spam_filter": 1, "charges:unknown": 2}),
            HistoryCounts({"ended:failed:bad_key": 4, "charges_back:unknown": 1, "charges:useful": 1, "wait:0.5": 7}),
        ]
    )
    assert counts.ended == {"succeeded": 3, "failed": 5}
    assert list(counts.failures.items()) == [("bad_key", 4), ("spam_filter", 1)]
    assert counts.codes("succeeded") == {"": 3}
    assert counts.charges == {"unknown": 1, "useful": 1}
    assert counts.latency("wait").count == 7


@given(st.floats(0, 100 * 86_400), st.floats(0, 100 * 86_400))
def test_the_hashes_of_a_range_hold_each_minute_once(older_s: float, newer_s: float) -> None:
    """The hashes for a range cover each minute of the range exactly once."""
    since, until = NOW - max(older_s, newer_s), NOW - min(older_s, newer_s)
    first, last, names = spans(since, until, NOW)
    minutes: list[int] = []
    for name in names:
        kind, _, place = name.partition(":")
        minutes += [int(place)] if kind == "minute" else range(int(place) * 60, int(place) * 60 + 60)
    assert len(minutes) == len(set(minutes))
    assert set(range(first, last + 1)) <= set(minutes)
    assert len(names) <= 119 + 90 * 24 + 1
