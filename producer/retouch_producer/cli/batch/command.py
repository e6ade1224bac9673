"""`retouch batch`: its arguments and options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from retouch_producer.cli.options import Json, Priority, Tenant, Webhook

Rows = Annotated[Path, typer.Argument(metavar="FILE", help="CSV with a header, or JSON lines.")]
Folder = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Where results go; else <file>-edited here.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Replay rows that failed; it may cost again.")]


def batch(
    file: Rows,
    out: Folder = None,
    tenant: Tenant = "default",
    priority: Priority = "normal",
    webhook: Webhook = None,
    retry_failed: RetryFailed = False,
    json: Json = False,
) -> None:
    """
    Edit many pictures, one for each row; run it again to go on where it stopped.

    Columns: init_image (URL, or path from the file's folder), prompt; if you like id or name (then the result is
    called so), steps, guidance_scale, image_guidance_scale, samples.
    """
    from retouch_producer.cli.batch.run import BatchCommand, run_batch
    from retouch_producer.cli.edit_request import options_of

    options = options_of(tenant=tenant, priority=priority, webhook=webhook)
    raise typer.Exit(run_batch(BatchCommand(file, out, options, retry_failed, json)))
