"""Producers die while they enqueue: before or after the job is on record, before or after its message is sent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.producer_kills import POINTS, Producers
from tests.chaos.stack import Stage, a_stage
from tests.process_watch import eventually
from tests.store_access import store_access

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with a_stage(tmp_path_factory.mktemp("producer"), latency_s=0.05) as stage:
        stage.worker(20)
        yield stage


@pytest.fixture(scope="module")
def producers(stage: Stage) -> Iterator[Producers]:
    log = stage.folder / "deaths"
    with Producers(stage.settings, log, stage.simulator.portrait_url, stage.sink.url) as producers:
        yield producers


@pytest.mark.parametrize(("number", "point"), list(enumerate(POINTS)))
def test_enqueued_again_with_the_same_keys(stage: Stage, producers: Producers, number: int, point: str) -> None:
    """
    When a producer dies and all edits are enqueued again with the same keys, each edit has one job, and each job runs.
    """
    first, tenant = 10 * number, f"shop{number}"
    jobs = producers.enqueue(first, 6, tenant, point)
    assert len(set(jobs)) == 6
    assert [line.split("\t")[0] for line in (stage.folder / "deaths").read_text().splitlines()[number:]] == [point]
    assert store_access(stage.queue).client.zcard(f"rt:jobs:{tenant}") == 6
    assert eventually(lambda: stage.all_final(jobs))
    assert {record.state for record in stage.records(jobs)} == {"succeeded"}
    books = stage.simulator.books()["by_tag"]
    assert [books[str(first + at)]["charged"] for at in range(6)] == [1] * 6
    assert eventually(lambda: {event["data"]["job_id"] for event in stage.sink.events} >= set(jobs))
