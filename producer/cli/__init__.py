"""The producing commands of `retouch`: what people and scripts use to put jobs in and to look after them."""

from __future__ import annotations

import typer

from producer.cli import putting_in
from producer.cli.options import PUT_IN


def register(app: typer.Typer) -> None:
    """Add the producing commands to the `retouch` command."""
    for command in (putting_in.edit, putting_in.batch):
        app.command(rich_help_panel=PUT_IN)(command)
