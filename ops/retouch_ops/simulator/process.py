"""
A simulator in a process of its own, for tests.

    with Simulator(latency_s=0, cap=5) as simulator:
        simulator.faults(next=[{"kind": "html_502"}])
        ...  # your code, with simulator.pix2pix_url as its endpoint
        assert simulator.books()["charged"] == 1
"""

from __future__ import annotations

import json
import subprocess
import sys
from types import TracebackType
from typing import Any, Self

import requests

from retouch_ops.simulator.server import READY

_STOP_S = 5.0

Json = dict[str, Any]
"""An answer of a control call: a JSON object, whose members docs/simulator.md lists."""


class Simulator:
    """
    Context manager that runs a simulator in a process of its own, on 127.0.0.1. Port 0 stands for a free port.

    If the process that started the simulator ends, the simulator ends too. Keyword arguments are settings of
    `SimulatorConfig`. A wrong control call raises `ValueError` with the simulator's message.
    """

    def __init__(self, *, port: int = 0, **settings: object) -> None:
        self._port, self._settings = port, settings
        self._process: subprocess.Popen[str] | None = None
        self._session = requests.Session()
        self._session.trust_env = False
        self.url = ""

    def __enter__(self) -> Self:
        """
        Start the process, wait until it listens, and return this object. Raises `RuntimeError` if it does not start.
        """
        pairs = [f"--set={name}={json.dumps(value)}" for name, value in self._settings.items()]
        command = [
            sys.executable,
            "-P",
            "-m",
            "retouch_ops.simulator",
            "--port",
            str(self._port),
            "--with-parent",
            *pairs,
        ]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith(READY):
            self.stop()
            raise RuntimeError(f"the simulator did not start; its settings were {sorted(self._settings)}")
        self.url = line.removeprefix(READY).strip()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the process."""
        self.stop()

    def stop(self) -> None:
        """Kill the process with its open connections; do nothing if it is not running."""
        self._session.close()
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.communicate(timeout=_STOP_S)

    @property
    def pix2pix_url(self) -> str:
        """The URL to POST edits to."""
        return f"{self.url}/api/v5/pix2pix"

    @property
    def fetch_url(self) -> str:
        """The URL to fetch results from. Append `/` and the id from a processing answer."""
        return f"{self.url}/api/v3/fetch"

    @property
    def portrait_url(self) -> str:
        """The URL of a photograph that can be used as init_image."""
        return f"{self.url}/samples/portrait.jpg"

    def books(self, *, totals: bool = False) -> Json:
        """Return the counts since the last reset. `totals` leaves out the entries by tag, prompt and body."""
        return self._call("GET", f"/control/books{'?totals=1' if totals else ''}")

    def faults(self, **call: object) -> Json:
        """Add faults (`next`, `next_fetch`, `rates`, `seed`), and return the faults that are still to come."""
        return self._call("POST", "/control/faults", call)

    def settings(self, **changes: object) -> Json:
        """Change the named settings, and return all settings."""
        return self._call("POST", "/control/settings", changes)

    def reset(self, *, keep_settings: bool = False) -> None:
        """Begin new books, and delete faults and outputs. Restore the first settings unless `keep_settings`."""
        self._call("POST", "/control/reset", {"keep_settings": keep_settings})

    def _call(self, method: str, path: str, body: dict[str, object] | None = None) -> Json:
        answer = self._session.request(method, self.url + path, json=body, timeout=10)
        reply: Json = answer.json()
        if answer.status_code == 400:
            raise ValueError("; ".join(reply["error"]))
        answer.raise_for_status()
        return reply
