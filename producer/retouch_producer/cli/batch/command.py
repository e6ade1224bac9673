"""The arguments and options of `retouch batch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from retouch_producer.cli.options import Json, Priority, Tenant, Webhook

Rows = Annotated[Path, typer.Argument(metavar="FILE", help="A .csv file with a header, or a .jsonl file.")]
Folder = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Folder for the results; <file>-edited by default.")
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Replay the rows that failed, which may cost again.")]


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
    Edit many pictures, one for each row of a file. Run it again to continue where it stopped.

    Columns: init_image (a URL, or a path relative to the file's folder) and prompt. Optional: id or name (the name of
    the result), steps, guidance_scale, image_guidance_scale, samples.
    """
    from retouch_producer.cli.batch.run import BatchCommand, run_batch
    from retouch_producer.cli.edit_request import options_of

    options = options_of(tenant=tenant, priority=priority, webhook=webhook)
    raise typer.Exit(run_batch(BatchCommand(file, out, options, retry_failed, json)))
