"""The routes that cost nothing: fetches of processing requests, and downloads of outputs."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from retouch_ops.simulator import answers
from retouch_ops.simulator.admission import base_url, body_of, is_v6
from retouch_ops.simulator.edit_route import answer_as
from retouch_ops.simulator.fault_transport import slow_download
from retouch_ops.simulator.generations import Generation
from retouch_ops.simulator.output_bytes import output_of
from retouch_ops.simulator.state import SimulatorState


async def fetch(state: SimulatorState, request: Request) -> Response:
    """Return the answer to a client that asks for the images of a request in the state `processing`."""
    body = await body_of(request)
    state.books.fetches += 1
    if not state.accepts(body.get("key")):
        return answers.refusal("bad_key", state.config)
    generation = state.generations.by_id(request.path_params["id"])
    fault = state.faults.for_fetch(generation.tag if generation else "")
    if fault.kind in ("bad_key", "queue_full"):
        return answers.refusal(fault.kind, state.config)
    as_list = is_v6(request) or state.config.list_output
    reply = _fetch_reply(state, generation, base_url(request, state), as_list)
    return answer_as(fault.kind, JSONResponse(reply), state.config)


async def output(state: SimulatorState, request: Request) -> Response:
    """Return the answer to a download of an output, and count it by status."""
    name = request.path_params["name"]
    answer = await _output(state, state.generations.by_name(name), name)
    state.books.downloads[str(answer.status_code)] += 1
    return answer


def _fetch_reply(state: SimulatorState, generation: Generation | None, base: str, as_list: bool) -> dict[str, object]:
    if generation is None or generation.kind in ("fetch_not_found", "processing_no_id"):
        return dict(answers.NOT_FOUND)
    if time.monotonic() - generation.answered_at < state.config.fetch_unknown_s:
        return dict(answers.NOT_FOUND)
    if not generation.is_ready:
        return dict(answers.PROCESSING_NO_ID)
    if generation.kind == "processing_failed":
        return dict(answers.FAILED)
    links, is_flagged = [base + path for path in generation.paths], generation.kind == "flagged"
    return answers.success(generation.id, generation.took_s, links, as_list=as_list, flagged=is_flagged)


async def _output(state: SimulatorState, generation: Generation | None, name: str) -> Response:
    config = state.config
    if generation is None or not generation.is_ready or generation.kind == "processing_failed":
        return answers.page("Not Found", 404)
    age_s = time.monotonic() - generation.ready_at
    if age_s > config.output_lifetime_s:
        return answers.page("Gone", config.output_gone_status)
    if age_s < config.output_delay_s:
        return answers.page("Not Found", 404 if config.output_early == "404" else 200)
    edited = await state.image_pool.edited(generation.source, generation.plan)
    index = generation.names.index(name)
    served = output_of(generation.kind_of(index), edited, generation.source.content, generation.mark_of(index))
    if config.output_bytes_per_s:
        return slow_download(served.to_bytes(), config.output_bytes_per_s, served.media_type)
    return Response(served.to_bytes(), media_type=served.media_type)
