"""The producing commands of `retouch`: what people and scripts use to put jobs in and to look after them."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the producing commands to the `retouch` command."""
