"""The programs of a local stack: only one of them gets the endpoint's key, and the data of Redis is private."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from retouch.settings import Settings
from retouch_ops.stack import programs

KEY = "sk-of-the-endpoint"
PORTS = programs.Ports(redis=1, simulator=2, gateway=3, flower=4)


def test_the_endpoint_key_goes_to_edits_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the worker for edits has the endpoint's key in its environment."""
    monkeypatch.setenv("RETOUCH_PIX2PIX_KEY", KEY)
    settings = Settings.load()
    environment = programs.stack_environment(os.environ, settings, PORTS, tmp_path)
    started = [
        programs.valkey_program(1, tmp_path / "redis"),
        programs.gateway_program(environment, 3),
        programs.flower_program(environment, 4),
        programs.simulator_program(environment, 2),
        *programs.all_worker_programs(environment, settings, KEY, "test"),
    ]
    # None would be all of ours, the key with it.
    assert all(program.environment is not None for program in started)
    knowing = [program.name for program in started if KEY in (program.environment or {}).values()]
    assert knowing == ["edits-test-1"]


def test_redis_data_is_its_owners(tmp_path: Path) -> None:
    """The folder of Redis's data has the mode 700, even if the folder existed before with another mode."""
    (tmp_path / "old").mkdir(0o755)
    for name in ("new", "old"):
        programs.valkey_program(1, tmp_path / name)
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o700
