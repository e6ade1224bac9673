"""
Measures how well several accounts are used. First their limits are learnt; then jobs run, and the used share of each
account's cap is computed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from tests.chaos.account_stage import AccountStage
from tests.process_watch import eventually

Json = dict[str, Any]
BATCH = 50


@dataclass(frozen=True)
class Shares:
    """
    The figures of one run. Each dictionary has one entry for each account.

    `full_s` is the shortest possible time for all jobs. `used` is the mean number of requests in flight while jobs
    waited, divided by the cap. `refused` counts the queue-full answers. `most` is the largest number of requests in
    flight.
    """

    jobs: int
    seconds: float
    full_s: float
    posts: dict[str, int]
    refused: dict[str, int]
    used: dict[str, float]
    most: dict[str, int]

    def table(self) -> str:
        """Return the figures as a Markdown table."""
        rows = [
            f"| {account} | {self.posts[account]} | {self.used[account]:.1%} | {self.refused[account]} |"
            for account in self.posts
        ]
        ratio = self.seconds / self.full_s
        head = f"{self.jobs} jobs in {self.seconds:.1f} s; at best {self.full_s:.1f} s: {ratio:.3f} of it"
        return "\n".join([head, "", "| account | calls | cap used | refused |", "|---|---|---|---|", *rows])


def learn(stage: AccountStage, caps: dict[str, int], within_s: float = 240.0) -> int:
    """
    Run jobs until each account has learnt its cap as its limit. Return the number of queue-full answers.

    Raises `AssertionError` if this takes longer than `within_s` seconds.
    """
    until = time.monotonic() + within_s

    def has_learnt() -> bool:
        limits = {account: stage.numbers(account).limit for account in caps}
        # The highest cap is the most that is ever tried, so it is never refused.
        wanted = [account for account, cap in caps.items() if cap < max(caps.values())]
        return limits == caps and all(refusals(stage)[account] for account in wanted)

    while not has_learnt():
        assert time.monotonic() < until, stage.accounts.all()
        if stage.queue.status().waiting < BATCH:
            stage.enqueue(BATCH)
        time.sleep(0.1)
    stage.wait_until_over(stage.jobs, within_s)
    return sum(refusals(stage).values())


def refusals(stage: AccountStage) -> dict[str, int]:
    """Return the number of queue-full answers of each simulator."""
    return {account: int(book["refused"].get("queue_full", 0)) for account, book in stage.books().items()}


def share(stage: AccountStage, caps: dict[str, int], jobs: int, latency_s: float) -> Shares:
    """Run `jobs` jobs of `latency_s` seconds each, and return the figures of the accounts."""
    stage.answer_after(latency_s)
    before, started = stage.books(), time.monotonic()
    made = stage.enqueue(jobs)
    full_s = jobs * latency_s / sum(caps.values())
    assert eventually(lambda: not stage.queue.status().waiting, 3 * full_s + 60), stage.why_not_over(made)
    used = used_of(before, stage.books(), caps)
    stage.wait_until_over(made, 60)
    seconds, after = time.monotonic() - started, stage.books()
    refused = {account: book["refused"].get("queue_full", 0) for account, book in after.items()}
    return Shares(
        jobs,
        seconds,
        full_s,
        posts={account: row["posts"] for account, row in difference(before, after).items()},
        refused={account: refused[account] - before[account]["refused"].get("queue_full", 0) for account in caps},
        used=used,
        most={account: book["max_in_flight"] for account, book in after.items()},
    )


def difference(before: dict[str, Json], after: dict[str, Json]) -> dict[str, Json]:
    """Return for each simulator the difference between two readings of its books."""
    names = ("posts", "charged", "in_flight_seconds", "window_seconds")
    return {account: {name: book[name] - before[account][name] for name in names} for account, book in after.items()}


def used_of(before: dict[str, Json], after: dict[str, Json], caps: dict[str, int]) -> dict[str, float]:
    """
    Return the used share of each account's cap between two readings of the books.

    The share is the mean number of requests in flight, divided by the cap.
    """
    counted = difference(before, after)
    return {
        account: row["in_flight_seconds"] / row["window_seconds"] / caps[account] for account, row in counted.items()
    }
