"""The producing commands of `retouch`: what people and scripts use to put jobs in and to look after them."""

from __future__ import annotations

from collections.abc import Callable

import typer

from producer.cli import keying, looking, money, moving, putting_in, receiving
from producer.cli.options import LOOK_AFTER, PUT_IN


def register(app: typer.Typer) -> None:
    """Add the producing commands to the `retouch` command."""
    puts_in: tuple[Callable[..., None], ...] = (putting_in.edit, putting_in.batch)
    looks_after: tuple[Callable[..., None], ...] = (
        *(looking.jobs, looking.job, looking.watch, looking.status, moving.cancel, moving.replay),
        *(moving.pause, moving.resume, looking.deliveries, moving.redeliver),
        *(money.usage, money.erase),
    )
    for panel, commands in ((PUT_IN, puts_in), (LOOK_AFTER, looks_after)):
        for command in commands:
            app.command(rich_help_panel=panel)(command)
    app.add_typer(receiving.app, name="receivers", rich_help_panel=LOOK_AFTER)
    app.add_typer(keying.app, name="keys", rich_help_panel=LOOK_AFTER)
