"""`retouch deliveries`, `redeliver`: their arguments and options."""

from __future__ import annotations

from typing import Annotated

import typer

from retouch_producer.cli.options import Json, Limit, OptionalIds, Since

Dead = Annotated[bool, typer.Option("--dead", help="Only dead deliveries, whose attempts are used up.")]
OfJob = Annotated[str | None, typer.Option("--job", metavar="ID", help="Only the deliveries of one job.")]


def deliveries(
    dead: Dead = False, job: OfJob = None, since: Since = None, limit: Limit = 50, json: Json = False
) -> None:
    """List deliveries of webhooks and callbacks, newest first."""
    from retouch_producer.cli.deliveries.run import show_deliveries

    show_deliveries(job, since, limit, dead=dead, as_json=json)


AllDead = Annotated[bool, typer.Option("--dead", help="All dead deliveries; with --receiver, only its dead ones.")]
ToReceiver = Annotated[
    str | None, typer.Option("--receiver", metavar="ID", help="All deliveries to one receiver since --since.")
]


def redeliver(
    ids: OptionalIds = None, receiver: ToReceiver = None, since: Since = None, dead: AllDead = False, json: Json = False
) -> None:
    """Send deliveries again now, with the same webhook-id, even to a disabled receiver."""
    from retouch_producer.cli.deliveries.run import redeliver_all

    raise typer.Exit(redeliver_all(ids, receiver, since, dead=dead, as_json=json))
