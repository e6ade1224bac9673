"""The examples in Node, PHP and Java, which need packages of their own: `make seed-examples` runs these too."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.examples_seed.running import example, reply, run, tool
from tests.gateways import Api

Check = Callable[[dict[str, Any]], None]
JARS = [Path("/usr/share/java/okhttp.jar"), Path("/usr/share/java/okio.jar")]
MAIN = """\
import okhttp3.*;
public class Main {{
  public static void main(String[] arguments) throws Exception {{
{example}
    System.out.println(response.body().string());
    client.connectionPool().evictAll();
    client.dispatcher().executorService().shutdown();
  }}
}}
"""


def test_node(api: Api, assert_edited: Check, tmp_path: Path) -> None:
    """The Node example, with the npm package it names, prints a success with an edited image."""
    run(
        [tool("npm", "install Node 18 or later"), "install", "--silent", "--no-audit", "request"],
        tmp_path,
        300,
        installs=True,
    )
    (tmp_path / "example.js").write_text(example("request", api.url, api.secret))
    assert_edited(reply(run([tool("node", "install Node 18 or later"), "--no-deprecation", "example.js"], tmp_path)))


def test_php(api: Api, assert_edited: Check, tmp_path: Path) -> None:
    """The PHP example prints a success with an edited image."""
    if not shutil.which("php"):
        install("php-cli", "php-curl")
    (tmp_path / "example.php").write_text(example("curl", api.url, api.secret))
    assert_edited(reply(run([tool("php", "apt-get install php-cli php-curl"), "example.php"], tmp_path)))


def test_java(api: Api, assert_edited: Check, tmp_path: Path) -> None:
    """The Java example prints a success with an edited image."""
    if not all(jar.exists() for jar in JARS):
        install("libokhttp-java")
    if not shutil.which("javac"):
        install("default-jdk-headless")
    (tmp_path / "Main.java").write_text(MAIN.format(example=example("okhttp", api.url, api.secret)))
    path = ":".join(map(str, JARS))
    run([tool("javac", "install a JDK, 11 or later"), "-cp", path, "Main.java"], tmp_path, 120)
    assert_edited(reply(run([tool("java", "install a JDK, 11 or later"), "-cp", f"{path}:.", "Main"], tmp_path)))


def install(*packages: str) -> None:
    """Install Debian packages, where this is Debian and we may."""
    assert shutil.which("apt-get"), f"not on Debian: install what {', '.join(packages)} hold there"
    assert os.geteuid() == 0, f"as root: apt-get install {' '.join(packages)}"
    quietly = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
        subprocess.run(["apt-get", "--quiet", *command], check=True, env=quietly, capture_output=True)
