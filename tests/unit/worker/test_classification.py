"""The outcome and cost of the endpoint's answers: all known answers, and random ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from retouch.egress.http import Answer, Trouble
from retouch.outcomes import Busy, Failed, GenerationLost, Processing, Ready, Refused, Unknown
from retouch_worker.edits.classification import PostOutcome, charge_kind, classify, classify_poll

FETCH = "https://endpoint.example/api/v3/fetch"
ASKED = Processing("13902970", f"{FETCH}/13902970", 10.0)
LINK = "https://pub-8b49.r2.dev/generations/186b.png"
SPAM = "you are sending same request multiple times, spam filter is enabled, please wait for 30 seconds and try again"
FULL = "Rate limit exceeded. Maximum 5 queued requests allowed."
DOWN = "Service temporarily unavailable. Please try again later."
PAGE = b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>"


def answer(body: object, status: int = 200, **headers: str) -> Answer:
    return Answer(status, headers, body if isinstance(body, bytes) else json.dumps(body).encode(), 0.1)


LITERAL: list[tuple[str, dict[str, Any], int, PostOutcome]] = [
    (
        "the seed's success",
        {"status": "success", "generationTime": 4.588, "id": 14624464, "output": LINK},
        200,
        Ready((LINK,), "14624464"),
    ),
    (
        "v6 success with lists",
        {
            "status": "success",
            "generationTime": 1.96,
            "id": 66752945,
            "output": [LINK],
            "proxy_links": ["https://cdn2.example/a.png"],
            "nsfw_content_detected": False,
            "webhook_status": "",
            "meta": {},
            "tip": "…",
        },
        200,
        Ready((LINK, "https://cdn2.example/a.png"), "66752945"),
    ),
    (
        "flagged",
        {"status": "success", "id": 7, "output": [LINK], "nsfw_content_detected": True},
        200,
        Ready((LINK,), "7", flagged=True),
    ),
    (
        "processing with fetch_result",
        {
            "status": "processing",
            "tip": "…",
            "eta": 146.5279869184,
            "messege": "Try to fetch request after given estimated time",
            "fetch_result": "https://stablediffusionapi.com/api/v3/fetch/13902970",
            "id": 13902970,
            "output": "",
            "meta": {},
        },
        200,
        Processing("13902970", "https://stablediffusionapi.com/api/v3/fetch/13902970", 146.5279869184),
    ),
    (
        "v6 processing with future links",
        {
            "status": "processing",
            "eta": 10,
            "message": "Try to fetch request after seconds estimated",
            "fetch_result": "https://e.example/api/v6/fetch/65919758",
            "id": 65919758,
            "output": [],
            "future_links": [LINK],
        },
        200,
        Processing("65919758", "https://e.example/api/v6/fetch/65919758", 10.0),
    ),
    (
        "processing with an id that is text, and no fetch_result",
        {"status": "processing", "id": "abc123-def456", "eta": 30, "message": "Your request is being processed"},
        200,
        Processing("abc123-def456", f"{FETCH}/abc123-def456", 30.0),
    ),
    (
        "processing without id",
        {"status": "processing", "id": "", "messege": "Request processing", "output": ""},
        200,
        Unknown("the endpoint said processing, without an output or an id"),
    ),
    (
        "failed",
        {"status": "failed", "id": "", "message": "Failed, Try Again", "output": ""},
        200,
        Failed("Failed, Try Again"),
    ),
    (
        "spam filter",
        {"status": "error", "message": "Rate limit exceeded", "tips": SPAM},
        200,
        Busy("spam_filter", f"Rate limit exceeded. {SPAM}", 30.0),
    ),
    (
        "queue full, inside 200",
        {"status": "error", "message": FULL, "retry_after": 30},
        200,
        Busy("queue_full", FULL, 30.0),
    ),
    ("queue full, 429", {"status": "error", "message": FULL, "retry_after": 30}, 429, Busy("queue_full", FULL, 30.0)),
    (
        "bad key",
        {"status": "error", "message": "Invalid Api Key", "tip": "…"},
        200,
        Refused("bad_key", "Invalid Api Key. …"),
    ),
    (
        "invalid request",
        {"status": "error", "message": "Invalid API Request", "tip": "…"},
        200,
        Refused("invalid_request", "Invalid API Request. …"),
    ),
    (
        "validation",
        {"status": "error", "message": {"prompt": ["The prompt field is required."]}},
        200,
        Refused("validation", "prompt: The prompt field is required."),
    ),
    (
        "validation in messege",
        {"status": "error", "messege": {"image": ["…"]}},
        200,
        Refused("validation", "image: …"),
    ),
    (
        "validation in messege, beside an empty message",
        {"status": "error", "message": "", "messege": {"image": ["…"]}},
        200,
        Refused("validation", "image: …"),
    ),
    (
        "no credits",
        {"status": "error", "message": "Insufficient credits. Please add more credits to continue."},
        200,
        Refused("no_credits", "Insufficient credits. Please add more credits to continue."),
    ),
    (
        "image not fetchable",
        {"status": "error", "message": "Unable to fetch image from provided URL"},
        200,
        Refused("image_unfetchable", "Unable to fetch image from provided URL"),
    ),
    ("down, 503", {"status": "error", "message": DOWN}, 503, Failed(DOWN)),
    ("down, inside 200", {"status": "error", "message": DOWN}, 200, Failed(DOWN)),
    ("an error of 500 in JSON", {"status": "error", "message": "Server Error"}, 500, Failed("Server Error")),
    (
        "no status",
        {"message": ""},
        200,
        Unknown("the endpoint answered 200 with JSON that has no known status"),
    ),
    (
        "an error id alone",
        {"error_id": "6f1c"},
        200,
        Unknown("the endpoint answered 200 with JSON that has no known status"),
    ),
]


@pytest.mark.parametrize(("body", "status", "meant"), [row[1:] for row in LITERAL], ids=[row[0] for row in LITERAL])
def test_every_literal_answer_of_a_post(body: dict[str, Any], status: int, meant: PostOutcome) -> None:
    """Each known answer to a POST has the outcome that the table of docs/endpoint.md names."""
    assert classify(answer(body, status), FETCH) == meant


@pytest.mark.parametrize("status", [200, 500, 502, 503, 504, 520, 521, 526])
@pytest.mark.parametrize(
    "body", [PAGE, b"", b'{"status":"success","id":146', b"[]", b'"ok"', b"\xff\xfe", b"[" * 100_000]
)
def test_what_is_not_a_json_object_is_unknown(status: int, body: bytes) -> None:
    """If an answer of 200 or 5xx is a page, half an answer or empty, the POST is unknown: it may have been charged."""
    assert charge_kind(classify(answer(body, status), FETCH)) == "unknown"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "invalid_request"),
        (401, "bad_key"),
        (402, "no_credits"),
        (403, "forbidden"),
        (404, "no_such_endpoint"),
        (422, "invalid_request"),
    ],
)
@pytest.mark.parametrize("body", [PAGE, b"", {"message": "no"}, {"status": "error", "message": "no"}])
def test_a_status_that_refuses_is_a_refusal(status: int, code: str, body: object) -> None:
    """A status that proves that no work was done is a refusal with a stable code, whatever the body is."""
    outcome = classify(answer(body, status), FETCH)
    assert isinstance(outcome, Refused)
    assert outcome.code == code


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (Trouble("not_connected", False, "ConnectionRefusedError"), "refused"),
        (Trouble("refused_address", False, "expected a public address"), "refused"),
        (Trouble("timeout", True, "…"), "unknown"),
        (Trouble("reset", True, "…"), "unknown"),
        (Trouble("too_large", True, "…"), "unknown"),
        (Trouble("bad_answer", True, "…"), "unknown"),
    ],
)
def test_trouble_costs_by_whether_the_request_was_sent(trouble: Trouble, kind: str) -> None:
    """A failed request is free only if no byte of it was sent; otherwise its cost is unknown."""
    assert charge_kind(classify(trouble, FETCH)) == kind


@pytest.mark.parametrize(
    ("body", "headers", "wait_s"),
    [
        ({"retry_after": 12}, {}, 12.0),
        ({"retry_after": "12"}, {}, 12.0),
        ({}, {"Retry-After": "7"}, 7.0),
        ({"retry_after": 3}, {"Retry-After": "7"}, 3.0),
        ({"retry_after": 0}, {}, 1.0),
        ({"retry_after": 1e9}, {}, 120.0),
        ({"retry_after": -4}, {}, 5.0),
        ({"retry_after": "soon"}, {}, 5.0),
        ({"retry_after": None}, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 5.0),
        ({}, {}, 5.0),
    ],
)
def test_the_wait_of_a_full_queue(body: dict[str, Any], headers: dict[str, str], wait_s: float) -> None:
    """The wait is `retry_after` of the body, else of the header, else 5 s. The least wait is 1 s, the longest 120 s."""
    outcome = classify(answer({"status": "error", "message": FULL, **body}, 429, **headers), FETCH)
    assert outcome == Busy("queue_full", FULL, wait_s)
    assert classify(answer({"message": SPAM}, 200), FETCH, 0.3) == Busy("spam_filter", SPAM, 0.3)


POLLS: list[tuple[str, object, float, object]] = [
    ("ready", {"status": "success", "id": "", "output": [LINK]}, 1, Ready((LINK,), "13902970")),
    (
        "flagged",
        {"status": "success", "output": LINK, "nsfw_content_detected": True},
        1,
        Ready((LINK,), "13902970", True),
    ),
    ("still processing, without an id", {"status": "processing", "id": "", "output": ""}, 1, ASKED),
    ("success without output", {"status": "success", "id": 1, "output": []}, 1, ASKED),
    (
        "failed",
        {"status": "failed", "id": "", "message": "Failed, Try Again"},
        1,
        Failed("Failed, Try Again", seen_by_poll=True),
    ),
    ("not found, fresh", {"status": "failed", "id": "", "message": "Request not found", "output": ""}, 29, ASKED),
    ("no words, fresh", {"message": ""}, 29, ASKED),
    ("an error id, fresh", {"error_id": "6f1c"}, 29, ASKED),
    ("queue full", {"status": "error", "message": FULL, "retry_after": 30}, 99, ASKED),
    ("bad key", {"status": "error", "message": "Invalid Api Key"}, 99, ASKED),
    ("down", {"status": "error", "message": DOWN}, 99, ASKED),
    ("a page", PAGE, 99, ASKED),
]


@pytest.mark.parametrize(("body", "age_s", "meant"), [row[1:] for row in POLLS], ids=[row[0] for row in POLLS])
def test_every_literal_answer_of_a_poll(body: object, age_s: float, meant: object) -> None:
    """Each known answer to a poll has its outcome; an answer without news of the job keeps the checkpoint."""
    assert classify_poll(answer(body), ASKED, age_s) == meant


@pytest.mark.parametrize(
    "body",
    [
        {"status": "failed", "id": "", "message": "Request not found", "output": "", "tip": "…"},
        {"message": ""},
        {"error_id": "6f1c"},
    ],
)
def test_lost_only_after_a_grace_period(body: dict[str, str]) -> None:
    """If the endpoint does not know an id, the job polls until 30 s after the POST. Then the generation is lost."""
    assert classify_poll(answer(body), ASKED, 30.0) == ASKED
    assert isinstance(classify_poll(answer(body), ASKED, 30.1), GenerationLost)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just(LINK),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
odd_answers = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(["success", "processing", "failed", "error", "Success", "", "ok"]) | anything,
        **dict.fromkeys(("message", "messege", "tip", "tips", "id", "output", "fetch_result", "eta"), anything),
        **dict.fromkeys(("retry_after", "proxy_links", "future_links", "error_id"), anything),
    },
)
statuses = st.integers(100, 599)


@given(odd_answers, statuses, st.floats(0, 100))
@example({"status": "success", "output": LINK, "id": {"a": 1}}, 200, 1.0)
@example({"status": "processing", "id": True, "fetch_result": 7, "eta": float("nan")}, 200, 1.0)
@example({"status": "error", "message": {"prompt": None}, "retry_after": {}}, 429, 1.0)
@example({}, 503, 1.0)
def test_no_json_is_too_odd(body: dict[str, Any], status: int, age_s: float) -> None:
    """Any JSON object is classified. It counts as free only if a status or a message shows an error."""
    outcome = classify(answer(body, status), FETCH)
    if charge_kind(outcome) in ("refused", "failed"):
        named = str(body.get("status", "")).lower() in ("failed", "error") or 400 <= status <= 429
        assert named or any(body.get(name) for name in ("message", "messege", "tip", "tips"))
    classify_poll(answer(body, status), ASKED, age_s)


@given(st.binary(max_size=200), st.sampled_from([200, 201, 204, 302, 500, 502, 503, 504, 520, 599]))
def test_bytes_never_raise_and_never_come_free(body: bytes, status: int) -> None:
    """If an answer of 2xx, 302 or 5xx is no JSON object, a POST is unknown, and a poll keeps the checkpoint."""
    assume(not body.strip().startswith(b"{"))
    assert charge_kind(classify(answer(body, status), FETCH)) == "unknown"
    assert classify_poll(answer(body, status), ASKED, 99.0) == ASKED


@pytest.mark.parametrize(
    ("body", "meant"),
    [
        ('{"status":"processing","id":1,"eta":999}', Processing("1", f"{FETCH}/1", 0.0)),
        ('{"status":"error","message":"rate limit","retry_after":999}', Busy("queue_full", "rate limit", 5.0)),
    ],
)
def test_numbers_beyond_floats_are_ignored(body: str, meant: PostOutcome) -> None:
    """A number of four hundred digits is ignored: the default value is used in its place."""
    assert classify(answer(body.replace("999", "9" * 400).encode()), FETCH) == meant


@given(st.text(alphabet="0123456789abcdef-", min_size=1, max_size=40))
def test_an_id_becomes_a_fetch_link(identity: str) -> None:
    """If the answer `processing` has an id and no link, the job polls the configured address with this id."""
    outcome = classify(answer({"status": "processing", "id": identity}), FETCH + "/")
    assert outcome == Processing(identity, f"{FETCH}/{identity}", 0.0)
