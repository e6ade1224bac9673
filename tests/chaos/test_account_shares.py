"""A short form of `python -m tests.chaos.accounts`: limits are learnt, and the calls of each account are counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.account_shares import learn, share
from tests.chaos.account_stage import account_stage, audit

CAPS = {"small": 5, "medium": 8, "large": 15}
JOBS = 280


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_learnt_limits_are_used_and_never_exceeded(tmp_path: Path) -> None:
    """Once the limits are learnt, no account refuses a call, and calls are spread in proportion to the caps."""
    tables = {account: {"limit": "auto"} for account in CAPS}
    with account_stage(tmp_path, CAPS, latency_s=1.0, tables=tables) as stage:
        stage.start_worker()
        learn(stage, CAPS)
        shares = share(stage, CAPS, JOBS, latency_s=0.5)
        assert shares.refused == dict.fromkeys(CAPS, 0)
        assert all(shares.most[account] <= cap for account, cap in CAPS.items())
        fair = {account: JOBS * cap / sum(CAPS.values()) for account, cap in CAPS.items()}
        assert all(0.8 * fair[account] <= shares.posts[account] <= 1.2 * fair[account] for account in CAPS), shares
        assert audit(stage, 1) == []
