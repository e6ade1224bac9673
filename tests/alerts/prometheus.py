"""
A real Prometheus (Debian's package) for tests. It has the rules of ops/prometheus, with seconds in place of minutes.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.free_ports import free_port
from tests.process_watch import Spoken, eventually

RULES = Path(__file__).parents[2] / "ops" / "prometheus"
OBJECTIVE_S = "5.0"
"""The bucket that stands for the objective of 300 s in the sped-up rules."""
_SECONDS = {"m": 1, "h": 60, "d": 1440}
_LEAST_S = 5  # a rate needs several scrapes, a second apart; on a busy machine two scrapes in a row may be late


def speed_up(rules: str) -> str:
    """
    Return the rules with seconds in place of minutes: in ranges, in `for`, and in ages written as `15 * 60`.

    A range or a `for` other than 0 is at least `_LEAST_S` seconds.
    """

    def seconds(match: re.Match[str]) -> str:
        sped_up = int(match[1]) * _SECONDS[match[2]]
        return f"{max(_LEAST_S, sped_up) if sped_up else 0}s"

    text = re.sub(r"(?:(?<=\[)|(?<=for: ))(\d+)([mhd])\b", seconds, rules)
    return re.sub(r"(\d+) \* 60\b", r"\1 * 1", text).replace('le="300.0"', f'le="{OBJECTIVE_S}"')


def alert_names() -> list[str]:
    """Return the names of all alerts, without repetitions."""
    groups = yaml.safe_load((RULES / "rules.yml").read_text())["groups"]
    return [rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule]


def promtool(*arguments: str, folder: Path = RULES) -> subprocess.CompletedProcess[str]:
    """Run promtool to its end and return the finished process."""
    return subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, check=False)


class Prometheus:
    """
    Context manager that runs a Prometheus server, which scrapes each second.

    The server scrapes `/metrics/store` of the gateways in `store`, and `/metrics` of the gateways in `gateways`.
    """

    def __init__(self, folder: Path, key: str, *, store: Sequence[str], gateways: Sequence[str]) -> None:
        folder.mkdir()
        self.url = f"http://127.0.0.1:{free_port()}"
        config = yaml.safe_load((RULES / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        for job, targets in zip(config["scrape_configs"], (store, gateways), strict=True):
            job["static_configs"] = [{"targets": [url.removeprefix("http://") for url in targets]}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        (folder / "rules.yml").write_text(speed_up((RULES / "rules.yml").read_text()))
        (folder / "retouch.key").write_text(key)
        options = {
            "config.file": folder / "prometheus.yml",
            "storage.tsdb.path": folder / "data",
            "web.listen-address": self.url.removeprefix("http://"),
        }
        command = [str(shutil.which("prometheus")), *(f"--{name}={value}" for name, value in options.items())]
        self.process = Spoken(command, folder=folder)

    def __enter__(self) -> Self:
        self.process.__enter__()
        assert eventually(self._is_ready), "\n".join(self.process.lines)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.__exit__(kind, error, at)

    def _is_ready(self) -> bool:
        try:
            return bool(self.query("up"))
        except OSError:
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """
        Return the present value of each series of an expression. Raises `OSError` if Prometheus refuses the expression.
        """
        text = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{text}", timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return found

    def has_fired(self, alert: str) -> bool:
        """Return whether an alert fired since the start."""
        return bool(self.query(f'count_over_time(ALERTS{{alertname="{alert}", alertstate="firing"}}[1h])'))

    def firing(self) -> set[str]:
        """Return the alerts that fire now."""
        return {one["metric"]["alertname"] for one in self.query('ALERTS{alertstate="firing"}')}


def main() -> None:
    """Exit with 0 if Prometheus is installed; otherwise print why the tests cannot run, and exit with 1."""
    missing = [name for name in ("prometheus", "promtool") if shutil.which(name) is None]
    if missing:
        sys.stderr.write(f"alerts cannot be tested: {', '.join(missing)} is not installed (Debian: prometheus)\n")
    sys.exit(bool(missing))


if __name__ == "__main__":
    main()
