"""`retouch keys` as it is typed, against a real store."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from retouch.store.tenants import TenantStore
from tests.watching import retouch


@pytest.fixture
def store(client: Any, redis_url: str) -> dict[str, str]:
    return {"RETOUCH_REDIS_URL": redis_url}


def test_a_key_from_first_to_last(store: dict[str, str], client: Any) -> None:
    """A key is shown once, works, is listed without its secret, and is refused once revoked."""
    made = json.loads(
        retouch("keys", "create", "--tenant", "acme", "--role", "ops", "--json", environment=store).stdout
    )
    key = TenantStore(client).find(made["secret"])
    assert key is not None
    assert (key.id, key.tenant, key.role) == (made["id"], "acme", "ops")
    listed = retouch("keys", "list", environment=store).stdout
    assert made["id"] in listed
    assert made["secret"] not in listed
    assert (
        json.loads(retouch("keys", "list", "--tenant", "acme", "--json", environment=store).stdout)[0]["id"] == key.id
    )
    assert retouch("keys", "revoke", made["id"], environment=store).stdout.split() == [made["id"], "revoked"]
    assert TenantStore(client).find(made["secret"]) is None
    assert "revoked" in retouch("keys", "list", environment=store).stdout


def test_limits_are_shown_and_set(store: dict[str, str], client: Any) -> None:
    """What is given changes, the rest stays; without options nothing does."""
    options = ["--weight", "2", "--budget", "100", "--share-duplicates"]
    told = json.loads(retouch("keys", "limits", "acme", *options, "--json", environment=store).stdout)
    assert (told["weight"], told["budget"], told["share_duplicates"], told["backlog_limit"]) == (2.0, 100, True, None)
    assert "in flight limit   no limit" in retouch("keys", "limits", "acme", environment=store).stdout
    assert TenantStore(client).tenant("acme").budget == 100


def test_limits_show_what_of_the_budget_is_gone(store: dict[str, str], client: Any) -> None:
    """Beside a budget stand the calls that are spent and reserved today; without one there is nothing to tell."""
    assert json.loads(retouch("keys", "limits", "acme", "--json", environment=store).stdout)["spent_today"] is None
    book = f"rt:budget:acme:{int(time.time() // 86_400)}"
    client.hset(book, mapping={"spent": 3, "reserved": 2})
    client.expire(book, 60)
    shown = retouch("keys", "limits", "acme", "--budget", "100", environment=store).stdout
    assert "spent today       3 calls, 2 reserved" in shown
    told = json.loads(retouch("keys", "limits", "acme", "--json", environment=store).stdout)
    assert (told["budget"], told["spent_today"], told["reserved"]) == (100, 3, 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["create", "--tenant", "not a name"], "--tenant: expected 1 to 64"),
        (["create", "--role", "root"], "producer"),
        (["revoke", "key_none"], "retouch keys list"),
    ],
)
def test_wrong_use(store: dict[str, str], arguments: list[str], words: str) -> None:
    """A name, a role or an id that is none ends with code 2 and a line that says so."""
    told = retouch("keys", *arguments, environment=store)
    assert told.returncode == 2
    assert words in told.stderr
