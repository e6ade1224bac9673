"""When the gateway starts its second process again, and when it kills it."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from retouch_producer.gateway.busy_tenants import handover
from retouch_producer.gateway.busy_tenants.handover import SecondProcess
from retouch_producer.gateway.http.tenant_load import TenantLoad
from tests.process_watch import alive


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Callable[[], list[int]]]:
    """
    Return a function that has the second process run a shell script. It returns a function that lists the process ids
    of all starts.
    """

    def run(script: str) -> Callable[[], list[int]]:
        log, command = tmp_path / "started", tmp_path / "second"
        command.write_text(f"#!/bin/sh\necho $$ >> {log}\n{script}\n")
        command.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(command))
        return lambda: [int(line) for line in log.read_text().split()] if log.exists() else []

    for name, seconds in {"STARTS_AFTER_S": 0.0, "_WATCHED_EVERY_S": 0.05, "_START_AGAIN_AFTER_S": 0.1}.items():
        monkeypatch.setattr(handover, name, seconds)
    return run


@pytest.fixture
def second_process() -> SecondProcess:
    return SecondProcess(TenantLoad(), Counter())


async def until(condition: Callable[[], bool]) -> bool:
    """Wait until a condition is true, for 20 s at most. Return whether it is."""
    for _ in range(400):
        if condition():
            return True
        await asyncio.sleep(0.05)
    return False


def test_a_process_that_ends_at_each_start_is_started_ever_more_seldom(
    starts: Callable[[str], Callable[[], list[int]]], second_process: SecondProcess
) -> None:
    """If the process ends before it is ready, the pause before the next start doubles."""
    started = starts("exit 1")

    async def run() -> None:
        second_process.begin()
        assert await until(lambda: len(started()) >= 4)
        await second_process.close()

    began_at = time.monotonic()
    asyncio.run(run())
    pauses_s = [0.1 * 2**number for number in range(1, len(started()))]
    assert sum(pauses_s) <= time.monotonic() - began_at


def test_a_process_that_starts_slowly_is_not_killed_for_it(
    monkeypatch: pytest.MonkeyPatch,
    starts: Callable[[str], Callable[[], list[int]]],
    second_process: SecondProcess,
) -> None:
    """A process that starts is killed for its silence much later than one that was ready."""
    for name, seconds in {"READY_WITHIN_S": 0.1, "_KILLED_AFTER_S": 0.1, "_STARTING_KILLED_AFTER_S": 3.0}.items():
        monkeypatch.setattr(handover, name, seconds)
    started = starts("exec sleep 100")

    async def run() -> None:
        second_process.begin()
        assert await until(lambda: bool(started()))
        await asyncio.sleep(0.8)
        assert len(started()) == 1
        assert alive(started()[0])
        assert await until(lambda: len(started()) == 2), "in the end it is killed, and another one is started"
        await second_process.close()

    asyncio.run(run())
    assert not alive(started()[0])


def test_a_stop_does_not_wait_for_a_process_that_starts(
    monkeypatch: pytest.MonkeyPatch,
    starts: Callable[[str], Callable[[], list[int]]],
    second_process: SecondProcess,
) -> None:
    """When the gateway stops while the process starts, it kills the process, which has no requests yet."""
    monkeypatch.setattr(handover, "_ENDS_WITHIN_S", 60.0)
    started = starts("exec sleep 100")

    async def run() -> None:
        second_process.begin()
        assert await until(lambda: bool(started()))
        async with asyncio.timeout(20):
            await second_process.close()

    asyncio.run(run())
    assert not alive(started()[0])
