"""
The endpoint's examples in JavaScript, Node, PHP and Java; `make seed-examples` runs them. On Debian, a language that is
missing is installed first.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from retouch.webhooks import sign
from retouch_ops.simulator.process import Simulator
from tests.docs.pages import DOCS, blocks
from tests.examples_seed.example_runner import example, reply, run, tool
from tests.gateway_process import Api

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

JDK = """\
import java.net.URI;
import java.net.http.*;
public class Main {
  public static void main(String[] given) throws Exception {
    var request = HttpRequest.newBuilder(URI.create(given[0] + "/v1/edits"))
        .header("Authorization", "Bearer " + given[1])
        .header("Content-Type", "application/json")
        .POST(HttpRequest.BodyPublishers.ofString(given[2]))
        .build();
    System.out.println(HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body());
  }
}
"""


def test_javascript(api: Api, assert_edited: Check, tmp_path: Path) -> None:
    """The JavaScript example prints a success with an edited image."""
    (tmp_path / "example.js").write_text(example("fetch", api.url, api.secret))
    assert_edited(reply(run([tool("node", "install Node 18 or later"), "example.js"], tmp_path)))


def test_node_verifies_webhooks(tmp_path: Path) -> None:
    """
    The Node code of docs/webhooks.md accepts our signature, alone or beside another signature.

    The code refuses a changed body, an old signature and a missing signature.
    """
    body, secret, now = (
        '{"type":"edit.succeeded"}',
        "whsec_cGxhbnRlZC1zZWNyZXQtb2YtMzItYnl0ZXMtb3Itc28=",
        int(time.time()),
    )
    ours = sign(body.encode(), "evt_1-2", now, [secret])
    cases = [
        (body, ours),
        (body, sign(body.encode(), "evt_1-2", now, [secret.replace("cGxh", "b3Ro"), secret])),
        (body + " ", ours),
        (body, sign(body.encode(), "evt_1-2", now - 600, [secret])),
        (body, {}),
    ]
    script = f"for (const [body, headers] of {json.dumps(cases)})"
    script += f" console.log(isOurs(Buffer.from(body), headers, {json.dumps(secret)}));"
    (shown,) = blocks(DOCS / "webhooks.md", "javascript")
    (tmp_path / "verify.mjs").write_text(shown.code + script)
    printed = run([tool("node", "install Node 18 or later"), "verify.mjs"], tmp_path)
    assert printed.split() == ["true", "true", "false", "false", "false"]


def test_node(api: Api, assert_edited: Check, tmp_path: Path) -> None:
    """The Node example prints a success with an edited image. It uses the npm package `request`."""
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


def test_jdk_client(api: Api, simulator: Simulator, tmp_path: Path) -> None:
    """
    Java's own HTTP client offers HTTP/2 with each request. The gateway accepts its request over HTTP/1.1 and enqueues
    the job.
    """
    if not shutil.which("javac"):
        install("default-jdk-headless")
    (tmp_path / "Main.java").write_text(JDK)
    run([tool("javac", "install a JDK, 11 or later"), "Main.java"], tmp_path, 120)
    body = json.dumps({"prompt": "make it winter", "init_image": simulator.portrait_url})
    java = tool("java", "install a JDK, 11 or later")
    assert reply(run([java, "-cp", ".", "Main", api.url, api.secret, body], tmp_path))["state"] == "queued"


def install(*packages: str) -> None:
    """Install packages with apt-get. Fail if the system is not Debian or the user is not root."""
    assert shutil.which("apt-get"), f"not on Debian: install what {', '.join(packages)} hold there"
    assert os.geteuid() == 0, f"as root: apt-get install {' '.join(packages)}"
    quietly = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
        subprocess.run(["apt-get", "--quiet", *command], check=True, env=quietly, capture_output=True)
