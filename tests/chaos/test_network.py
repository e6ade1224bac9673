"""The network between worker and Redis, or between worker and endpoint, is cut or stalls, and then works again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest

from retouch import Edit
from tests.chaos.proxy import Proxy
from tests.chaos.stack import Stage, a_stage, proxied
from tests.process_watch import eventually
from tests.store_access import store_access

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]


@dataclass
class Place:
    """One worker behind two proxies. The test itself connects without the proxies."""

    stage: Stage
    to_redis: Proxy
    to_endpoint: Proxy
    numbers: Iterator[int] = field(default_factory=count)

    def enqueue(self, many: int) -> list[str]:
        """Enqueue jobs with tags that the simulator has not seen yet."""
        link = self.stage.simulator.portrait_url
        edits = [Edit(prompt=f"winter [[{next(self.numbers)}]]", init_image=link) for _ in range(many)]
        return [job.id for job in self.stage.queue.enqueue_many(edits)]

    def in_flight(self) -> int:
        return int(self.stage.simulator.books(totals=True)["in_flight"])

    def states(self, jobs: list[str]) -> set[str]:
        return {record.state for record in self.stage.records(jobs)}

    def gate(self, name: str) -> str | None:
        value: str | None = self.client.hget("rt:edits:gate", name)
        return value

    @property
    def client(self) -> Any:
        return store_access(self.stage.queue).client


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("network")
    with (
        a_stage(folder, latency_s=0.2, max_charges=1, pix2pix_timeout_s=60.0, in_flight_limit=20) as stage,
        proxied(stage) as (to_redis, to_endpoint),
    ):
        stage.worker(20)
        yield Place(stage, to_redis, to_endpoint)


@pytest.fixture
def place(shared: Place) -> Place:
    """Reset the shared stack and return it: the proxies pass everything, no charge is on record, and calls are held."""
    shared.to_redis.heal()
    shared.to_endpoint.heal()
    shared.stage.hold_calls()
    shared.stage.simulator.reset(keep_settings=True)
    return shared


@pytest.mark.parametrize("fault", ["cut", "stall"])
def test_no_way_to_redis_while_calls_are_in_flight(place: Place, fault: str) -> None:
    """
    If a worker cannot reach Redis for longer than a lease lasts, it stores all paid answers once it can reach Redis
    again.
    """
    jobs = place.enqueue(20)
    assert eventually(lambda: place.in_flight() == 20)
    getattr(place.to_redis, fault)()
    place.stage.release_calls()
    assert eventually(lambda: place.in_flight() == 0)
    until = time.monotonic() + place.stage.settings.lease_s
    assert eventually(lambda: time.monotonic() > until)
    assert "succeeded" not in place.states(jobs)
    place.to_redis.heal()
    assert eventually(lambda: place.states(jobs) == {"succeeded"})
    assert place.stage.charged() == [1] * 20
    more = place.enqueue(10)
    assert eventually(lambda: place.states(more) == {"succeeded"}), "the worker no longer consumes"
    assert place.stage.workers[0].poll() is None


def test_no_way_to_the_endpoint(place: Place) -> None:
    """
    While the endpoint cannot be reached, the breaker opens, and no job uses an attempt or a charge.

    When the endpoint can be reached again, one call closes the breaker.
    """
    place.to_endpoint.cut()
    jobs = place.enqueue(30)
    assert eventually(lambda: place.gate("open_until"))
    assert place.gate("open_s") == "10"
    assert eventually(lambda: place.client.zcard("rt:edits:slots") == 0)
    records = place.stage.records(jobs)
    assert {record.state for record in records} <= {"queued", "retrying"}
    assert {(record.attempt, sum(charge.possible for charge in record.charges)) for record in records} == {(0, 0)}
    assert {record.error and record.error.code for record in records} <= {
        None,
        "endpoint_unreachable",
        "endpoint_down",
    }
    place.client.hset("rt:edits:gate", "open_until", 1)
    assert eventually(lambda: place.gate("open_s") == "20"), "no probe went out"
    place.to_endpoint.heal()
    place.client.hset("rt:edits:gate", "open_until", 1)
    assert eventually(lambda: place.in_flight() == 1)
    assert place.client.zcard("rt:edits:slots") == 1
    place.stage.release_calls()
    assert eventually(lambda: not place.gate("open_until"))
    for job in place.client.zrange("rt:edits:timetable", 0, -1):
        place.client.zadd("rt:edits:timetable", {job: 1}, xx=True)
    assert eventually(lambda: place.states(jobs) == {"succeeded"})
    assert place.stage.charged() == [1] * 30
    assert {record.attempt for record in place.stage.records(jobs)} == {1}


def test_the_way_to_the_endpoint_is_cut_during_calls(place: Place) -> None:
    """With `max_charges` 1, a job whose connection breaks during the call fails and is not POSTed again."""
    jobs = place.enqueue(4)
    assert eventually(lambda: place.stage.simulator.books(totals=True)["charged"] == 4)
    place.to_endpoint.cut()
    assert eventually(lambda: place.states(jobs) == {"failed"})
    assert {(record.error and record.error.code) for record in place.stage.records(jobs)} == {"outcome_unknown"}
    assert place.stage.charged() == [1] * 4


def test_the_way_to_the_endpoint_stalls_during_calls(place: Place) -> None:
    """If the network drops packets during calls, the jobs stay running. They succeed once the network works again."""
    jobs = place.enqueue(10)
    assert eventually(lambda: place.in_flight() == 10)
    place.to_endpoint.stall()
    place.stage.release_calls()
    assert eventually(lambda: place.in_flight() == 0)
    assert place.states(jobs) == {"running"}
    place.to_endpoint.heal()
    assert eventually(lambda: place.states(jobs) == {"succeeded"})
    assert place.stage.charged() == [1] * 10


def test_another_worker_goes_on_while_one_is_cut_off(place: Place) -> None:
    """
    If a worker loses its connection to Redis during its calls, another worker ends the jobs with `outcome_unknown`.

    Once the first worker reaches Redis again, its late answers are used, without a second POST.
    """
    jobs = place.enqueue(10)
    assert eventually(lambda: place.in_flight() == 10)
    place.to_redis.cut()
    place.stage.release_calls()
    near = {"redis_url": f"redis://127.0.0.1:{place.stage.valkey.port}/0"}
    place.stage.settings = place.stage.settings.model_copy(update=near)
    place.stage.worker(10)
    assert eventually(lambda: place.states(jobs) == {"failed"})
    assert {(record.error and record.error.code) for record in place.stage.records(jobs)} == {"outcome_unknown"}
    place.to_redis.heal()
    assert eventually(lambda: place.states(jobs) == {"succeeded"})
    assert place.stage.charged() == [1] * 10
