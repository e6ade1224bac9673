"""
Measures recovery: `python -m tests.chaos.recovery` prints the seconds from the end of each fault to the full rate.

Two workers run under load, and one fault follows another. The rate is the number of jobs that end per second. The rate
is full when its mean over three seconds is at least nine tenths of the rate before the fault. Nobody repairs anything.
Only a supervisor starts a new worker when a worker has died.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from statistics import fmean, median
from typing import Self

from retouch import Edit, StoreUnavailable
from tests.chaos.proxy import Proxy
from tests.chaos.stack import Stage, a_stage, proxied
from tests.process_watch import eventually
from tests.store_access import store_access

FULL, BEFORE_S, WINDOW_S, WITHIN_S, WARM_JOBS = 0.9, 10, 3, 90, 100


class Load:
    """
    Context manager with a thread that keeps the backlog filled. The thread tries again when the store is unavailable.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage, self._numbers, self._over = stage, count(), threading.Event()
        self._thread = threading.Thread(target=self._pour, daemon=True)

    def _pour(self) -> None:
        link = self._stage.simulator.portrait_url
        while not self._over.wait(0.2):
            try:
                if self._stage.queue.status().waiting < 200:
                    edits = [Edit(prompt=f"a [[{next(self._numbers)}]]", init_image=link) for _ in range(100)]
                    self._stage.queue.enqueue_many(edits)
            except StoreUnavailable:
                continue

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


class Place:
    """Two workers behind proxies. Each method causes one fault, and returns when the fault is over."""

    def __init__(self, stage: Stage, to_redis: Proxy, to_endpoint: Proxy) -> None:
        self.stage, self.to_redis, self.to_endpoint = stage, to_redis, to_endpoint

    def kill_a_worker(self) -> None:
        """Kill a worker with SIGKILL, and start another worker, as a supervisor would."""
        worker = self.stage.workers.pop(0)
        worker.kill()
        worker.wait()
        self.stage.worker(24)

    def freeze_a_worker(self, for_s: float) -> None:
        """Stop a worker with SIGSTOP for longer than its lease, then continue it."""
        self.stage.workers[0].send_signal(signal.SIGSTOP)
        time.sleep(for_s)
        self.stage.workers[0].send_signal(signal.SIGCONT)

    def restart_all_workers(self) -> None:
        """Replace one worker after the other: start a new worker, then end the old worker with SIGTERM."""
        for worker in list(self.stage.workers):
            self.stage.worker(24)
            worker.terminate()
            worker.wait()
            self.stage.workers.remove(worker)

    def flush_the_broker(self) -> None:
        """Delete all messages of the broker."""
        store_access(self.stage.queue).client.delete("rt:broker:edits", "rt:broker:deliveries")

    def refuse_writes(self, for_s: float) -> None:
        """Make Redis refuse writes for some seconds, as it does when it is out of memory."""
        client = store_access(self.stage.queue).client
        client.config_set("maxmemory", 1)
        time.sleep(for_s)
        client.config_set("maxmemory", 0)

    def cut(self, way: Proxy, for_s: float) -> None:
        """Reset all connections of a proxy and refuse new ones, for some seconds."""
        way.cut()
        time.sleep(for_s)
        way.heal()

    def stall(self, way: Proxy, for_s: float) -> None:
        """Let nothing pass through a proxy for some seconds."""
        way.stall()
        time.sleep(for_s)
        way.heal()


def faults(place: Place) -> dict[str, Callable[[], None]]:
    """Return a function for each fault, by the name of the fault in the table."""
    return {
        "kill -9 of one of two workers": place.kill_a_worker,
        "one worker frozen for 6 s (lease 3 s)": lambda: place.freeze_a_worker(6.0),
        "rolling restart of both workers": place.restart_all_workers,
        "broker lists flushed": place.flush_the_broker,
        "Valkey killed, back after 2 s": lambda: place.stage.restart_valkey(2.0),
        "Valkey killed, back after 60 s": lambda: place.stage.restart_valkey(60.0),
        "Redis out of memory for 10 s": lambda: place.refuse_writes(10.0),
        "network to Redis cut for 10 s": lambda: place.cut(place.to_redis, 10.0),
        "network to Redis stalled for 10 s": lambda: place.stall(place.to_redis, 10.0),
        "network to the endpoint cut for 15 s": lambda: place.cut(place.to_endpoint, 15.0),
        "network to the endpoint stalled for 10 s": lambda: place.stall(place.to_endpoint, 10.0),
    }


def ended(stage: Stage) -> int:
    """Return how many jobs have ended."""
    return sum(int(number) for number in store_access(stage.queue).client.hvals("rt:edits:counts"))


def rates(stage: Stage) -> Iterator[float]:
    """Yield, once a second, the number of jobs that ended per second."""
    before, at = ended(stage), time.monotonic()
    while True:
        time.sleep(max(0.0, at + 1 - time.monotonic()))
        now, now_at = ended(stage), time.monotonic()
        yield (now - before) / (now_at - at)
        before, at = now, now_at


def recovery_s(stage: Stage, fault: Callable[[], None]) -> tuple[float, float | None]:
    """
    Cause a fault. Return the rate before the fault, and the seconds from the end of the fault to the full rate.

    The seconds are None if the full rate did not come within `WITHIN_S` seconds.
    """
    seconds = rates(stage)
    usual = median(next(seconds) for _ in range(BEFORE_S))
    fault()
    over_at = time.monotonic()
    last: deque[float] = deque(maxlen=WINDOW_S)
    for rate in rates(stage):
        last.append(rate)
        if len(last) == WINDOW_S and fmean(last) >= FULL * usual:
            return usual, max(0.0, time.monotonic() - over_at - WINDOW_S)
        if time.monotonic() - over_at > WITHIN_S:
            return usual, None
    raise AssertionError("rates never end")


@contextmanager
def placed(folder: Path) -> Iterator[Place]:
    """
    Context manager that starts two workers, with a proxy to Redis and one to the endpoint, and yields the `Place`.
    """
    with (
        a_stage(folder, latency_s=0.5, in_flight_limit=10, max_attempts=20, deadline_s=600.0) as stage,
        proxied(stage) as (to_redis, to_endpoint),
    ):
        for _ in range(2):
            stage.worker(24)
        yield Place(stage, to_redis, to_endpoint)


def main() -> None:
    """Cause each fault once and print the table; exit with 1 if a recovery took longer than 30 s."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="faults whose name contains this")
    options = parser.parse_args()
    lines, slow = ["| fault | jobs a second before | back to full rate after, s |", "|---|---|---|"], False
    with tempfile.TemporaryDirectory() as folder, placed(Path(folder)) as place, Load(place.stage):
        eventually(lambda: ended(place.stage) >= WARM_JOBS)
        for name, fault in faults(place).items():
            if options.only in name:
                usual, took_s = recovery_s(place.stage, fault)
                slow = slow or took_s is None or took_s > 30
                lines.append(f"| {name} | {usual:.1f} | {'never' if took_s is None else f'{took_s:.0f}'} |")
                sys.stderr.write(lines[-1] + "\n")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.exit(slow)


if __name__ == "__main__":
    main()
