"""Finds problems of the lanes that an operator should know. `retouch doctor` and the console show these findings."""

from __future__ import annotations

import time
from dataclasses import replace

from retouch.store import keys
from retouch.store.failing_receivers import FailingReceiver, count_failing, failing_receivers
from retouch.store.lanes import LANES, LaneNumbers, Lanes
from retouch.store.redis_commands import Client
from retouch_producer.findings import Finding, note

CHECK = "lanes"
OLD_S = 3600.0
RECEIVERS_NAMED = 5
_FOR_DEAD_LETTERS = {
    "edits": "`retouch jobs --state failed` lists them, `retouch replay` puts them back",
    "deliveries": "`retouch deliveries --dead` lists them, `retouch redeliver --dead` sends them again",
}


def lane_findings(client: Client, tenant: str = "") -> list[Finding]:
    """
    Return findings about pauses, open breakers, dead letters, long waits and failing receivers.

    The findings are about one tenant, or about all tenants if `tenant` is empty.
    """
    lanes = Lanes(client)
    numbers = {lane: _numbers(client, lanes, lane, tenant) for lane in LANES}
    waiting = lanes.oldest_waiting(numbers["edits"].waiting_by_group)
    failing, count = failing_receivers(client, tenant, RECEIVERS_NAMED), count_failing(client, tenant)
    findings = [finding for lane in LANES for finding in _lane(lane, numbers[lane])]
    findings += _backlog(*waiting) if waiting else []
    findings += [_receiver(receiver) for receiver in failing]
    if count > len(failing):
        findings.append(_more_receivers(count - len(failing)))
    return findings


def _numbers(client: Client, lanes: Lanes, lane: str, tenant: str) -> LaneNumbers:
    if not tenant:
        return lanes.numbers(lane)
    # The lane counts the dead letters of all tenants together; each tenant has its own index of failed jobs.
    dead = int(client.zcard(keys.jobs_by("state", tenant, "failed"))) if lane == "edits" else 0
    return replace(lanes.numbers_of(lane, tenant), dead=dead)


def _lane(lane: str, numbers: LaneNumbers) -> list[Finding]:
    found = []
    if numbers.paused:
        why = f"{numbers.waiting} wait, and more will"
        found.append(note(CHECK, f"{lane} is paused by hand", why, f"`retouch resume --lane {lane}`"))
    if numbers.breaker_open_s:
        what = f"the breaker of {lane} is open for another {numbers.breaker_open_s:.0f} s"
        found.append(note(CHECK, what, "the endpoint is down; jobs wait and lose no attempt", "ask the vendor"))
    if numbers.dead:
        why = "they stay until somebody acts or their retention is over"
        found.append(note(CHECK, f"{numbers.dead} dead letters of lane {lane}", why, _FOR_DEAD_LETTERS[lane]))
    return found


def _backlog(tenant: str, enqueued_at: float) -> list[Finding]:
    waits_s = time.time() - enqueued_at
    if waits_s < OLD_S:
        return []
    what = f"the next job of tenant {tenant} has waited for {_span(waits_s)}"
    why = "more comes in than the endpoint's limit lets through, or a limit or budget of the tenant holds it"
    return [
        note(
            CHECK, what, why, "`retouch status` shows the limit and a pause, `retouch keys limits` those of the tenant"
        )
    ]


def _receiver(failing: FailingReceiver) -> Finding:
    lasted = _span(time.time() - failing.since)
    what = f"receiver {failing.id} of tenant {failing.tenant} has failed for {lasted}: {failing.reason}"
    next_s = failing.next_at - time.time() if failing.next_at else None
    when = "no attempt is scheduled" if next_s is None else f"the next attempt is in {max(next_s, 0.0):.0f} s"
    why = f"{failing.failures} attempts failed, {failing.waiting} deliveries wait, {when}"
    return note(CHECK, what, why, "ask its owner; `retouch receivers test ID` tries it now")


def _span(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= OLD_S else f"{seconds / 60:.0f} min"


def _more_receivers(count: int) -> Finding:
    why = f"only the {RECEIVERS_NAMED} that have failed longest are named"
    return note(CHECK, f"{count} more receivers fail", why, "`retouch receivers list --limit 100000` shows all of them")
