"""
Tests `examples/selfhosted` unchanged: a real worker edits a photograph with it, and understands each of its answers.
"""

from __future__ import annotations

import hashlib
import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from retouch import Edit, EditQueue, Settings
from retouch.egress.http import Answer
from retouch.outcomes import Busy, Failed, Processing, Ready, Refused
from retouch.store.records import JobSpec
from retouch_ops.simulator.process import Simulator
from retouch_worker.edits.credentials import Credentials
from retouch_worker.edits.endpoint import Endpoint, Endpoints
from tests.process_watch import Spoken, eventually

FOLDER = Path(__file__).parents[2] / "examples" / "selfhosted"
KEY = "sk-planted-selfhosted"
OWN_FUNCTION = """
import time
from pathlib import Path

def edit(image, prompt, steps, guidance_scale, image_guidance_scale):
    while not Path("go").exists():
        time.sleep(0.02)
    if prompt == "fail":
        raise ValueError(prompt)
    return image.convert("L").convert("RGB")
"""

Serve = Callable[..., str]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """A function that starts the server with options, in a folder with a user's edit function, and returns its URL."""
    (tmp_path / "own_function.py").write_text(OWN_FUNCTION)
    with ExitStack() as running:

        def start(*options: str) -> str:
            own = {
                "SELFHOSTED_KEY": KEY,
                "RETOUCH_DANGEROUS_ALLOW_PRIVATE_NETWORKS": "127.0.0.0/8",
                "PYTHONPATH": str(tmp_path),
            }
            command = [sys.executable, str(FOLDER / "server.py"), "--port", "0", *options]
            server = running.enter_context(Spoken(command, folder=tmp_path, environment=own))
            return server.wait_for("serving ").rpartition(" on ")[2]

        yield start


@pytest.fixture
def accounts(tmp_path: Path) -> Callable[[str], Path]:
    """A function that writes the accounts file of the README, with the server's URL and key."""

    def write(url: str) -> Path:
        readme = (FOLDER / "README.md").read_text()
        text = readme.partition("```toml\n")[2].partition("```")[0]
        text = text.replace("http://10.0.0.7:8100", url).replace("/run/secrets/gpu", "gpu.key")
        (tmp_path / "gpu.key").write_text(f"{KEY}\n")
        (tmp_path / "accounts.toml").write_text(text)
        return tmp_path / "accounts.toml"

    return write


def endpoints_of(accounts: Path) -> Endpoints:
    settings = Settings.load(accounts=str(accounts))
    return Endpoints(settings, Credentials(settings), connections=8)


def asked(simulator: Simulator, prompt: str = "winter") -> JobSpec:
    edit = {"prompt": prompt, "init_image": simulator.portrait_url, "steps": 20, "guidance_scale": 7}
    return JobSpec("acme", edit, 3_600.0)


def held(endpoints: Endpoints) -> Endpoint:
    endpoint = endpoints.of("gpu")
    assert endpoint is not None
    return endpoint


def test_a_photograph_is_edited(
    serve: Serve, accounts: Any, worker: Any, queue: EditQueue, simulator: Simulator, client: Any
) -> None:
    """
    With the README's account, a worker sends an edit to the server and stores the picture.

    The server's address is private. The worker may use it, although addresses from users must be public.
    """
    running = worker(
        accounts=accounts(serve("--edit", "edits:pillow_edit")),
        dangerous_allow_private_networks="",
        log_format="json",
        pix2pix_key="",
    )
    job = queue.enqueue(Edit(prompt="a poster", init_image=simulator.portrait_url))
    result = job.result(40)
    assert (result.format, result.warnings) == ("PNG", ())
    before = requests.get(simulator.portrait_url, timeout=5).content
    assert Image.open(io.BytesIO(before)).size == result.size
    assert hashlib.sha256(before).hexdigest() != result.sha256
    assert [client.hmget(name, "limit", "learn") for name in client.scan_iter("rt:edits:gate:*")] == [["4", "0"]]
    assert simulator.books(totals=True)["posts"] == 0
    assert KEY not in running.log


def test_an_edit_that_takes_long_is_polled(serve: Serve, accounts: Any, simulator: Simulator, tmp_path: Path) -> None:
    """A long edit is answered `processing` until its picture is ready. Then a poll returns the URL of the picture."""
    endpoints = endpoints_of(accounts(serve("--edit", "own_function:edit", "--answer-within", "0.05")))
    outcome, health, _ = held(endpoints).post_edit(asked(simulator))
    assert isinstance(outcome, Processing)
    assert health == "ok"
    assert held(endpoints).poll(outcome, asked(simulator), 1.0)[0] == outcome
    (tmp_path / "go").touch()
    until = time.monotonic() + 20
    found: Any = outcome
    while isinstance(found, Processing) and time.monotonic() < until:
        found, _ = held(endpoints).poll(outcome, asked(simulator), 1.0)
    assert isinstance(found, Ready)
    answer = endpoints.download(found.urls[0])
    assert isinstance(answer, Answer)
    assert Image.open(io.BytesIO(answer.body)).format == "PNG"


def test_more_than_the_cap_is_refused(serve: Serve, accounts: Any, simulator: Simulator, tmp_path: Path) -> None:
    """
    Beyond `--cap` edits, the server answers that its queue is full. Once edits have ended, it accepts edits again.
    """
    options = ("--edit", "own_function:edit", "--cap", "2", "--answer-within", "0.05")
    endpoint = held(endpoints_of(accounts(serve(*options))))
    for _ in range(2):
        assert isinstance(endpoint.post_edit(asked(simulator))[0], Processing)
    outcome, health, _ = endpoint.post_edit(asked(simulator))
    assert isinstance(outcome, Busy)
    assert (outcome.code, outcome.wait_s, health) == ("queue_full", 1.0, "full")
    (tmp_path / "go").touch()
    assert eventually(lambda: isinstance(endpoint.post_edit(asked(simulator))[0], Processing | Ready))


def test_refusals_are_those_of_the_endpoint(serve: Serve, accounts: Any, simulator: Simulator, tmp_path: Path) -> None:
    """Wrong fields, an unfetchable picture, a failed edit and a wrong key are answered as the endpoint answers them."""
    path = accounts(serve("--edit", "own_function:edit"))
    endpoint = held(endpoints_of(path))
    (tmp_path / "go").touch()
    wrong = {**asked(simulator).edit, "steps": 0, "prompt": " "}
    outcome, *_ = endpoint.post_edit(JobSpec("acme", wrong, 3_600.0))
    assert outcome == Refused(
        "validation", "prompt: The prompt field is required.; steps: The steps must be between 1 and 50."
    )
    outcome, *_ = endpoint.post_edit(JobSpec("acme", {**asked(simulator).edit, "init_image": "http://10.0.0.1/"}, 60.0))
    assert outcome == Refused("image_unfetchable", "Unable to fetch image from provided URL")
    assert isinstance(endpoint.post_edit(asked(simulator, "fail"))[0], Failed)
    (tmp_path / "gpu.key").write_text("sk-another-key")
    outcome, *_ = held(endpoints_of(path)).post_edit(asked(simulator))
    assert outcome == Refused("bad_key", "Invalid Api Key")


def test_the_server_needs_its_key(serve: Serve) -> None:
    """A request with a wrong key is answered 401, and the server serves no file except for its outputs."""
    url = serve()
    with requests.Session() as session:
        answers = {
            path: session.get(url + path, timeout=5).status_code
            for path in ("/", "/outputs/", "/outputs/..%2fserver.py", "/outputs/../server.py", "/api/v3/fetch/1")
        }
        looked = session.post(f"{url}/api/v3/fetch/1", json={"key": "sk-wrong-key"}, timeout=5)
        nothing = session.post(f"{url}/api/v5/pix2pix", data=b"[", timeout=5)
        lost = session.post(f"{url}/api/v3/fetch/99", json={"key": KEY}, timeout=5)
    assert set(answers.values()) == {404}
    assert (looked.status_code, nothing.status_code) == (401, 400)
    assert lost.json()["message"] == "Request not found"


def test_without_a_key_it_does_not_start(tmp_path: Path) -> None:
    """The server does not start without a key, since anybody could use it then."""
    with Spoken([sys.executable, str(FOLDER / "server.py")], folder=tmp_path) as running:
        assert running.wait_for("SELFHOSTED_KEY: expected a key of 8 characters or more")
        assert running.process.wait(10) == 1
