"""
Measures how long each step of an event loop takes while a FastAPI application enqueues under load.

`python -m tests.event_loop_probe redis://… /edit 800` prints calls per second and the longest step as JSON.
"""

from __future__ import annotations

import gc
import http.client
import json
import subprocess
import sys
import threading
import time
from asyncio.events import Handle
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import uvicorn
from fastapi import FastAPI

from retouch import AsyncEditQueue, Edit

CALLERS = 8


@dataclass
class Steps:
    """The durations of an event loop's steps in seconds, by the clock (`wall_s`) and in processor time (`cpu_s`)."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """Return the number of steps, and the longest step in milliseconds: by the clock, and in processor time."""
        longest = {"wall_ms": max(self.wall_s) * 1e3, "cpu_ms": max(self.cpu_s) * 1e3}
        return {"steps": len(self.wall_s), **{name: round(value, 2) for name, value in longest.items()}}


@contextmanager
def timed_steps() -> Iterator[Steps]:
    """
    Context manager that times each step of all asyncio loops in this process, and yields the durations.

    A step is a callback, or a part of a task between two waits. The yielded durations grow during the block.
    """
    steps, plain = Steps(), Handle._run

    def run(handle: Handle) -> None:
        wall_at, cpu_at = time.perf_counter(), time.thread_time()
        plain(handle)
        steps.wall_s.append(time.perf_counter() - wall_at)
        steps.cpu_s.append(time.thread_time() - cpu_at)

    Handle._run = run  # type: ignore[method-assign, assignment]  # asyncio has no hook for it
    try:
        yield steps
    finally:
        Handle._run = plain  # type: ignore[method-assign]  # as it was


def shop(redis_url: str) -> FastAPI:
    """
    Return a backend with handlers that do nothing, enqueue one edit, enqueue 1,000 edits, or read the newest jobs.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncEditQueue(redis_url) as queue:
            app.state.queue = queue
            yield

    app = FastAPI(lifespan=lifespan)
    edit = Edit(prompt="make it winter", init_image="https://example.com/in.png")

    @app.get("/bare")
    async def bare() -> dict[str, str]:
        return {"id": "none"}

    @app.get("/edit")
    async def enqueue() -> dict[str, str]:
        return {"id": (await app.state.queue.enqueue(edit, tags={"order": "17"})).id}

    @app.get("/edits")
    async def enqueue_many() -> dict[str, str]:
        return {"id": (await app.state.queue.enqueue_many([edit] * 1_000))[0].id}

    @app.get("/status")
    async def look() -> dict[str, str]:
        jobs = [job async for job in app.state.queue.jobs(limit=200)]
        return {"id": jobs[0].id if jobs else "none", "state": await jobs[0].state if jobs else "none"}

    return app


@contextmanager
def served(app: FastAPI) -> Iterator[int]:
    """Context manager that serves an application on an asyncio loop in a thread, and yields the port."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, loop="asyncio", log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def under_load(port: int, path: str, calls: int) -> float:
    """Make `calls` requests from another process, eight at a time; return requests per second."""
    code = f"from tests.event_loop_probe import call; call({port}, {path!r}, {calls})"
    begun_at = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return calls / (time.perf_counter() - begun_at)


def call(port: int, path: str, calls: int) -> None:
    """
    Make `calls` requests from eight threads with one connection each. The exit code is the number of answers other than
    200.
    """
    faults: list[int] = []

    def go() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        for _ in range(calls // CALLERS):
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                faults.append(answer.status)

    threads = [threading.Thread(target=go) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.exit(len(faults))


if __name__ == "__main__":
    with served(shop(sys.argv[1])) as serving_port:
        under_load(serving_port, "/bare", 80)  # FastAPI's own first answers take up to 15 ms each, without any of ours
        gc.freeze()  # what the imports left is no work of ours; a backend does the same before it serves
        with timed_steps() as taken:
            calls_per_s = under_load(serving_port, sys.argv[2], int(sys.argv[3]))
    sys.stdout.write(json.dumps({"calls_per_s": round(calls_per_s), **taken.summary()}))
