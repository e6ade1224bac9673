"""Faults of the machine: a full disk, a read-only store, a wrong clock, reordered messages, no memory left."""

from __future__ import annotations

import errno
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chaos.faulty_worker import start_odd_worker
from tests.chaos.stack import Stage, a_stage
from tests.process_watch import eventually
from tests.store_access import store_access

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]


@dataclass
class Disk:
    """
    A folder on a small file system. If this process may not mount one, `mounted` is false, and faults are simulated.
    """

    folder: Path
    pretended_fault: Path
    mounted: bool

    def break_with(self, number: int) -> None:
        """Make the disk full (ENOSPC) or read-only (EROFS)."""
        self.mend()
        if not self.mounted:
            self.pretended_fault.write_text(str(number))
        elif number == errno.EROFS:
            subprocess.run(["mount", "-o", "remount,ro", str(self.folder)], check=True)
        else:
            with suppress(OSError), (self.folder / "ballast").open("wb", buffering=0) as file:
                while file.write(bytes(4_096)):
                    pass

    def mend(self) -> None:
        """Remove the fault."""
        if self.mounted:
            subprocess.run(["mount", "-o", "remount,rw", str(self.folder)], check=True)
        for obstacle in (self.folder / "ballast", self.pretended_fault):
            obstacle.unlink(missing_ok=True)


@contextmanager
def a_disk(folder: Path) -> Iterator[Disk]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, check=False, capture_output=True).returncode == 0
    try:
        yield Disk(folder, folder.with_name("fault"), mounted)
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def make_due(stage: Stage) -> None:
    """Make every waiting job due now."""
    client = store_access(stage.queue).client
    for job in client.zrange("rt:edits:timetable", 0, -1):
        client.zadd("rt:edits:timetable", {job: 1}, xx=True)


def test_full_and_read_only_store(tmp_path: Path) -> None:
    """
    While the disk is full or read-only, jobs with paid images wait.

    When the disk works again, the images are downloaded and stored, with one POST for each job.
    """
    with (
        a_disk(tmp_path / "disk") as disk,
        a_stage(tmp_path, latency_s=0.05, max_charges=1, store_url=(disk.folder / "blobs").as_uri()) as stage,
    ):
        log = stage.folder / "workers.log"
        (disk.folder / "blobs" / ".partial").mkdir(parents=True)
        disk.break_with(errno.ENOSPC)
        start_odd_worker(stage, 10, "--store-fault", str(disk.pretended_fault))
        jobs = stage.enqueue(3)

        def wait_for_their_images(words: str) -> bool:
            records = stage.records(jobs)
            stand = {(one.state, (one.error and one.error.code), one.resumable) for one in records}
            return stand == {("retrying", "result_not_yet", True)} and log.read_text().count(words) >= 3

        assert eventually(lambda: wait_for_their_images("the disk is full"))
        disk.break_with(errno.EROFS)
        make_due(stage)
        assert eventually(lambda: wait_for_their_images("the file system is read-only"))
        disk.mend()
        make_due(stage)
        assert eventually(lambda: stage.all_final(jobs))
        assert {record.state for record in stage.records(jobs)} == {"succeeded"}
        assert stage.charged() == [1] * 3
        assert list((disk.folder / "blobs" / ".partial").iterdir()) == []


@pytest.fixture(scope="module")
def two_clocks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Two workers, one of them with a clock that is 90 s fast."""
    with a_stage(tmp_path_factory.mktemp("clocks"), latency_s=0.2, in_flight_limit=15) as stage:
        start_odd_worker(stage, 10)
        start_odd_worker(stage, 10, "--clock-ahead-s", "90")
        yield stage


def test_clocks_ninety_seconds_apart(two_clocks: Stage) -> None:
    """When the clocks of two workers differ by 90 s, each job succeeds with one attempt and one charge."""
    two_clocks.simulator.settings(processing_share=0.3, processing_s=0.2)
    jobs = two_clocks.enqueue(40)
    assert eventually(lambda: two_clocks.all_final(jobs))
    records = two_clocks.records(jobs)
    assert {record.state for record in records} == {"succeeded"}
    assert {record.attempt for record in records} == {1}
    assert two_clocks.charged() == [1] * 40
    now_s = float(store_access(two_clocks.queue).client.time()[0])
    assert all(record.created_at <= (record.finished_at or 0) <= now_s + 1 for record in records)
    assert eventually(lambda: len(two_clocks.sink.events) >= 40)


def test_doubled_and_reordered_messages_under_load(two_clocks: Stage) -> None:
    """Each job is POSTed once, even if its message comes seven times, in any order, among messages of unknown jobs."""
    two_clocks.simulator.reset()
    before = len(two_clocks.sink.events)
    jobs = two_clocks.enqueue(40)
    messages = [("edits", job) for job in jobs] * 3 + [("edits", "ed_never"), ("deliveries", "dl_never")]
    random.Random(3).shuffle(messages)
    for order in (1, -1):
        store_access(two_clocks.queue).publisher.publish(messages[::order])
    assert eventually(lambda: two_clocks.all_final(jobs))
    assert {record.state for record in two_clocks.records(jobs)} == {"succeeded"}
    assert two_clocks.charged() == [1] * 40
    assert eventually(lambda: len(two_clocks.sink.events) >= before + 40)
    assert two_clocks.simulator.books(totals=True)["max_in_flight"] <= 15
    assert all(worker.poll() is None for worker in two_clocks.workers)


def test_worker_without_memory(tmp_path: Path) -> None:
    """
    If a worker lacks memory to check paid pictures, the jobs wait. Another worker finishes them, and POSTs nothing
    again.
    """
    with a_stage(tmp_path, latency_s=0.3, max_charges=1) as stage:
        poor = start_odd_worker(stage, 1, "--no-more-memory")
        jobs = stage.enqueue(4)
        log = stage.folder / "workers.log"
        assert eventually(lambda: all(f"decision=Retry job={job}" in log.read_text() for job in jobs)), poor.poll()
        assert {one.resumable for one in stage.records(jobs)} == {True}
        poor.kill()
        stage.worker(4)
        make_due(stage)
        assert eventually(lambda: stage.all_final(jobs))
        assert {record.state for record in stage.records(jobs)} == {"succeeded"}
        assert stage.charged() == [1] * 4
