"""The errors of the command line that lead to exit code 2: wrong arguments, or no connection."""

from __future__ import annotations

from retouch.errors import RetouchError, StoreUnavailable


class UsageError(RetouchError):
    """An argument or option is wrong, so nothing was done."""

    is_usage_error = True


class NoStore(StoreUnavailable):
    """Redis or the gateway does not answer. The message says whether anything was done."""

    is_usage_error = True
