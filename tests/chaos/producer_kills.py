"""
Real producer processes that die by SIGKILL at a named point of enqueueing.

A *row* is an edit with its own idempotency key. `Producers` starts a parent process and sends it orders, each as a line
of JSON. The parent (`python -m tests.chaos.producer_kills`) imports the client once, and forks a child for each order.
The child enqueues the rows in two halves. If the child dies, the parent forks another child, which enqueues all rows
from the first one again.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from redis.commands.core import Script

from retouch import Edit, EditQueue, JobOptions, Settings
from retouch.store.scripts import source
from retouch.transport.redis_transport import RedisTransport
from tests.chaos.stack import environment_of

POINTS = ("before enqueue", "during enqueue", "after enqueue", "before publish", "after publish")
_DURING_MOST_S = 0.005


class Producers:
    """Context manager that starts the parent process and sends orders. The log has a line for each death."""

    def __init__(self, settings: Settings, log: Path, image: str, webhooks: str) -> None:
        command = [sys.executable, "-m", "tests.chaos.producer_kills", str(log), image, webhooks]
        self._process = subprocess.Popen(
            command, env=environment_of(settings), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def enqueue(self, first: int, count: int, tenant: str = "default", point: str = "") -> list[str]:
        """
        Make a child enqueue `count` rows and die at `point`. Another child then enqueues the same rows again.

        Return the ids of the jobs, in the order of the rows.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([first, count, tenant, point]) + "\n")
        self._process.stdin.flush()
        ids: list[str] = json.loads(self._process.stdout.readline())
        return ids

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate()


def arm(point: str, log: Path) -> None:
    """Wrap a step of enqueueing, so that this process dies by SIGKILL at `point`."""
    when, _, step = point.partition(" ")

    def die() -> None:
        with log.open("a") as file:
            file.write(f"{point}\t{os.getpid()}\n")
        os.kill(os.getpid(), signal.SIGKILL)

    def enqueue(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.script != source("enqueue"):
            return run(self, *args, **kwargs)
        if when == "before":
            die()
        if when == "during":
            threading.Timer(random.random() * _DURING_MOST_S, die).start()
        result = run(self, *args, **kwargs)
        if when == "after":
            die()
        threading.Event().wait()
        return result

    async def publish(self: Any, messages: Any) -> None:
        if when == "before":
            die()
        await send(self, messages)
        die()

    run, send = Script.__call__, RedisTransport.publish
    if step == "enqueue":
        Script.__call__ = enqueue  # type: ignore[method-assign]  # wrapped for this process alone
    else:
        RedisTransport.publish = publish  # type: ignore[method-assign]  # wrapped for this process alone


def extra_of(number: int) -> dict[str, int]:
    """Return the `extra` of a row: every fourth row asks for several images."""
    return {} if number % 4 else {"samples": 3}


def produce(first: int, count: int, tenant: str, image: str, webhooks: str) -> list[str]:
    """Enqueue rows in two halves, with the tenant's webhook, and return the ids of the jobs."""
    rows = [
        (
            Edit(prompt=f"winter [[{number}]]", init_image=image, extra=extra_of(number)),
            JobOptions(idempotency_key=f"row {number}"),
        )
        for number in range(first, first + count)
    ]
    half = count // 2
    with EditQueue() as queue:
        jobs = [
            *queue.enqueue_many(rows[:half], tenant=tenant, webhook=f"{webhooks}/{tenant}"),
            *queue.enqueue_many(rows[half:], tenant=tenant, webhook=f"{webhooks}/{tenant}"),
        ]
        return [job.id for job in jobs]


def in_a_child(work: Callable[[], list[str]]) -> list[str] | None:
    """Run `work` in a forked child. Return the result of `work`, or None if the child was killed."""
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        os.close(reading)
        os.write(writing, json.dumps(work()).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        output = pipe.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0, "a producer failed instead of dying"
    return json.loads(output) if os.WIFEXITED(status) else None


def main() -> None:
    """Read orders from standard input until it ends. Carry out each order and print the ids of its jobs."""
    log, image, webhooks = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    for line in sys.stdin:
        first, count, tenant, point = json.loads(line)

        def work(point: str = point, rows: tuple[int, int, str] = (first, count, tenant)) -> list[str]:
            if point:
                arm(point, log)
            return produce(*rows, image, webhooks)

        ids = in_a_child(work)
        while ids is None:
            ids = in_a_child(lambda: work(""))
        sys.stdout.write(json.dumps(ids) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
