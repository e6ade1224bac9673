"""Prints the numbers of the lanes; pauses and resumes lanes."""

from __future__ import annotations

import json

from retouch.store.failing_receivers import FailingReceiver
from retouch.store.lanes import LANES
from retouch.store.worker_presence import Worker
from retouch_producer.cli.context import open_context
from retouch_producer.cli.errors import UsageError
from retouch_producer.cli.render import ago, print_table
from retouch_producer.documents import failure_document, lane_document, worker_document

_FAILING_SHOWN = 20


def show_status(*, as_json: bool) -> None:
    """Print the numbers of both lanes, how many jobs ended in each state, the workers, and the failing receivers."""
    with open_context() as context:
        lanes = {lane: context.queue.status(lane) for lane in LANES}
        ended = context.ended()
        count, failing = context.failing(_FAILING_SHOWN)
        workers = context.workers()
    if as_json:
        documents = {lane: lane_document(lanes[lane]) for lane in LANES}
        failures = {"receivers_failing": count, "failing_receivers": [failure_document(one) for one in failing]}
        running = [worker_document(one) for one in workers]
        print(json.dumps({**documents, "ended": ended, "workers": running, **failures}, indent=2))
        return
    head = ("LANE", "WAITING", "IN FLIGHT", "LIMIT", "PARKED", "DEAD", "")
    rows = [
        (lane, n.waiting, n.held, n.limit, n.parked, n.dead, "paused" if n.paused else "") for lane, n in lanes.items()
    ]
    print_table(head, rows, "")
    for lane, numbers in lanes.items():
        for group, depth in sorted(numbers.waiting_by_group.items(), key=lambda pair: -pair[1])[:20]:
            print(f"{lane}: {depth} waiting of {group}")
    print("ended: " + (", ".join(f"{count} {state}" for state, count in sorted(ended.items())) or "nothing yet"))
    for worker in workers:
        print(f"worker: {worker_text(worker)}")
    for one in failing:
        print(f"failing: {one.id} of {one.tenant}, {failure_text(one)}")
    if count > len(failing):
        print(f"failing: {count - len(failing)} more; `retouch receivers list --limit 100000` shows all")


def worker_text(worker: Worker) -> str:
    """Return one line about a worker process: its name, version, lanes, threads for deliveries, and accounts."""
    lanes = f"lanes {', '.join(worker.lanes)}" if worker.lanes else "lanes unknown"
    threads = [f"{worker.threads} threads for deliveries"] if worker.threads else []
    accounts = [f"accounts {', '.join(worker.accounts)}"] if worker.accounts else []
    return "; ".join([f"{worker.name}, version {worker.version}", lanes, *threads, *accounts])


def failure_text(failing: FailingReceiver) -> str:
    """
    Return one line about a failing receiver.

    The line has the time of the first failure, the reason, the number of failures, the number of waiting deliveries,
    and the time of the next attempt.
    """
    next_attempt = f"next attempt {ago(failing.next_at)}" if failing.next_at else "no attempt is scheduled"
    counts = f"{failing.failures} failures, {failing.waiting} waiting"
    return f"since {ago(failing.since)}: {failing.reason}, {counts}, {next_attempt}"


def set_paused(lane: str, paused: bool) -> None:
    """
    Pause a lane, or resume it if `paused` is false, and print its new state. Raises `UsageError` for an unknown lane.
    """
    if lane not in LANES:
        raise UsageError(f"--lane: expected {' or '.join(LANES)}, got {lane[:40]!r}")
    with open_context() as context:
        if paused:
            context.queue.pause(lane)
            print(f"{lane}: paused; what is in flight ends, the rest waits for `retouch resume --lane {lane}`")
        else:
            context.queue.resume(lane)
            print(f"{lane}: resumed")
