"""The arguments and options of `retouch edit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from retouch_producer.cli.options import Json, Priority, Tenant, Webhook

Image = Annotated[str, typer.Argument(metavar="IMAGE", help="The picture: an http(s) URL or a local file.")]
Prompt = Annotated[str, typer.Argument(metavar="PROMPT", help="What to change; - reads it from standard input.")]
# Numbers are accepted as text: the check of the edit refuses wrong ones, with the same messages as in Python.
Steps = Annotated[str | None, typer.Option("--steps", metavar="1-50", help="Denoising steps; 20 by default.")]
Guidance = Annotated[
    str | None,
    typer.Option("--guidance-scale", metavar="1-20", help="How closely the result follows the prompt; 7 by default."),
]
ImageGuidance = Annotated[
    str | None,
    typer.Option(
        "--image-guidance-scale", metavar="1-8", help="How closely the result follows the picture; 1 by default."
    ),
]
Samples = Annotated[
    str | None, typer.Option("--samples", metavar="1-16", help="Images in one answer, if the endpoint supports it.")
]
Callback = Annotated[str | None, typer.Option("--callback", metavar="TASK", help="An allow-listed Celery task.")]
Key = Annotated[
    str | None,
    typer.Option(
        "--idempotency-key", metavar="KEY", help="Within 24 h, the same request with it returns the same job."
    ),
]
Deadline = Annotated[
    str | None,
    typer.Option("--deadline-s", metavar="SECONDS", help="Seconds after which the job fails if it has not ended."),
]
MaxCharges = Annotated[
    str | None, typer.Option("--max-charges", metavar="1-10", help="Maximum number of POSTs that may be billed.")
]
Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="NAME=VALUE", help="Returned in every event.")]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="File for the result; <input>-edited by default.")
]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Enqueue, print the id, and exit.")]
Timeout = Annotated[float | None, typer.Option("--timeout-s", min=0, help="Maximum wait; after it, the job goes on.")]


def edit(
    image: Image,
    prompt: Prompt,
    steps: Steps = None,
    guidance_scale: Guidance = None,
    image_guidance_scale: ImageGuidance = None,
    samples: Samples = None,
    priority: Priority = "normal",
    tenant: Tenant = "default",
    webhook: Webhook = None,
    callback: Callback = None,
    idempotency_key: Key = None,
    deadline_s: Deadline = None,
    max_charges: MaxCharges = None,
    tag: Tags = None,
    out: Out = None,
    no_wait: NoWait = False,
    timeout_s: Timeout = None,
    json: Json = False,
) -> None:
    """
    Edit one picture: enqueue it, wait, and save the result. Several images are saved as out.png, out-2.png and so on.
    """
    from retouch_producer.cli import parsing
    from retouch_producer.cli.edit.run import EditCommand, run_edit
    from retouch_producer.cli.edit_request import options_of

    numbers = {"steps": steps, "guidance_scale": guidance_scale, "image_guidance_scale": image_guidance_scale}
    options = options_of(
        priority=priority,
        tenant=tenant,
        webhook=webhook,
        callback=callback,
        idempotency_key=idempotency_key,
        deadline_s=deadline_s,
        max_charges=max_charges,
        tags=parsing.tags(tag or []),
    )
    raise typer.Exit(run_edit(EditCommand(image, prompt, numbers, options, out, not no_wait, timeout_s, json, samples)))
