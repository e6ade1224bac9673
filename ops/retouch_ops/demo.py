"""
`retouch demo` edits one photograph as a backend would, through all parts of Retouch, and then stops all parts.

Embedded Redis, simulator, workers, gateway and Flower are real processes. This process receives the webhook, and an
independent library verifies it. Nothing is paid, since all settings are removed from the environment, including the key
of the endpoint.
"""

from __future__ import annotations

import http.client
import json
import os
import queue
import signal
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import FrameType
from typing import TextIO
from urllib.parse import urlencode

from retouch import Edit, EditQueue, EditResult, Job, RetouchError, Settings, verify_webhook
from retouch.options import DEFAULT_TENANT
from retouch.store.receivers import Receiver
from retouch_ops.stack.command import Stack

PHOTO = Path(__file__).parent / "samples" / "portrait.jpg"
PROMPT = "turn the portrait into an oil painting at sunset"
STATE, OUT = Path("var/demo"), Path("out/demo")
LONGEST_S = 100.0
STEP_S = 20.0


class DemoFailed(RetouchError):
    """A step of the demo failed, and everything was stopped."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """One request as the receiver got it: headers and body."""

    headers: Mapping[str, str]
    body: bytes


def run_demo() -> None:
    """
    Run the demo in the working folder. The state goes to `var/demo`, and pictures and the log go to `out/demo`.

    Raises `DemoFailed`, or the error of a step. The log of the stack has the details.
    """
    begun_at = time.monotonic()
    # With a key in the environment the demo would make a paid call.
    for name in [name for name in os.environ if name.startswith("RETOUCH_")]:
        del os.environ[name]
    OUT.mkdir(parents=True, exist_ok=True)
    log_path = OUT / "stack.log"
    with log_path.open("w") as log, _time_limit(log_path):
        _step("start Redis, simulator, workers, gateway and Flower")
        stack = Stack(STATE, fresh=True, report=_writer(log), write=_writer(log))
        with stack, _webhook_receiver() as (url, received):
            for name, address in stack.urls().items():
                _say(f"{name.removesuffix('_url'):<10}{address}")
            _edit(stack, url, received)
            _step("stop everything")
    _say(f"all stopped; the whole took {time.monotonic() - begun_at:.1f} s; log: {log_path}")


def _edit(stack: Stack, url: str, received: queue.Queue[Webhook]) -> None:
    settings = _settings(stack)
    with EditQueue(settings=settings) as edits:
        receiver = edits.receiver(url)
        job = _enqueue(edits, settings, url)
        result = _follow(job)
        before, after = _save(result)
        _verify(received, receiver, job)
        task_url = _find_in_flower(str(stack.urls()["flower_url"]), job)
        _step("done")
        for name, value in (("before", before), ("after", after), ("link", result.url), ("flower", task_url)):
            _say(f"{name:<10}{value}")
        _say(f"{'gateway':<10}{stack.urls()['gateway_url']}")


def _settings(stack: Stack) -> Settings:
    """Return the settings with which a producer uses this stack."""
    overrides = {name.removeprefix("RETOUCH_").lower(): value for name, value in stack.shared_environment().items()}
    return Settings.load(**overrides)


def _enqueue(edits: EditQueue, settings: Settings, url: str) -> Job:
    from retouch.connections import Connections
    from retouch_producer.cli.input_image import find_input_image

    _step(f"enqueue: {PROMPT!r}, for {PHOTO.name}")
    connections = Connections(settings)
    picture = find_input_image(str(PHOTO), Path.cwd())
    picture.keep(connections.blobs, connections.client, settings.retention_s, DEFAULT_TENANT)
    edit = Edit(prompt=PROMPT, init_image=picture.link(connections.blobs.link), steps=50, guidance_scale=12)
    job = edits.enqueue(edit, webhook=url, idempotency_key="demo", tags={"order": "17"})
    _say(f"job {job.id}, webhook to {url}")
    return job


def _follow(job: Job) -> EditResult:
    _step("follow its events")
    for event in job.events():
        _say(f"{event['timestamp']}  {event['type']}")
    return job.result(STEP_S)


def _save(result: EditResult) -> tuple[Path, Path]:
    _step("save the result, and fetch it from the gateway as a browser would")
    before, after = OUT / "before.jpg", OUT / "after.png"
    before.write_bytes(PHOTO.read_bytes())
    result.save(after)
    if _fetch(result.url) != after.read_bytes() or after.read_bytes() == before.read_bytes():
        raise DemoFailed("the image on disk differs from the one that the gateway serves, or is the unedited one")
    width, height = result.size
    _say(f"{after}: {width} x {height} {result.format}, {result.bytes:,} bytes, sha256 {result.sha256[:16]}…")
    return before, after


def _verify(received: queue.Queue[Webhook], receiver: Receiver, job: Job) -> None:
    _step("receive the webhook and check its signature")
    try:
        webhook = received.get(timeout=STEP_S)
    except queue.Empty:
        raise DemoFailed(f"no webhook came within {STEP_S:g} s") from None
    event = verify_webhook(webhook.body, webhook.headers, receiver.secret)
    if (event["type"], event["data"]["job_id"]) != ("edit.succeeded", job.id):
        raise DemoFailed(f"expected edit.succeeded of {job.id}, got {event['type']}")
    _say(f"{event['type']} of {event['data']['job_id']}, charges {event['data']['charges']['possible']}")
    _say("verified by retouch.verify_webhook")
    try:
        from standardwebhooks.webhooks import Webhook as Independent
    except ModuleNotFoundError:
        _say("standardwebhooks is not installed (pip install 'retouch-ops[demo]'): it is verified once only")
        return
    Independent(receiver.secret).verify(webhook.body, dict(webhook.headers))
    _say("verified by standardwebhooks, an independent library")


def _find_in_flower(flower: str, job: Job) -> str:
    """
    Wait until Flower lists the task of a job as done, and return the URL of the task's page.

    Raises `DemoFailed` if this takes too long, or if the page does not name the job.
    """
    _step("find the task in Flower")
    order = {"order[0][column]": 0, "order[0][dir]": "desc", "columns[0][data]": "received"}
    query = urlencode({"draw": 1, "start": 0, "length": 100, "search[value]": job.id, **order})
    until = time.monotonic() + STEP_S
    while time.monotonic() < until:
        found = json.loads(_fetch(f"{flower}/tasks/datatable?{query}"))["data"]
        done = [task for task in found if task["name"] == "retouch.edit" and task["state"] == "SUCCESS"]
        if done:
            page = f"{flower}/task/{done[0]['uuid']}"
            if job.id not in _fetch(page).decode():
                raise DemoFailed(f"{page} does not show {job.id}")
            _say(f"{done[0]['name']}{done[0]['args']} {done[0]['state']} in {done[0]['runtime']:.2f} s")
            return page
        time.sleep(0.2)
    raise DemoFailed(f"Flower did not list the task of {job.id} within {STEP_S:g} s")


def _fetch(url: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=STEP_S) as answer:
            return bytes(answer.read())
    except (OSError, http.client.HTTPException) as error:
        raise DemoFailed(f"{url} could not be read: {error}") from error


@contextmanager
def _webhook_receiver() -> Iterator[tuple[str, queue.Queue[Webhook]]]:
    """Context manager that receives webhooks on a free port. Yields the URL, and a queue of the received webhooks."""
    received: queue.Queue[Webhook] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            received.put(Webhook(dict(self.headers.items()), body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing: the demo reports what it received."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/webhook", received
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def _time_limit(log_path: Path) -> Iterator[None]:
    """Context manager that ends its block by `DemoFailed` after 100 s, or by `KeyboardInterrupt` on SIGTERM."""

    def too_long(_number: int, _frame: FrameType | None) -> None:
        raise DemoFailed(f"not done after {LONGEST_S:g} s; {log_path} says what happened")

    before = signal.signal(signal.SIGALRM, too_long), signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before[0])
        signal.signal(signal.SIGTERM, before[1])


def _writer(log: TextIO) -> Callable[[str], None]:
    def write(line: str) -> None:
        log.write(line + "\n")
        log.flush()

    return write


def _step(text: str) -> None:
    print(f"\n== {text}", flush=True)


def _say(text: str) -> None:
    print(f"   {text}", flush=True)
