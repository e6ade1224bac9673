"""The commands that move jobs and deliveries: `cancel`, `replay`, `pause`, `resume`, `redeliver`."""

from __future__ import annotations

from typing import Annotated

import typer

from producer.cli.options import Ids, Json, Lane, Since, SomeIds

Failed = Annotated[bool, typer.Option("--failed", help="All dead letters, with --since those that failed since.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what it would do and cost.")]
Dead = Annotated[bool, typer.Option("--dead", help="All that gave up; with --receiver only those.")]
ToReceiver = Annotated[
    str | None, typer.Option("--receiver", metavar="ID", help="All of one receiver since --since, delivered ones too.")
]


def cancel(ids: Ids, json: Json = False) -> None:
    """Cancel jobs; one in flight ends with its call, and what is paid stays on record."""
    from producer.cli.moved import cancel_jobs

    raise typer.Exit(cancel_jobs(ids, as_json=json))


def replay(
    ids: SomeIds = None, failed: Failed = False, since: Since = None, dry_run: DryRun = False, json: Json = False
) -> None:
    """Put dead letters back, and say for each whether it resumes from what is paid or POSTs again."""
    from producer.cli.moved import replay_jobs

    raise typer.Exit(replay_jobs(ids, since, failed=failed, dry_run=dry_run, as_json=json))


def pause(lane: Lane = "edits") -> None:
    """Stop dispatching: jobs wait, what is in flight ends, nothing is lost."""
    from producer.cli.moved import set_paused

    set_paused(lane, True)


def resume(lane: Lane = "edits") -> None:
    """Dispatch again."""
    from producer.cli.moved import set_paused

    set_paused(lane, False)


def redeliver(
    ids: SomeIds = None, receiver: ToReceiver = None, since: Since = None, dead: Dead = False, json: Json = False
) -> None:
    """Send deliveries again, now: with the same webhook-id, and even to a receiver that is switched off."""
    from producer.cli.moved import redeliver_all

    raise typer.Exit(redeliver_all(ids, receiver, since, dead=dead, as_json=json))
