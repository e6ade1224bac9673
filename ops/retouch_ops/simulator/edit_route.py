"""
One POST of an edit, from its admission to its answer.

A POST is in flight from its admission until its work is done, even if its client disconnects. The charge is counted
once the picture has been read, before the latency has passed. If the POST has a fault that the endpoint would not bill,
no charge is counted.
"""

from __future__ import annotations

import asyncio
import time

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from retouch_ops.simulator import answers
from retouch_ops.simulator.admission import AdmittedPost, PostRefused, admit, base_url, body_of, is_v6
from retouch_ops.simulator.audit import Audit, Identity, Line, without_token
from retouch_ops.simulator.config import SimulatorConfig
from retouch_ops.simulator.effects import Plan
from retouch_ops.simulator.fault_transport import Drip, Reset, Silence
from retouch_ops.simulator.faults import is_charged, stage_of
from retouch_ops.simulator.generations import Generation
from retouch_ops.simulator.image_pool import UnfetchableImage
from retouch_ops.simulator.output_bytes import UnreadableImage
from retouch_ops.simulator.state import SimulatorState

_STUCK = ("processing_forever", "fetch_not_found")
_LATER = ("processing", "processing_failed", "processing_no_id")


async def post(state: SimulatorState, request: Request) -> Response:
    """Do the work of one POST of an edit, count it in the books, and return its answer."""
    body = await body_of(request)
    books, identity = state.books, Identity.of(body)
    line = books.record_post(identity, str(body.get("prompt", "")))
    try:
        admitted = admit(state, request, body, identity)
        generation = await _run(state, admitted, books, line)
    except PostRefused as refused:
        books.record_refusal(line, refused.reason)
        return _refusal(refused, state.config)
    books.record_answer(line, _answer_name(generation.kind))
    line.link = generation.paths[0]
    as_list = is_v6(request) or state.config.list_output
    return answer_as(generation.kind, _ordinary_answer(generation, base_url(request, state), as_list), state.config)


def answer_as(kind: str, ordinary: Response, config: SimulatorConfig) -> Response:
    """Return the answer that a fault of this kind sends. If the fault does not change the answer, return `ordinary`."""
    if kind == "drip":
        return Drip(ordinary, config.drip_bytes_per_s)
    if kind == "reset_after_work":
        return Reset()
    if kind == "read_timeout":
        return Silence()
    if stage_of(kind) == "lost" or kind in ("failed", "error_500", "error_503"):
        return answers.broken(kind)
    return ordinary


async def _run(state: SimulatorState, admitted: AdmittedPost, books: Audit, line: Line) -> Generation:
    """
    Do the work of a POST and return its generation. Raises `PostRefused` if the picture cannot be read.

    The POST counts as in flight until its work is done. A processing answer is sent before the work is done.
    """
    in_flight, after_s = books.enter(admitted.owner), 0.0
    state.spam_filter.accept(admitted.spam_key)
    started_at = time.monotonic()
    try:
        generation = await _generate(state, admitted)
        if is_charged(admitted.fault.kind):
            books.record_charge(line)
        await state.latency_since(started_at)
        after_s = _in_flight_after_answer_s(admitted.fault.kind, state.config)
        _keep_generation(state, generation, started_at, after_s)
        return generation
    except PostRefused:
        state.spam_filter.forget(admitted.spam_key)
        raise
    finally:
        # Also if the client has disconnected: the endpoint goes on working on a request that nobody waits for.
        if after_s:
            asyncio.get_running_loop().call_later(after_s, in_flight.leave)
        else:
            in_flight.leave()


async def _generate(state: SimulatorState, admitted: AdmittedPost) -> Generation:
    """Read and edit the picture, and return the generation. Raises `PostRefused` if the picture cannot be read."""
    edit, fault = admitted.edit, admitted.fault
    plan = Plan.of(without_token(edit.prompt), edit.image_guidance_scale, edit.steps, edit.guidance_scale)
    try:
        source = await state.image_pool.source(edit.init_image, state.config)
        await state.image_pool.edited(source, plan)
    except UnfetchableImage:
        raise PostRefused("image_unfetchable") from None
    except UnreadableImage:
        raise PostRefused("image_unreadable") from None
    return Generation(
        id=state.generations.next_id(),
        tag=admitted.identity.tag,
        mark=admitted.identity.body,
        source=source,
        plan=plan,
        kind=fault.kind,
        output_kind="flat" if fault.kind == "flagged" else fault.output_kind or state.config.output_kind,
        samples=edit.samples,
        odd_index=fault.output_index,
    )


def _in_flight_after_answer_s(kind: str, config: SimulatorConfig) -> float:
    if kind in _STUCK:
        return config.stuck_in_flight_s
    return config.processing_s if kind in _LATER else 0.0


def _keep_generation(state: SimulatorState, generation: Generation, started_at: float, after_s: float) -> None:
    now = time.monotonic()
    generation.took_s, generation.reported_eta_s = now - started_at, state.config.reported_eta_s
    generation.answered_at = now
    generation.ready_at = float("inf") if generation.kind in _STUCK else now + after_s
    state.generations.keep(generation)


def _ordinary_answer(generation: Generation, base: str, as_list: bool) -> Response:
    """Return the answer that the endpoint would send without a fault."""
    kind, links = generation.kind, [base + path for path in generation.paths]
    as_list = as_list or kind == "list_output"
    if kind == "processing_no_id":
        return JSONResponse(answers.PROCESSING_NO_ID)
    if kind in _LATER or kind in _STUCK:
        fetch_url = f"{base}/api/{'v6/image_editing' if as_list else 'v3'}/fetch/{generation.id}"
        return JSONResponse(
            answers.processing(generation.id, generation.reported_eta_s, fetch_url, links, as_list=as_list)
        )
    return JSONResponse(
        answers.success(generation.id, generation.took_s, links, as_list=as_list, flagged=kind == "flagged")
    )


def _refusal(refused: PostRefused, config: SimulatorConfig) -> Response:
    if refused.reason == "reset_before_work":
        return Reset()
    return answers.refusal(refused.reason, config, refused.body)


def _answer_name(kind: str) -> str:
    """Return the name of an answer in the books: `success`, `processing`, or the name of the fault."""
    if kind in _LATER or kind in _STUCK:
        return "processing"
    return "success" if kind in ("success", "list_output") else kind
