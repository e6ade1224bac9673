"""The answer to a dry run: cost, position in the backlog, estimated start and end, and the limit that binds."""

from __future__ import annotations

import time
from itertools import islice
from statistics import fmean

from retouch.connections import Connections
from retouch.events import iso
from retouch.store.jobs import PRIORITY_BOOST_S
from retouch.store.queue_position import QueuePosition, queue_position
from retouch.store.redis_client import clear_errors
from retouch_producer.documents import Document
from retouch_producer.gateway.enqueue.request import EnqueueRequest

USUAL_S = 5.0
"""The assumed duration of an edit while a tenant has none on record: the endpoint's sample took 4.6 s."""
_SAMPLE = 20
_UNFORESEEABLE = ("paused", "backlog", "budget", "account")


def estimate(request: EnqueueRequest, connections: Connections) -> Document:
    """Return what enqueueing this request now would cost and when it would run; nothing is enqueued or fetched."""
    with clear_errors():
        line = queue_position(connections.client, request.tenant, PRIORITY_BOOST_S[request.options.priority])
        usual_s = _usual_s(connections, request.tenant)
    price, price_at_most = _prices(line, connections.settings.price_per_call)
    binding = line.binding
    start_at, end_at = None, None
    # When a pause, a full backlog, a spent budget or a closed account ends is not known: there is nothing to estimate.
    if binding not in _UNFORESEEABLE:
        wait_s = 0.0 if binding == "none" else line.position / line.per_s(usual_s) + line.lane.breaker_open_s
        start_at, end_at = iso(time.time() + wait_s), iso(time.time() + wait_s + usual_s)
    return {
        "cost": price,
        "cost_at_most": round(price_at_most * (request.options.max_charges or connections.settings.max_charges), 6),
        "position": line.position,
        "estimated_start_at": start_at,
        "estimated_end_at": end_at,
        "binding": binding,
        "account": line.account or None,
        "accounts": {account.id: account.binding for account in line.accounts},
    }


def _prices(line: QueuePosition, price_per_call: float) -> tuple[float, float]:
    """Return what the first call would cost, and what a call costs at most; they differ between accounts."""
    prices = {account.id: account.price_per_call for account in line.accounts}
    at_most = max(prices.values(), default=price_per_call)
    return prices.get(line.account, at_most), at_most


def _usual_s(connections: Connections, tenant: str) -> float:
    """Return the mean duration of this tenant's latest edits, in seconds from start to end."""
    records = connections.jobs.records(list(islice(connections.jobs.ids(tenant), _SAMPLE)))
    durations_s = [
        record.finished_at - record.started_at
        for record in records
        if record.images and record.finished_at and record.started_at
    ]
    # Never zero, since the rate of the lane is divided by it.
    return max(fmean(durations_s), 0.01) if durations_s else USUAL_S
