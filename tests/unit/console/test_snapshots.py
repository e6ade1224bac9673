"""The cache of values that many browser tabs share."""

from __future__ import annotations

import threading
from collections import Counter

from retouch_producer.gateway.console.snapshots import Snapshots


def test_twenty_threads_read_once() -> None:
    """When twenty threads ask for two scopes at the same time, each scope is read only once."""
    snapshots, reads, seen = Snapshots[int](keep_s=60), Counter[str](), list[int]()
    may_end = threading.Event()

    def read(scope: str) -> int:
        reads[scope] += 1
        assert may_end.wait(10)
        return reads[scope]

    threads = [
        threading.Thread(target=lambda scope=scope: seen.append(snapshots.get(scope, lambda: read(scope))))
        for scope in ("acme", "globex") * 10
    ]
    for thread in threads:
        thread.start()
    may_end.set()
    for thread in threads:
        thread.join()
    assert reads == {"acme": 1, "globex": 1}
    assert seen == [1] * 20


def test_a_reading_ends() -> None:
    """A value is read again when it is too old, and after `forget`."""
    numbers = iter(range(9))
    fleeting, lasting = Snapshots[int](keep_s=0), Snapshots[int](keep_s=60)
    assert [fleeting.get("", lambda: next(numbers)) for _ in range(2)] == [0, 1]
    assert [lasting.get("", lambda: next(numbers)) for _ in range(2)] == [2, 2]
    lasting.forget()
    assert lasting.get("", lambda: next(numbers)) == 3
