"""`retouch deliveries`, `redeliver`: their arguments and options."""

from __future__ import annotations

from typing import Annotated

import typer

from retouch_producer.cli.options import Json, Limit, OptionalIds, Since

Dead = Annotated[bool, typer.Option("--dead", help="Only those that gave up.")]
OfJob = Annotated[str | None, typer.Option("--job", metavar="ID", help="Only those of one job.")]


def deliveries(
    dead: Dead = False, job: OfJob = None, since: Since = None, limit: Limit = 50, json: Json = False
) -> None:
    """List deliveries of webhooks and callbacks, newest first."""
    from retouch_producer.cli.deliveries.run import show_deliveries

    show_deliveries(job, since, limit, dead=dead, as_json=json)


AllDead = Annotated[bool, typer.Option("--dead", help="All that gave up; with --receiver only those.")]
ToReceiver = Annotated[
    str | None, typer.Option("--receiver", metavar="ID", help="All of one receiver since --since, delivered ones too.")
]


def redeliver(
    ids: OptionalIds = None, receiver: ToReceiver = None, since: Since = None, dead: AllDead = False, json: Json = False
) -> None:
    """Send deliveries again, now: with the same webhook-id, and even to a receiver that is switched off."""
    from retouch_producer.cli.deliveries.run import redeliver_all

    raise typer.Exit(redeliver_all(ids, receiver, since, dead=dead, as_json=json))
