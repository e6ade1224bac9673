"""
Serves the API of the pix2pix endpoint, and calls your function to edit: `python examples/selfhosted/server.py`.

SELFHOSTED_KEY holds the key that callers must send. Pictures are fetched from public addresses, and from the networks
that RETOUCH_DANGEROUS_ALLOW_PRIVATE_NETWORKS names. README.md shows how to make a worker of Retouch use this server.
"""

from __future__ import annotations

import argparse
import hmac
import io
import itertools
import json
import os
import secrets
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from retouch import Settings
from retouch.egress.http import Answer, download, make_session
from retouch.images.validation import ImageFault, check

Edit = Callable[[Image.Image, str, int, float, float], Image.Image]
Reply = tuple[int, dict[str, object]]

POST_PATH, FETCH_PATH, OUTPUT_PATH = "/api/v5/pix2pix", "/api/v3/fetch/", "/outputs/"
BODY_MOST_BYTES, PICTURE_MOST_BYTES, PICTURE_WITHIN_S = 100_000, 50_000_000, 30.0
KEPT_S = 3_600.0
NUMBERS: dict[str, tuple[float, float, float]] = {
    "steps": (1, 50, 20),
    "guidance_scale": (1, 20, 7),
    "image_guidance_scale": (1, 8, 1),
}
"""Field → (least value, greatest value, value if the field is left out)."""

BAD_REQUEST: Reply = (400, {"status": "error", "message": "Invalid API Request", "tip": "Send a JSON object."})
BAD_KEY: Reply = (401, {"status": "error", "message": "Invalid Api Key"})
UNFETCHABLE: Reply = (400, {"status": "error", "message": "Unable to fetch image from provided URL"})
FAILED: Reply = (200, {"status": "failed", "id": "", "message": "Failed, Try Again", "output": ""})
NOT_FOUND: Reply = (200, {"status": "failed", "id": "", "message": "Request not found", "output": ""})
STILL: dict[str, object] = {"status": "processing", "messege": "Request processing", "output": ""}


@dataclass
class Generation:
    """
    One accepted edit. `work` is the future of the final answer, and `name` is the file name of the edited picture.
    """

    number: int
    base_url: str
    name: str = field(default_factory=lambda: f"{secrets.token_urlsafe(24)}.png")
    accepted_at: float = field(default_factory=time.monotonic)
    work: Future[Reply] = field(default_factory=Future)


class Service:
    """
    The edits behind the routes. At most `cap` edits are in flight, and at most `gpus` of them are computed at once.
    """

    def __init__(self, edit: Edit, key: str, folder: Path, *, cap: int, gpus: int, answer_within_s: float) -> None:
        self.edit, self.key, self.folder, self.cap, self.answer_within_s = edit, key, folder, cap, answer_within_s
        self._gpus = threading.Semaphore(gpus)
        self._session = make_session(Settings.load().dangerous_allow_private_networks, cap)
        self._threads = ThreadPoolExecutor(cap, "edit")
        self._generations: dict[int, Generation] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def post(self, body: bytes, base_url: str) -> Reply:
        """
        Return the answer to a POST of an edit.

        Wait for the edit for up to `answer_within_s` seconds. After that, the answer is the link to poll. A refused
        POST gets an error at once.
        """
        asked = self._admitted(body)
        if isinstance(asked, tuple):
            return asked
        faults = faults_of(asked)
        if faults:
            return 400, {"status": "error", "message": faults}
        with self._lock:
            self._forget_old()
            if sum(not one.work.done() for one in self._generations.values()) >= self.cap:
                words = f"Rate limit exceeded. Maximum {self.cap} queued requests allowed."
                return 429, {"status": "error", "message": words, "retry_after": 1}
            generation = Generation(next(self._numbers), base_url)
            generation.work = self._threads.submit(self._run, generation, asked)
            self._generations[generation.number] = generation
        try:
            return generation.work.result(self.answer_within_s)
        except NotYet:
            look = f"{base_url}{FETCH_PATH}{generation.number}"
            return 200, {**STILL, "id": generation.number, "eta": 2, "fetch_result": look}

    def fetch(self, number: str, body: bytes) -> Reply:
        """
        Return the answer to a poll. It is a processing answer while the edit runs, and the final answer after that.
        """
        asked = self._admitted(body)
        if isinstance(asked, tuple):
            return asked
        generation = self._generations.get(int(number)) if number.isdecimal() else None
        if generation is None:
            return NOT_FOUND
        return generation.work.result() if generation.work.done() else (200, {**STILL, "id": generation.number})

    def output(self, name: str) -> bytes | None:
        """Return the bytes of the picture with this name, or None. The names cannot be guessed."""
        known = any(one.name == name for one in list(self._generations.values()))
        path = self.folder / name
        return path.read_bytes() if known and path.exists() else None

    def _admitted(self, body: bytes) -> dict[str, Any] | Reply:
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError):
            return BAD_REQUEST
        if not isinstance(asked, dict):
            return BAD_REQUEST
        key = asked.get("key")
        is_known = isinstance(key, str) and hmac.compare_digest(key.encode(errors="replace"), self.key.encode())
        return asked if is_known else BAD_KEY

    def _run(self, generation: Generation, asked: dict[str, Any]) -> Reply:
        try:
            picture = self._picture(asked["init_image"])
            if picture is None:
                return UNFETCHABLE
            steps, guidance, image_guidance = (asked.get(name, usual) for name, (_, _, usual) in NUMBERS.items())
            with self._gpus:
                edited = self.edit(picture, asked["prompt"], int(steps), float(guidance), float(image_guidance))
            edited.save(self.folder / generation.name, "PNG")
        except Exception:  # noqa: BLE001 - whatever an edit raises, its caller gets an answer
            traceback.print_exc()
            return FAILED
        took_s = round(time.monotonic() - generation.accepted_at, 3)
        link = f"{generation.base_url}{OUTPUT_PATH}{generation.name}"
        return 200, {"status": "success", "generationTime": took_s, "id": generation.number, "output": link}

    def _picture(self, url: str) -> Image.Image | None:
        """Fetch a picture from a vetted address. Return it upright in RGB, or None if it is no usable picture."""
        answer = download(self._session, url, timeout_s=PICTURE_WITHIN_S, max_bytes=PICTURE_MOST_BYTES)
        if not isinstance(answer, Answer) or answer.status != 200 or isinstance(check(answer.body), ImageFault):
            return None
        return ImageOps.exif_transpose(Image.open(io.BytesIO(answer.body))).convert("RGB")

    def _forget_old(self) -> None:
        before = time.monotonic() - KEPT_S
        for old in [one for one in self._generations.values() if one.work.done() and one.accepted_at < before]:
            del self._generations[old.number]
            (self.folder / old.name).unlink(missing_ok=True)


def faults_of(asked: dict[str, Any]) -> dict[str, list[str]]:
    """Return {field: messages} for the invalid fields of a request. The messages are like those of the endpoint."""
    faults = {
        name: [f"The {name.replace('_', ' ')} field is required."]
        for name in ("prompt", "init_image")
        if not isinstance(asked.get(name), str) or not asked[name].strip()
    }
    for name, (least, most, usual) in NUMBERS.items():
        value = asked.get(name, usual)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not least <= value <= most:
            faults[name] = [f"The {name.replace('_', ' ')} must be between {least} and {most}."]
    return faults


class Handler(BaseHTTPRequestHandler):
    """The three routes, over HTTP."""

    service: Service
    public_url: str
    timeout = 30

    def do_POST(self) -> None:
        """Answer a POST of an edit, or a poll."""
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > BODY_MOST_BYTES:
            self._answer(*BAD_REQUEST)
            return
        body, path = self.rfile.read(int(length)), self.path.partition("?")[0]
        if path == POST_PATH:
            self._answer(*self.service.post(body, self.public_url))
        elif path.startswith(FETCH_PATH):
            self._answer(*self.service.fetch(path.removeprefix(FETCH_PATH), body))
        else:
            self._answer(404, {"status": "error", "message": "Not Found"})

    def do_GET(self) -> None:
        """Serve the picture of a finished edit."""
        name = self.path.removeprefix(OUTPUT_PATH)
        picture = self.service.output(name) if name != self.path else None
        if picture is None:
            self._answer(404, {"status": "error", "message": "Not Found"})
        else:
            self._send(200, "image/png", picture)

    def do_HEAD(self) -> None:
        """Answer a HEAD request. `retouch doctor` sends one to check whether the server runs."""
        self._send(405, "application/json", b"")

    def _answer(self, status: int, content: dict[str, object]) -> None:
        self._send(status, "application/json", json.dumps(content).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing for each request."""


def arguments() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description="Serve the contract of the pix2pix endpoint over a function.")
    parser.add_argument("--edit", default="edits:edit", help="module:function that edits (default: %(default)s)")
    parser.add_argument("--address", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8100, help="port to listen on, 0 for any (default: %(default)s)")
    parser.add_argument("--public-url", help="what output links start with (default: http://ADDRESS:PORT)")
    parser.add_argument("--cap", type=int, default=5, help="edits in flight; more are refused (default: %(default)s)")
    parser.add_argument("--gpus", type=int, default=1, help="edits computed at once (default: %(default)s)")
    parser.add_argument(
        "--answer-within",
        type=float,
        default=60.0,
        metavar="S",
        help="seconds until a POST answers `processing` (default: %(default)s)",
    )
    return parser.parse_args()


def main() -> None:
    """Serve until the process is ended."""
    asked, key = arguments(), os.environ.get("SELFHOSTED_KEY", "")
    if len(key) < 8:
        sys.exit("SELFHOSTED_KEY: expected a key of 8 characters or more")
    module, _, name = asked.edit.partition(":")
    edit: Edit = getattr(import_module(module), name)
    with tempfile.TemporaryDirectory(prefix="selfhosted-") as folder:
        Handler.service = Service(
            edit, key, Path(folder), cap=asked.cap, gpus=asked.gpus, answer_within_s=asked.answer_within
        )
        server = ThreadingHTTPServer((asked.address, asked.port), Handler)
        server.daemon_threads = True
        own_url = f"http://{asked.address}:{server.server_port}"
        Handler.public_url = (asked.public_url or own_url).rstrip("/")
        print(f"serving {asked.edit} on {own_url}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
