"""The control calls: settings, faults, reset, books. A wrong call is answered 400, with its faults."""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from retouch_ops.simulator.config import ControlError
from retouch_ops.simulator.state import SimulatorState


async def settings(state: SimulatorState, request: Request) -> Response:
    """Return the settings. A POST first changes the settings in its body."""
    if request.method == "POST":
        state.configure(await _object(request))
    return JSONResponse(state.config.as_json())


async def faults(state: SimulatorState, request: Request) -> Response:
    """Return the faults that are still to come. A POST first adds the faults in its body."""
    if request.method == "POST":
        state.faults.apply(await _object(request))
    return JSONResponse(state.faults.as_json())


async def reset(state: SimulatorState, request: Request) -> Response:
    """
    Begin new books, and delete faults and outputs. Restore the first settings unless the body is {"keep_settings":
    true}.
    """
    wanted = await _object(request)
    if set(wanted) - {"keep_settings"} or not isinstance(wanted.get("keep_settings", False), bool):
        raise ControlError([f"expected nothing or keep_settings as true or false, got {sorted(wanted)}"])
    state.reset(keep_settings=wanted.get("keep_settings") is True)
    return JSONResponse({"reset": True})


async def books(state: SimulatorState, request: Request) -> Response:
    """Return the books (see `audit.py`); `?totals=1` leaves out the entries by tag, prompt and body."""
    return JSONResponse(state.books.as_json(totals=request.query_params.get("totals") == "1"))


def refused(_: Request, error: Exception) -> Response:
    """Return the answer 400 to a wrong control call."""
    return JSONResponse({"error": error.faults if isinstance(error, ControlError) else str(error)}, 400)


async def _object(request: Request) -> dict[str, object]:
    raw = await request.body()
    try:
        body = json.loads(raw or b"{}")
    except ValueError:
        raise ControlError(["expected a JSON object, got something that is no JSON"]) from None
    if not isinstance(body, dict):
        raise ControlError([f"expected a JSON object, got {type(body).__name__}"])
    return body
