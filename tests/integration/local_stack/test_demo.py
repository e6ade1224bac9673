"""`retouch demo` edits a real photograph through the whole path, and leaves nothing running."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image, ImageChops

from tests.process_watch import alive, own_environment, run_retouch


@pytest.mark.timeout(120)
def test_the_demo_edits_a_photograph_and_stops_everything(tmp_path: Path) -> None:
    """
    The demo saves the edited picture, verifies the webhook in two ways, reads the task from Flower, and leaves no
    process.
    """
    planted = {"RETOUCH_PIX2PIX_KEY": "sk-planted", "RETOUCH_STORE_URL": "s3://nowhere", "RETOUCH_MAX_ATTEMPTS": "1"}
    ended = subprocess.run(
        [sys.executable, "-m", "retouch_ops.cli", "demo"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=own_environment(**planted),
        timeout=110,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "edit.succeeded" in ended.stdout
    assert "verified by retouch.verify_webhook" in ended.stdout
    assert "verified by standardwebhooks" in ended.stdout
    assert re.search(r"retouch\.edit\('ed_\w+',\) SUCCESS", ended.stdout)
    before, after = (Image.open(tmp_path / "out/demo" / name).convert("RGB") for name in ("before.jpg", "after.png"))
    assert before.size == after.size
    assert ImageChops.difference(before, after).getbbox() is not None
    assert "sk-planted" not in ended.stdout + (tmp_path / "out/demo/stack.log").read_text()
    _assert_nothing_listens(ended.stdout)
    assert not _processes_in(tmp_path)


def test_an_interrupted_demo_stops_everything(tmp_path: Path) -> None:
    """Ctrl-C ends the demo with exit code 130, and no process of the stack is left."""
    (tmp_path / "out/demo").mkdir(parents=True)
    os.mkfifo(tmp_path / "out/demo/before.jpg")  # nobody reads it: there the demo waits for us, however fast it is
    with run_retouch("demo", folder=tmp_path) as demo:
        demo.wait_for("== save the result")
        record = json.loads((tmp_path / "var/demo/stack.json").read_text())
        demo.process.send_signal(2)
        assert demo.process.wait(30) == 130
    assert [name for name, pid in record["pids"].items() if alive(pid)] == []
    assert not _processes_in(tmp_path)


def _assert_nothing_listens(said: str) -> None:
    for address in re.findall(r"(?:gateway|flower|simulator|redis)\s+(\w+://127\.0\.0\.1:\d+)", said):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", urlsplit(address).port or 0)) != 0, f"{address} still answers"


def _processes_in(folder: Path) -> list[str]:
    """Return the other processes that have the folder on their command line."""
    listed = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True, check=True).stdout
    own = str(os.getpid())
    return [line for line in listed.splitlines() if str(folder) in line and line.split()[0] != own]
