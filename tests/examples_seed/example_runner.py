"""Runs one of the endpoint's own examples against a gateway: the text as it is, with the host and the key changed."""

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
    """Give an example's text for this gateway; host and key stand in it once each."""
    text = (HERE / f"{name}.txt").read_text()
    empty = next(one for one in KEYS if one in text)
    assert (text.count(HOST), text.count(empty)) == (1, 1)
    filled = (
        empty[: empty.rindex('\\"' if empty.startswith("\\") else '"')] + key + empty[-2 if "\\" in empty else -1 :]
    )
    return text.replace(HOST, url).replace(empty, filled)


def tool(name: str, why: str) -> str:
    """Give the path of a program that must be here."""
    found = shutil.which(name)
    assert found, f"{name} is needed: {why}"
    return found


def run(command: Sequence[str], folder: Path, within_s: float = 60.0, *, installs: bool = False) -> str:
    """Run a program in a folder and give what it printed; one that `installs` goes through the proxies set here."""
    environment = {name: value for name, value in os.environ.items() if installs or not _is_proxy(name)}
    told = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=within_s, env=environment, check=False
    )
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


def _is_proxy(name: str) -> bool:
    return name.lower().endswith("_proxy")


def reply(printed: str) -> dict[str, Any]:
    """Read the answer that an example printed."""
    told: dict[str, Any] = json.loads(printed.strip().splitlines()[-1])
    return told
