"""`retouch keys` from the command line, against a real store."""

from __future__ import annotations

import time
from typing import Any

import pytest

from retouch.store.tenants import TenantStore
from tests.command_line import typed


@pytest.fixture(autouse=True)
def store(client: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set an empty store and a terminal of 200 columns in the environment of the commands."""
    monkeypatch.setenv("RETOUCH_REDIS_URL", redis_url)
    monkeypatch.setenv("COLUMNS", "200")


def test_a_key_from_first_to_last(client: Any) -> None:
    """
    `keys create` prints a secret that works. The list does not show the secret. After `revoke`, the key is refused.
    """
    made = typed("keys", "create", "--tenant", "acme", "--role", "ops", "--json").json
    key = TenantStore(client).find(made["secret"])
    assert key is not None
    assert (key.id, key.tenant, key.role) == (made["id"], "acme", "ops")
    listed = typed("keys", "list").out
    assert made["id"] in listed
    assert made["secret"] not in listed
    assert typed("keys", "list", "--tenant", "acme", "--json").json[0]["id"] == key.id
    assert typed("keys", "revoke", made["id"]).out.split() == [made["id"], "revoked"]
    assert TenantStore(client).find(made["secret"]) is None
    assert "revoked" in typed("keys", "list").out


def test_limits_are_shown_and_set(client: Any) -> None:
    """`keys limits` changes only the limits that are given as options. Without options it changes nothing."""
    options = ["--weight", "2", "--budget", "100", "--share-duplicates"]
    limits = typed("keys", "limits", "acme", *options, "--json").json
    assert (limits["weight"], limits["budget"], limits["share_duplicates"], limits["backlog_limit"]) == (
        2.0,
        100,
        True,
        None,
    )
    assert "in flight limit   no limit" in typed("keys", "limits", "acme").out
    assert TenantStore(client).tenant("acme").budget == 100


def test_limits_show_what_of_the_budget_is_gone(client: Any) -> None:
    """
    If the tenant has a budget, `keys limits` prints the calls spent and reserved today. Without a budget, `spent_today`
    is null.
    """
    assert typed("keys", "limits", "acme", "--json").json["spent_today"] is None
    book = f"rt:budget:acme:{int(time.time() // 86_400)}"
    client.hset(book, mapping={"spent": 3, "reserved": 2})
    client.expire(book, 60)
    shown = typed("keys", "limits", "acme", "--budget", "100").out
    assert "spent today       3 calls, 2 reserved" in shown
    limits = typed("keys", "limits", "acme", "--json").json
    assert (limits["budget"], limits["spent_today"], limits["reserved"]) == (100, 3, 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["create", "--tenant", "not a name"], "--tenant: expected 1 to 64"),
        (["create", "--role", "root"], "producer"),
        (["revoke", "key_none"], "retouch keys list"),
        (["limits", "acme", "--weight", "0"], "greater than or equal to 0.01"),
        (["limits", "acme", "--weight", "inf"], "less than or equal to 1000"),
        (["limits", "acme", "--weight", "nan"], "less than or equal to 1000"),
    ],
)
def test_usage_errors(arguments: list[str], words: str) -> None:
    """A wrong tenant, role, key id or weight makes the command exit with 2 and name the fault."""
    ended = typed("keys", *arguments)
    assert ended.code == 2
    assert words in ended.err
