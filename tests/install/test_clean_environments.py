"""
Installs the wheels as users and the Dockerfile do, without the developers' environment: no dependency may be missing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = str(Path(sys.executable).with_name("uv"))
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("RETOUCH_", "PYTHON"))}
ENQUEUE = """
import sys
from retouch import Edit, EditQueue
with EditQueue(sys.argv[1]) as queue:
    job = queue.enqueue(Edit(prompt="make it winter", init_image="https://example.com/in.png"))
    print(job.state)
    job.cancel()
"""


def run(*command: str, cwd: Path) -> str:
    """
    Run a command in a folder without our sources and return its output. Raises `AssertionError` if the command fails.
    """
    done = subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Build the wheels of all distributions as the Dockerfile does, and return their paths, `retouch` first."""
    out = tmp_path_factory.mktemp("dist")
    built = (UV, "build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable)
    for folder in (".", "producer", "worker", "ops"):
        run(*built, "--out-dir", str(out), str(ROOT / folder), cwd=out)
    return sorted(map(str, out.glob("*.whl")))


def make_environment(folder: Path) -> str:
    """Create an empty environment without pip and return the path of its interpreter."""
    run(UV, "venv", "--quiet", "--python", sys.executable, str(folder / "venv"), cwd=folder)
    return str(folder / "venv/bin/python")


def test_the_image_lock_is_complete(wheels: list[str], tmp_path: Path) -> None:
    """With only the packages of image.lock, every part of the stack can be imported, and no requirement is missing."""
    python = make_environment(tmp_path)
    run(UV, "pip", "sync", "--quiet", "--python", python, "--require-hashes", str(ROOT / "image.lock"), cwd=tmp_path)
    run(UV, "pip", "install", "--quiet", "--python", python, "--no-deps", *wheels, cwd=tmp_path)
    run(UV, "pip", "check", "--quiet", "--python", python, cwd=tmp_path)
    parts = (
        "kombu.transport.redis, retouch_worker.app, retouch_worker.broker_guard, flower, "
        "flower.command, retouch_producer.gateway.app, retouch_ops.cli, retouch.tracing.otel"
    )
    assert run(python, "-c", f"import {parts}; print('imported')", cwd=tmp_path).strip() == "imported"


def test_the_base_install_enqueues(wheels: list[str], tmp_path: Path, redis_url: str, client: object) -> None:
    """The wheel of `retouch` with only its declared dependencies enqueues a job in a real Redis."""
    python = make_environment(tmp_path)
    locked = ("--constraint", str(ROOT / "requirements.lock"))
    run(UV, "pip", "install", "--quiet", "--python", python, *locked, wheels[0], cwd=tmp_path)
    run(UV, "pip", "check", "--quiet", "--python", python, cwd=tmp_path)
    assert run(python, "-c", ENQUEUE, redis_url, cwd=tmp_path).strip() == "queued"
