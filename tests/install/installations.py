"""
Tests the wheels as users install them. `make install-test` uses each Python that is on this machine.

uv makes a clean environment for each use, without the packages of the developers' environment. Commands run in folders
without our sources, so that Python imports only installed modules.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.free_ports import free_port
from tests.install.test_clean_environments import ENQUEUE, ENVIRONMENT, ROOT, UV, run
from tests.process_watch import eventually

pytestmark = pytest.mark.timeout(600)

VERSIONS = ("3.11", "3.12", "3.13")
OURS = {"retouch", "retouch_producer", "retouch_worker", "retouch_ops"}
TAKEN = ("worker.py", "producer.py", "ops.py", "tests.py", "jobs.py")
"""Files that the folder of a backend may have. None of them may be imported in place of our modules."""


TEST_OF_A_USER = """
import json
from urllib.request import Request, urlopen


def test_books(retouch_simulator):
    body = {"key": "k", "prompt": "winter", "init_image": retouch_simulator.portrait_url}
    headers = {"Content-Type": "application/json"}
    answer = urlopen(Request(retouch_simulator.pix2pix_url, json.dumps(body).encode(), headers))
    assert json.load(answer)["status"] == "success"
    assert retouch_simulator.books()["charged"] == 1
"""


def python_of(version: str) -> str | None:
    """Return the path of an interpreter of this version, or None if this machine has none."""
    kept = sorted((Path.home() / ".pyenv/versions").glob(f"{version}.*/bin/python"))
    wanted = str(kept[-1]) if kept else version
    command = [UV, "python", "find", "--no-python-downloads", wanted]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


HERE = [version for version in VERSIONS if python_of(version)]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the wheels and source distributions, built as `make dist` builds them."""
    out = tmp_path_factory.mktemp("dist")
    for folder in (".", "producer", "worker", "ops"):
        run(
            UV,
            "build",
            "--quiet",
            "--no-build-isolation",
            "--python",
            f"{ROOT}/.venv/bin/python",
            "--out-dir",
            str(out),
            str(ROOT / folder),
            cwd=out,
        )
    return out


class Environment:
    """A virtual environment without pip, with an empty folder to work in."""

    def __init__(self, folder: Path, version: str, wheels: Path) -> None:
        self.folder, self._wheels = folder, wheels
        self.python = str(folder / "venv/bin/python")
        run(UV, "venv", "--quiet", "--python", str(python_of(version)), str(folder / "venv"), cwd=folder)

    def install(self, *words: str) -> None:
        """Install requirements with their dependencies; our own wheels come from the folder where they were built."""
        run(
            UV,
            "pip",
            "install",
            "--quiet",
            "--python",
            self.python,
            "--find-links",
            str(self._wheels),
            *words,
            cwd=self.folder,
        )

    def tops(self) -> set[str]:
        """Return the names of the packages and modules in the environment's own folder."""
        site = next((self.folder / "venv/lib").glob("python*/site-packages"))
        return {
            path.name.removesuffix(".py")
            for path in site.iterdir()
            if not path.name.endswith((".dist-info", ".pth", ".so", ".virtualenv"))
            and not path.name.startswith(("_", "."))
        }

    def run(self, *words: str) -> str:
        """Run the environment's Python and return its output."""
        return run(self.python, *words, cwd=self.folder)


def test_the_environments_are_of_more_than_one_python() -> None:
    """The tested versions are those that the package declares, and Python 3.11 is on this machine."""
    classifiers = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    assert tuple(classifiers) == VERSIONS
    assert "3.11" in HERE


@pytest.mark.parametrize("version", HERE)
@pytest.mark.parametrize("resolution", ["lowest-direct", "highest"])
def test_the_client_alone_enqueues(
    version: str, resolution: str, wheels: Path, tmp_path: Path, redis_url: str, client: object
) -> None:
    """`retouch` alone enqueues a job, with the lowest and with the highest allowed versions of its dependencies."""
    environment = Environment(tmp_path, version, wheels)
    environment.install("--resolution", resolution, "retouch==0.1.0")
    run(UV, "pip", "check", "--quiet", "--python", environment.python, cwd=tmp_path)
    assert environment.run("-c", ENQUEUE, redis_url).strip() == "queued"
    assert environment.tops() & (OURS | {"celery", "kombu", "requests", "PIL", "fastapi"}) == {"retouch"}


@pytest.mark.parametrize("celery", ["5.4", "5.5", "5.6", "5.7"])
def test_the_client_lives_beside_any_celery(
    celery: str, wheels: Path, tmp_path: Path, redis_url: str, client: object
) -> None:
    """A project with Celery 5.4 to 5.7 installs the client without a conflict, keeps its Celery, and enqueues."""
    environment = Environment(tmp_path, "3.11", wheels)
    environment.install(f"celery=={celery}.*", "retouch==0.1.0")
    assert environment.run("-c", "import celery; print(celery.__version__)").startswith(celery)
    assert environment.run("-c", ENQUEUE, redis_url).strip() == "queued"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Environment:
    """An environment with all four distributions, at the versions of the lock."""
    environment = Environment(tmp_path_factory.mktemp("server"), "3.11", wheels)
    environment.install("--constraint", str(ROOT / "requirements.lock"), "retouch-ops==0.1.0")
    return environment


def test_no_package_has_a_general_name(server: Environment, tmp_path: Path, wheels: Path) -> None:
    """The top-level packages of our wheels are named `retouch` or `retouch_…`, and each wheel contains the licence."""
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
        tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
        assert tops <= OURS, wheel.name
        assert any(name.endswith("licenses/LICENSE") for name in names), wheel.name
    assert server.tops() >= OURS


@pytest.fixture
def taken(tmp_path: Path) -> Path:
    """
    Return a folder with modules and folders that are named like ours. A process that imports one of the modules exits.
    """
    for name in TAKEN:
        (tmp_path / name).write_text("raise SystemExit('a module of the working folder was imported')\n")
    for name in ("ops", "producer", "worker", "tests", "retouch"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_the_stack_runs_in_a_folder_with_names_like_ours(server: Environment, taken: Path) -> None:
    """In a folder with names like ours, `retouch up` starts, an edit succeeds over its gateway, and the stack stops."""
    retouch = str(Path(server.python).with_name("retouch"))
    port = str(free_port())
    environment = {**ENVIRONMENT, "PYTHONPATH": str(taken), "NO_COLOR": "1", "RETOUCH_FLOWER_PORT": "0"}
    log = taken / "stack.log"
    with log.open("wb") as out:
        stack = subprocess.Popen([retouch, "up", "--port", port], cwd=taken, env=environment, stdout=out, stderr=out)
    try:
        assert eventually(lambda: "API key" in log.read_text() or stack.poll() is not None, 120), log.read_text()
        assert stack.poll() is None, log.read_text()
        edit = [
            retouch,
            "edit",
            str(ROOT / "ops/retouch_ops/samples/portrait.jpg"),
            "make it winter",
            "--out",
            "winter.png",
        ]
        done = subprocess.run(
            edit, cwd=taken, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr + log.read_text()
        assert (taken / "winter.png").stat().st_size > 0
    finally:
        stack.send_signal(signal.SIGINT)
        stack.wait(60)


def test_versions_are_said(server: Environment, taken: Path) -> None:
    """`retouch --version` and `retouch.__version__` equal the installed version."""
    retouch = str(Path(server.python).with_name("retouch"))
    assert "0.1.0" in run(retouch, "--version", cwd=taken)
    assert server.run("-c", "import retouch; print(retouch.__version__)").strip() == "0.1.0"


def test_the_pytest_plugin_needs_no_import_of_ours(server: Environment, tmp_path: Path) -> None:
    """A user's test gets the fixture `retouch_simulator` by its name, and finds the charge of an edit in the books."""
    server.install("pytest")
    (tmp_path / "test_backend.py").write_text(TEST_OF_A_USER)
    assert "1 passed" in run(server.python, "-m", "pytest", "-q", str(tmp_path), cwd=tmp_path)


def test_the_distributions_are_the_same_each_time(wheels: Path, tmp_path: Path) -> None:
    """Every wheel and every source distribution has the same bytes when it is built twice."""
    for folder in (".", "producer", "worker", "ops"):
        run(
            UV,
            "build",
            "--quiet",
            "--no-build-isolation",
            "--python",
            f"{ROOT}/.venv/bin/python",
            "--out-dir",
            str(tmp_path),
            str(ROOT / folder),
            cwd=tmp_path,
        )
    first = {path.name: path.read_bytes() for path in wheels.iterdir() if path.suffix in {".whl", ".gz"}}
    assert len(first) == 8
    assert {name for name, data in first.items() if (tmp_path / name).read_bytes() != data} == set()


@pytest.fixture(scope="module")
def gone(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Iterator[Environment]:
    """An environment only for the test that uninstalls our packages from it."""
    folder = tmp_path_factory.mktemp("gone")
    yield Environment(folder, "3.11", wheels)
    shutil.rmtree(folder)


def test_uninstalling_leaves_nothing(gone: Environment) -> None:
    """
    Uninstalling our four distributions removes all of our packages, and leaves the packages that were there before.
    """
    gone.install("celery==5.7.0")
    before = gone.tops()
    gone.install("--constraint", str(ROOT / "requirements.lock"), "retouch-ops==0.1.0")
    names = ("retouch", "retouch-producer", "retouch-worker", "retouch-ops")
    run(UV, "pip", "uninstall", "--quiet", "--python", gone.python, *names, cwd=gone.folder)
    assert before <= gone.tops()
    assert gone.tops() & OURS == set()
