"""What the commands about keys do and print."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from producer.cli.desk import open_desk
from producer.cli.requests import terms_of
from producer.cli.tables import ago, print_table
from producer.cli.wrong_use import WrongUse
from retouch.errors import InvalidEdit
from retouch.events import iso
from retouch.store.ledger import Ledger
from retouch.store.tenants import ApiKey, TenantStore


def create_key(tenant: str, role: str, name: str, *, as_json: bool) -> None:
    """Make a key and print its secret, which is not kept."""
    with open_desk() as desk:
        try:
            terms_of({"tenant": tenant}, desk.settings)
        except InvalidEdit as error:
            raise WrongUse(f"--tenant: {error.faults[0][1]}") from None
        key, secret = TenantStore(desk.connections.client).create_key(tenant, role, name)
    if as_json:
        print(json.dumps({**_document(key), "secret": secret}, indent=2))
        return
    print(f"{key.id}  {key.role} of tenant {key.tenant}")
    print(f"secret  {secret}")
    print("It is shown this once; only a hash of it is kept.")


def list_keys(tenant: str, *, as_json: bool) -> None:
    """Print keys as a table or a JSON array."""
    with open_desk() as desk:
        found = TenantStore(desk.connections.client).api_keys(tenant)
    if as_json:
        print(json.dumps([_document(key) for key in found], indent=2))
        return
    print_table(("ID", "TENANT", "ROLE", "NAME", "AGE", "LAST USED", ""), [_row(key) for key in found], "no key")


def _row(key: ApiKey) -> tuple[object, ...]:
    revoked = f"revoked {ago(key.revoked_at)} ago" if key.revoked_at else ""
    return key.id, key.tenant, key.role, key.name or "-", ago(key.created_at), ago(key.last_used_at), revoked


def revoke_key(identity: str, *, as_json: bool) -> None:
    """Revoke a key; one that is not there is wrong use."""
    with open_desk() as desk:
        key = TenantStore(desk.connections.client).revoke(identity)
    if key is None:
        raise WrongUse(f"{identity[:60]!r} is no key's id; `retouch keys list` names them")
    print(json.dumps(_document(key), indent=2) if as_json else f"{key.id}  revoked")


def set_limits(
    tenant: str, weight: float | None, in_flight_limit: int | None, backlog_limit: int | None, budget: int | None,
    share_duplicates: bool | None, *, as_json: bool,
) -> None:  # fmt: skip
    """Change what is given, and print what the tenant may do then, and what of today's budget is gone."""
    given = (weight, in_flight_limit, backlog_limit, budget, share_duplicates)
    with open_desk() as desk:
        tenants = TenantStore(desk.connections.client)
        if all(one is None for one in given):
            told = tenants.tenant(tenant)
        else:
            told = tenants.set_tenant(
                tenant, weight=weight, in_flight_limit=in_flight_limit, backlog_limit=backlog_limit, budget=budget,
                share_duplicates=share_duplicates,
            )  # fmt: skip
        today = Ledger(desk.connections.client).budget(tenant)
    spent = dict(zip(("spent_today", "reserved"), today[1:] if today else (None, None), strict=True))
    if as_json:
        print(json.dumps({**asdict(told), **spent}, indent=2))
        return
    for name, value in asdict(told).items():
        print(f"{name.replace('_', ' '):<17} {'no limit' if value is None else value}")
    if today:
        print(f"{'spent today':<17} {today[1]} calls, {today[2]} reserved")


def _document(key: ApiKey) -> dict[str, Any]:
    instants = {
        name: iso(at) if at else None
        for name, at in (
            ("created_at", key.created_at),
            ("last_used_at", key.last_used_at),
            ("revoked_at", key.revoked_at),
        )
    }
    return {"id": key.id, "tenant": key.tenant, "role": key.role, "name": key.name, **instants}
