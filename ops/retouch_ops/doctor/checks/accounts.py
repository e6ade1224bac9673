"""The accounts of the endpoint: a file without faults, keys, workers that hold them, nothing closed by mistake."""

from __future__ import annotations

from retouch.errors import SettingsError
from retouch.settings import Settings
from retouch_ops.doctor.findings import Finding, bad, good, note
from retouch_worker.edits.credentials import Credentials

CHECK = "accounts"


def check_accounts(settings: Settings) -> list[Finding]:
    """Look at the accounts file and at each account; nothing without a file, since the settings are then looked at."""
    if not settings.accounts:
        return []
    try:
        holdings = Credentials(settings).now
    except SettingsError as error:
        return [_fault(fault) for fault in error.faults]
    names = ", ".join(account.id for account in holdings.accounts)
    return [good(CHECK, f"the file has {names}"), *(_key(*lacking) for lacking in holdings.lacking.items())]


def _fault(fault: str) -> Finding:
    why = "no worker of edits starts with it, and those that run keep the accounts that they have"
    return bad(CHECK, fault, why, "correct it; workers look at the file once a second")


def _key(account: str, reason: str) -> Finding:
    why = f"a worker here would take no jobs of it: {reason}"
    return note(
        CHECK, f"the key of {account} is not here", why, "right where no worker runs; else see docs/accounts.md"
    )
