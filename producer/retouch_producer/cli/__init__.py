"""The commands of `retouch` with which people and scripts enqueue edits and manage jobs."""

from __future__ import annotations

from collections.abc import Callable

import typer

from retouch_producer.cli.accounts import command as account_commands
from retouch_producer.cli.audit import command as audit_command
from retouch_producer.cli.batch import command as batch_command
from retouch_producer.cli.bulk import command as bulk_commands
from retouch_producer.cli.deliveries import command as delivery_commands
from retouch_producer.cli.edit import command as edit_command
from retouch_producer.cli.jobs import command as job_commands
from retouch_producer.cli.keys import command as key_commands
from retouch_producer.cli.lanes import command as lane_commands
from retouch_producer.cli.options import ENQUEUE_PANEL, MANAGE_PANEL
from retouch_producer.cli.receivers import command as receiver_commands
from retouch_producer.cli.stats import command as stats_command
from retouch_producer.cli.tenants import command as tenant_commands
from retouch_producer.cli.usage import command as usage_command


def register(app: typer.Typer) -> None:
    """Add the producers' commands to the app of the `retouch` command."""
    # Each command imports its implementation when it runs; otherwise `retouch --help` would load all of them.
    panels: dict[str, tuple[Callable[..., None], ...]] = {
        ENQUEUE_PANEL: (edit_command.edit, batch_command.batch),
        MANAGE_PANEL: (
            *(job_commands.jobs, job_commands.job, job_commands.watch, lane_commands.status),
            *(job_commands.cancel, job_commands.replay, bulk_commands.priority),
            *(job_commands.approve, job_commands.unapprove),
            *(lane_commands.pause, lane_commands.resume),
            *(
                delivery_commands.deliveries,
                delivery_commands.redeliver,
                stats_command.stats,
                usage_command.usage,
                audit_command.audit,
                tenant_commands.erase,
            ),
        ),
    }
    for panel, commands in panels.items():
        for command in commands:
            app.command(rich_help_panel=panel)(command)
    app.add_typer(receiver_commands.app, name="receivers", rich_help_panel=MANAGE_PANEL)
    app.add_typer(bulk_commands.app, name="bulk", rich_help_panel=MANAGE_PANEL)
    app.add_typer(account_commands.app, name="accounts", rich_help_panel=MANAGE_PANEL)
    app.add_typer(key_commands.app, name="keys", rich_help_panel=MANAGE_PANEL)
