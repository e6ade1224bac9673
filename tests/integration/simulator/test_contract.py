"""Tests of the simulator over real HTTP: answers, checks of requests, cap, fetches, links and books."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from PIL import Image

from retouch_ops.simulator.process import Simulator

V6 = "/api/v6/image_editing/pix2pix"


def body_for(simulator: Simulator, prompt: str = "make him woman", **changes: object) -> dict[str, object]:
    numbers = {"image_guidance_scale": 1, "steps": 50, "guidance_scale": 7}
    return {"key": "sk-planted", "prompt": prompt, "init_image": simulator.portrait_url, **numbers, **changes}


def post(simulator: Simulator, prompt: str = "make him woman", path: str = "", **changes: object) -> requests.Response:
    url = simulator.url + path if path else simulator.pix2pix_url
    return requests.post(url, json=body_for(simulator, prompt, **changes), timeout=10)


def fetch(url: str, key: str = "sk-planted") -> Any:
    return requests.post(url, json={"key": key}, timeout=10).json()


def until(look: Callable[[], Any], is_right: Callable[[Any], bool], within_s: float = 10) -> Any:
    """Repeat a call until `is_right` accepts its answer, and return that answer."""
    ends_at = time.monotonic() + within_s
    while not is_right(seen := look()):
        assert time.monotonic() < ends_at, f"still {seen}"
        time.sleep(0.01)
    return seen


def test_the_seeds_request_gives_an_edited_picture(simulator: Simulator) -> None:
    """
    The request of the endpoint's documentation gets the documented answer. The link returns the edited picture as a
    PNG.
    """
    answer = post(simulator).json()
    assert set(answer) == {"status", "generationTime", "id", "output"}
    assert (answer["status"], type(answer["id"])) == ("success", int)
    link = requests.get(answer["output"], timeout=10)
    original = requests.get(simulator.portrait_url, timeout=10)
    with Image.open(io.BytesIO(link.content)) as edited, Image.open(io.BytesIO(original.content)) as photo:
        assert (edited.format, edited.size) == ("PNG", photo.size)
        assert edited.tobytes() != photo.tobytes()


def test_v6_answers_in_its_own_shape(simulator: Simulator) -> None:
    """
    The v6 path returns a list of outputs and `proxy_links`. While an edit is processing, the answer has `future_links`.
    """
    answer = post(simulator, path=V6).json()
    assert isinstance(answer["output"], list)
    assert requests.get(answer["proxy_links"][0], timeout=10).headers["Content-Type"] == "image/png"
    simulator.faults(next=[{"kind": "processing"}])
    answer = post(simulator, "other", path=V6).json()
    assert (answer["output"], len(answer["future_links"])) == ([], 1)
    assert "/api/v6/" in answer["fetch_result"]


def test_refusals_use_the_endpoints_words_inside_200(simulator: Simulator) -> None:
    """A wrong form, key, field or picture gets the endpoint's error inside HTTP 200, and is not charged."""
    simulator.settings(keys=["sk-planted"], init_image_timeout_s=2)
    text = requests.post(simulator.pix2pix_url, data="key=sk-planted", timeout=10)
    assert text.json()["message"] == "Invalid API Request"
    assert post(simulator, key="sk-other").json()["message"] == "Invalid Api Key"
    assert post(simulator, "").json()["message"] == {"prompt": ["The prompt field is required."]}
    gone = post(simulator, init_image=simulator.url + "/nothing.png")
    assert gone.json()["message"] == "Unable to fetch image from provided URL"
    assert post(simulator, init_image="file:///etc/passwd").json() == gone.json()
    page = post(simulator, init_image=simulator.url + "/")
    assert page.json() == {"status": "error", "messege": {"image": ["The image could not be read."]}}
    assert page.status_code == 200
    books = simulator.books()
    assert (books["posts"], books["charged"], books["in_flight"]) == (6, 0, 0)
    reasons = {"invalid_request": 1, "bad_key": 1, "validation": 1, "image_unfetchable": 2, "image_unreadable": 1}
    assert books["refused"] == reasons


def test_errors_have_their_statuses_when_asked(simulator: Simulator) -> None:
    """Without errors_inside_200, errors have the statuses documented in 2026: 400, 401, 402, 429."""
    simulator.settings(errors_inside_200=False)
    simulator.faults(next=[{"kind": "no_credits"}, {"kind": "spam_filter"}])
    answers = [post(simulator, key=""), post(simulator, ""), post(simulator), post(simulator)]
    assert [answer.status_code for answer in answers] == [401, 400, 402, 429]


def test_an_init_image_that_is_too_large_is_not_fetched(simulator: Simulator) -> None:
    """A picture above the size limit is refused as unfetchable."""
    simulator.settings(init_image_bytes=1_000, init_image_cache_s=0)
    assert post(simulator).json()["message"] == "Unable to fetch image from provided URL"


def test_the_spam_filter_refuses_the_same_body_for_a_while(simulator: Simulator) -> None:
    """
    A body that is repeated within `spam_filter_s` is refused with a tip. After this time, or with a change, the body is
    accepted.
    """
    simulator.settings(spam_filter_s=30)
    assert post(simulator).json()["status"] == "success"
    refused = post(simulator).json()
    assert (refused["message"], "spam filter is enabled" in refused["tips"]) == ("Rate limit exceeded", True)
    assert post(simulator, steps=49).json()["status"] == "success"
    simulator.settings(spam_filter_s=0.001)
    assert post(simulator).json()["status"] == "success"
    assert simulator.books()["charged"] == 3


def test_the_cap_holds_with_a_queue_full_answer(simulator: Simulator) -> None:
    """
    Of twelve simultaneous POSTs with a cap of 5, five are processed and charged, and seven get 429 with retry_after.
    """
    simulator.settings(cap=5, processing_share=1, processing_s=600, retry_after_s=7)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda number: post(simulator, f"edit {number}"), range(12)))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) == 7
    message = "Rate limit exceeded. Maximum 5 queued requests allowed."
    assert refused[0].json() == {"status": "error", "message": message, "retry_after": 7}
    books = simulator.books()
    assert (books["charged"], books["max_in_flight"], books["in_flight"]) == (5, 5, 5)
    assert books["cap_used_while_busy"] > 0


def test_a_change_of_the_latency_applies_to_requests_in_flight(simulator: Simulator) -> None:
    """When a latency of an hour is changed to zero or reset, a waiting request is answered at once."""
    for release in (lambda: simulator.settings(latency_s=0), simulator.reset):
        simulator.settings(latency_s=3_600, spam_filter_s=0)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(post, simulator)
            until(lambda: simulator.books(totals=True)["in_flight"], lambda count: count == 1)
            release()
            assert waiting.result().json()["status"] == "success"


def test_the_cap_is_per_key_and_its_status_can_be_200(simulator: Simulator) -> None:
    """A key at its cap is refused, here inside HTTP 200, while another key is accepted."""
    simulator.settings(cap=1, queue_full_status=200, processing_s=600)
    simulator.faults(next=[{"kind": "processing"}])
    post(simulator, "one")
    refused = post(simulator, "two")
    assert (refused.status_code, refused.json()["retry_after"]) == (200, 30)
    assert post(simulator, "two", key="another").json()["status"] == "success"


def test_processing_is_in_flight_until_done(simulator: Simulator) -> None:
    """
    The answer `processing` has `eta`, `id` and `fetch_result`. A fetch of the finished edit returns the picture, and
    the edit is no longer in flight.
    """
    simulator.settings(processing_s=2, eta_s=12)
    simulator.faults(next=[{"kind": "processing"}])
    answer = post(simulator).json()
    assert (answer["status"], answer["eta"], answer["output"]) == ("processing", 12, "")
    assert answer["fetch_result"] == f"{simulator.fetch_url}/{answer['id']}"
    first = fetch(answer["fetch_result"])
    assert first == {"status": "processing", "id": "", "messege": "Request processing", "output": ""}
    assert simulator.books(totals=True)["in_flight"] == 1
    done = until(lambda: fetch(answer["fetch_result"]), lambda reply: reply["status"] == "success")
    assert requests.get(done["output"], timeout=10).content.startswith(b"\x89PNG")
    until(lambda: simulator.books(totals=True)["in_flight"], lambda count: count == 0)
    assert simulator.books()["charged"] == 1


def test_fetch_of_strange_ids_and_keys(simulator: Simulator) -> None:
    """
    A fetch of an unknown id or with a wrong key is refused. With `fetch_unknown_s`, a fetch of a new id is refused at
    first.
    """
    assert fetch(f"{simulator.fetch_url}/1")["message"] == "Request not found"
    assert fetch(f"{simulator.fetch_url}/1", key="")["message"] == "Invalid Api Key"
    simulator.settings(fetch_unknown_s=600, processing_s=0)
    simulator.faults(next=[{"kind": "processing"}])
    url = post(simulator).json()["fetch_result"]
    assert fetch(url)["message"] == "Request not found"
    simulator.settings(fetch_unknown_s=0)
    assert fetch(url)["status"] == "success"


@pytest.mark.parametrize(("early", "status"), [("404", 404), ("html", 200)])
def test_a_link_read_too_early_is_no_picture(simulator: Simulator, early: str, status: int) -> None:
    """
    A link that is read too early returns an HTML page with status 404 or 200, as configured. Later the link returns the
    picture.
    """
    simulator.settings(output_delay_s=600, output_early=early)
    link = post(simulator).json()["output"]
    first = requests.get(link, timeout=10)
    assert (first.status_code, first.content[:15]) == (status, b"<!DOCTYPE html>")
    simulator.settings(output_delay_s=0)
    assert requests.get(link, timeout=10).content.startswith(b"\x89PNG")


def test_a_link_expires(simulator: Simulator) -> None:
    """After its lifetime, a link is answered with the configured status."""
    simulator.settings(output_lifetime_s=0.05, output_gone_status=410)
    link = post(simulator).json()["output"]
    until(lambda: requests.get(link, timeout=10).status_code, lambda status: status == 410)
    assert simulator.books()["downloads"]["410"] == 1


def test_one_request_can_have_another_output(simulator: Simulator) -> None:
    """
    With a scripted output kind, the link of one request returns the unchanged input. The link of the next request
    returns the edit.
    """
    simulator.faults(next=[{"output_kind": "same_as_input"}])
    same, edited = (
        requests.get(post(simulator, prompt).json()["output"], timeout=10).content for prompt in ("one", "two")
    )
    assert same == requests.get(simulator.portrait_url, timeout=10).content
    assert edited.startswith(b"\x89PNG")


def test_links_of_two_requests_differ_and_are_stable(simulator: Simulator) -> None:
    """
    Two requests that differ only in their tag get different bytes with the same pixels. Each link always returns the
    same bytes.
    """
    links = [post(simulator, f"a sketch [[{tag}]]").json()["output"] for tag in "ab"]
    one, again, other = (requests.get(link, timeout=10).content for link in (links[0], *links))
    assert one == again != other
    with Image.open(io.BytesIO(one)) as first, Image.open(io.BytesIO(other)) as second:
        assert first.tobytes() == second.tobytes()


def test_every_answer_says_what_it_is(simulator: Simulator) -> None:
    """Pages, errors, links and control answers have the simulator's header. HTML pages have the simulator's banner."""
    link = post(simulator).json()["output"]
    paths = ["/", "/healthz", "/nothing", "/generations/nothing.png", "/control/books", "/control/settings"]
    for url in [link, simulator.portrait_url, *(simulator.url + path for path in paths)]:
        answer = requests.get(url, timeout=10)
        assert "development tool" in answer.headers["X-Retouch-Simulator"]
        if "html" in answer.headers["Content-Type"]:
            assert "a development tool" in answer.text


def test_the_page_shows_prompts_escaped_and_never_a_key(simulator: Simulator) -> None:
    """A prompt with markup is shown as text. The page, the books and the settings contain no key."""
    simulator.settings(keys=["sk-planted"])
    post(simulator, "<script>alert(1)</script> [[order-17]]")
    page = requests.get(simulator.url, timeout=10).text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>" not in page
    assert "order-17" in page
    shown = [requests.get(f"{simulator.url}/control/{name}", timeout=10).text for name in ("books", "settings")]
    assert "sk-planted" not in page + "".join(shown)


def test_control_calls_refuse_what_they_do_not_know(simulator: Simulator) -> None:
    """
    A control call with an unknown name is answered 400 with the known names. Invalid JSON is answered 400 too. No
    setting changes.
    """
    before = requests.get(f"{simulator.url}/control/settings", timeout=10).json()
    for path, sent, words in [
        ("settings", '{"zap": 1}', "known: keys, cap"),
        ("faults", '{"next": [{"kind": "zap"}]}', "known: success"),
        ("reset", '{"zap": true}', "keep_settings"),
        ("settings", "zap", "JSON object"),
        ("faults", "[]", "JSON object"),
    ]:
        answer = requests.post(f"{simulator.url}/control/{path}", data=sent, timeout=10)
        assert answer.status_code == 400
        assert words in answer.json()["error"][0]
    assert requests.get(f"{simulator.url}/control/settings", timeout=10).json() == before


def test_reset_starts_new_books_and_can_keep_settings(simulator: Simulator) -> None:
    """A reset deletes books and faults. It also restores the settings of the start, unless keep_settings is true."""
    simulator.settings(cap=3)
    simulator.faults(rates={"failed": 1})
    post(simulator)
    simulator.reset(keep_settings=True)
    books = simulator.books()
    assert (books["posts"], books["by_tag"], simulator.settings()["cap"]) == (0, {}, 3)
    assert post(simulator).json()["status"] == "success"
    simulator.reset()
    assert simulator.settings()["cap"] == 50


def test_samples_are_pictures_of_their_own(simulator: Simulator) -> None:
    """
    A request with `samples` gets that number of pictures with separate links, for one charge. A request with 0 samples
    is refused.
    """
    several = post(simulator, "winter [[several]]", samples=3).json()
    pictures = {requests.get(link, timeout=10).content for link in several["output"]}
    assert (len(several["output"]), len(pictures)) == (3, 3)
    simulator.faults(next=[{"kind": "processing"}])
    processing = post(simulator, "autumn [[several]]", path=V6, samples=2).json()
    done = until(lambda: fetch(processing["fetch_result"]), lambda seen: seen["status"] == "success")
    assert done["output"] == processing["future_links"]
    assert simulator.books()["by_tag"]["several"]["charged"] == 2
    assert "samples" in post(simulator, "spring", samples=0).json()["message"]


def test_one_picture_of_several_may_be_odd(simulator: Simulator) -> None:
    """The output_kind of a fault can apply to one picture of several."""
    simulator.faults(next=[{"output_kind": "html", "output_index": 1}])
    links = post(simulator, samples=3).json()["output"]
    kinds = [requests.get(link, timeout=10).headers["Content-Type"].partition(";")[0] for link in links]
    assert kinds == ["image/png", "text/html", "image/png"]
