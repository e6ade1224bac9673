"""The health of a receiver in words. `retouch receivers show` prints them, and the console shows them."""

from __future__ import annotations

from datetime import UTC, datetime

from retouch.store.receiver_health import ReceiverHealth


def health_text(health: ReceiverHealth) -> str:
    """Return the numbers of the latest deliveries as one sentence."""
    if not health.points:
        return "No delivery is on record."
    retried = f" ({health.count('retried'):,} after failed attempts)" if health.count("retried") else ""
    counts = [
        f"{health.count('delivered', 'retried'):,} delivered{retried}",
        f"{health.count('waiting'):,} waiting",
        f"{health.count('dead'):,} dead",
    ]
    median_s = health.median_latency_s
    latency = f"; median {latency_text(median_s)}" if median_s is not None else ""
    since = f"; since {datetime.fromtimestamp(health.since, UTC):%Y-%m-%d %H:%M} UTC" if health.since else ""
    partial = "; older ones were not examined" if health.is_partial else ""
    return f"Of the last {len(health.points):,}: {', '.join(counts)}{latency}{since}{partial}."


def latency_text(seconds: float) -> str:
    """Return a latency as text, such as `120 ms` or `2.5 s`."""
    return f"{seconds * 1000:.0f} ms" if seconds < 0.9995 else f"{seconds:.1f} s"
