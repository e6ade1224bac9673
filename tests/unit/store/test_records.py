"""The spec of a job is read as it was written."""

from __future__ import annotations

import pytest

from retouch.store.records import JobSpec


@pytest.mark.parametrize("tenant", ["default", "normal", "high"])
@pytest.mark.parametrize("priority", ["high", "normal", "low"])
def test_a_spec_survives_the_store(tenant: str, priority: str) -> None:
    """A spec is read as it was written, even if the tenant has the name of a priority."""
    spec = JobSpec(tenant=tenant, edit={"prompt": "x"}, deadline_s=5.0, priority=priority, tags={"normal": "normal"})
    assert JobSpec.from_json(spec.to_json()) == spec
