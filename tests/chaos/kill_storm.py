"""
Kills many processes, then audits the records: `python -m tests.chaos.kill_storm --kills 1000 --seed 7`.

Valkey has an append-only file, the simulator counts charges, and a receiver gets the webhooks. Producers and workers
die at named points (`producer_kills.py`, `worker_kills.py`), and new jobs are enqueued meanwhile. When every job has
ended, the auditor compares the simulator's charges with the records. The auditor also searches for lost or doubled
jobs, images and webhooks, and for keys that should be gone.

With `--accounts 3` there are three accounts, each with a simulator. The last account is removed from the accounts file
after a third of the kills, and added again after two thirds.
"""

from __future__ import annotations

import argparse
import itertools
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retouch import EditQueue, Settings
from retouch.feed import read_page
from retouch.images.validation import ValidImage, check
from retouch.store.accounts import AccountStore
from retouch.store.history import History, roll_up
from retouch.store.ledger import CLASSES, Ledger
from retouch.store.records import JobRecord
from retouch_ops.simulator.process import Simulator
from tests.chaos.event_sink import EventSink
from tests.chaos.producer_kills import POINTS as PRODUCER_POINTS
from tests.chaos.producer_kills import Producers, extra_of
from tests.chaos.stack import FINAL, environment_of
from tests.chaos.storm_accounts import SPAM_FILTER_S, AccountsFile, portrait_of, simulators_of
from tests.chaos.worker_kills import POINTS as WORKER_POINTS
from tests.free_ports import own_valkey
from tests.process_watch import eventually
from tests.store_access import store_access

POINTS = [*PRODUCER_POINTS, *WORKER_POINTS]
TENANTS = ("ann", "bob", "cy")
CALL_MOST_S = 12.0  # a worker that stood still may bring its answer so late, when its job is long over


@dataclass
class Report:
    """The figures of one run. `broken` is empty when every promise held."""

    kills: Counter[str]
    jobs: int = 0
    states: Counter[str] = field(default_factory=Counter)
    charges: Counter[int] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def table(self) -> str:
        """Return the report as Markdown."""
        rows = [f"| {point} | {self.kills[point]} |" for point in POINTS]
        facts = [
            f"{sum(self.kills.values())} kills, {self.jobs} jobs, {self.seconds:.0f} s",
            f"jobs by state: {dict(self.states)}; by charges at the simulator: {dict(sorted(self.charges.items()))}",
            f"broken promises: {len(self.broken)}",
        ]
        return "\n".join(["| killed | times |", "|---|---|", *rows, "", *facts, *self.broken[:20]])


@dataclass
class Storm:
    """
    The parameters of one run.

    All kills together may take `within_s` seconds. After the last kill, the remaining jobs may also take `within_s`
    seconds. If `apart_s` is above 0, no producer dies, and workers die one at a time. After each
    death, `apart_s` seconds pass before the next worker starts.
    """

    kills: int
    seed: int
    max_charges: int = 2
    within_s: float = 600.0
    apart_s: float = 0.0
    accounts: int = 0

    def run(self) -> Report:
        """Kill workers and producers, wait until every job is final, and audit the records."""
        started = time.monotonic()
        with (
            tempfile.TemporaryDirectory() as folder,
            own_valkey(config={"appendonly": "yes", "appendfsync": "everysec"}) as valkey,
            simulators_of(self.accounts) as sims,
            EventSink() as sink,
        ):
            file = AccountsFile(Path(folder), sims) if self.accounts else None
            settings = self._settings(valkey.port, sims, Path(folder), file)
            log = Path(folder) / "kills"
            with EditQueue(settings=settings) as queue:
                workers = self._start(settings, log)
                if file:  # a job that is dispatched before is of the account that the settings make
                    assert eventually(lambda: len(AccountStore(store_access(queue).client).ids()) == self.accounts)
                try:
                    with Producers(settings, log, portrait_of(sims), sink.url) as producers:
                        jobs = self._enqueue(queue, producers, log, file)
                    report = Report(Counter(point for point, _ in rows_of(log)), len(jobs))
                    self._wait(queue, jobs, report)
                    killed = killed_calls(log)
                    eventually(lambda: not unanswered(store_access(queue).jobs.records(jobs), killed), CALL_MOST_S)
                finally:
                    workers.terminate()
                    workers.wait()
                Auditor(queue, sims, sink, self.max_charges, report, killed, all_succeed=self.apart_s > 0).audit(jobs)
        report.seconds = time.monotonic() - started
        return report

    def _settings(self, port: int, sims: dict[str, Simulator], folder: Path, file: AccountsFile | None) -> Settings:
        sim = next(iter(sims.values()))
        return Settings.load(
            accounts=str(file.path) if file else "",
            redis_url=f"redis://127.0.0.1:{port}/0",
            pix2pix_url=sim.pix2pix_url,
            pix2pix_fetch_url=sim.fetch_url,
            pix2pix_key="sk-storm",
            store_url=folder.as_uri() + "/blobs",
            dangerous_allow_private_networks="127.0.0.0/8",
            in_flight_limit=24 // len(sims),
            lease_s=3.0,
            spam_filter_s=SPAM_FILTER_S,
            max_charges=self.max_charges,
            max_attempts=20,
            backoff_base_s=0.1,
            backoff_cap_s=0.5,
            log_level="ERROR",
            pix2pix_timeout_s=CALL_MOST_S - 2,
        )

    def _start(self, settings: Settings, log: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.chaos.worker_kills", "--kills", str(self.kills)),
                *("--seed", str(self.seed), "--log", str(log), "--apart-s", str(self.apart_s)),
            ],
            env=environment_of(settings),
        )

    def _enqueue(self, queue: EditQueue, producers: Producers, log: Path, file: AccountsFile | None) -> list[str]:
        """Enqueue jobs and publish duplicate messages until all kills are done; return the ids of the jobs."""
        rng = random.Random(self.seed)
        deaths = itertools.cycle(("",) if self.apart_s else ("", *PRODUCER_POINTS))
        jobs: list[str] = []
        queues = file.queues if file else ["edits"]
        until = time.monotonic() + self.within_s
        while not log.exists() or len(log.read_text().splitlines()) < self.kills:
            assert time.monotonic() < until, f"only {len(log.read_text().splitlines())} kills in {self.within_s} s"
            if queue.status().waiting < 20:
                jobs += producers.enqueue(len(jobs), 20, rng.choice(TENANTS), next(deaths))
            store_access(queue).publisher.publish([(rng.choice(queues), rng.choice(jobs))])
            if file:
                done = len(log.read_text().splitlines()) / self.kills if log.exists() else 0.0
                file.write(without_last=1 / 3 <= done < 2 / 3)
            time.sleep(0.05)
        if file:
            file.write(without_last=False)
        return jobs

    def _wait(self, queue: EditQueue, jobs: list[str], report: Report) -> None:
        until = time.monotonic() + self.within_s
        waiting = jobs
        while waiting and time.monotonic() < until:
            records = store_access(queue).jobs.records(waiting)
            waiting = [record.id for record in records if record.state not in FINAL]
            time.sleep(0.1)
        report.broken += [f"{job}: not final after {self.within_s:.0f} s" for job in waiting]
        while queue.status("deliveries").waiting + queue.status("deliveries").held and time.monotonic() < until:
            time.sleep(0.1)


def rows_of(log: Path) -> list[list[str]]:
    """Return the rows of a log: [point, process id] for each kill, or [job, fence, process id] for each intent."""
    return [line.split("\t") for line in log.read_text().splitlines()]


def killed_calls(log: Path) -> set[tuple[str, int]]:
    """Return the calls whose process was killed, as (job, fence)."""
    killed = {pid for _, pid in rows_of(log)}
    return {(job, int(fence)) for job, fence, pid in rows_of(log.with_name("intents")) if pid in killed}


def unanswered(records: list[JobRecord], killed: set[tuple[str, int]]) -> list[str]:
    """Return a line for each possible charge that has no answer on record, except for calls of killed processes."""
    return [
        f"{record.id}: no kill took the answer to {charge}"
        for record in records
        for charge in record.charges
        if charge.possible and not charge.certain and (record.id, charge.fence) not in killed
    ]


@dataclass
class Auditor:
    """
    Compares the records of the simulators, the store, the blob store and the receiver.

    `killed_calls` has (job, fence) of each call whose process was killed. Only these calls may lack an answer. A job
    may fail only if all of its allowed calls were killed. If `all_succeed` is true, no job may fail.
    """

    queue: EditQueue
    sims: dict[str, Simulator]
    sink: EventSink
    max_charges: int
    report: Report
    killed_calls: set[tuple[str, int]]
    all_succeed: bool

    def audit(self, jobs: list[str]) -> None:
        """Check every promise for every job, and add a line to the report for each broken promise."""
        books: dict[str, Any] = {account: sim.books()["by_tag"] for account, sim in self.sims.items()}
        records = store_access(self.queue).jobs.records(jobs)
        known = sum(store_access(self.queue).client.zcard(f"rt:jobs:{tenant}") for tenant in TENANTS)
        if known != len(set(jobs)):
            self._break(f"{known} jobs are on record for {len(jobs)} rows, each enqueued until its producer lived")
        if len(records) != len(jobs):
            self._break(f"{len(jobs) - len(records)} job records are gone")
        delivered = Counter((event["data"]["job_id"], event["type"]) for event in self.sink.events)
        feed = Counter((entry.job, entry.type) for entry in self._feed())
        for number, record in enumerate(records):
            charged = {account: tags.get(str(number), {}).get("charged", 0) for account, tags in books.items()}
            self.report.charges[sum(charged.values())] += 1
            self.report.states[record.state] += 1
            self._audit_money(record, charged)
            self._audit_images(record, extra_of(number).get("samples", 1))
            final = (record.id, f"edit.{record.state}")
            if delivered[final] < 1:
                self._break(f"{record.id}: no webhook with {final[1]}")
            if feed[final] != 1:
                self._break(f"{record.id}: {feed[final]} times {final[1]} in the feed")
        self.report.broken += unanswered(records, self.killed_calls)
        self._audit_history(records)
        self._audit_what_is_left()
        if len(self.sims) > 1:
            self._audit_accounts()

    def _audit_accounts(self) -> None:
        """Check that each simulator charged at least once, and at most as often as the ledger of its account says."""
        booked = {row.key: row for row in Ledger(store_access(self.queue).client).usage(by="account")}
        for account, sim in self.sims.items():
            charged, row = sim.books(totals=True)["charged"], booked.get(account)
            on_record = row.useful + row.repeated + row.wasted + row.unknown if row else 0
            if not 0 < charged <= on_record:
                self._break(f"account {account}: charged {charged} times, {on_record} in the ledger")

    def _audit_money(self, record: Any, charged: dict[str, int]) -> None:
        by_account = Counter(charge.account for charge in record.charges if charge.possible)
        possible, total = by_account.total(), sum(charged.values())
        if total > self.max_charges:
            self._break(f"{record.id}: charged {charged} times, at most {self.max_charges} are allowed")
        if any(count > by_account[account] for account, count in charged.items()):
            self._break(f"{record.id}: charged {charged} times, on record are {dict(by_account)}")
        if record.state != "succeeded" and self._is_no_excuse(record, possible):
            self._break(f"{record.id}: ended as {record.error} with {possible} possible charges")

    def _is_no_excuse(self, record: Any, possible: int) -> bool:
        return bool(self.all_succeed or record.error.code != "outcome_unknown" or possible < self.max_charges)

    def _audit_images(self, record: JobRecord, count: int) -> None:
        if record.state != "succeeded":
            return
        if len({image.sha256 for image in record.images}) != count:
            self._break(f"{record.id}: {len(record.images)} images are on record for {count} that were paid for")
        for kept in record.images:
            image = check(store_access(self.queue).blobs.get(kept.name))
            if not isinstance(image, ValidImage) or image.sha256 != kept.sha256:
                self._break(f"{record.id}: an image is not the one on record")

    def _audit_history(self, records: list[JobRecord]) -> None:
        """
        Compare the counts of history with the records, the lane and the ledger. Roll history up, and compare again.
        """
        store = store_access(self.queue)
        uses = Counter[str]()
        for row in Ledger(store.client).usage():
            uses.update({use: getattr(row, use) for use in CLASSES if getattr(row, use)})
        calls = sum(len(record.charges) for record in records)
        expected = (len(records), store.jobs.counts(), calls, dict(uses))
        for _ in range(2):
            counts = History(store.client).totals()
            if (found := (counts.enqueued, counts.ended, counts.calls, counts.charges)) != expected:
                self._break(f"history has {found}, on record are {expected}")
            roll_up(store.client)

    def _audit_what_is_left(self) -> None:
        for lane in ("edits", "deliveries"):
            numbers = self.queue.status(lane)
            left = {"waiting": numbers.waiting, "held": numbers.held, "parked": numbers.parked}
            if any(left.values()):
                self._break(f"lane {lane} still holds {left}")
            if held := store_access(self.queue).client.hgetall(f"rt:{lane}:held"):
                self._break(f"lane {lane} counts slots that nobody has: {held}")

    def _feed(self) -> list[Any]:
        entries: list[Any] = []
        while page := read_page(store_access(self.queue).client, entries[-1].cursor if entries else "0"):
            entries += page
        return entries

    def _break(self, what: str) -> None:
        self.report.broken.append(what)


def main() -> None:
    """Run one storm and print its report; exit with 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-charges", type=int, default=2)
    parser.add_argument("--accounts", type=int, default=0, help="several accounts, one of which comes and goes")
    parser.add_argument("--apart-s", type=float, default=0.0, help="seconds between kills: then every job must succeed")
    options = parser.parse_args()
    within_s = options.kills * (5.0 + options.apart_s) + 120
    storm = Storm(options.kills, options.seed, options.max_charges, within_s, options.apart_s, options.accounts)
    report = storm.run()
    setting = f"seed {options.seed}, max_charges {options.max_charges}, accounts {options.accounts or 1}"
    sys.stdout.write(f"{setting}\n{report.table()}\n")
    sys.exit(bool(report.broken))


if __name__ == "__main__":
    main()
