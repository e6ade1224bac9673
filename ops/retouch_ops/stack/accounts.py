"""The accounts of `retouch up --accounts N`: a simulator and a key file for each, and one accounts file for all."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from retouch_ops.stack.folder import HOST

FILE, KEYS = "accounts.toml", "keys"
CAP_STEP = 5
"""
Each account allows five more requests in flight than the account before it. The endpoint's plans allow 5, 10 or 15.
"""


@dataclass(frozen=True)
class SimulatedAccount:
    """
    One account of a local stack. `cap` is its limit of requests in flight, in the simulator and in the accounts file.
    """

    id: str
    cap: int
    port: int

    @property
    def url(self) -> str:
        """The address of the account's simulator."""
        return f"http://{HOST}:{self.port}"


def name_of(number: int) -> str:
    """
    Return the id of the account with this number. Numbers begin at 1. The stack stores the account's port under this
    id.
    """
    return f"sim-{CAP_STEP * number}"


def simulated_accounts(ports: Sequence[int]) -> list[SimulatedAccount]:
    """Return one account for each port, with caps of 5, 10, 15 and so on."""
    return [SimulatedAccount(name_of(number), CAP_STEP * number, port) for number, port in enumerate(ports, 1)]


def write_accounts(accounts: Sequence[SimulatedAccount], state: Path) -> Path:
    """
    Write the accounts file and the missing key files to the folder `state`. Return the path of the accounts file.

    Only the owner can read a key file. The accounts file names the key files and contains no key.
    """
    folder = state / KEYS
    folder.mkdir(mode=0o700, exist_ok=True)
    for account in accounts:
        key = folder / account.id
        if not key.exists():
            key.touch(0o600)
            key.write_text(f"sk-{secrets.token_urlsafe(24)}\n")
    path = state / FILE
    path.write_text("\n".join(_table(account) for account in accounts))
    return path


def _table(account: SimulatedAccount) -> str:
    lines = [
        f"[accounts.{account.id}]",
        f'url = "{account.url}/api/v5/pix2pix"',
        f'fetch_url = "{account.url}/api/v3/fetch"',
        f'key_file = "{KEYS}/{account.id}"',
        f"limit = {account.cap}",
    ]
    return "".join(f"{line}\n" for line in lines)
