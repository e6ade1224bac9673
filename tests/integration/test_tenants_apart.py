"""What one tenant may have many of is bounded where it would cost the others."""

from __future__ import annotations

from typing import Any

import pytest

from retouch.errors import InvalidEdit
from retouch.store.receivers import EVERY_JOB_MOST
from tests.lanes import LaneKit


def test_receivers_of_every_job_are_bounded(client: Any) -> None:
    """The twenty-first receiver of every job is refused, as each event of the tenant would cost Redis one more."""
    kit = LaneKit(client)
    urls = [f"https://hooks.example/{number}" for number in range(EVERY_JOB_MOST + 1)]
    for url in urls[:-1]:
        kit.receivers.add("acme", url)
    with pytest.raises(InvalidEdit, match=str(EVERY_JOB_MOST)):
        kit.receivers.add("acme", urls[-1])
    assert kit.receivers.add("acme", urls[0], ["edit.failed"]).events == ("edit.failed",)
    kit.receivers.add("other", urls[-1])
    kit.receivers.ensure("acme", urls[-1])
    for receiver in kit.receivers.all():
        kit.receivers.remove(receiver.id)
