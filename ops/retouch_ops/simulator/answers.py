"""
Every answer of the endpoint, in the form in which the endpoint is known to send it.

The forms come from the vendor's documentation of v3 to v6, its SDKs and public client code. The vendor really misspells
`messege` and `tips`, and a client has to handle this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import HTMLResponse, JSONResponse, Response

if TYPE_CHECKING:
    from retouch_ops.simulator.config import SimulatorConfig

BANNER = (
    '<p style="background:#b00;color:#fff;margin:0;padding:.5em 1em">Retouch simulator: a development tool. '
    "No real edit is made and nothing is charged.</p>"
)
NOT_FOUND = {"status": "failed", "id": "", "message": "Request not found", "output": "", "tip": "Check the id."}
PROCESSING_NO_ID = {"status": "processing", "id": "", "messege": "Request processing", "output": ""}
FAILED = {"status": "failed", "id": "", "message": "Failed, Try Again", "output": ""}
IMAGE_UNREADABLE: dict[str, object] = {"status": "error", "messege": {"image": ["The image could not be read."]}}

# Reason: (HTTP status if `errors_inside_200` is off, body).
_ERRORS: dict[str, tuple[int, dict[str, object]]] = {
    "spam_filter": (
        429,
        {
            "status": "error",
            "message": "Rate limit exceeded",
            "tips": "you are sending same request multiple times, spam filter is enabled, "
            "please wait for 30 seconds and try again",
        },
    ),
    "bad_key": (
        401,
        {"status": "error", "message": "Invalid Api Key", "tip": "Get your key from the dashboard of your account."},
    ),
    "invalid_request": (
        400,
        {"status": "error", "message": "Invalid API Request", "tip": "Send a JSON object as application/json."},
    ),
    "no_credits": (
        402,
        {"status": "error", "message": "Insufficient credits. Please add more credits to continue."},
    ),
    "validation": (400, {"status": "error", "message": {"prompt": ["The prompt field is required."]}}),
    "image_unfetchable": (400, {"status": "error", "message": "Unable to fetch image from provided URL"}),
    "image_unreadable": (400, IMAGE_UNREADABLE),
}
_FIXED: dict[str, tuple[int, dict[str, object]]] = {
    "error_500": (500, {"status": "error", "message": "Server Error"}),
    "error_503": (503, {"status": "error", "message": "Service temporarily unavailable. Please try again later."}),
    "statusless_200": (200, {"message": ""}),
    "error_id": (200, {"error_id": "6f1c0f0e5d7a4b0f"}),
    "failed": (200, dict(FAILED)),
}
_PAGES = {
    "html_502": "Bad Gateway",
    "html_504": "Gateway Time-out",
    "html_520": "Web server is returning an unknown error",
}


def refusal(reason: str, config: SimulatorConfig, body: dict[str, object] | None = None) -> Response:
    """Return the error answer for a reason. If `body` is set, it replaces the usual body."""
    if reason in ("queue_full", "retry_after_header"):
        return _queue_full(reason, config)
    status, usual = _ERRORS[reason]
    return JSONResponse(body or usual, 200 if config.errors_inside_200 else status)


def broken(kind: str) -> Response:
    """Return the answer that a fault of this kind sends instead of the ordinary answer."""
    if kind in _FIXED:
        status, body = _FIXED[kind]
        return JSONResponse(body, status)
    if kind == "empty_200":
        return Response(b"", 200, media_type="application/json")
    if kind == "unparseable":
        return Response(b'{"status":"success","generationTime":4.58,"id":146244', 200, media_type="application/json")
    return page(_PAGES.get(kind, "Welcome"), int(kind.removeprefix("html_")))


def page(title: str, status: int, body: str = "") -> HTMLResponse:
    """Return an HTML page with the banner of the simulator; without `body` its content is the title."""
    return HTMLResponse(
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>'
        f"<body>{BANNER}{body or f'<h1>{title}</h1>'}</body></html>",
        status,
    )


def success(identifier: int, took_s: float, links: list[str], *, as_list: bool, flagged: bool) -> dict[str, object]:
    """
    Return the body of a success, in the shape of v6 if `as_list`, else in the shape of v5.

    In v6, `output` is always a list. In v5, `output` is a list only if there are several images.
    """
    head: dict[str, object] = {"status": "success", "generationTime": round(took_s, 4), "id": identifier}
    if not as_list:
        output = links[0] if len(links) == 1 else links
        return {**head, "output": output, **({"nsfw_content_detected": True} if flagged else {})}
    return {
        **head,
        "output": links,
        "proxy_links": [f"{link}?proxy=1" for link in links],
        "nsfw_content_detected": flagged,
        "webhook_status": "",
        "meta": {},
        "tip": "Copy the image at once: links do not live long.",
    }


def processing(identifier: int, eta_s: float, fetch_url: str, links: list[str], *, as_list: bool) -> dict[str, object]:
    """Return the body of a processing answer. Only the shape of v6 has `links`, the URLs of the future outputs."""
    reply = {"status": "processing", "eta": eta_s, "fetch_result": fetch_url, "id": identifier}
    if as_list:
        text = "Try to fetch request after seconds estimated"
        return {**reply, "message": text, "output": [], "future_links": links}
    text = "Try to fetch request after given estimated time"
    return {**reply, "tip": "Fetch the result later.", "messege": text, "output": "", "meta": {}}


def _queue_full(reason: str, config: SimulatorConfig) -> Response:
    body: dict[str, object] = {
        "status": "error",
        "message": f"Rate limit exceeded. Maximum {config.cap} queued requests allowed.",
    }
    wait_s = int(config.retry_after_s) if config.retry_after_s.is_integer() else config.retry_after_s
    if reason == "retry_after_header":
        return JSONResponse(body, 429, headers={"Retry-After": str(round(config.retry_after_s))})
    return JSONResponse({**body, "retry_after": wait_s}, config.queue_full_status)
