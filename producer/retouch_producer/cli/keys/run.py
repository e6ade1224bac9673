"""Creates, lists and revokes API keys."""

from __future__ import annotations

import json

from retouch.errors import InvalidEdit
from retouch.events import iso
from retouch.store.tenants import ApiKey, TenantStore
from retouch_producer.cli.context import open_context
from retouch_producer.cli.edit_request import terms_of
from retouch_producer.cli.errors import UsageError
from retouch_producer.cli.render import ago, print_table
from retouch_producer.documents import Document


def create_key(tenant: str, role: str, name: str, *, as_json: bool) -> None:
    """Create an API key and print its secret, of which only a hash is stored."""
    with open_context() as context:
        try:
            terms_of({"tenant": tenant}, context.settings)
        except InvalidEdit as error:
            raise UsageError(f"--tenant: {error.faults[0][1]}") from None
        key, secret = TenantStore(context.connections.client).create_key(tenant, role, name)
        context.note_change("key.create", tenant, ids=[key.id], role=role, name=name)
    if as_json:
        print(json.dumps({**_document(key), "secret": secret}, indent=2))
        return
    print(f"{key.id}  {key.role} of tenant {key.tenant}")
    print(f"secret  {secret}")
    print("Store the secret now: it cannot be shown again, since only its hash is kept.")


def list_keys(tenant: str, *, as_json: bool) -> None:
    """Print the API keys of a tenant ("" for all tenants), as a table or as a JSON array."""
    with open_context() as context:
        keys = TenantStore(context.connections.client).api_keys(tenant)
    if as_json:
        print(json.dumps([_document(key) for key in keys], indent=2))
        return
    print_table(("ID", "TENANT", "ROLE", "NAME", "AGE", "LAST USED", ""), [_key_row(key) for key in keys], "no key")


def _key_row(key: ApiKey) -> tuple[object, ...]:
    revoked = f"revoked {ago(key.revoked_at)} ago" if key.revoked_at else ""
    return key.id, key.tenant, key.role, key.name or "-", ago(key.created_at), ago(key.last_used_at), revoked


def revoke_key(identity: str, *, as_json: bool) -> None:
    """Revoke an API key and print it. Raises `UsageError` for an unknown id."""
    with open_context() as context:
        key = TenantStore(context.connections.client).revoke(identity)
        if key:
            context.note_change("key.revoke", key.tenant, ids=[key.id])
    if key is None:
        raise UsageError(f"unknown key {identity[:60]!r}; `retouch keys list` shows all")
    print(json.dumps(_document(key), indent=2) if as_json else f"{key.id}  revoked")


def _document(key: ApiKey) -> Document:
    instants = {
        name: iso(at) if at else None
        for name, at in (
            ("created_at", key.created_at),
            ("last_used_at", key.last_used_at),
            ("revoked_at", key.revoked_at),
        )
    }
    return {"id": key.id, "tenant": key.tenant, "role": key.role, "name": key.name, **instants}
