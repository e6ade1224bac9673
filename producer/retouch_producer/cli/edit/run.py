"""`retouch edit`: checks the request, stores the picture, enqueues, waits, and saves the result."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from retouch.admission import admit
from retouch.errors import EditCancelled, EditFailed
from retouch.events import ChargeSummary
from retouch.handles import Job
from retouch.options import JobOptions
from retouch_producer.cli import output_file
from retouch_producer.cli.context import CommandContext, open_context
from retouch_producer.cli.edit_request import edit_of, terms_of
from retouch_producer.cli.errors import UsageError
from retouch_producer.cli.input_image import find_input_image
from retouch_producer.cli.progress import wait_for

INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class EditCommand:
    """
    The arguments of `retouch edit`. `numbers` are not parsed yet; `options` are arguments for `EditQueue.enqueue`.
    """

    image: str
    prompt: str
    numbers: Mapping[str, str | None]
    options: JobOptions
    out: Path | None
    wait: bool
    timeout_s: float | None
    as_json: bool
    samples: str | None = None


def run_edit(command: EditCommand) -> int:
    """
    Enqueue one edit, wait for its end, and save the result. Return exit code 0, or 130 after Ctrl-C.

    If the command does not wait, print the job instead. If the job ends without an image, raise the job's error. With
    `as_json`, print the job and return 1 instead of raising. If the request is invalid, nothing is stored or enqueued.
    """
    output_file.check_target(command.out)
    prompt = sys.stdin.read() if command.prompt == "-" else command.prompt
    with open_context() as context:
        terms = terms_of(command.options, context.admission_settings(command.options.get("callback")))
        picture = find_input_image(command.image, Path.cwd())
        edit = edit_of(prompt, picture.link(context.input_link), command.numbers, command.samples)
        # Checked before the picture is stored, so that a refused request stores nothing.
        admit(edit, terms)
        try:
            link = context.store_input(picture, terms.spec.tenant)
            job = context.queue.enqueue(edit.model_copy(update={"init_image": link}), **command.options)
        # Whether the request reached Redis is not known; the list of jobs shows it.
        except KeyboardInterrupt:
            print(
                "\ninterrupted while enqueueing; `retouch jobs --since 1m` shows whether the job exists",
                file=sys.stderr,
            )
            return INTERRUPTED
        if command.wait:
            return _wait(context, job, picture.stem, command)
        return _print_job(context, job, [], command.as_json)


def _wait(context: CommandContext, job: Job, stem: str, command: EditCommand) -> int:
    try:
        result = wait_for(job, command.timeout_s)
    except (EditFailed, EditCancelled):
        if not command.as_json:
            raise
        return _print_job(context, job, [], as_json=True) or 1
    except KeyboardInterrupt:
        print(f"\n{job.id} goes on. Follow it:  retouch watch {job.id}", file=sys.stderr)
        print(f"Save its image:  retouch job {job.id} --out FILE", file=sys.stderr)
        return INTERRUPTED
    try:
        paths = output_file.save(result, command.out, stem or job.id)
    except UsageError as error:
        raise UsageError(f"{error}. The image is still kept; save it with: retouch job {job.id} --out FILE") from error
    return _print_job(context, job, paths, command.as_json)


def _print_job(context: CommandContext, job: Job, paths: Sequence[Path], as_json: bool) -> int:
    record = job.record()
    document = context.document(record)
    if as_json:
        saved = [str(path) for path in paths]
        document = {**document, "path": saved[0] if saved else None, "paths": saved, "replayed": job.replayed}
        print(json.dumps(document, indent=2))
        return 0
    print(f"{job.id}  {record.state}" + (" (the earlier job of this idempotency key)" if job.replayed else ""))
    # `paths` is empty if the command did not wait.
    for path, image in zip(paths, document["results"], strict=False):
        print(f"saved    {path}  ({image['width']} x {image['height']} {image['format']}, {image['bytes']:,} bytes)")
        print(f"url      {image['url']}")
        for warning in image["warnings"]:
            print(f"warning  {warning}")
    print(f"charges  {charges_line(document['charges'])}")
    return 0


def charges_line(charges: ChargeSummary) -> str:
    """
    Return the number of a job's charges as text: `1`, or `1 to 2` if the exact number is not known.

    If a price is set, the text also has the highest possible amount.
    """
    certain, possible = charges["certain"], charges["possible"]
    count = f"{possible:g}" if certain == possible else f"{certain:g} to {possible:g}"
    return f"{count} ({charges['amount']:g} at most)" if charges["amount"] else count
