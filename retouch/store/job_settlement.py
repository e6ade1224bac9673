"""The arguments of the script `settle.lua` for each decision about a job."""

from __future__ import annotations

import json

from retouch.outcomes import Cancel, Decision, Fail, LeaseLost, Poll, Retry, Succeed
from retouch.store.redis_commands import Value
from retouch.store.results import checkpoint_json, result_json


def settlement_arguments(decision: Decision) -> list[Value]:
    """Return the script's arguments for a decision: move, delay_s, refund, counts, checkpoint, error, result."""
    match decision:
        case Succeed(image, others):
            return ["succeeded", 0, 0, 0, "", "", result_json(image, others)]
        case Fail(code, message, retryable, drop_checkpoint):
            error = json.dumps({"code": code, "message": message, "retryable": retryable})
            return ["failed", 0, 0, 0, "-" if drop_checkpoint else "", error, ""]
        case Retry(delay_s, code, message, refund, counts, drop_checkpoint, moves):
            error = json.dumps({"code": code, "message": message, "retryable": True})
            return [
                "moving" if moves else "retrying",
                delay_s,
                int(refund),
                int(counts),
                "-" if drop_checkpoint else "",
                error,
                "",
            ]
        case Poll(delay_s, checkpoint):
            return ["polling", delay_s, 0, 0, checkpoint_json(checkpoint), "", ""]
        case Cancel():
            return ["cancelled", 0, 0, 0, "", "", ""]
        case LeaseLost():
            raise AssertionError("an attempt whose lease is lost is not settled")
