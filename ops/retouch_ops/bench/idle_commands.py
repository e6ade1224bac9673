"""How often two idle workers talk to Redis, without and with Flower watching."""

from __future__ import annotations

import time

from retouch_ops.bench.figures import Row, Scale
from retouch_ops.bench.harness import Harness

SETTLE_S = 3.0


def measure(rig: Harness, scale: Scale) -> list[Row]:
    """Commands that Redis counted, those inside scripts too, over some seconds in which nothing happens."""
    window_s = 10.0 if scale == "full" else 1.5
    settle_s = SETTLE_S if scale == "full" else 0.5
    stub = rig.stub()
    workers = rig.workers(stub, processes=2, threads=16)
    alone = _rate(rig, window_s, settle_s)
    rig.say("with Flower")
    flower = rig.flower(rig.settings(stub))
    watched = _rate(rig, window_s, settle_s)
    rig.stop([flower, *workers])
    rig.say("the tutorial's Celery")
    theirs = rig.tutorial_workers(processes=2, threads=16, pool="threads")
    tutorial = _rate(rig, window_s, settle_s)
    rig.stop(theirs)
    return [
        Row("Redis commands when idle, two workers", "1/s", alone, None, tutorial, 20),
        Row("the same with Flower", "1/s", watched, None, tutorial, 20, note="Celery: without Flower"),
    ]


def _rate(rig: Harness, window_s: float, settle_s: float) -> float:
    time.sleep(settle_s)
    before = rig.client.info("stats")["total_commands_processed"]
    time.sleep(window_s)
    after = rig.client.info("stats")["total_commands_processed"]
    return float(after - before - 1) / window_s
