"""What the tests of the gateway share: one process of it for each module, callers, and a request that is right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ops.simulator.running import Simulator
from tests.gateways import Callers, running_gateway

Wish = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def gateway_url(worker_environment: dict[str, str]) -> Iterator[str]:
    """A gateway in a process of its own, on the tests' Valkey."""
    with running_gateway(worker_environment) as (url, _):
        yield url


@pytest.fixture
def callers(gateway_url: str, client: Any) -> Iterator[Callers]:
    """Makes callers of the gateway: `callers("acme")`, `callers("staff", "ops")`."""
    made = Callers(gateway_url, client)
    yield made
    made.close()


@pytest.fixture
def wish(simulator: Simulator) -> Wish:
    """A request to enqueue that is right; keywords change it."""

    def make(**more: Any) -> dict[str, Any]:
        return {"prompt": "make it winter", "init_image": simulator.portrait_url, "steps": 20, **more}

    return make
