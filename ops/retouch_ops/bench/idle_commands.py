"""Measures how many commands two idle workers send to Redis, with and without Flower."""

from __future__ import annotations

import time

from retouch_ops.bench.figures import Row, Scale
from retouch_ops.bench.harness import Harness

SETTLE_S = 3.0


def measure(harness: Harness, scale: Scale) -> list[Row]:
    """Return the Redis commands per second while there are no jobs. Commands inside scripts count too."""
    window_s = 10.0 if scale == "full" else 1.5
    settle_s = SETTLE_S if scale == "full" else 0.5
    stub = harness.stub()
    workers = harness.workers(stub, processes=2, threads=16)
    alone = _rate(harness, window_s, settle_s)
    harness.say("with Flower")
    flower = harness.flower(harness.settings(stub))
    watched = _rate(harness, window_s, settle_s)
    harness.stop([flower, *workers])
    harness.say("the tutorial's Celery")
    celery = harness.tutorial_workers(processes=2, threads=16, pool="threads")
    tutorial = _rate(harness, window_s, settle_s)
    harness.stop(celery)
    return [
        Row("Redis commands when idle, two workers", "1/s", alone, None, tutorial, 20),
        Row("the same with Flower", "1/s", watched, None, tutorial, 20, note="Celery: without Flower"),
    ]


def _rate(harness: Harness, window_s: float, settle_s: float) -> float:
    time.sleep(settle_s)
    before = harness.client.info("stats")["total_commands_processed"]
    time.sleep(window_s)
    after = harness.client.info("stats")["total_commands_processed"]
    return float(after - before - 1) / window_s  # one of them is the INFO that asked for `after`
