"""
The answer to a dry run: cost, position in the backlog, estimated start and end, and the limit that causes the wait.
"""

from __future__ import annotations

import time

from retouch.connections import Connections
from retouch.events import iso
from retouch.store.jobs import PRIORITY_BOOST_S
from retouch.store.queue_position import QueuePosition, queue_position
from retouch.store.redis_client import clear_errors
from retouch_producer.documents import Document
from retouch_producer.findings.forecast import start_and_end, usual_duration_s
from retouch_producer.gateway.enqueue.request import EnqueueRequest


def estimate(request: EnqueueRequest, connections: Connections) -> Document:
    """
    Return the answer to a dry run: the cost, the position, and the estimated start and end of the job.

    Nothing is enqueued, and the picture is not fetched.
    """
    with clear_errors():
        line = queue_position(connections.client, request.tenant, PRIORITY_BOOST_S[request.options.priority])
        usual_s = usual_duration_s(connections, request.tenant)
    price, price_at_most = _prices(line, connections.settings.price_per_call)
    delays = start_and_end(line, usual_s)
    start_at, end_at = (iso(time.time() + delay_s) for delay_s in delays) if delays else (None, None)
    return {
        "cost": price,
        "cost_at_most": round(price_at_most * (request.options.max_charges or connections.settings.max_charges), 6),
        "position": line.position,
        "estimated_start_at": start_at,
        "estimated_end_at": end_at,
        "binding": line.binding,
        "account": line.account or None,
        "accounts": {account.id: account.binding for account in line.accounts},
    }


def _prices(line: QueuePosition, price_per_call: float) -> tuple[float, float]:
    """Return the price of the first call, and the highest price of any call. Each account may have its own price."""
    prices = {account.id: account.price_per_call for account in line.accounts}
    at_most = max(prices.values(), default=price_per_call)
    return prices.get(line.account, at_most), at_most
