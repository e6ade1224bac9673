"""Errors of the command line, with exit code 2: wrong arguments, or no connection."""

from __future__ import annotations

from retouch.errors import RetouchError, StoreUnavailable


class WrongUse(RetouchError):
    """An argument or option is wrong, so nothing was done."""

    wrong_use = True


class NoStore(StoreUnavailable):
    """Redis or the gateway does not answer. The message says whether anything was done."""

    wrong_use = True
