"""A thousand hostile requests: each gets the right status and problem, nothing is enqueued, nothing is fetched."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway_process import Api, Callers, running_gateway
from tests.integration.faulty_servers import RawServer, answering

COUNT = 1_000
SECRET_WORDS = "the-secret-prompt"
PORTRAIT = Path(__file__).parents[3] / "ops/retouch_ops/samples/portrait.jpg"
PRIVATE = [
    "http://127.0.0.1:{port}/{n}",
    "http://localhost:{port}/{n}",
    "http://2130706433:{port}/{n}",
    "http://0:{port}/{n}",
    "http://0x7f.1:{port}/{n}",
    "http://0177.0.0.1:{port}/{n}",
    "http://127.1:{port}/{n}",
    "http://[::1]:{port}/{n}",
    "http://[::ffff:127.0.0.1]:{port}/{n}",
    "http://[::ffff:7f00:1]:{port}/{n}",
    "http://[64:ff9b::7f00:1]/{n}",
    "http://[2002:7f00:1::]/{n}",
    "http://169.254.169.254/latest/meta-data/{n}",
    "http://168.63.129.16/{n}",
    "http://10.0.0.{n}/",
    "http://192.168.1.{n}/",
    "http://172.16.0.{n}/",
    "http://100.64.0.{n}/",
    "http://224.0.0.{n}/",
    "http://user:pass@127.0.0.1:{port}/{n}",
    "http://example.com@127.0.0.1:{port}/{n}",
    "http://127.0.0.1:{port}\\@x/{n}",
    "http://127.0.0.1%2f:{port}/{n}",
    "http://１２７.0.0.1:{port}/{n}",
    "http://127。0。0。1:{port}/{n}",
    "//127.0.0.1/{n}",
    "http:/127.0.0.1:{port}/{n}",
    "file:///etc/passwd?{n}",
    "gopher://127.0.0.1:{port}/_{n}",
    "ftp://127.0.0.1/{n}",
    "http://127.0.0.1:{port}/\r\nHost: x{n}",
    "http://exa mple.com/{n}",
    "http://printer.local/{n}",
    "data:,{n}",
    "http://metadata.google.internal/{n}",
    "javascript:alert({n})",
    "http://example.com:22/{n}",
    "http:///{n}",
    "http://" + "a" * 2_100 + ".com/{n}",
    "http://fe80::1%25eth0/{n}",
]
JUNK: list[Any] = [None, True, -1, 0, 1.5, 10**30, "", "x", [], [1], {}, {"a": {"b": 1}}, "\x00", "\ud800", "9" * 300]
FIELDS = [
    "prompt",
    "steps",
    "guidance_scale",
    "image_guidance_scale",
    "extra",
    "priority",
    "deadline_s",
    "max_attempts",
    "max_charges",
    "webhook",
    "callback",
    "events",
    "tags",
    "tenant",
    "unknown",
]
HARMLESS = {
    ("extra", "{}"),
    ("events", "[]"),
    ("tags", "{}"),
    ("webhook", '""'),
    ("callback", '""'),
    ("prompt", '"x"'),
    ("guidance_scale", "1.5"),
    ("image_guidance_scale", "1.5"),
    ("deadline_s", "1.5"),
    ("tenant", '""'),
    ("extra", '{"a": {"b": 1}}'),
    ("prompt", '"' + "9" * 300 + '"'),
    ("prompt", '"\\u0000"'),
}
"""Pairs of a field and a JSON value that this field accepts."""


@pytest.fixture(scope="module")
def gateway_url(worker_environment: dict[str, str]) -> Iterator[str]:
    """Yield the URL of a gateway that may connect only to the public internet, as in production."""
    strict = {"RETOUCH_DANGEROUS_ALLOW_PRIVATE_NETWORKS": "", "RETOUCH_PUBLIC_URL": "https://images.example.com"}
    with running_gateway({**worker_environment, **strict}) as (url, _):
        yield url


@pytest.fixture
def trap() -> Iterator[RawServer]:
    """Yield a server at a private address that no request may reach."""
    with RawServer(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as server:
        yield server


def test_a_thousand_hostile_requests(callers: Callers, client: Any, trap: RawServer) -> None:
    """
    Each hostile request is answered with the right problem, without prompt or URL. Only the one valid request makes a
    job, and no private server is reached.
    """
    api, stranger = callers("acme"), callers("globex")
    jpeg = {"Content-Type": "image/jpeg"}
    image = api.post("/v1/uploads", content=PORTRAIT.read_bytes(), headers=jpeg).json()["url"]
    good = {"prompt": SECRET_WORDS, "init_image": image}
    mine = api.post("/v1/edits", good, headers={"Idempotency-Key": "mine"})
    assert mine.status_code == 202, mine.text
    chance = random.Random(20_261_122)
    kinds = [private_address, private_webhook, wrong_type, foreign_id, replayed_key, oversized, no_key]
    makers = [chance.choice(kinds) for _ in range(COUNT)]
    with ThreadPoolExecutor(8) as threads:
        job = mine.json()["id"]
        judgements = list(threads.map(lambda n: makers[n](n, api, stranger, good, job, trap.port), range(COUNT)))
    faults = [f"{makers[n].__name__} {n}: {fault}" for n, fault in enumerate(judgements) if fault]
    assert faults == []
    assert list(client.scan_iter("rt:edits:spec:*")) == [f"rt:edits:spec:{job}"]
    assert client.keys("rt:receiver*") == []
    assert trap.accepted == 0


def judged(answer: httpx.Response, *statuses: int) -> str:
    """Return the fault of an answer, or an empty text if the answer is a problem with one of `statuses`."""
    if answer.status_code not in statuses:
        return f"expected {statuses}, got {answer.status_code} {answer.text[:200]}"
    if answer.headers["content-type"] != "application/problem+json":
        return f"expected a problem, got {answer.headers['content-type']}"
    problem = answer.json()
    if problem["charged"] is not False or not problem["type"].startswith("/problems/"):
        return f"expected a problem of ours, not charged, got {answer.text[:200]}"
    return "it repeats what was sent" if SECRET_WORDS in answer.text or "latest/meta" in answer.text else ""


Good = dict[str, Any]


def private_address(n: int, api: Api, _s: Api, good: Good, _job: str, port: int) -> str:
    url = PRIVATE[n % len(PRIVATE)].format(port=port, n=n % 250)
    return judged(api.post("/v1/edits", {**good, "init_image": url}), 422)


def private_webhook(n: int, api: Api, _s: Api, good: Good, _job: str, port: int) -> str:
    url = PRIVATE[n % len(PRIVATE)].format(port=port, n=n % 250)
    if n % 2:
        return judged(api.post("/v1/receivers", {"url": url}), 422)
    return judged(api.post("/v1/edits", {**good, "webhook": url}), 422)


def wrong_type(n: int, api: Api, _s: Api, good: Good, _job: str, _port: int) -> str:
    field, value = FIELDS[n % len(FIELDS)], JUNK[(n // len(FIELDS)) % len(JUNK)]
    if value is None or (field, json.dumps(value)) in HARMLESS or (field, value) == ("max_charges", True):
        field, value = "steps", "many"
    return judged(api.post("/v1/edits", {**good, field: value}), 400 if value == "\ud800" else 422)


def foreign_id(n: int, _api: Api, stranger: Api, _good: Good, job: str, _port: int) -> str:
    paths = ["", "/image", "/thumbnail", "/input", "/timeline", "/events", "/cancel", "/replay", "/approve"]
    part = paths[n % len(paths)]
    path = f"/v1/edits/{job}{part}"
    return judged(stranger.post(path) if part in ("/cancel", "/replay", "/approve") else stranger.get(path), 404)


def replayed_key(n: int, api: Api, _s: Api, good: Good, _job: str, _port: int) -> str:
    return judged(api.post("/v1/edits", {**good, "steps": 1 + n % 19}, headers={"Idempotency-Key": "mine"}), 422)


def oversized(n: int, api: Api, _s: Api, good: Good, _job: str, _port: int) -> str:
    size = 66_000 + n
    if n % 3 == 0:
        headers = {"Content-Type": "application/json"}
        return judged(api.post("/v1/edits", content=iter([b"[" * 40_000, b"[" * size]), headers=headers), 413)
    return judged(api.post("/v1/edits", {**good, "extra": {"x": "y" * size}}), 413)


def no_key(n: int, api: Api, _s: Api, good: Good, _job: str, _port: int) -> str:
    headers = {"Authorization": ["Bearer rtk_guess", "Basic eDp5", f"Bearer {api.secret}x", "Bearer"][n % 4]}
    return judged(api.post("/v1/edits", good, headers=headers), 401)


def test_many_slow_bodies_at_once(callers: Callers, gateway_url: str, client: Any) -> None:
    """When forty bodies stop after one byte, these requests are answered 408. Meanwhile another request is served."""
    api = callers()
    host, port = gateway_url.removeprefix("http://").split(":")
    head = f"POST /v1/edits HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.secret}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    slow = [socket.create_connection((host, int(port)), 30) for _ in range(40)]
    for one in slow:
        one.sendall(head.encode())
    assert api.get("/v1/edits").status_code == 200
    answers = []
    for one in slow:
        with one, one.makefile("rb") as reading:
            answers.append(reading.read())  # to the end: the connection is closed
    assert all(b" 408 " in answer and b"/problems/slow-body" in answer for answer in answers)
    assert client.keys("rt:edits:spec:*") == []
