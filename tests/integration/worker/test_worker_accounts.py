"""A real worker with an accounts file consumes the queues of its accounts, and follows changes of the file."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from retouch import Edit, EditQueue, Settings
from retouch.broker import make_app
from retouch.publisher import KEY_PREFIX, Publisher
from retouch_ops.simulator.process import Simulator
from tests.process_watch import eventually

if TYPE_CHECKING:
    from tests.conftest import RunningWorker

KEY, LATER, OTHER = "sk-planted-first", "sk-planted-later", "sk-planted-other"


class Accounts:
    """An accounts file, with a key file for each account. Its methods replace these files as an operator does."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "accounts.toml"

    def name(self, *names: str) -> None:
        text = "".join(f'[accounts.{name}]\nkey_file = "{name}.key"\n' for name in names)
        self._swap(self.path, text)

    def key(self, name: str, key: str) -> None:
        self._swap(self.folder / f"{name}.key", f"{key}\n")

    def _swap(self, path: Path, text: str) -> None:
        draft = path.with_suffix(".draft")
        draft.write_text(text)
        draft.replace(path)


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    made = Accounts(tmp_path)
    made.name("default", "other")
    made.key("default", KEY)
    return made


@pytest.fixture
def running(worker: Callable[..., RunningWorker], accounts: Accounts) -> RunningWorker:
    started = worker(accounts=accounts.path, log_format="json", pix2pix_key="")
    assert eventually(lambda: " ready." in started.log), started.log
    return started


def queues_of(redis_url: str) -> set[str]:
    """Return the names of the queues that workers consume, as the workers report them to Celery's `inspect`."""
    with make_app(Settings.load(redis_url=redis_url)) as app:
        answers = app.control.inspect(timeout=5, limit=1).active_queues() or {}
    return {queue["name"] for queues in answers.values() for queue in queues}


def events(running: RunningWorker, name: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in running.log.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == name]


def edited(queue: EditQueue, simulator: Simulator, redis_url: str, tag: str, account: str = "default") -> None:
    """Enqueue an edit, send a message for the job to the queue of `account`, and wait for the image."""
    job = queue.enqueue(Edit(prompt=f"winter [[{tag}]]", init_image=simulator.portrait_url))
    publisher = Publisher(Settings.load(redis_url=redis_url))
    publisher.publish([(f"edits.{account}", job.id)])
    publisher.close()
    assert job.result(20).format == "PNG"


def test_a_worker_follows_its_accounts(
    running: RunningWorker, accounts: Accounts, queue: EditQueue, simulator: Simulator, redis_url: str
) -> None:
    """
    A running worker uses new keys and new accounts without a restart. The queue of a removed account stays, for work in
    progress. An invalid file changes nothing. The log contains no key.
    """
    (line,) = events(running, "accounts_not_served")
    assert line["accounts"] == ["other"]
    assert queues_of(redis_url) == {"edits", "deliveries"}
    simulator.settings(keys=[KEY])
    edited(queue, simulator, redis_url, "first")

    accounts.key("default", LATER)
    assert eventually(lambda: events(running, "accounts_reloaded")), running.log
    simulator.settings(keys=[LATER])
    edited(queue, simulator, redis_url, "rotated")

    accounts.key("other", OTHER)
    assert eventually(lambda: queues_of(redis_url) == {"edits", "edits.other", "deliveries"})
    accounts.key("third", OTHER)
    accounts.name("default", "third")
    assert eventually(lambda: queues_of(redis_url) == {"edits", "edits.other", "edits.third", "deliveries"})
    edited(queue, simulator, redis_url, "by the third's queue", "third")

    accounts.path.write_text("[accounts")
    assert eventually(lambda: events(running, "accounts_not_reloaded")), running.log
    edited(queue, simulator, redis_url, "faulty")
    accounts.name("default")
    assert eventually(lambda: queues_of(redis_url) == {"edits", "edits.other", "edits.third", "deliveries"})
    job = queue.enqueue(Edit(prompt="winter [[one]]", init_image=simulator.portrait_url))
    assert job.result(20).format == "PNG"
    assert simulator.books(totals=True)["charged"] == 5
    assert "sk-planted" not in running.log


def test_what_waits_in_a_removed_queue_stays_there(
    running: RunningWorker, accounts: Accounts, client: Any, redis_url: str
) -> None:
    """If a worker never held the key of a removed account, messages in the account's queue stay there."""
    accounts.name("default", "third")
    assert eventually(lambda: events(running, "accounts_reloaded")), running.log
    accounts.key("other", OTHER)
    publisher = Publisher(Settings.load(redis_url=redis_url))
    publisher.publish([("edits.other", "ed_0123456789abcdef01234567")])
    publisher.close()
    assert queues_of(redis_url) == {"edits", "deliveries"}
    assert client.llen(f"{KEY_PREFIX}edits.other") == 1


def test_a_hang_up_reloads_and_kills_nothing(
    running: RunningWorker, accounts: Accounts, queue: EditQueue, simulator: Simulator, redis_url: str
) -> None:
    """On SIGHUP the worker reads its accounts again, without a restart and without ending the call in flight."""
    simulator.settings(latency_s=1.0)
    job = queue.enqueue(Edit(prompt="winter [[slow]]", init_image=simulator.portrait_url), max_charges=1)
    publisher = Publisher(Settings.load(redis_url=redis_url))
    publisher.publish([("edits.default", job.id)])
    publisher.close()
    assert eventually(lambda: simulator.books(totals=True)["charged"] == 1)
    accounts.key("default", LATER)
    running.process.send_signal(signal.SIGHUP)
    assert eventually(lambda: events(running, "accounts_reloaded")), running.log
    assert job.result(20).format == "PNG"
    assert running.process.poll() is None
    assert len(events(running, "worker_started")) == 1


def test_a_worker_without_any_key_ends(worker: Callable[..., RunningWorker], accounts: Accounts) -> None:
    """A worker that can read no key of its accounts exits with 2, and its log names each account with the reason."""
    (accounts.folder / "default.key").unlink()
    running = worker(accounts=accounts.path, log_format="json", pix2pix_key=KEY)
    assert running.process.wait(30) == 2
    (line,) = events(running, "accounts_unusable")
    assert "accounts.default: no key, " in line["reason"]
    assert "accounts.other: no key, " in line["reason"]
    assert "Traceback" not in running.log


def test_a_worker_of_deliveries_needs_no_keys(
    worker: Callable[..., RunningWorker], accounts: Accounts, redis_url: str
) -> None:
    """A worker that serves only deliveries runs without any key, and goes on after a SIGHUP."""
    (accounts.folder / "default.key").unlink()
    running = worker("-Q", "deliveries", accounts=accounts.path, log_format="json")
    assert eventually(lambda: " ready." in running.log), running.log
    running.process.send_signal(signal.SIGHUP)
    assert queues_of(redis_url) == {"deliveries"}
    assert running.process.poll() is None
