"""Tests of every fault of the simulator over a real connection: the client's answer, and the counts in the books."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest
import requests

from retouch_ops.simulator.faults import FAULTS, is_charged
from retouch_ops.simulator.process import Simulator
from tests.process_watch import eventually

# Kind: what the client sees, as the exception's name or as (HTTP status, start of the body).
SEEN: dict[str, str | tuple[int, str]] = {
    "success": (200, '{"status":"success","generationTime":'),
    "queue_full": (429, '{"status":"error","message":"Rate limit exceeded. Maximum 50 queued requests allowed."'),
    "retry_after_header": (429, '{"status":"error","message":"Rate limit exceeded. Maximum 50'),
    "spam_filter": (200, '{"status":"error","message":"Rate limit exceeded","tips":"you are sending same'),
    "bad_key": (200, '{"status":"error","message":"Invalid Api Key"'),
    "invalid_request": (200, '{"status":"error","message":"Invalid API Request"'),
    "no_credits": (200, '{"status":"error","message":"Insufficient credits. Please add more credits'),
    "validation": (200, '{"status":"error","message":{"prompt":["The prompt field is required."]}}'),
    "image_unfetchable": (200, '{"status":"error","message":"Unable to fetch image from provided URL"}'),
    "reset_before_work": "ConnectionError",
    "failed": (200, '{"status":"failed","id":"","message":"Failed, Try Again","output":""}'),
    "error_500": (500, '{"status":"error"'),
    "error_503": (503, '{"status":"error","message":"Service temporarily unavailable. Please try again later."}'),
    "processing_failed": (200, '{"status":"processing"'),
    "html_502": (502, "<!DOCTYPE html>"),
    "html_504": (504, "<!DOCTYPE html>"),
    "html_520": (520, "<!DOCTYPE html>"),
    "html_200": (200, "<!DOCTYPE html>"),
    "empty_200": (200, ""),
    "unparseable": (200, '{"status":"success"'),
    "statusless_200": (200, '{"message":""}'),
    "error_id": (200, '{"error_id":'),
    "reset_after_work": "ConnectionError",
    "read_timeout": "ReadTimeout",
    "drip": (200, '{"status":"success"'),
    "processing": (200, '{"status":"processing"'),
    "processing_forever": (200, '{"status":"processing"'),
    "processing_no_id": (200, '{"status":"processing","id":"","messege":"Request processing","output":""}'),
    "fetch_not_found": (200, '{"status":"processing"'),
    "list_output": (200, '{"status":"success"'),
    "flagged": (200, '{"status":"success"'),
}


def post(simulator: Simulator, prompt: str, timeout_s: float = 10) -> requests.Response:
    body = {"key": "k", "prompt": prompt, "init_image": simulator.portrait_url}
    return requests.post(simulator.pix2pix_url, json=body, timeout=timeout_s)


def seen(simulator: Simulator, kind: str) -> str | tuple[int, str]:
    timeout_s = 0.4 if kind == "read_timeout" else 10
    try:
        answer = post(simulator, f"an edit [[{kind}]]", timeout_s)
    except requests.RequestException as error:
        return type(error).__name__
    return answer.status_code, answer.text


@pytest.mark.parametrize("kind", FAULTS)
def test_every_fault_is_seen_and_charged_as_documented(simulator: Simulator, kind: str) -> None:
    """
    Each fault reaches the client once, and the next request succeeds. A fault is charged only if `is_charged` returns
    True for it.
    """
    simulator.settings(drip_bytes_per_s=4_000)
    post(simulator, "make the picture's edit known, so that the next one is quick")
    simulator.faults(next=[{"kind": kind}])
    found, expected = seen(simulator, kind), SEEN[kind]
    if isinstance(expected, tuple) and isinstance(found, tuple):
        assert found[0] == expected[0]
        assert found[1].startswith(expected[1])
        assert (found[1] == "") == (expected[1] == "")
    else:
        assert found == expected
    assert post(simulator, "another").json()["status"] == "success"
    books = simulator.books()
    entry = books["by_tag"][kind]
    assert (entry["posts"], entry["charged"], len(entry["statuses"])) == (1, int(is_charged(kind)), 1)
    assert books["charged"] == 2 + int(is_charged(kind))


def test_the_header_fault_says_when_to_come_again(simulator: Simulator) -> None:
    """Retry-After is in the header, and not in the body."""
    simulator.faults(next=[{"kind": "retry_after_header"}])
    answer = post(simulator, "x")
    assert (answer.headers["Retry-After"], "retry_after" in answer.json()) == ("30", False)


def test_list_and_flagged_answers(simulator: Simulator) -> None:
    """
    The fault `list_output` returns the link in a list. The fault `flagged` marks the answer as NSFW and returns a
    picture of one colour.
    """
    simulator.faults(next=[{"kind": "list_output"}, {"kind": "flagged"}])
    listed, flagged = post(simulator, "one").json(), post(simulator, "two").json()
    assert requests.get(listed["output"][0], timeout=10).status_code == 200
    assert flagged["nsfw_content_detected"] is True
    assert len(requests.get(flagged["output"], timeout=10).content) < 10_000


def test_processing_that_never_ends_well(simulator: Simulator) -> None:
    """
    After the fault `processing_forever`, a fetch answers `processing`. After `fetch_not_found` or `processing_failed`,
    a fetch answers `failed` with a message.
    """
    simulator.settings(processing_s=0)
    kinds = ("processing_forever", "fetch_not_found", "processing_failed")
    simulator.faults(next=[{"kind": kind} for kind in kinds])
    urls = [post(simulator, kind).json()["fetch_result"] for kind in kinds]
    answers = [requests.post(url, json={"key": "k"}, timeout=10).json() for url in urls]
    assert [(answer["status"], answer.get("message")) for answer in answers] == [
        ("processing", None),
        ("failed", "Request not found"),
        ("failed", "Failed, Try Again"),
    ]


def test_faults_of_fetches(simulator: Simulator) -> None:
    """
    The next fetches get the faults that are scripted for fetches, in order. After these faults, a fetch gets the real
    answer.
    """
    simulator.settings(processing_s=0)
    simulator.faults(next=[{"kind": "processing"}], next_fetch=[{"kind": "html_502"}, {"kind": "queue_full"}])
    url = post(simulator, "x").json()["fetch_result"]
    answers = [requests.post(url, json={"key": "k"}, timeout=10) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [502, 429, 200]
    assert answers[2].json()["status"] == "success"
    assert simulator.books()["fetches"] == 3


def test_rates_apply_to_every_post(simulator: Simulator) -> None:
    """With a rate of 1 every POST gets the fault, until the rates are cleared."""
    simulator.faults(rates={"error_503": 1.0}, seed=1)
    assert {post(simulator, f"edit {number}").status_code for number in range(5)} == {503}
    simulator.faults(rates={})
    assert post(simulator, "fine").status_code == 200


def test_a_client_that_leaves_is_charged_and_holds_its_place(simulator: Simulator) -> None:
    """When the client of an accepted POST disconnects, the edit goes on: it is charged, is in flight, and succeeds."""
    post(simulator, "make the picture's edit known, so that the charge comes at once")
    simulator.settings(latency_s=600)
    with pytest.raises(requests.ReadTimeout):
        post(simulator, "gone [[gone]]", timeout_s=0.5)
    assert eventually(lambda: simulator.books()["charged"] == 2)
    books = simulator.books()
    assert (books["in_flight"], books["by_tag"]["gone"]["charged"]) == (1, 1)
    simulator.settings(latency_s=0)
    assert eventually(lambda: simulator.books(totals=True)["in_flight"] == 0)
    assert simulator.books()["by_tag"]["gone"]["statuses"] == ["success"]


def test_a_reset_of_a_client_that_left_is_no_error(capfd: pytest.CaptureFixture[str]) -> None:
    """If a client disconnects before the simulator resets the connection, the simulator writes no error."""
    with Simulator(latency_s=1.5, spam_filter_s=0) as own:
        own.faults(next=[{"kind": "reset_after_work"}])
        with pytest.raises(requests.ReadTimeout):
            post(own, "an edit", timeout_s=0.7)
        assert eventually(lambda: own.books()["charged"] == 1 and own.books()["in_flight"] == 0)
        assert post(own, "another edit").status_code == 200
    assert capfd.readouterr().err == ""


def test_a_drip_comes_in_pieces_from_its_first_header_byte(simulator: Simulator) -> None:
    """With the fault `drip` the status line arrives in several pieces, and the answer is complete."""
    simulator.settings(drip_bytes_per_s=200)
    simulator.faults(next_fetch=[{"kind": "drip"}])
    parts = urlsplit(simulator.url)
    with socket.create_connection((str(parts.hostname), int(parts.port or 0)), 10) as connection:
        content = b'{"key":"k"}'
        lines = ["POST /api/v3/fetch/1 HTTP/1.1", "Host: x", "Content-Type: application/json"]
        head = "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""])
        connection.sendall(head.encode() + content)
        pieces = list(iter(lambda: connection.recv(65_536), b""))
    assert len(pieces[0]) < len("HTTP/1.1 200 Dripped")
    assert len(pieces) > 5
    whole = b"".join(pieces)
    assert b"x-retouch-simulator" in whole
    assert whole.endswith(b'"tip":"Check the id."}')


def test_a_slow_download_arrives_whole(simulator: Simulator) -> None:
    """A link whose speed is limited returns the same bytes as before the limit."""
    link = post(simulator, "x").json()["output"]
    full = requests.get(link, timeout=10).content
    simulator.settings(output_bytes_per_s=2_000_000)
    assert requests.get(link, timeout=10).content == full
