"""The simulator as a process: command line, ready line, many simultaneous requests, and its end with the parent."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from retouch_ops.simulator.process import Simulator
from tests.process_watch import eventually

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "retouch_ops.simulator"]
EXAMPLE = re.compile(r"```python\n(import requests.*?)```", re.DOTALL)
STARTS_AND_SAYS_SO = """
import sys
from retouch_ops.simulator.process import Simulator
simulator = Simulator().__enter__()
print(simulator.url, flush=True)
sys.stdin.read()
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=90, check=False, cwd=ROOT)


def test_help_names_the_options() -> None:
    """`--help` describes the simulator and lists the options."""
    answer = run("--help")
    assert answer.returncode == 0
    for word in ("development tool", "--port", "--latency-s", "--cap", "--set"):
        assert word in answer.stdout


@pytest.mark.parametrize("setting", ["zap=1", "cap=0", "cap"])
def test_a_wrong_setting_on_the_command_line_is_a_usage_error(setting: str) -> None:
    """With an unknown setting, a value out of range or no value, the command exits with 2 and prints no ready line."""
    answer = run("--set", setting)
    assert answer.returncode == 2
    assert "ready" not in answer.stdout


def test_a_wrong_setting_of_the_context_manager_raises() -> None:
    """`Simulator(...)` raises RuntimeError if its process cannot start with these settings."""
    with pytest.raises(RuntimeError, match="did not start"), Simulator(zap=1):
        raise AssertionError("it started")


def test_settings_given_at_the_start_hold_after_a_reset() -> None:
    """Numbers, words, lists and null reach the process unchanged, and a reset restores them."""
    with Simulator(cap=7, output_kind="flat", keys=["k"], eta_s=None) as simulator:
        simulator.settings(cap=1)
        simulator.reset()
        settings = simulator.settings()
    assert (settings["cap"], settings["output_kind"], settings["keys"]) == (7, "flat", "1 accepted")


def test_it_ends_with_the_process_that_started_it() -> None:
    """When its parent is killed, the simulator stops listening by itself."""
    command = [sys.executable, "-c", STARTS_AND_SAYS_SO]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        url = parent.stdout.readline().strip()
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), 10) as connection:
            connection.settimeout(20)
            parent.kill()
            assert connection.recv(1) == b""


def test_two_hundred_at_once(simulator: Simulator) -> None:
    """200 requests are in flight at once. All succeed, and each is charged once."""
    simulator.settings(cap=200, latency_s=600)
    body = {"key": "k", "init_image": simulator.portrait_url}

    def edit(number: int) -> str:
        answer = requests.post(simulator.pix2pix_url, json={**body, "prompt": f"night [[{number}]]"}, timeout=60)
        return str(answer.json()["status"])

    with ThreadPoolExecutor(200) as pool:
        answers = pool.map(edit, range(200))
        assert eventually(lambda: simulator.books(totals=True)["in_flight"] == 200)
        simulator.settings(latency_s=0)
        assert set(answers) == {"success"}
    books = simulator.books()
    assert {entry["charged"] for entry in books["by_tag"].values()} == {1}
    assert books["max_in_flight"] == 200


def test_the_example_of_the_documentation_runs() -> None:
    """The test on the page docs/simulator.md passes unchanged."""
    found = EXAMPLE.search((ROOT / "docs" / "simulator.md").read_text())
    assert found is not None
    answer = subprocess.run(
        [sys.executable, "-c", found[1]], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    assert answer.stderr == ""
    assert answer.returncode == 0
