"""Runs one of the endpoint's own examples against a gateway; only host and key in its text are changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
HOST = "https://stablediffusionapi.com"
KEYS = ('"key": ""', '"key" => ""', '\\"key\\": \\"\\"')


def example(name: str, url: str, key: str) -> str:
    """
    Return the text of an example, with `url` as the host and `key` as the key.

    Raises `AssertionError` unless the text has exactly one host and one empty key.
    """
    text = (HERE / f"{name}.txt").read_text()
    empty = next(one for one in KEYS if one in text)
    assert (text.count(HOST), text.count(empty)) == (1, 1)
    filled = (
        empty[: empty.rindex('\\"' if empty.startswith("\\") else '"')] + key + empty[-2 if "\\" in empty else -1 :]
    )
    return text.replace(HOST, url).replace(empty, filled)


def tool(name: str, why: str) -> str:
    """Return the path of a program. Fail if it is missing; the message is "NAME is needed: WHY"."""
    found = shutil.which(name)
    assert found, f"{name} is needed: {why}"
    return found


def run(command: Sequence[str], folder: Path, within_s: float = 60.0, *, installs: bool = False) -> str:
    """
    Run a program in a folder and return its stdout. Raises `AssertionError` if the program fails.

    The program gets the proxy settings of this machine only if `installs` is true.
    """
    environment = {name: value for name, value in os.environ.items() if installs or not _is_proxy(name)}
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=within_s, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _is_proxy(name: str) -> bool:
    return name.lower().endswith("_proxy")


def reply(printed: str) -> dict[str, Any]:
    """Return the JSON object in the last line that an example printed."""
    answer: dict[str, Any] = json.loads(printed.strip().splitlines()[-1])
    return answer
