"""`retouch edit`: its arguments and options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from retouch_producer.cli.options import Json, Priority, Tenant, Webhook

Image = Annotated[str, typer.Argument(metavar="IMAGE", help="The picture: an http(s) URL or a local file.")]
Prompt = Annotated[str, typer.Argument(metavar="PROMPT", help="What to change; - reads it from standard input.")]
# Numbers are taken as text: then the door names the field, the value and the range, as it does in Python.
Steps = Annotated[str | None, typer.Option("--steps", metavar="1-50", help="Denoising steps; else 20.")]
Guidance = Annotated[
    str | None, typer.Option("--guidance-scale", metavar="1-20", help="How closely to the prompt; else 7.")
]
ImageGuidance = Annotated[
    str | None, typer.Option("--image-guidance-scale", metavar="1-8", help="How closely to the picture; else 1.")
]
Samples = Annotated[
    str | None, typer.Option("--samples", metavar="1-16", help="Images in one answer, where the endpoint knows this.")
]
Callback = Annotated[str | None, typer.Option("--callback", metavar="TASK", help="An allow-listed Celery task.")]
Key = Annotated[
    str | None, typer.Option("--idempotency-key", metavar="KEY", help="The same key and request: the same job, 24 h.")
]
Deadline = Annotated[str | None, typer.Option("--deadline-s", metavar="SECONDS", help="Longest life of the job.")]
MaxCharges = Annotated[
    str | None, typer.Option("--max-charges", metavar="1-10", help="Most POSTs that may be billed; 1: never twice.")
]
Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="NAME=VALUE", help="Comes back in every event.")]
Out = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where to save; else <input>-edited here.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Enqueue, print the id, and leave.")]
Timeout = Annotated[float | None, typer.Option("--timeout-s", min=0, help="Longest wait; the job goes on after it.")]


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
    """Edit one picture: enqueue it, wait, and save the result; several images of one answer as out.png, out-2.png …"""
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
