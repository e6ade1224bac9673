"""
Pings Redis every 5 ms, `python -m tests.hostile.prober PORT`, and says how long it was silent.

A line on standard input ends a phase: what was seen since the one before is printed as JSON. `own_late_s` is by how
much the prober itself was woken too late, at most: on a busy machine that much of a silence is not Redis'.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from contextlib import suppress

EVERY_S = 0.005
SILENCE_S = 0.05


def main() -> None:
    """Ping until standard input ends."""
    with suppress(OSError):
        os.nice(-10)  # where it may: the prober shall be late because of Redis alone
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as redis:
        redis.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        times: list[float] = []
        late_s = 0.0
        while True:
            began_at = time.perf_counter()
            redis.sendall(b"PING\r\n")
            redis.recv(64)
            answered_at = time.perf_counter()
            times.append(answered_at - began_at)
            asked, _, _ = select.select([sys.stdin], [], [], EVERY_S)
            late_s = max(late_s, time.perf_counter() - answered_at - EVERY_S)
            if asked:
                if not sys.stdin.readline():
                    return
                report(times, late_s)
                times, late_s = [], 0.0


def report(times: list[float], late_s: float) -> None:
    """Print what was seen."""
    ordered = sorted(times)
    silences = sum(one >= SILENCE_S for one in times)
    found = {
        "pings": len(times),
        "longest_s": ordered[-1],
        "p99_s": ordered[int(len(ordered) * 0.99)],
        "silences": silences,
        "own_late_s": late_s,
    }
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
