"""The gateway agrees with its description: generated requests never get a 5xx or an undocumented answer."""

from __future__ import annotations

import re
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CheckFunction
from schemathesis.specs.openapi import checks

from tests.gateway_process import Api, Callers

EXAMPLES = 15
METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")
CHECKS: list[CheckFunction] = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]


@pytest.fixture
def ops(callers: Callers) -> Api:
    return callers("staff", "ops")


@pytest.mark.timeout(400)  # some thousand requests, a minute and more beside other work
def test_generated_requests(ops: Api) -> None:
    """No operation answers 5xx to valid or invalid values. Each answer has a documented status, type and members."""
    described: Any = schemathesis.openapi.from_url(f"{ops.url}/openapi.json")
    operations = [result.ok() for result in described.get_all_operations()]
    for operation in operations:
        exercise(operation, {"Authorization": f"Bearer {ops.secret}"})
    assert len(operations) >= 35


def test_allow_is_what_an_address_takes(callers: Callers) -> None:
    """
    An answer 405 names in `Allow` exactly the methods that the path answers otherwise, also if the path has an odd id.
    """
    nobody = callers.with_secret()
    described = nobody.get("/openapi.json").json()["paths"]
    odd = [path.replace("{id}", odd_id) for path in described for odd_id in ("ed_x", "%3F", "a%23b", "a%0Ab")]
    for path in {"/docs", "/openapi.json", *(re.sub("{name.*}", "internal", path) for path in odd)}:
        answers = {method: nobody.ask(method, path) for method in METHODS}
        taken = [method for method in METHODS if answers[method].status_code != 405]
        refused = {answer.headers["allow"] for answer in answers.values() if answer.status_code == 405}
        assert refused == {", ".join(taken)}, path


def exercise(operation: Any, headers: dict[str, str]) -> None:
    """Send generated requests to one operation and check the answers against its description."""
    strategies = [operation.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode]

    @given(case=st.one_of(strategies))
    @settings(max_examples=EXAMPLES, phases=[Phase.generate], suppress_health_check=list(HealthCheck), deadline=None)
    def ask(case: Any) -> None:
        case.call_and_validate(headers=headers, checks=CHECKS, timeout=20)

    ask()
