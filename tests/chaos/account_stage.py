"""
The processes for tests with several accounts: a simulator and a key for each account, and workers with an accounts
file.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retouch import Edit, EditQueue, Settings
from retouch.feed import last_cursor, read_page
from retouch.store.accounts import AccountNumbers, AccountStore
from retouch.store.keys import account_gate
from retouch.store.ledger import Ledger
from retouch.store.records import JobRecord
from retouch_ops.simulator.process import Simulator
from tests.chaos.stack import FINAL, environment_of, start_valkey
from tests.process_watch import eventually
from tests.store_access import store_access

Json = dict[str, Any]
SPAM_FILTER_S = 0.2
SETTINGS: dict[str, object] = {
    "dangerous_allow_private_networks": "127.0.0.0/8",
    "lease_s": 3.0,
    "spam_filter_s": SPAM_FILTER_S,
    "backoff_base_s": 0.1,
    "backoff_cap_s": 0.5,
    "max_attempts": 20,
    "pix2pix_timeout_s": 20.0,
    "log_format": "json",
}


def key_of(account: str) -> str:
    """Return the API key of an account; its simulator accepts no other key."""
    return f"sk-planted-{account}-4f1c9d"


@dataclass
class AccountStage:
    """
    Simulators, a store, a queue and workers.

    `tables` has the tables of the accounts file. To change the file, change `tables` and then call `write_file`. Each
    job has a number, counted from the start of the stage. The number is the tag of the job in the simulators' books.
    """

    folder: Path
    simulators: dict[str, Simulator]
    tables: dict[str, Json]
    settings: Settings
    queue: EditQueue
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)

    @property
    def log(self) -> str:
        """The log of all workers so far."""
        return (self.folder / "workers.log").read_text(errors="replace")

    @property
    def accounts(self) -> AccountStore:
        """The accounts in the store."""
        return AccountStore(store_access(self.queue).client)

    def write_file(self) -> None:
        """Write the key files and the accounts file. A worker never reads a half-written file."""
        for account in self.simulators:
            self._replace_file(account, key_of(account))
        lines = [line for account, table in self.tables.items() for line in _table(account, table)]
        self._replace_file("accounts.toml", "\n".join(lines))

    def _replace_file(self, name: str, text: str) -> None:
        draft = self.folder / f"{name}.new"
        draft.write_text(text)
        draft.replace(self.folder / name)

    def start_worker(self, concurrency: int = 40) -> None:
        """Start one more worker, and wait until it serves every account of the file."""
        command = [sys.executable, "-m", "retouch_ops.worker_process", f"accounts{len(self.workers)}"]
        with (self.folder / "workers.log").open("ab") as log:
            process = subprocess.Popen(
                [*command, "edits,deliveries", str(concurrency)],
                env=environment_of(self.settings),
                stdout=log,
                stderr=log,
            )
        self.workers.append(process)
        assert eventually(lambda: {one.id for one in self.accounts.all() if one.served} == set(self.tables)), self.log

    def enqueue(self, count: int, **options: Any) -> list[str]:
        """Enqueue `count` jobs, and return their ids."""
        start, picture = len(self.jobs), list(self.simulators.values())[-1].portrait_url
        edits = [Edit(prompt=f"winter [[{start + number}]]", init_image=picture) for number in range(count)]
        made = [job.id for job in self.queue.enqueue_many(edits, **options)]
        self.jobs += made
        return made

    def number_of(self, job: str) -> int:
        """Return the number of a job, which is its tag in the simulators' books."""
        return self.jobs.index(job)

    def records(self, jobs: Sequence[str]) -> list[JobRecord]:
        """Return the records of the jobs."""
        return store_access(self.queue).jobs.records(list(jobs))

    def ended(self, jobs: Sequence[str]) -> int:
        """Return how many of the jobs have ended."""
        return sum(record.state in FINAL for record in self.records(jobs))

    def wait_until_over(self, jobs: Sequence[str], within_s: float = 90.0) -> list[JobRecord]:
        """Wait until every job has ended, and return the records of the jobs."""
        assert eventually(lambda: self.ended(jobs) == len(jobs), within_s), self.why_not_over(jobs)
        return self.records(jobs)

    def wait_until_closed(self, account: str) -> list[str]:
        """Enqueue jobs until a refusal by the endpoint closes the account. Return these jobs, which have all ended."""
        jobs = list[str]()
        while not self.numbers(account).closed:
            jobs += self.enqueue(20)
            self.wait_until_over(jobs)
        return jobs

    def why_not_over(self, jobs: Sequence[str]) -> str:
        """
        Return a text for a failed assertion: the states of the jobs, the accounts, and the end of the workers' log.
        """
        states = Counter((record.state, record.error and record.error.code) for record in self.records(jobs))
        return f"{states}\n{self.accounts.all()}\n{self.log[-3000:]}"

    def numbers(self, account: str) -> AccountNumbers:
        """Return the numbers of one account."""
        return self.accounts.show(account)

    def books(self) -> dict[str, Json]:
        """Return the books of each account's simulator."""
        return {account: simulator.books() for account, simulator in self.simulators.items()}

    def booked(self) -> dict[str, int]:
        """Return how many charges the ledger has for each account."""
        rows = Ledger(store_access(self.queue).client).usage(by="account")
        return {row.key: row.useful + row.repeated + row.wasted + row.unknown for row in rows}

    def posts(self, account: str, jobs: Sequence[str] = ()) -> int:
        """Return how many POSTs an account's simulator got for these jobs, or for all jobs if `jobs` is empty."""
        books = self.simulators[account].books()
        tags = [str(self.number_of(job)) for job in jobs]
        return sum(books["by_tag"].get(tag, {}).get("posts", 0) for tag in tags) if jobs else int(books["posts"])

    def answer_after(self, latency_s: float) -> None:
        """Make every simulator answer after this time. This includes the calls in flight."""
        for simulator in self.simulators.values():
            simulator.settings(latency_s=latency_s)

    def revive(self) -> None:
        """End the faults of all accounts, resume and open each account, and close each breaker."""
        client = store_access(self.queue).client
        for account, simulator in self.simulators.items():
            simulator.faults(rates={})
            simulator.settings(keys=[key_of(account)], processing_share=0.0)
            client.hdel(account_gate(account), "mode", "closed", "closed_at", "down", "open_until", "open_s", "probing")

    @property
    def cursor(self) -> str:
        """Return the cursor of the newest event in the feed."""
        return last_cursor(store_access(self.queue).client)

    def account_events(self, after: str) -> list[str]:
        """Return the types of the events about accounts that follow a cursor in the feed."""
        kinds = list[str]()
        while page := read_page(store_access(self.queue).client, after):
            kinds += [entry.type for entry in page if entry.type.startswith("account.")]
            after = page[-1].cursor
        return kinds

    def close(self) -> None:
        """Kill the workers."""
        for worker in self.workers:
            worker.kill()
            worker.wait()


def _table(account: str, table: Mapping[str, object]) -> list[str]:
    fields = {"key_file": account, **table}
    return [f"[accounts.{account}]", *(f"{name} = {_toml(value)}" for name, value in fields.items()), ""]


def _toml(value: object) -> str:
    return (
        str(value)
        if isinstance(value, int | float)
        else str(value).replace("'", '"')
        if isinstance(value, list)
        else f'"{value}"'
    )


@contextmanager
def account_stage(
    folder: Path,
    caps: Mapping[str, int],
    *,
    latency_s: float,
    tables: Mapping[str, Json] | None = None,
    **settings: Any,
) -> Iterator[AccountStage]:
    """
    Context manager that starts Valkey, a queue and a simulator for each account, and yields the stage without a worker.

    The limit of each account is its cap unless `tables` say otherwise. All processes are killed at the end.
    """
    with ExitStack() as stack:
        simulators = {
            account: stack.enter_context(Simulator(cap=cap, latency_s=latency_s, spam_filter_s=SPAM_FILTER_S))
            for account, cap in caps.items()
        }
        for account, simulator in simulators.items():
            simulator.settings(keys=[key_of(account)])
        valkey = start_valkey(folder / "valkey")
        stack.callback(valkey.stop)
        common = {
            **SETTINGS,
            "redis_url": f"redis://127.0.0.1:{valkey.port}/0",
            "store_url": (folder / "blobs").as_uri(),
            "accounts": str(folder / "accounts.toml"),
        }
        stage_settings = Settings.load(**{**common, **settings})
        queue = stack.enter_context(EditQueue(settings=stage_settings))
        own = {
            account: {
                "url": simulator.pix2pix_url,
                "fetch_url": simulator.fetch_url,
                "limit": caps[account],
                **(tables or {}).get(account, {}),
            }
            for account, simulator in simulators.items()
        }
        stage = AccountStage(folder, simulators, own, stage_settings, queue)
        stage.write_file()
        stack.callback(stage.close)
        yield stage


def audit(stage: AccountStage, max_charges: int, jobs: Sequence[str] = ()) -> list[str]:
    """
    Compare the books of all simulators with the store, and return a line for each broken promise.

    If `jobs` is empty, all jobs are compared. There are five promises. Each job ends. A job fails only after
    `max_charges` possible charges. No job is charged more often than `max_charges`, over all accounts together. Each
    charge is on record with its account. The ledger of each account has as many charges as its simulator.
    """
    books, broken = stage.books(), list[str]()
    for job, record in zip(jobs or stage.jobs, stage.records(jobs or stage.jobs), strict=True):
        tag = str(stage.number_of(job))
        charged = {account: book["by_tag"].get(tag, {}).get("charged", 0) for account, book in books.items()}
        possible = Counter(charge.account for charge in record.charges if charge.possible)
        on_record = [(charge.account, charge.kind) for charge in record.charges]
        if record.state not in FINAL:
            broken.append(f"{job}: {record.state}")
        if sum(charged.values()) > max_charges:
            broken.append(f"{job}: charged {charged}, at most {max_charges} are allowed, {on_record}")
        if charged != {account: possible[account] for account in charged}:
            broken.append(f"{job}: charged {charged}, on record are {on_record}")
        if record.state != "succeeded" and possible.total() < max_charges:
            broken.append(f"{job}: ended as {record.error} with {on_record}")
    totals = {account: book["charged"] for account, book in books.items()}
    booked = stage.booked()
    if totals != {account: booked.get(account, 0) for account in totals}:
        broken.append(f"the simulators charged {totals}, the ledger has {booked}")
    return broken
