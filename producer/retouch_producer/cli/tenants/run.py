"""Shows and sets a tenant's limits, and erases tenants."""

from __future__ import annotations

import json
from dataclasses import asdict, astuple, dataclass

from retouch.store.erasure import erase_tenant
from retouch.store.ledger import Ledger
from retouch.store.tenants import TenantStore
from retouch_producer.cli.context import open_context
from retouch_producer.cli.errors import UsageError


@dataclass(frozen=True, slots=True)
class LimitChanges:
    """Changes to the limits of a tenant. None leaves a limit as it is; 0 removes it."""

    weight: float | None
    in_flight_limit: int | None
    backlog_limit: int | None
    budget: int | None
    share_duplicates: bool | None


def set_limits(tenant: str, changes: LimitChanges, *, as_json: bool) -> None:
    """
    Change the given limits of a tenant. Print all limits, and how many calls of today's budget are spent and reserved.
    """
    with open_context() as context:
        tenants = TenantStore(context.connections.client)
        # Showing the limits of a tenant must not create the tenant.
        has_changes = any(value is not None for value in astuple(changes))
        limits = tenants.set_tenant(tenant, **asdict(changes)) if has_changes else tenants.tenant(tenant)
        if has_changes:
            changed = {name: value for name, value in asdict(changes).items() if value is not None}
            context.note_change("tenant.limits", tenant, limits=changed)
        today = Ledger(context.connections.client).budget(tenant)
    spent = dict(zip(("spent_today", "reserved"), today[1:] if today else (None, None), strict=True))
    if as_json:
        print(json.dumps({**asdict(limits), **spent}, indent=2))
        return
    for name, value in asdict(limits).items():
        print(f"{name.replace('_', ' '):<17} {'no limit' if value is None else value}")
    if today:
        print(f"{'spent today':<17} {today[1]} calls, {today[2]} reserved")


def erase_all(tenant: str, *, yes: bool, as_json: bool) -> int:
    """
    Erase a tenant with `erase_tenant`, and print how many jobs and images were erased.

    Return exit code 1 if some of the jobs are in flight, else 0. After these jobs have ended, another call erases them.
    Raises `UsageError` if `yes` is false.
    """
    if not yes:
        raise UsageError(
            f"this erases all jobs and images of tenant {tenant[:64]!r}; nothing was erased. Repeat it with --yes"
        )
    with open_context() as context:
        erased = erase_tenant(context.connections.client, context.connections.jobs, context.connections.blobs, tenant)
        context.note_change("tenant.erase", tenant, outcomes=asdict(erased))
    if as_json:
        print(json.dumps(asdict(erased)))
    else:
        kept = "its ledger, limits and API keys are kept"
        print(f"tenant {tenant}: {erased.jobs} jobs and {erased.images} images erased; {kept}")
        if erased.images_due:
            print(
                f"{erased.images_due} images are less than an hour old: a worker deletes them once they are an hour old"
            )
        if erased.in_flight:
            print(
                f"{erased.in_flight} jobs are in flight and were cancelled: run this again after their calls have ended"
            )
    return int(erased.in_flight > 0)
