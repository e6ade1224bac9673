"""What the confirmation of a bulk run's preview covers."""

from __future__ import annotations

import pytest

from retouch.store.bulk import Preview
from retouch_producer.gateway.console.bulk import ConfirmedForm

COMPLETE = ConfirmedForm(jobs=3, deliveries=2, calls_most=6)
PARTIAL = ConfirmedForm(jobs=100, calls_most=200, is_complete=False)


@pytest.mark.parametrize(
    ("confirmed", "now", "covered"),
    [
        (COMPLETE, Preview(3, 2, 0, 6), True),
        (COMPLETE, Preview(2, 1, 1, 4), True),
        (COMPLETE, Preview(4, 2, 0, 6), False),
        (COMPLETE, Preview(3, 3, 0, 6), False),
        (COMPLETE, Preview(3, 2, 0, 7), False),
        (COMPLETE, Preview(1, 1, 0, 2, is_complete=False), False),
        (PARTIAL, Preview(150, 0, 0, 300, is_complete=False), True),
        (PARTIAL, Preview(250, 0, 0, 500), True),
    ],
)
def test_what_was_confirmed(confirmed: ConfirmedForm, now: Preview, covered: bool) -> None:
    """
    A run must not do more than the preview that was confirmed. Of a preview that stopped counting, the person confirmed
    that the run does more than its numbers.
    """
    assert confirmed.covers(now) is covered
