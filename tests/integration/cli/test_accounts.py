"""`retouch accounts` from the command line, against a real store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from retouch.outcomes import Fail
from retouch.store import keys
from retouch.store.lanes import Lanes
from tests.command_line import typed
from tests.lane_kit import LaneKit
from tests.process_watch import eventually
from tests.store_accounts import account, close, open_accounts


@pytest.fixture(autouse=True)
def store(client: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put two accounts into an empty store, both served by a worker, and set a terminal of 200 columns."""
    monkeypatch.setenv("RETOUCH_REDIS_URL", redis_url)
    monkeypatch.setenv("COLUMNS", "200")
    open_accounts(
        client,
        account("main", limit="auto", price_per_call=0.01, calls_per_day=100),
        account("spare", tier=2, weight=0.5, tenants=("acme",)),
    )
    yield
    client.flushdb()


def test_without_a_file_there_is_one_account(client: Any) -> None:
    """
    Without an accounts file, `accounts list` prints that one account is made of the settings. The JSON list is empty.
    """
    client.flushdb()
    assert typed("accounts", "list").out.startswith("one account, made of the settings")
    assert typed("accounts", "list", "--json").json == []


def test_the_table_of_accounts(client: Any, kit: LaneKit) -> None:
    """
    `accounts list` prints one row for each account.

    A row has the limit and its origin, the slots held, the reason why jobs wait, the number of workers, the calls and
    the cost.
    """
    kit.enqueue(kit.new("globex"), kit.new("globex"))
    client.hset("rt:edits:gate:main", "open_until", 1e15)
    head, main, spare = typed("accounts", "list").out.splitlines()
    assert head.split("  ")[0] == "ACCOUNT"
    assert main.split() == ["main", "1", "1", "open", "5", "learnt", "2", "breaker", *main.split()[8:]]
    assert main.split()[9:] == ["-", "1", "0", "of", "100", "0"]
    assert spare.split() == ["spare", "2", "0.5", "open", "2", "set", "0", "-", "-", "-", "1", "0", "0"]


def test_one_account_as_text_and_json() -> None:
    """`accounts show` prints the settings and the state of an account, as text or as a JSON object."""
    text = typed("accounts", "show", "spare").out
    assert "tier 2, weight 0.5" in text
    assert "only acme; shared accounts: never" in text
    document = typed("accounts", "show", "main", "--json").json
    assert (document["id"], document["binding"], document["mode"], document["workers"]) == ("main", "none", None, 1)
    assert (document["limit"], document["learns"], document["calls_per_day"]) == (5, True, 100)


@pytest.mark.parametrize("command", ["show", "test", "pause", "drain", "resume"])
def test_an_unknown_account_is_a_usage_error(command: str) -> None:
    """With an account id that the file does not have, the command exits with 2 and prints the known ids."""
    ended = typed("accounts", command, "moon")
    assert ended.code == 2
    assert "expected one of the accounts main, spare, got 'moon'" in ended.err


@pytest.mark.parametrize(("command", "mode"), [("pause", "paused"), ("drain", "draining")])
def test_pause_and_drain_until_resumed(command: str, mode: str) -> None:
    """`pause` and `drain` set the mode of an account, and `resume` removes it. Each change is in the audit log."""
    assert typed("accounts", command, "main").out.startswith(f"main: {mode}; ")
    document = typed("accounts", "show", "main", "--json").json
    assert (document["mode"], document["binding"]) == (mode, mode)
    assert typed("accounts", "resume", "main").out == "main: resumed\n"
    assert typed("accounts", "show", "main", "--json").json["mode"] is None
    changes = [
        (line["action"], line["details"]["ids"], line["by"]["surface"]) for line in typed("audit", "--json").json
    ]
    assert changes == [("account.resume", ["main"], "cli"), (f"account.{command}", ["main"], "cli")]


def test_a_drained_account_says_what_it_still_holds(kit: LaneKit) -> None:
    """`drain` prints how many slots the account still holds."""
    kit.enqueue(kit.new("globex"))
    assert "main: 1 slots are still held" in typed("accounts", "drain", "main").out


def test_resuming_does_not_open_what_the_endpoint_closed(client: Any) -> None:
    """
    `resume` does not open an account that the endpoint closed. The command prints the reason, and how to test the
    account.
    """
    close(client, "main")
    assert "the endpoint closed it (bad_key); `retouch accounts test main`" in typed("accounts", "resume", "main").out
    assert "closed: bad_key" in typed("accounts", "list").out


def test_nothing_to_test() -> None:
    """If the account is not closed, `accounts test` prints that nothing was tested, and exits with 0."""
    ended = typed("accounts", "test", "main")
    assert (ended.code, ended.out) == (0, "main: is not closed; nothing was tested\n")


@pytest.mark.parametrize(("command", "mode"), [("pause", "paused"), ("drain", "draining")])
def test_a_paused_account_is_not_open(client: Any, kit: LaneKit, command: str, mode: str) -> None:
    """`accounts test` exits with 1 for a paused or draining account, even if the test has passed."""
    typed("accounts", command, "main")
    advice = f"{mode}, `retouch accounts resume main` ends that"
    ended = typed("accounts", "test", "main")
    assert (ended.code, ended.out) == (1, f"main: is {advice}; nothing was tested\n")
    kit.enqueue(kit.new("acme"), kit.new("acme"), kit.new("acme"))
    close(client, "main")

    def open_it() -> None:
        if eventually(lambda: client.hget(keys.account_gate("main"), "open_until") == "0"):
            client.hdel(keys.account_gate("main"), "closed", "closed_at")

    answering = threading.Thread(target=open_it)
    answering.start()
    ended = typed("accounts", "test", "main", "--wait-s", 20)
    answering.join()
    assert (ended.code, ended.out) == (1, f"main: the test has passed, but it is {advice}\n")


def test_no_job_is_waiting_for_the_test(client: Any) -> None:
    """While no job waits, `accounts test` prints that the next job is let through, and exits with 1."""
    close(client, "main")
    ended = typed("accounts", "test", "main")
    assert (ended.code, ended.out) == (1, "main: no job is waiting; the next one that comes is let through to it\n")
    assert typed("accounts", "show", "main", "--json").json["tested"] is True


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({}, 1, "no answer within 0.3 s; the test goes on"),
        ({"closed_at": 1_700_000_099.0}, 1, "a job was let through and refused (bad_key); the account stays closed"),
        (None, 0, "is open again"),
    ],
)
def test_what_becomes_of_the_test(
    client: Any, kit: LaneKit, change: dict[str, float] | None, code: int, words: str
) -> None:
    """`accounts test` lets one job through, and prints: the account is open, the job was refused, or no answer came."""
    gate = keys.account_gate("main")
    kit.lanes.pause()
    kit.enqueue(kit.new("globex"))
    close(client, "main")

    def answer() -> None:
        if eventually(lambda: client.hget(gate, "open_until") == "0") and change is None:
            client.hdel(gate, "closed", "closed_at", "open_until")
        elif change:
            client.hset(gate, mapping=change)

    answering = threading.Thread(target=answer)
    answering.start()
    ended = typed("accounts", "test", "main", "--wait-s", 0.3 if change == {} else 20)
    answering.join()
    assert ended.code == code
    assert ended.out.startswith(f"main: {words}")


def test_usage_by_account_is_empty_without_charges() -> None:
    """Without charges, `usage --by account --json` prints an empty list."""
    assert typed("usage", "--by", "account", "--json").json == []


def test_usage_has_the_prices_of_the_accounts(kit: LaneKit) -> None:
    """`usage` has amounts without `RETOUCH_PRICE_PER_CALL`, and a note only if no account has a price."""
    for tenant, amount, note in (("acme", "0.0", True), ("globex", "0.01", False)):
        job = kit.new(tenant)
        kit.enqueue(job)
        claim = kit.claim(job.id)
        assert kit.jobs.intend(claim) == "ok"
        kit.jobs.settle(claim, Fail("outcome_unknown", "no answer came", retryable=True))
        ended = typed("usage").out.splitlines()
        [row] = [line for line in ended if line.startswith(tenant)]
        assert row.split()[-1] == amount
        assert any("no price is set" in line for line in ended) == note


def test_an_account_that_the_file_lost_is_not_open(client: Any) -> None:
    """An account that a newer file does not name is `removed` while a worker serves it, and open once named again."""
    main, spare = account("main"), account("spare")
    Lanes(client).open([main])
    assert [line.split()[3] for line in typed("accounts", "list").out.splitlines()[1:]] == ["open", "removed"]
    assert typed("accounts", "show", "spare", "--json").json["removed"] is True
    Lanes(client).open([main, spare])
    assert [line.split()[3] for line in typed("accounts", "list").out.splitlines()[1:]] == ["open", "open"]
