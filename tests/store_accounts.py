"""Accounts of the endpoint in the store, without workers: functions that open, serve and close them."""

from __future__ import annotations

from typing import Any

from retouch.accounts import Account
from retouch.store import keys
from retouch.store.lanes import Lanes


def account(identity: str, **fields: Any) -> Account:
    """Return an account with two slots and a key file that nobody reads; `fields` replace these values."""
    return Account(identity, "https://a.example", "https://a.example/f", **{"key_file": "/k", "limit": 2, **fields})


def open_accounts(client: Any, *accounts: Account, served_s: float = 3_600.0) -> None:
    """Open the lane with these accounts, and announce them as served by one worker for `served_s` seconds."""
    lanes = Lanes(client)
    lanes.open(accounts)
    lanes.heartbeat(served_s, [], accounts=[one.id for one in accounts], process="host:1")


def close(client: Any, identity: str, code: str = "bad_key") -> None:
    """Close an account in the store, as happens when the endpoint refuses the account's key."""
    gate = keys.account_gate(identity)
    client.hset(gate, mapping={"closed": code, "closed_at": 1_700_000_000.0, "open_until": 1e15})
