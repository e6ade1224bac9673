"""
Measures how jobs share several accounts, at the vendor's own speed: `python -m tests.chaos.accounts`.

Three simulators allow 5, 10 and 15 requests in flight. First the workers learn these limits. Then 2,000 jobs of 4.6 s
run, and the used share of each limit is measured. Finally there is one run for each way to fail in `account_deaths.py`,
and the account `medium` fails in this way. After each run, the books of all simulators are compared with the ledger.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from tests.chaos.account_deaths import DEATHS, Death
from tests.chaos.account_shares import Shares, learn, share, used_of
from tests.chaos.account_stage import AccountStage, account_stage, audit
from tests.process_watch import eventually

CAPS = {"small": 5, "medium": 10, "large": 15}
LEARN_LATENCY_S = 1.0
TIME_MOST, USED_LEAST = 1.10, 0.95
MAX_CHARGES = 2
DEATH_LATENCY_S, DEATH_JOBS = 1.0, 300


def say(line: str) -> None:
    """Print a line without buffering, since a run takes minutes."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def faults_of(shares: Shares) -> list[str]:
    """Return a line for each account that refused calls or was not fully used, and a line if the run took too long."""
    broken = [f"{account}: {count} refusals once learnt" for account, count in shares.refused.items() if count]
    broken += [f"{account}: {used:.1%} of its cap used" for account, used in shares.used.items() if used < USED_LEAST]
    if shares.seconds > TIME_MOST * shares.full_s:
        broken.append(f"{shares.seconds:.1f} s, more than {TIME_MOST:g} of {shares.full_s:.1f} s")
    return broken


def measure(folder: Path, jobs: int, latency_s: float) -> list[str]:
    """Learn the limits, run the jobs and print the figures; return a line for each fault."""
    tables = {account: {"limit": "auto"} for account in CAPS}
    with account_stage(folder, CAPS, latency_s=LEARN_LATENCY_S, tables=tables, log_level="WARNING") as stage:
        stage.start_worker()
        refused = learn(stage, CAPS)
        say(f"learnt the limits with {refused} refusals, {len(stage.jobs)} jobs of {LEARN_LATENCY_S:g} s")
        shares = share(stage, CAPS, jobs, latency_s)
        say(shares.table())
        return faults_of(shares) + audit(stage, 1)


def die(stage: AccountStage, death: Death) -> list[str]:
    """Make the account `medium` fail during a run, and print a row of the table. Return a line for each fault."""
    stage.revive()
    started = stage.books()
    jobs = stage.enqueue(DEATH_JOBS)
    assert eventually(lambda: stage.ended(jobs) >= DEATH_JOBS // 3), stage.why_not_over(jobs)
    before = stage.books()
    death.begin(stage.simulators["medium"])
    assert eventually(lambda: not stage.queue.status().waiting, 120), stage.why_not_over(jobs)
    after = stage.books()
    records = stage.wait_until_over(jobs, 120)
    states = Counter(record.state for record in records)
    charges = max(sum(charge.possible for charge in record.charges) for record in records)
    used = [used_of(started, before, CAPS), used_of(before, after, CAPS)]
    others = (f"{used[0][name]:.0%}, then {used[1][name]:.0%}" for name in CAPS if name != "medium")
    say(f"| {death.name} | {dict(states)} | {charges} | {' | '.join(others)} |")
    return audit(stage, MAX_CHARGES, jobs)


def main() -> None:
    """Run all parts and print their tables; exit with 1 if a part has found a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--latency-s", type=float, default=4.6)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        broken = measure(Path(folder), options.jobs, options.latency_s)
    settings: dict[str, Any] = {"max_charges": MAX_CHARGES, "pix2pix_timeout_s": 6.0, "log_level": "ERROR"}
    say(f"\n{DEATH_JOBS} jobs of {DEATH_LATENCY_S:g} s, `medium` dies after a third of them\n")
    say("| death | jobs | most charges of a job | cap used: `small` | `large` |\n|---|---|---|---|---|")
    with (
        tempfile.TemporaryDirectory() as folder,
        account_stage(Path(folder), CAPS, latency_s=DEATH_LATENCY_S, **settings) as stage,
    ):
        stage.start_worker()
        for death in DEATHS:
            broken += [f"{death.name}: {fault}" for fault in die(stage, death)]
    say(f"\nbroken promises: {broken}")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
