"""
Shared fixtures: a gateway with callers and a valid request, a `LaneKit` of the stores, and a guarded HTTP session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from retouch.egress.http import make_session
from retouch.store.ledger import Ledger
from retouch_ops.simulator.process import Simulator
from tests.gateway_process import Callers, running_gateway
from tests.integration.faulty_servers import LOOPBACK
from tests.lane_kit import LaneKit

ParsedEdit = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def gateway_url(worker_environment: dict[str, str]) -> Iterator[str]:
    """Yield the URL of a gateway in a process of its own, on the Valkey of the tests."""
    with running_gateway(worker_environment) as (url, _):
        yield url


@pytest.fixture
def callers(gateway_url: str, client: Any) -> Iterator[Callers]:
    """Yield a function that makes callers of the gateway: `callers("acme")`, `callers("staff", "ops")`."""
    made = Callers(gateway_url, client)
    yield made
    made.close()


@pytest.fixture
def edit_body(simulator: Simulator) -> ParsedEdit:
    """
    Return a function that returns the body of a valid request to enqueue an edit. Its keywords set fields of the body.
    """

    def make(**more: Any) -> dict[str, Any]:
        return {"prompt": "make it winter", "init_image": simulator.portrait_url, "steps": 20, **more}

    return make


@pytest.fixture
def kit(client: Any) -> LaneKit:
    """Return a `LaneKit` on an empty database, with the default limits of the lanes."""
    return LaneKit(client)


@pytest.fixture
def ledger(client: Any) -> Ledger:
    return Ledger(client)


@pytest.fixture
def session() -> Iterator[requests.Session]:
    """Yield a guarded session that may connect to loopback."""
    with make_session(LOOPBACK, 64) as session:
        yield session
