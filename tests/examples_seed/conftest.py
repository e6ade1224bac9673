"""Fixtures: the gateway and the worker with which the examples run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from retouch_ops.simulator.process import Simulator
from tests.gateway_process import Api, Callers, path_of, running_gateway


@pytest.fixture(scope="module")
def gateway_url(worker_environment: dict[str, str], module_worker: Any) -> Iterator[str]:
    with running_gateway(worker_environment) as (url, _):
        yield url


@pytest.fixture
def api(gateway_url: str, client: Any, simulator: Simulator) -> Iterator[Api]:
    callers = Callers(gateway_url, client)
    yield callers()
    callers.close()


@pytest.fixture
def assert_edited(api: Api) -> Callable[[dict[str, Any]], None]:
    """
    Return a function that asserts that an answer is a success of the endpoint, and that its link leads to an image.
    """

    def check(answer: dict[str, Any]) -> None:
        assert answer["status"] == "success", answer
        assert answer["generationTime"] > 0
        assert answer["id"]
        image = api.get(path_of(answer["output"]))
        assert (image.status_code, image.headers["content-type"]) == (200, "image/png")

    return check
