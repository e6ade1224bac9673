"""Raises the limit of open files of a server process; sockets count as files."""

from __future__ import annotations

import resource


def allow_open_files(wanted: int) -> int:
    """
    Raise the soft limit of open files to `wanted`, or to the hard limit if that is lower. Return the limit that holds.

    A higher soft limit stays as it is.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= target:
        return wanted if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
    return target
