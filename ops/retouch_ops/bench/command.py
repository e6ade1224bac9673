"""`retouch bench`: runs the chosen measurements one after the other, and prints one table."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence

from retouch.errors import RetouchError
from retouch_ops.bench import (
    backlog_depth,
    bulk_enqueue,
    bulk_neighbour,
    bulk_replay,
    enqueue_latency,
    gateway,
    idle_commands,
    idle_to_webhook,
    in_flight,
    machine,
    million,
    retry_load,
    worker_cpu,
)
from retouch_ops.bench.figures import Row, Scale, table
from retouch_ops.bench.harness import Harness

MEASUREMENTS: dict[str, Callable[[Harness, Scale], list[Row]]] = {
    "enqueue": enqueue_latency.measure,
    "bulk": bulk_enqueue.measure,
    "gateway": gateway.measure,
    "webhook": idle_to_webhook.measure,
    "in-flight": in_flight.measure,
    "cpu": worker_cpu.measure,
    "depth": backlog_depth.measure,
    "idle": idle_commands.measure,
    "retries": retry_load.measure,
    "million": million.measure,
    "neighbour": bulk_neighbour.measure,
    "replay": bulk_replay.measure,
}


class UnknownMeasurement(RetouchError):
    """A name on the command line is not the name of a measurement."""

    is_usage_error = True


def run(names: Sequence[str], scale: Scale, *, as_json: bool) -> bool:
    """
    Run the named measurements, or all of them, and print the figures. Return True if every measurement could be made.
    """
    if unknown := [name for name in names if name not in MEASUREMENTS]:
        raise UnknownMeasurement(f"expected some of {', '.join(MEASUREMENTS)}, got {unknown[0]!r}")
    before, rows, not_measured = machine.describe(), [], {}
    for name in names or MEASUREMENTS:
        try:
            rows += _measured(name, scale)
        except (RetouchError, OSError, AssertionError) as error:
            not_measured[name] = f"{type(error).__name__}: {error}"
    after = machine.describe()
    if as_json:
        report = {"scale": scale, "before": before, "after": after, "not_measured": not_measured}
        print(json.dumps({**report, "rows": [row.as_json() for row in rows]}, indent=2))
    else:
        print(f"{machine.as_line(before)}\nload average at the end {after['load']}\n\n{table(rows)}")
        for name, reason in not_measured.items():
            print(f"{name} was not measured: {reason}")
    return not not_measured


def _measured(name: str, scale: Scale) -> list[Row]:
    started_at = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started_at:5.1f} s] {name}: {text}", file=sys.stderr, flush=True)

    say(f"begins ({scale})")
    with Harness(say) as harness:
        rows = MEASUREMENTS[name](harness, scale)
    say("done")
    return rows
