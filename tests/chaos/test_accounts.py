"""
Failures, drains, polls and keys of several accounts, with real workers and simulators.

The tests count calls and jobs, and measure no time.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.chaos.account_deaths import DEATHS, Death
from tests.chaos.account_stage import AccountStage, account_stage, audit, key_of
from tests.chaos.stack import environment_of
from tests.gateway_process import Callers, running_gateway
from tests.integration.console.conftest import Person
from tests.process_watch import eventually, retouch
from tests.store_access import store_access

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]
CAPS = {"a": 3, "b": 4, "c": 5}
OTHERS = ("a", "c")
MAX_CHARGES = 2


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AccountStage]:
    folder = tmp_path_factory.mktemp("accounts")
    with account_stage(folder, CAPS, latency_s=0.1, max_charges=MAX_CHARGES, pix2pix_timeout_s=6.0) as stage:
        stage.start_worker()
        yield stage


@pytest.fixture
def stage(shared: AccountStage) -> AccountStage:
    """Three accounts with 3, 4 and 5 slots, calls of 0.1 s, and one worker that serves all three."""
    shared.revive()
    return shared


@pytest.mark.parametrize("death", DEATHS, ids=lambda death: death.name)
def test_one_account_dies_half_way(stage: AccountStage, death: Death) -> None:
    """When one account fails during a run, `audit` finds no difference, and the other accounts go on."""
    stage.answer_after(1.0)  # a busy machine does not see in time that fast calls are half done
    jobs = stage.enqueue(120)
    assert eventually(lambda: stage.ended(jobs) >= 30)
    death.begin(stage.simulators["b"])
    stage.answer_after(0.1)
    records = stage.wait_until_over(jobs)
    assert audit(stage, MAX_CHARGES, jobs) == []
    if death.is_free:
        assert {(record.state, sum(one.possible for one in record.charges)) for record in records} == {("succeeded", 1)}
    assert stage.numbers("b").closed == death.closes
    assert death.closes or stage.numbers("b").breaker_open_s > 0
    assert {stage.numbers(account).binding for account in OTHERS} == {"none"}
    assert [stage.books()[account]["refused"] for account in OTHERS] == [{}, {}]


def test_a_closed_account_is_opened_by_a_test(stage: AccountStage) -> None:
    """A closed account gets no calls until somebody tests it. The success of one job then opens the account."""
    cursor = stage.cursor
    stage.simulators["b"].settings(keys=["sk-another-key"])
    jobs = stage.wait_until_closed("b")
    stage.simulators["b"].settings(keys=[key_of("b")])
    before = stage.posts("b")
    jobs += stage.enqueue(30)
    stage.wait_until_over(jobs)
    assert stage.posts("b") == before
    assert stage.accounts.test("b")
    jobs += stage.enqueue(60)
    stage.wait_until_over(jobs)
    assert stage.numbers("b").closed == ""
    assert stage.posts("b") > before
    assert audit(stage, 1, jobs) == []
    assert stage.account_events(cursor) == ["account.closed", "account.opened"]


def test_every_poll_reaches_its_creator(stage: AccountStage) -> None:
    """If all answers are `processing`, each job is polled at the account that accepted it, until the image is ready."""
    before = stage.books()
    for simulator in stage.simulators.values():
        simulator.settings(processing_share=1.0, processing_s=0.4, eta_s=0.5)
    jobs = stage.enqueue(60)
    records = stage.wait_until_over(jobs)
    assert audit(stage, 1, jobs) == []
    assert {record.state for record in records} == {"succeeded"}
    after = stage.books()
    for job, record in zip(jobs, records, strict=True):
        [charge] = record.charges
        assert after[charge.account]["by_tag"][str(stage.number_of(job))]["statuses"] == ["processing"]
    # Each simulator knows its own requests alone: a poll elsewhere would find nothing, and be one too many.
    for account in CAPS:
        polls, calls = (after[account][name] - before[account][name] for name in ("fetches", "charged"))
        assert polls == calls > 0


def test_a_drain_under_load_loses_nothing(stage: AccountStage) -> None:
    """A draining account gets no new POST. Its jobs in progress are polled to the end."""
    for simulator in stage.simulators.values():
        simulator.settings(processing_share=0.5, processing_s=1.0, eta_s=1.0)
    jobs = stage.enqueue(90)
    assert eventually(lambda: stage.posts("b", jobs) >= 8)
    stage.accounts.drain("b")
    assert eventually(lambda: stage.numbers("b").held == 0)
    posts = stage.posts("b")
    records = stage.wait_until_over(jobs)
    assert stage.posts("b") == posts
    assert {record.state for record in records} == {"succeeded"}
    stage.accounts.resume("b")
    stage.wait_until_over(stage.enqueue(60))
    assert stage.posts("b") > posts
    assert audit(stage, 1, jobs) == []


def test_an_account_is_taken_away_and_given_back(stage: AccountStage) -> None:
    """
    While an account is not in the file, it gets no calls, and jobs continue on other accounts.

    Once the account is in the file again, it gets calls.
    """
    jobs = stage.enqueue(90)
    assert eventually(lambda: stage.posts("b", jobs) >= 8)
    table = stage.tables.pop("b")
    stage.write_file()
    assert eventually(lambda: "b" not in stage.accounts.ids())
    posts = stage.posts("b")
    jobs += stage.enqueue(30)
    stage.wait_until_over(jobs)
    assert stage.posts("b") == posts
    stage.tables["b"] = table
    stage.write_file()
    assert eventually(lambda: "b" in stage.accounts.ids() and stage.numbers("b").served)
    jobs += stage.enqueue(60)
    stage.wait_until_over(jobs)
    assert stage.posts("b") > posts
    assert audit(stage, 1, jobs) == []


@pytest.fixture
def owned(stage: AccountStage) -> Iterator[AccountStage]:
    """Yield the stage. Account `b` belongs to the tenant `owner`, who never uses shared accounts."""
    own = {"tenants": ["owner"], "shared_fallback": "never"}
    stage.tables["b"] |= own
    stage.write_file()
    assert eventually(lambda: stage.numbers("b").tenants == ("owner",))
    yield stage
    for name in own:
        del stage.tables["b"][name]
    stage.write_file()
    assert eventually(lambda: stage.numbers("b").tenants == ())


def test_a_tenant_that_never_shares_waits_for_its_own(owned: AccountStage) -> None:
    """If a tenant never uses shared accounts, its jobs wait while its own account is closed."""
    stage = owned
    stage.simulators["b"].settings(keys=["sk-another-key"])
    own = stage.enqueue(12, tenant="owner")
    others = stage.enqueue(60)
    stage.wait_until_over(others)
    assert eventually(lambda: stage.numbers("b").closed == "bad_key")
    assert stage.ended(own) == 0
    stage.simulators["b"].settings(keys=[key_of("b")])
    assert stage.accounts.test("b")
    records = stage.wait_until_over(own)
    assert {(record.state, record.account) for record in records} == {("succeeded", "b")}
    assert [stage.posts(account, own) for account in OTHERS] == [0, 0]
    assert stage.posts("b", others) == 0
    assert audit(stage, 1, own + others) == []


def test_keys_are_nowhere_but_in_their_files(stage: AccountStage) -> None:
    """No key of an account is in Redis, logs, metrics, pages, outputs of commands or process titles."""
    stage.simulators["b"].settings(keys=["sk-another-key"])
    job, *_ = stage.wait_until_closed("b")
    client, environment = store_access(stage.queue).client, environment_of(stage.settings)
    with running_gateway(environment) as (url, gateway):
        callers = Callers(url, client)
        ops = callers("staff", "ops")
        paths = (
            "/metrics",
            "/v1/accounts",
            "/v1/accounts/b",
            "/v1/status",
            "/v1/edits",
            "/v1/usage?by=account",
            "/docs",
        )
        pages = [ops.get(path).text for path in (*paths, "/openapi.json", "/problems/not-found")]
        person = Person(url, ops.secret)
        person.sign_in()
        console = ("", "/accounts", "/accounts/b", f"/jobs/{job}", "/workers", "/audit")
        pages += [person.text(f"/console{path}") for path in console]
        ran = [
            retouch(*words.split(), environment=environment)
            for words in ("accounts list", "accounts show b", "settings", "doctor --only accounts")
        ]
        seen = {
            "pages": "".join(pages),
            "commands": "".join(ended.stdout + ended.stderr for ended in ran),
            "logs": stage.log + "\n".join(gateway.lines),
            "titles": "".join(titles()),
            # The append-only file has each command that was ever sent, so messages that were taken are in it too.
            "redis": "".join(path.read_bytes().decode("latin-1") for path in (stage.folder / "valkey").rglob("*.aof")),
        }
        person.browser.close()
        callers.close()
    assert all(len(text) > 100 for text in seen.values())
    written = [form for account in CAPS for form in forms_of(key_of(account))]
    assert [(place, form) for place, text in seen.items() for form in written if form in text] == []


def titles() -> Iterator[str]:
    """Yield the command line of each process of this machine."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended since the listing
            yield path.read_bytes().decode(errors="replace")


def forms_of(key: str) -> list[str]:
    """
    Return the texts to search for a key: the key itself, and its three possible forms in base64, which Celery uses.
    """
    inside = [base64.b64encode(("x" * shift + key).encode()).decode()[4:-4] for shift in range(3)]
    return [key, *inside]
