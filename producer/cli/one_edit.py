"""`retouch edit`: check, keep the picture, enqueue, wait, save."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from producer.cli import saving
from producer.cli.desk import Desk, open_desk
from producer.cli.follow import wait_for
from producer.cli.pictures import find_picture
from producer.cli.requests import edit_of, terms_of
from producer.cli.wrong_use import WrongUse
from retouch.errors import EditCancelled, EditFailed
from retouch.handles import Job
from retouch.intake import admit

INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class EditCommand:
    """What `retouch edit` was asked for; `numbers` hold text, `options` are those of `EditQueue.enqueue`."""

    image: str
    prompt: str
    numbers: Mapping[str, str | None]
    options: Mapping[str, Any]
    out: Path | None
    wait: bool
    timeout_s: float | None
    as_json: bool
    samples: str | None = None


def run_edit(command: EditCommand) -> int:
    """Run one edit and give the exit code; nothing is enqueued for a request that is wrong."""
    saving.check_target(command.out)
    prompt = sys.stdin.read() if command.prompt == "-" else command.prompt
    with open_desk() as desk:
        terms = terms_of(command.options, desk.door(command.options.get("callback")))
        picture = find_picture(command.image, Path.cwd(), desk.settings)
        edit = edit_of(prompt, picture.link(desk.input_link), command.numbers, command.samples)
        admit(edit, terms)
        try:
            link = desk.keep(picture, terms.common["tenant"])
            job = desk.queue.enqueue(edit.model_copy(update={"init_image": link}), **command.options)
        except KeyboardInterrupt:
            print(
                "\ninterrupted while it was enqueued; `retouch jobs --since 1m` tells whether it was", file=sys.stderr
            )
            return INTERRUPTED
        return _wait(desk, job, picture.stem, command) if command.wait else _tell(desk, job, [], command.as_json)


def _wait(desk: Desk, job: Job, stem: str, command: EditCommand) -> int:
    try:
        result = wait_for(job, command.timeout_s)
    except (EditFailed, EditCancelled):
        if not command.as_json:
            raise
        return _tell(desk, job, [], as_json=True) or 1
    except KeyboardInterrupt:
        print(f"\n{job.id} goes on. Follow it:  retouch watch {job.id}\n"
              f"Save its image:  retouch job {job.id} --out FILE", file=sys.stderr)  # fmt: skip
        return INTERRUPTED
    try:
        paths = saving.save(result, command.out, stem or job.id)
    except WrongUse as error:
        raise WrongUse(f"{error}; the image is kept: retouch job {job.id} --out FILE") from error
    return _tell(desk, job, paths, command.as_json)


def _tell(desk: Desk, job: Job, paths: Sequence[Path], as_json: bool) -> int:
    record = job.record()
    document = desk.document(record)
    if as_json:
        saved = [str(path) for path in paths]
        told = {**document, "path": saved[0] if saved else None, "paths": saved, "replayed": job.replayed}
        print(json.dumps(told, indent=2))
        return 0
    print(f"{job.id}  {record.state}" + (" (enqueued before, by this key)" if job.replayed else ""))
    for path, image in zip(paths, document["results"], strict=False):
        print(f"saved    {path}  ({image['width']} x {image['height']} {image['format']}, {image['bytes']:,} bytes)")
        print(f"url      {image['url']}")
        for warning in image["warnings"]:
            print(f"warning  {warning}")
    print(f"charges  {charges_line(document['charges'])}")
    return 0


def charges_line(charges: Mapping[str, float]) -> str:
    """Say what a job may have cost: `1`, or `1 to 2`, with the amount where a price is set."""
    certain, possible = charges["certain"], charges["possible"]
    count = f"{possible:g}" if certain == possible else f"{certain:g} to {possible:g}"
    return f"{count} ({charges['amount']:g} at most)" if charges["amount"] else count
