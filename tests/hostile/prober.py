"""
Pings Redis every 5 ms and reports how long Redis did not answer: `python -m tests.hostile.prober PORT`.

Each line on standard input ends a phase, and the prober prints the figures of the phase as JSON. `own_late_s` is the
longest delay of the prober itself. On a busy machine, this delay can be a part of the longest silence.
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
    """Print the figures of a phase."""
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
