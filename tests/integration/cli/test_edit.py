"""Tests of `retouch edit` on the command line, against real servers: refused input, saved images and exit codes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
from PIL import Image

from retouch import EditQueue
from retouch_ops.demo import PHOTO
from retouch_ops.simulator.process import Simulator
from tests.command_line import serving_files, typed, work_in
from tests.process_watch import Spoken

URL = "https://example.com/in.png"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working folder with a photograph, a broken JPEG and an SVG drawing."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(PHOTO, tmp_path / "photo.jpg")
    (tmp_path / "half.jpg").write_bytes(PHOTO.read_bytes()[:30_000])
    (tmp_path / "drawing.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    return tmp_path


@pytest.fixture
def blobs(worker_environment: dict[str, str], queue: EditQueue, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield the folder of the blob store, while a server serves the links of this store."""
    kept = Path(url2pathname(urlsplit(worker_environment["RETOUCH_STORE_URL"]).path))
    with serving_files(kept) as url:
        monkeypatch.setenv("RETOUCH_PUBLIC_URL", url)
        yield kept


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


BAD = {
    "empty prompt": ([URL, ""], "prompt: expected 1 to 10,000 characters, got 0"),
    "blank prompt": ([URL, " \n"], "prompt: expected 1 to 10,000 characters, got only white space"),
    "3 MB prompt": ([URL, "x" * 3_000_000], "prompt: expected 1 to 10,000 characters, got 3,000,000"),
    "guidance 0": ([URL, "x", "--guidance-scale", "0"], "guidance_scale: expected a number from 1 to 20, got 0"),
    "guidance 21": ([URL, "x", "--guidance-scale", "21"], "guidance_scale: expected a number from 1 to 20, got 21"),
    "guidance 7x": ([URL, "x", "--guidance-scale", "7x"], "guidance_scale: expected a number from 1 to 20, got '7x'"),
    "guidance nan": ([URL, "x", "--guidance-scale", "nan"], "guidance_scale: expected a number from 1 to 20"),
    "half a step": ([URL, "x", "--steps", "20.5"], "steps: expected a whole number from 1 to 50, got 20.5"),
    "not a URL": (["nowhere", "x"], "init_image: expected an http(s) URL or a file, got 'nowhere'"),
    "no picture": (["", "x"], "init_image: expected an http(s) URL or a file, got none"),
    "file URL": (["file:///etc/passwd", "x"], "init_image: expected an http(s) URL, got file:"),
    "private address": (["http://10.1.2.3/a.png", "x"], "init_image: expected a public address, got private 10.1.2.3"),
    "svg": (["drawing.svg", "x"], "init_image: expected a PNG, JPEG or WebP image, got an SVG, in 'drawing.svg'"),
    "half a jpeg": (["half.jpg", "x"], "init_image: expected a whole JPEG image, got a broken one"),
    "a folder": ([".", "x"], "init_image: expected an http(s) URL or a file, got '.' (is a directory)"),
    "priority": ([URL, "x", "--priority", "urgent"], "priority: expected one of high, normal, low, got 'urgent'"),
    "charges": ([URL, "x", "--max-charges", "0"], "max_charges: expected a whole number from 1 to 10, got 0"),
    "deadline": ([URL, "x", "--deadline-s", "soon"], "deadline_s: expected seconds, more than 0"),
    "webhook": ([URL, "x", "--webhook", "ftp://example.com"], "webhook: expected an http(s) URL, got scheme 'ftp'"),
    "callback": ([URL, "x", "--callback", "os.system"], "callback: task 'os.system' is not on the allow-list"),
    "tag": ([URL, "x", "--tag", "order"], "--tag: expected name=value, got 'order'"),
    "target": ([URL, "x", "--out", "missing/a.png"], "--out: folder 'missing' does not exist"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_message_and_nothing_is_enqueued(case: str, folder: Path, blobs: Path, client: Any) -> None:
    """
    Bad input makes the command exit with 2 and print one line with the fault. Redis and the blob store stay unchanged.
    """
    before = files(blobs)
    arguments, message = BAD[case]
    ended = typed("edit", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"retouch: {message}")
    assert ended.err.count("\n") == 1
    assert len(ended.err) < 300
    assert work_in(client) == []
    assert files(blobs) == before


def test_a_picture_of_200_megapixels_is_refused(folder: Path, blobs: Path, client: Any) -> None:
    """A small file whose header announces 200 megapixels is refused, and nothing is enqueued."""
    Image.new("1", (20_000, 10_000)).save(folder / "huge.png")
    ended = typed("edit", "huge.png", "make it winter")
    assert ended.code == 2
    assert "init_image: expected at most 40 megapixels, got 200.0 (20000 x 10000)" in ended.err
    assert work_in(client) == []


def test_a_local_file_needs_an_address_that_the_endpoint_reaches(
    folder: Path, queue: EditQueue, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If RETOUCH_PUBLIC_URL is not a public address, a local file is refused, and the message names this setting."""
    monkeypatch.delenv("RETOUCH_DANGEROUS_ALLOW_PRIVATE_NETWORKS")
    ended = typed("edit", "photo.jpg", "make it winter")
    assert ended.code == 2
    assert "links to a local file start with RETOUCH_PUBLIC_URL" in ended.err
    assert work_in(client) == []


def test_a_silent_redis_is_one_line(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """While Redis does not answer, a command exits with 2 and prints one line without the password."""
    monkeypatch.setenv("RETOUCH_REDIS_URL", "redis://user:planted@127.0.0.1:1/0")
    for command in (["edit", URL, "x"], ["jobs"], ["status"], ["cancel", "ed_1"], ["receivers", "list"]):
        ended = typed(*command)
        assert ended.code == 2
        assert ended.err.startswith("retouch: Redis at redis://127.0.0.1:1/0 does not answer")
        assert ended.err.count("\n") == 1
        assert "planted" not in ended.err


def test_a_redis_that_refuses_is_one_line(monkeypatch: pytest.MonkeyPatch, queue: EditQueue, folder: Path) -> None:
    """If Redis refuses the connection, the message is one line, with the reason and the setting to correct."""
    monkeypatch.setenv("RETOUCH_REDIS_URL", queue.settings.redis_url.rpartition("/")[0] + "/9999")
    ended = typed("jobs")
    assert ended.code == 2
    assert "refuses the connection: DB index is out of range; nothing was done. Correct RETOUCH_REDIS_URL." in ended.err
    assert len(ended.err.splitlines()) == 1


def test_a_failed_edit_says_where_to_read_on(
    folder: Path, queue: EditQueue, simulator: Simulator, module_worker: object
) -> None:
    """The message of a failed edit has the error, the entry of the runbook and the command that shows more."""
    simulator.faults(next=[{"kind": "no_credits"}])
    ended = typed("edit", simulator.portrait_url, "make it winter")
    (job,) = queue.jobs(limit=1)
    assert ended.code == 1
    assert f"retouch: job {job.id} failed: no_credits: Insufficient credits" in ended.err
    assert ended.err.endswith(f"What to do: docs/runbook.md#no_credits. What happened: retouch job {job.id}\n")


def test_a_full_disk_loses_no_image(
    folder: Path, queue: EditQueue, simulator: Simulator, module_worker: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the image cannot be saved, no partial file is left, and the message has the command that fetches the image."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("retouch_producer.cli.output_file.os.fsync", full)
    ended = typed("edit", simulator.portrait_url, "make it winter", "--out", "out.png")
    (job,) = queue.jobs(limit=1)
    failure = "retouch: 'out.png' could not be written: No space left on device. The image is still kept"
    assert ended.code == 2
    assert f"{failure}; save it with: retouch job {job.id} --out FILE\n" in ended.err
    assert not [path.name for path in folder.iterdir() if "out.png" in path.name]


def test_a_url_is_edited_and_saved(folder: Path, queue: EditQueue, simulator: Simulator, module_worker: object) -> None:
    """
    The image is saved in the file of `--out`. The JSON has the path, the possible charges and the hash of the image.
    """
    ended = typed("edit", simulator.portrait_url, "make it winter", "--out", "out.png", "--tag", "order=17", "--json")
    assert ended.code == 0, ended.err
    report = ended.json
    data = (folder / "out.png").read_bytes()
    assert (report["state"], report["path"], report["tags"]) == ("succeeded", "out.png", {"order": "17"})
    assert report["result"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert report["charges"]["possible"] == 1
    assert simulator.books()["posts"] == 1


def test_a_local_file_goes_through_the_blob_store(
    folder: Path, blobs: Path, simulator: Simulator, module_worker: object
) -> None:
    """A local file is edited. Each result is saved under a new name, made from the name of the file."""
    for count, name in enumerate(("photo-edited.png", "photo-edited-2.png"), 1):
        ended = typed("edit", "photo.jpg", f"make it snow, take {count}", "--steps", "30")
        assert ended.code == 0, ended.err
        assert str(folder / name) in ended.out
        assert size(folder / name) == size(PHOTO)


def test_leaving_and_coming_back(folder: Path, queue: EditQueue, simulator: Simulator, module_worker: object) -> None:
    """`--no-wait` prints the id, `watch` follows the job to its end, and `job --out` saves the image."""
    job = typed("edit", simulator.portrait_url, "-", "--no-wait", "--json", given="make it winter").json["id"]
    watched = typed("watch", job, "--json")
    events = [json.loads(line) for line in watched.out.splitlines()]
    assert watched.code == 0
    assert [event["type"] for event in events] == ["edit.queued", "edit.running", "edit.succeeded"]
    assert typed("job", job, "--out", "back.png").code == 0
    assert size(folder / "back.png") == size(PHOTO)


def test_a_failed_job_is_exit_1(folder: Path, queue: EditQueue, simulator: Simulator, module_worker: object) -> None:
    """For a failed job, the command prints the endpoint's message, exits with 1 and writes no file."""
    simulator.faults(next=[{"kind": "no_credits", "times": 2}])
    said = typed("edit", simulator.portrait_url, "make it winter")
    assert said.code == 1
    assert "Insufficient credits" in said.err
    failed = typed("edit", simulator.portrait_url, "make it snow", "--json")
    assert (failed.code, failed.json["state"], failed.json["path"]) == (1, "failed", None)
    assert [path.name for path in folder.glob("*.png")] == []


def test_the_same_key_is_the_same_job(folder: Path, queue: EditQueue) -> None:
    """
    A repeated idempotency key returns the first job. The same key with another prompt makes the command exit with 2.
    """
    first = typed("edit", URL, "x", "--idempotency-key", "k", "--no-wait", "--json").json
    again = typed("edit", URL, "x", "--idempotency-key", "k", "--no-wait", "--json").json
    assert (again["id"], again["replayed"], first["replayed"]) == (first["id"], True, False)
    other = typed("edit", URL, "y", "--idempotency-key", "k", "--no-wait")
    assert other.code == 2
    assert "idempotency key" in other.err


def test_a_wait_that_is_too_short_leaves_the_job_alone(folder: Path, queue: EditQueue) -> None:
    """When `--timeout-s` is over, the command exits with 1, and the job stays queued."""
    assert typed("pause").code == 0
    ended = typed("edit", URL, "x", "--timeout-s", "0")
    assert ended.code == 1
    assert "it goes on" in ended.err
    assert typed("jobs", "--json").json[0]["state"] == "queued"


def test_ctrl_c_leaves_the_job_running(folder: Path, queue: EditQueue) -> None:
    """Ctrl-C makes the command exit with 130. It prints how to follow the job, and the job stays queued."""
    assert typed("pause").code == 0
    command = [sys.executable, "-m", "retouch_ops.cli", "edit", URL, "make it winter"]
    with Spoken(command, folder=folder, environment=dict(os.environ)) as edit:
        edit.wait_for("enqueued")
        (job,) = queue.jobs()
        assert edit.end(signal.SIGINT) == 130
        said = "\n".join(edit.lines)
    assert f"{job.id} goes on. Follow it:  retouch watch {job.id}" in said
    assert "Traceback" not in said
    assert job.state == "queued"


def test_a_terminal_shows_what_the_job_does(
    folder: Path, queue: EditQueue, simulator: Simulator, module_worker: object
) -> None:
    """If standard error is a terminal, the command shows the id, state, seconds and attempt of the job on one line."""
    simulator.settings(latency_s=2.0)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "retouch_ops.cli", "edit", simulator.portrait_url, "make it winter, slowly"]
    try:
        ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, cwd=folder, check=False, text=True)
        shown = os.read(ours, 100_000).decode()
    finally:
        simulator.settings(latency_s=0.02)
        os.close(ours)
        os.close(theirs)
    assert ended.returncode == 0
    assert re.search(r"ed_\w+  running, \d s, attempt 1", shown)
    assert "saved" in ended.stdout
