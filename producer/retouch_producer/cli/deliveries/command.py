"""The arguments and options of `retouch deliveries` and `retouch redeliver`."""

from __future__ import annotations

from typing import Annotated

import typer

from retouch_producer.cli.errors import UsageError
from retouch_producer.cli.options import DryRun, Json, Limit, NoWait, OfQuery, OptionalIds, Since, TenantFilter

Dead = Annotated[bool, typer.Option("--dead", help="Only dead deliveries, whose attempts are used up.")]
OfJob = Annotated[str | None, typer.Option("--job", metavar="ID", help="Only the deliveries of one job.")]


def deliveries(
    dead: Dead = False, job: OfJob = None, since: Since = None, limit: Limit = 50, json: Json = False
) -> None:
    """List deliveries of webhooks and callbacks, newest first."""
    from retouch_producer.cli.deliveries.run import show_deliveries

    show_deliveries(job, since, limit, dead=dead, as_json=json)


AllDead = Annotated[
    bool, typer.Option("--dead", help="All dead deliveries; with --receiver or --query, only their dead ones.")
]
ToReceiver = Annotated[
    str | None, typer.Option("--receiver", metavar="ID", help="All deliveries to one receiver since --since.")
]


def redeliver(
    ids: OptionalIds = None,
    query: OfQuery = None,
    tenant: TenantFilter = None,
    receiver: ToReceiver = None,
    since: Since = None,
    dead: AllDead = False,
    dry_run: DryRun = False,
    no_wait: NoWait = False,
    json: Json = False,
) -> None:
    """
    Send deliveries again now, with the same webhook-id, even to a disabled receiver.

    With --query, send the deliveries of all matching jobs; if the query names receivers, only those to these receivers.
    """
    from retouch_producer.cli.bulk.run import act
    from retouch_producer.cli.deliveries.run import redeliver_all

    if query is not None and not (ids or receiver or since):
        raise typer.Exit(act("redeliver", query, tenant, dead=dead, dry_run=dry_run, no_wait=no_wait, as_json=json))
    if query is not None or tenant or dry_run or no_wait:
        raise UsageError("expected ids, or --dead, or --receiver with --since, or --query with --dead and --dry-run")
    raise typer.Exit(redeliver_all(ids, receiver, since, dead=dead, as_json=json))
