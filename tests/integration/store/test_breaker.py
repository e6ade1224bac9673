"""
Tests of the breaker that all workers share, with the real scripts: what opens it, which job probes, what closes it.
"""

from __future__ import annotations

from typing import Any

import pytest

from retouch.outcomes import GateClosed, Retry
from retouch.policy import RetryPolicy, decide
from retouch.store.records import Claim
from tests.lane_kit import LaneKit

AGAIN = Retry(60.0, "outcome_unknown", "the endpoint is down")


class Endpoint:
    """A tenant's jobs in a lane with a breaker. The test chooses the endpoint's answer to each POST."""

    def __init__(self, client: Any, jobs: int, limit: int = 5) -> None:
        self.client, self.kit = client, LaneKit(client)
        self.kit.open(limit, 0.0)
        self.jobs = [self.kit.new() for _ in range(jobs)]
        self.kit.enqueue(*self.jobs)

    def calls(self) -> list[Claim]:
        """Claim and POST every job that holds a slot and is not claimed yet. Return the claims."""
        claims = [self.kit.jobs.claim(job, 15.0) for job in self.kit.dispatched()]
        for claim in (made := [claim for claim in claims if claim]):
            assert self.kit.jobs.intend(claim) == "ok"
        return made

    def held_back(self) -> list[str]:
        """
        Claim each dispatched job, assert that the open breaker forbids the POST, and put the job back. Return the ids
        of the jobs.
        """
        jobs = [job for job in self.kit.dispatched() if self.kit.state(job) == "queued"]
        for job in jobs:
            claim = self.kit.claim(job)
            assert self.kit.jobs.intend(claim) == "endpoint_down"
            held = decide(GateClosed("endpoint_down"), claim.attempt(), RetryPolicy(), claim.now_at, 0.5)
            self.kit.jobs.settle(claim, held)
        return jobs

    def answer(self, claim: Claim, health: str, kind: str = "") -> float:
        """
        Record the answer to one POST and put the job back. `health` is the word for the breaker, such as `ok` or
        `down`.

        Return for how many seconds the answer opened the breaker, or 0.
        """
        kind = kind or ("unknown" if health == "down" else "failed")
        open_s = self.kit.jobs.answer(claim, kind, None, health).open_s
        self.kit.jobs.settle(claim, AGAIN)
        return open_s

    def gate(self, name: str) -> str | None:
        value: str | None = self.client.hget("rt:edits:gate", name)
        return value

    def time_is_over(self) -> list[str]:
        """Let the breaker's pause end, run a sweep, and return the ids of the jobs that the sweep dispatches."""
        self.client.hset("rt:edits:gate", "open_until", 1)
        return [job for _, job in self.kit.rescue()]


@pytest.fixture
def down(client: Any) -> Endpoint:
    """Return an endpoint whose breaker is open after five answers `down`, with more jobs waiting."""
    endpoint = Endpoint(client, jobs=40)
    assert [endpoint.answer(claim, "down") for claim in endpoint.calls()] == [0, 0, 0, 0, 10]
    endpoint.held_back()
    return endpoint


def test_four_signs_in_a_row_do_not_open_it(client: Any) -> None:
    """Four failures in a row do not open the breaker. Any other answer sets the count of failures back to zero."""
    endpoint = Endpoint(client, jobs=12, limit=12)
    calls = iter(endpoint.calls())
    words = ["down"] * 4 + ["alive"] + ["down"] * 4 + ["ok"] + ["down"]
    assert [endpoint.answer(next(calls), word) for word in words] == [0] * 11
    assert endpoint.gate("open_until") is None


def test_while_it_is_open_jobs_wait_and_burn_nothing(down: Endpoint) -> None:
    """
    While the breaker is open, nothing is dispatched. A job that already has a slot gives it up and waits, without using
    an attempt or a charge.
    """
    assert down.kit.dispatched() == []
    assert down.kit.rescue() == []
    assert down.kit.enqueue(down.kit.new()) == []
    waiting = down.kit.jobs.records([job.id for job in down.jobs[9:]])
    assert {(record.state, record.attempt, record.charges) for record in waiting} == {("queued", 0, ())}
    assert 0 < down.kit.lanes.numbers("edits").breaker_open_s <= 11


def test_one_probe_at_a_time(down: Endpoint) -> None:
    """
    When the breaker's time is over, one job is dispatched as the probe. No other job follows until the probe has an
    answer.
    """
    assert len(down.time_is_over()) == 1
    (probe,) = down.calls()
    assert down.kit.rescue() == []
    assert down.kit.dispatched() == [probe.job]
    assert down.answer(probe, "down") == 20
    assert down.kit.dispatched() == []


@pytest.mark.parametrize(
    ("kind", "times"), [("unknown", [20, 40, 80, 160, 300, 300]), ("refused", [20, 20]), ("failed", [20, 20])]
)
def test_each_probe_that_fails_doubles_its_time(down: Endpoint, kind: str, times: list[float]) -> None:
    """
    Each failed probe doubles the time for which the breaker is open, up to 300 s, or 20 s if the probes cost nothing.
    """
    opened = []
    for _ in times:
        down.time_is_over()
        (probe,) = down.calls()
        opened.append(down.answer(probe, "down", kind))
    assert opened == times


@pytest.mark.parametrize("word", ["ok", "alive", "full"])
def test_any_sign_of_life_closes_it(down: Endpoint, word: str) -> None:
    """A probe that gets any answer from the endpoint itself closes the breaker, and all slots are filled at once."""
    down.time_is_over()
    (probe,) = down.calls()
    down.answer(probe, word)
    assert down.gate("open_until") is None
    down.kit.rescue()
    assert len(down.kit.dispatched()) == 5
    calls = down.calls()
    assert [down.answer(claim, "down") for claim in calls] == [0, 0, 0, 0, 10]


def test_calls_under_way_say_nothing_new(client: Any) -> None:
    """
    If a call began before the breaker opened, a failure of this call does not double the breaker's time, and the job
    that is the probe stays the probe.
    """
    endpoint = Endpoint(client, jobs=40, limit=8)
    calls = endpoint.calls()
    assert [endpoint.answer(claim, "down") for claim in calls[:7]] == [0, 0, 0, 0, 10, 0, 0]
    endpoint.held_back()
    endpoint.time_is_over()
    (probe,) = endpoint.calls()
    assert endpoint.answer(calls[7], "down") == 0
    assert endpoint.gate("probing") == probe.job
    assert endpoint.kit.dispatched() == [probe.job]
    assert endpoint.kit.jobs.intend(probe) == "ok"


def test_a_probe_that_ends_unheard_leaves_its_turn(down: Endpoint) -> None:
    """If a probe is cancelled before its POST, another job becomes the probe."""
    (probe,) = down.time_is_over()
    word, messages = down.kit.jobs.cancel(probe)
    assert word == "cancelled"
    assert len(messages) == 1
    assert messages[0][1] != probe
    assert down.gate("probing") == messages[0][1]


def test_a_probe_that_vanishes_is_replaced(down: Endpoint) -> None:
    """If a probe has no answer for 30 s, another job becomes the probe."""
    (lost,) = down.time_is_over()
    assert 25 < float(down.gate("open_until") or 0) - down.client.time()[0] <= 31
    again = down.time_is_over()
    assert len(again) == 1
    assert again != [lost]
