"""
The meaning of the endpoint's answers: the classification of `docs/endpoint.md`, as pure functions.

Failure policy: an answer counts as not charged (`refused`, `failed`) only if the endpoint says so in JSON, or if the
status proves that nothing was done. An answer without a clear meaning is `unknown`, since it may have cost money.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import zip_longest

from retouch.egress.http import Answer, Trouble
from retouch.outcomes import (
    OUTPUTS_MOST,
    AccountRefused,
    Busy,
    Failed,
    GenerationLost,
    Processing,
    Ready,
    Refused,
    Unknown,
)

PostOutcome = Ready | Processing | Refused | AccountRefused | Busy | Failed | Unknown
"""The outcomes of a POST."""

SPAM_FILTER_S, QUEUE_FULL_S, UNREACHABLE_S, RETRY_AFTER_MOST_S = 30.0, 5.0, 5.0, 120.0
LOST_AFTER_S = 30.0
UNREADABLE = "image_unfetchable"
_SERVER_ERROR = 500
_HTTP = ("http://", "https://")
_REFUSING = {
    **dict.fromkeys((400, 413, 415, 422), "invalid_request"),
    **dict.fromkeys((404, 405), "no_such_endpoint"),
    401: "bad_key",
    402: "no_credits",
    403: "forbidden",
}
OF_ACCOUNT = {"bad_key": 401, "no_credits": 402, "forbidden": 403}
"""Codes of refusals that concern an account, with the status that stands for each."""

_CODES_BY_PHRASE = (
    ("invalid api key", "bad_key"),
    ("insufficient credits", "no_credits"),
    ("out of credits", "no_credits"),
    ("unable to fetch image", UNREADABLE),
    ("invalid api request", "invalid_request"),
)


def charge_kind(outcome: PostOutcome) -> str:
    """Return the class under which the outcome of a POST is recorded with its charge."""
    match outcome:
        case Ready():
            return "succeeded"
        case Processing():
            return "processing"
        case Refused() | AccountRefused() | Busy():
            return "refused"
        case Failed():
            return "failed"
        case Unknown():
            return "unknown"


def health_after(answer: Answer | Trouble, outcome: PostOutcome) -> str:
    """
    Return one word for the endpoint's health after an answer, for the breaker and the learnt limit.

    `ok`: the endpoint accepted the request. `full`: the endpoint's queue is full. `down`: the status is 5xx, or there
    was no answer. `alive`: every other case.
    """
    if isinstance(outcome, Busy) and outcome.code == "queue_full":
        return "full"
    if isinstance(outcome, Ready | Processing):
        return "ok"
    is_down = isinstance(answer, Trouble) and answer.kind != "refused_address"
    return "down" if is_down or (isinstance(answer, Answer) and answer.status >= _SERVER_ERROR) else "alive"


def is_of_account(answer: Answer | Trouble, refused: Refused, edit: Mapping[str, object]) -> bool:
    """
    Return whether the endpoint would refuse every job of the account, because of the account's key or credits.

    The status 401, 402 or 403 is enough. A phrase in the answer counts only if the edit does not contain it: the
    endpoint may repeat a tenant's text, and no tenant may be able to close an account.
    """
    if refused.code not in OF_ACCOUNT or not isinstance(answer, Answer):
        return False
    if OF_ACCOUNT[refused.code] == answer.status:
        return True
    written = json.dumps(edit, ensure_ascii=False).lower()
    return not any(code == refused.code and phrase in written for phrase, code in _CODES_BY_PHRASE)


def classify(answer: Answer | Trouble, fetch_url: str, spam_filter_s: float = SPAM_FILTER_S) -> PostOutcome:
    """
    Return the outcome of a POST.

    If an answer has an id and no link, the job polls `fetch_url` with this id. If the spam filter refuses a POST and
    names no wait, the wait is `spam_filter_s` seconds.
    """
    if isinstance(answer, Trouble):
        return _classify_trouble(answer)
    reply = _json_object(answer.body)
    if reply is None:
        return _classify_page(answer)
    status = str(reply.get("status", "")).lower()
    if status == "success" and (outputs := _outputs(reply)):
        return _ready(outputs, _identity(reply), reply)
    if status in ("success", "processing"):  # a success without an output is polled like `processing`
        return _processing(reply, fetch_url) or Unknown(f"the endpoint said {status}, without an output or an id")
    if status == "failed":
        return Failed(_text(reply) or "the endpoint said failed")
    return _classify_error(answer, reply, status, spam_filter_s)


def classify_poll(
    answer: Answer | Trouble, checkpoint: Processing, age_s: float
) -> Ready | Processing | Failed | GenerationLost:
    """
    Return the outcome of a poll. `age_s` is the time since the POST, in seconds.

    If an answer says nothing about the request, return the checkpoint unchanged, since another poll costs nothing.
    """
    reply = _json_object(answer.body) if isinstance(answer, Answer) else None
    if reply is None:
        return checkpoint
    status, text = str(reply.get("status", "")).lower(), _text(reply)
    if status == "success" and (outputs := _outputs(reply)):
        return _ready(outputs, checkpoint.endpoint_id, reply)
    is_unknown = "not found" in text.lower() or "error_id" in reply or (not status and not text)
    if is_unknown and status not in ("success", "processing"):
        # Another server of the endpoint may not know a new id yet.
        if age_s <= LOST_AFTER_S:
            return checkpoint
        return GenerationLost("the endpoint no longer knows the request it was paid for")
    return Failed(text or "the endpoint said failed", seen_by_poll=True) if status == "failed" else checkpoint


def _classify_trouble(trouble: Trouble) -> Refused | Busy | Unknown:
    if trouble.kind == "refused_address":
        return Refused("endpoint_misconfigured", f"RETOUCH_PIX2PIX_URL: {trouble.detail}")
    if not trouble.sent:
        message = f"the endpoint could not be reached, nothing was sent: {trouble.detail}"
        return Busy("endpoint_unreachable", message, UNREACHABLE_S)
    return Unknown(f"the request was sent and its answer was lost: {trouble.kind}")


def _classify_page(answer: Answer) -> Refused | Busy | Unknown:
    """Return the outcome of an answer that is no JSON object, such as the page of a proxy or an empty body."""
    if answer.status == 429:
        return Busy("queue_full", "the endpoint said 429", _retry_after(answer, {}, QUEUE_FULL_S))
    if answer.status in _REFUSING:
        return Refused(_REFUSING[answer.status], f"the endpoint said {answer.status}, without a JSON body")
    return Unknown(f"the endpoint answered {answer.status} with something that is not JSON")


def _classify_error(answer: Answer, reply: Mapping[str, object], status: str, spam_filter_s: float) -> PostOutcome:
    text = _text(reply)
    lowered = text.lower()
    if "same request" in lowered or "spam filter" in lowered:
        return Busy("spam_filter", text, _retry_after(answer, reply, spam_filter_s))
    if "rate limit" in lowered or "queued requests" in lowered or answer.status == 429:
        return Busy("queue_full", text, _retry_after(answer, reply, QUEUE_FULL_S))
    if code := next((code for phrase, code in _CODES_BY_PHRASE if phrase in lowered), None):
        return Refused(code, text)
    if text and isinstance(reply.get("message") or reply.get("messege"), dict):
        return Refused("validation", text)
    if answer.status in _REFUSING:
        return Refused(_REFUSING[answer.status], text or f"the endpoint said {answer.status}")
    if status == "error" or (answer.status in (500, 503) and text):
        return Failed(text or f"the endpoint said {answer.status}", _retry_after(answer, reply, 0.0))
    return Unknown(f"the endpoint answered {answer.status} with JSON that has no known status")


def _json_object(body: bytes) -> dict[str, object] | None:
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return reply if isinstance(reply, dict) else None


def _outputs(reply: Mapping[str, object]) -> list[tuple[str, ...]]:
    """
    Return, for each image of an answer, its links in the order in which to try them: `output`, proxy links, future
    links.

    If `output` is a list, links with the same index in the three lists lead to one image. If `output` is a single link,
    there is one image, and all links lead to it.
    """
    links_by_field = [_links(reply.get(name)) for name in ("output", "proxy_links", "future_links")]
    if isinstance(reply.get("output"), str) and any(links_by_field[0]):
        every_link = [link for links in links_by_field for link in links]
        return [_distinct(every_link)]
    return [urls for links in zip_longest(*links_by_field, fillvalue="") if (urls := _distinct(links))]


def _links(value: object) -> list[str]:
    """Return the links as a list. An item that is no link becomes "", so that the other items keep their indexes."""
    links = value if isinstance(value, list) else [value]
    return [link if isinstance(link, str) and link.lower().startswith(_HTTP) else "" for link in links]


def _distinct(links: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, links)))


def _ready(outputs: list[tuple[str, ...]], identity: str, reply: Mapping[str, object]) -> Ready:
    flags = reply.get("nsfw_content_detected")
    flagged = any(flags) if isinstance(flags, list) else bool(flags)
    first, *more = outputs[:OUTPUTS_MOST]
    beyond = len(outputs) if len(outputs) > OUTPUTS_MOST else 0
    return Ready(first, identity, flagged, tuple(more), beyond=beyond)


def _identity(reply: Mapping[str, object]) -> str:
    identity = reply.get("id")
    return "" if identity is None or isinstance(identity, bool | dict | list) else str(identity)


def _processing(reply: Mapping[str, object], fetch_url: str) -> Processing | Ready | None:
    identity, link = _identity(reply), reply.get("fetch_result")
    if not (isinstance(link, str) and link.lower().startswith(_HTTP)):
        link = f"{fetch_url.rstrip('/')}/{identity}" if identity else ""
    if link:
        return Processing(identity, link, _seconds(reply.get("eta")) or 0.0)
    return _ready(outputs, identity, reply) if (outputs := _outputs(reply)) else None


def _text(reply: Mapping[str, object]) -> str:
    """Return the endpoint's message and tip as one text. The message is a string, or an object of faults by field."""
    message = reply.get("message") or reply.get("messege") or ""
    if isinstance(message, dict):
        message = "; ".join(f"{field}: {_joined(faults)}" for field, faults in message.items())
    tip = reply.get("tips") or reply.get("tip") or ""
    return ". ".join(str(part) for part in (message, tip) if part)


def _joined(faults: object) -> str:
    return " ".join(map(str, faults)) if isinstance(faults, list) else str(faults)


def _seconds(value: object) -> float | None:
    if not isinstance(value, str | int | float):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if 0 <= seconds < float("inf") else None


def _retry_after(answer: Answer, reply: Mapping[str, object], default_s: float) -> float:
    """
    Return the wait in seconds from the body, or else from the header, limited to 1 to 120. Without either, return
    `default_s`.
    """
    wait_s = _seconds(reply.get("retry_after"))
    wait_s = _seconds(answer.headers.get("Retry-After")) if wait_s is None else wait_s
    return default_s if wait_s is None else min(max(wait_s, 1.0), RETRY_AFTER_MOST_S)
