"""Tests of the endpoint of each account: its address, its current key, and the check of download addresses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from retouch import Settings
from retouch.egress.http import Answer
from retouch.outcomes import Failed, Processing
from retouch.store.records import JobSpec
from retouch_worker.edits.credentials import Credentials
from retouch_worker.edits.endpoint import Endpoint, Endpoints
from tests.integration.faulty_servers import RawServer, answer, answering, got, trouble

KEY_A, KEY_B, LATER = "sk-planted-key-a", "sk-planted-key-b", "sk-planted-key-later"
SPEC = JobSpec("acme", {"prompt": "winter", "init_image": "https://customer.example/in.png"}, 3_600.0)
ECHO = json.dumps({"status": "failed", "message": f"Out of order for {KEY_A}, {KEY_B}, {LATER}"}).encode()
SHOWN = "Out of order for [key], [key], [key]"


@pytest.fixture
def server() -> Iterator[RawServer]:
    with RawServer(answering(answer(ECHO))) as server:
        yield server


@pytest.fixture
def credentials(server: RawServer, tmp_path: Path) -> Credentials:
    (tmp_path / "a.key").write_text(KEY_A)
    (tmp_path / "b.key").write_text(KEY_B)
    (tmp_path / "accounts.toml").write_text(
        "".join(
            f'[accounts.{name}]\nurl = "{server.url(f"/{name}/edit")}"\nfetch_url = "{server.url(f"/{name}/fetch")}"\n'
            f'key_file = "{name}.key"\n'
            for name in ("a", "b")
        )
    )
    return Credentials(Settings.load(accounts=str(tmp_path / "accounts.toml")))


@pytest.fixture
def endpoints(credentials: Credentials) -> Endpoints:
    return Endpoints(Settings.load(), credentials, connections=2)


def held(endpoints: Endpoints, account: str) -> Endpoint:
    endpoint = endpoints.of(account)
    assert endpoint is not None
    return endpoint


def test_each_account_has_its_own_address_and_key(server: RawServer, endpoints: Endpoints) -> None:
    """A POST of account b goes to b's address with b's key, and contains nothing of account a."""
    held(endpoints, "b").post_edit(SPEC)
    (request,) = server.requests
    assert request.startswith(b"POST /b/edit ")
    assert KEY_B.encode() in request
    assert KEY_A.encode() not in request


def test_an_account_that_is_not_held_has_none(endpoints: Endpoints) -> None:
    """`of` returns None for an account that the accounts file does not name, also for `default`."""
    assert endpoints.of("c") is None
    assert endpoints.of("default") is None


def test_jobs_of_the_time_before_need_the_key_of_then(server: RawServer, tmp_path: Path) -> None:
    """
    With an accounts file, `default` has an endpoint only if the settings have a key. This endpoint can poll old jobs,
    but gets no new POST.
    """
    (tmp_path / "a.key").write_text(KEY_A)
    (tmp_path / "accounts.toml").write_text(f'[accounts.a]\nurl = "{server.url("/a")}"\nkey_file = "a.key"\n')
    for key in ("", "sk-of-the-settings"):
        settings = Settings.load(accounts=str(tmp_path / "accounts.toml"), pix2pix_key=key)
        endpoints = Endpoints(settings, Credentials(settings), connections=2)
        assert (endpoints.of("default") is None) == (key == "")
        assert endpoints.for_new_post("default") is None
        assert endpoints.for_new_post("a") is endpoints.of("a")


def test_a_call_under_way_keeps_its_key(
    server: RawServer, credentials: Credentials, endpoints: Endpoints, tmp_path: Path
) -> None:
    """After a key is replaced, a new attempt sends the new key. An attempt in progress continues with the old key."""
    before = held(endpoints, "a")
    (tmp_path / "a.key").write_text(f"{LATER}\n")
    assert credentials.reload_if_changed()
    held(endpoints, "a").post_edit(SPEC)
    before.poll(Processing("1", server.url("/a/fetch/1"), 0.0), SPEC, 1.0)
    new, old = server.requests
    assert (LATER.encode() in new, KEY_A.encode() in new) == (True, False)
    assert (LATER.encode() in old, KEY_A.encode() in old) == (False, True)


def test_an_account_that_is_removed_is_polled_and_gets_no_new_post(
    credentials: Credentials, endpoints: Endpoints, tmp_path: Path
) -> None:
    """An account that the file no longer names gets no new POST. Its jobs in progress can still be polled."""
    path = tmp_path / "accounts.toml"
    path.write_text(path.read_text().replace("[accounts.b]", "[accounts.c]"))
    assert credentials.reload_if_changed()
    assert endpoints.for_new_post("b") is None
    assert endpoints.of("b") is not None
    assert endpoints.for_new_post("c") is not None


def test_no_key_of_the_process_is_shown(
    server: RawServer, credentials: Credentials, endpoints: Endpoints, tmp_path: Path
) -> None:
    """Outcomes and reprs contain no current or former key of any account."""
    (tmp_path / "a.key").write_text(LATER)
    assert credentials.reload_if_changed()
    outcome, *_ = held(endpoints, "b").post_edit(SPEC)
    assert outcome == Failed(SHOWN)
    assert "sk-" not in repr((endpoints, vars(endpoints), held(endpoints, "b")))
    seen, _ = held(endpoints, "a").poll(Processing("1", server.url("/a/fetch/1"), 0.0), SPEC, 1.0)
    assert seen == Failed(SHOWN, seen_by_poll=True)


def test_outputs_on_an_accounts_own_host_need_no_vetting(server: RawServer, endpoints: Endpoints) -> None:
    """An output on the host of an account is downloaded even from a private address. No key is sent."""
    assert got(endpoints.download(server.url("/outputs/1.png"))).body == ECHO
    assert all(b"sk-" not in request for request in server.requests)


def test_outputs_elsewhere_are_vetted(server: RawServer, endpoints: Endpoints) -> None:
    """
    An output at a private address is refused, except at the address of an account. A redirect to this output is refused
    too.
    """
    with RawServer(answering(answer(b"inside"))) as inside:
        assert trouble(endpoints.download(inside.url("/secret"))) == ("refused_address", False)
        server.script = answering(answer(b"", "302 Found", Location=inside.url("/secret")))
        assert not isinstance(endpoints.download(server.url("/outputs/1.png")), Answer)
        assert inside.requests == []
