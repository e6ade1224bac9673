"""The gauges of the endpoint's accounts that `/metrics/store` serves."""

from __future__ import annotations

from collections.abc import Callable

from retouch.store.accounts import AccountNumbers

ACCOUNT_GAUGES: tuple[tuple[str, str, Callable[[AccountNumbers], float]], ...] = (
    ("slots_held", "Calls of an account in flight.", lambda one: one.held),
    ("slots_limit", "Calls of an account allowed at a time.", lambda one: one.limit),
    ("workers", "Workers that hold the key of one of several accounts; 0: nobody serves it.", lambda one: one.workers),
    ("breaker_open", "1 while the breaker lets no call through.", lambda one: one.breaker_open_s > 0),
    ("closed", "1 while the endpoint refuses the account itself.", lambda one: bool(one.closed)),
)
"""For each gauge: the end of its name, its help text, and the function that returns its value."""
