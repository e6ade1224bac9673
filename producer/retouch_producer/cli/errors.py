"""The errors of the command line itself: what was asked cannot be done as it was asked (exit code 2)."""

from __future__ import annotations

from retouch.errors import RetouchError, StoreUnavailable


class WrongUse(RetouchError):
    """An argument or option is wrong; nothing was done."""

    wrong_use = True


class NoStore(StoreUnavailable):
    """Redis does not answer; the message says whether anything was done."""

    wrong_use = True
