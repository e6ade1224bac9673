"""Tenants, API keys and signed links in a real store."""

from __future__ import annotations

import math
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from retouch import EditQueue
from retouch.blobs import name_in, open_blobs
from retouch.edit import Edit
from retouch.settings import Settings
from retouch.store.links import LinkSigner
from retouch.store.tenants import Tenant, TenantStore
from tests.store_access import stored_contents


def test_a_key_is_kept_as_a_hash_alone(client: Any) -> None:
    """A key is found by its secret, and the secret is not in the store."""
    key, secret = TenantStore(client).create_key("acme", "ops", "laptop")
    assert TenantStore(client).find(secret) == key
    assert (key.tenant, key.role, key.name, key.revoked_at) == ("acme", "ops", "laptop", None)
    contents = stored_contents(client)
    assert key.id.removeprefix("key_") in str(contents)
    assert secret not in str(contents)


def test_keys_are_listed_used_and_revoked(client: Any) -> None:
    """A revoked API key is refused, and stays in the list with the time of its revocation. Other keys still work."""
    tenants = TenantStore(client)
    first, secret = tenants.create_key("acme")
    second, other = tenants.create_key("globex")
    tenants.note_use(secret, 1_700_000_000.0)
    assert [key.last_used_at for key in tenants.api_keys()] == [1_700_000_000.0, None]
    assert tenants.revoke(first.id) is not None
    assert tenants.find(secret) is None
    assert tenants.find(other) == second
    assert [key.revoked_at is None for key in tenants.api_keys()] == [False, True]
    assert [key.id for key in tenants.api_keys("globex")] == [second.id]
    assert tenants.revoke("key_unknown") is None


def test_unknown_secrets_and_roles(client: Any) -> None:
    """`find` returns None for an unknown secret, and `create_key` raises ValueError for an unknown role."""
    assert TenantStore(client).find("rtk_wrong") is None
    assert TenantStore(client).find("") is None
    with pytest.raises(ValueError, match="producer or viewer or ops"):
        TenantStore(client).create_key("acme", "root")


def test_limits_of_a_tenant(client: Any) -> None:
    """`set_tenant` stores the limits that it gets and keeps the others. A limit of 0 removes the limit."""
    tenants = TenantStore(client)
    assert tenants.tenant("acme").in_flight_limit is None
    tenants.set_tenant("acme", weight=2, in_flight_limit=3, backlog_limit=10, budget=100, share_duplicates=True)
    limits = tenants.set_tenant("acme", in_flight_limit=0, budget=50)
    assert (limits.weight, limits.in_flight_limit, limits.backlog_limit, limits.budget) == (2.0, None, 10, 50)
    assert limits.share_duplicates


@pytest.mark.parametrize("weight", [0.0, -1.0, 0.001, 1_001.0, math.nan, math.inf, -math.inf])
def test_a_weight_that_could_not_be_shared_by_is_refused(client: Any, weight: float) -> None:
    """A weight outside 0.01 to 1,000 raises ValueError and changes nothing."""
    tenants = TenantStore(client)
    tenants.set_tenant("acme", weight=2)
    with pytest.raises(ValueError, match=r"^weight: expected a number from 0\.01 to 1000, got "):
        tenants.set_tenant("acme", weight=weight, in_flight_limit=3, budget=7)
    assert tenants.tenant("acme") == Tenant("acme", weight=2.0)


@pytest.mark.parametrize("name", ["in_flight_limit", "backlog_limit", "budget"])
def test_a_limit_below_zero_is_refused(client: Any, name: str) -> None:
    """A negative limit raises ValueError and changes nothing."""
    tenants = TenantStore(client)
    limits: dict[str, Any] = {name: -1}
    with pytest.raises(ValueError, match=f"^{name}: expected 0 or more, got -1$"):
        tenants.set_tenant("acme", weight=2, **limits)
    assert tenants.tenant("acme") == Tenant("acme")


def test_a_link_is_signed_and_expires(client: Any, tmp_path: Any) -> None:
    """A signed link is valid only for its own name and expiry, and only before the expiry."""
    signer = LinkSigner(client)
    blobs = open_blobs(tmp_path.as_uri(), "http://gateway", signer)
    name = blobs.put(b"bytes", "png")
    link = blobs.link(name, 60)
    query = {key: value[0] for key, value in parse_qs(urlsplit(link).query).items()}
    other = LinkSigner(client)
    assert other.verify(name, query["expires"], query["signature"])
    assert not other.verify(name.replace("png", "jpg"), query["expires"], query["signature"])
    assert not other.verify(name, str(int(query["expires"]) + 3600), query["signature"])
    past = int(time.time()) - 1
    assert not other.verify(name, str(past), signer(name, past))
    assert not other.verify(name, "²", query["signature"])
    assert name_in(link) == name
    assert name_in("http://gateway/files/nothing.png") == ""


def test_a_link_minted_again_is_the_same_request(queue: EditQueue, client: Any) -> None:
    """Two requests with the same idempotency key and two signed links to the same picture are the same request."""
    settings: Settings = queue.settings
    blobs = open_blobs(settings.store, settings.public_url, LinkSigner(client))
    name = blobs.put(b"bytes", "png")
    links = [blobs.link(name, 60), blobs.link(name, 90_000)]
    assert links[0] != links[1]
    jobs = [queue.enqueue(Edit(prompt="a", init_image=link), idempotency_key="once") for link in links]
    assert jobs[0].id == jobs[1].id
    jobs[0].cancel()
