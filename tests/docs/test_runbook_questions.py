"""The questions of `docs/runbook.md`: each command of their answers runs, and its output is checked."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest

from retouch.outcomes import Fail, Retry
from retouch_worker.deliveries.schedule import DeliveryOutcome
from tests.charge_kit import tried
from tests.command_line import typed
from tests.docs.pages import DOCS, blocks, table
from tests.lane_kit import LaneKit

ANSWERS = [row["answer"] for row in table(DOCS / "runbook.md", "question")]
COMMANDS = [command for answer in ANSWERS for command in re.findall(r"`(retouch [^`]+)`", answer)]
RECEIVER = "rc_0123456789abcdef0123"


@pytest.fixture
def ids(client: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """
    Fill a store with a waiting job, a failed job that was charged twice, and a receiver that fails; return their ids by
    name.
    """
    monkeypatch.setenv("RETOUCH_REDIS_URL", redis_url)
    monkeypatch.setenv("COLUMNS", "200")
    kit = LaneKit(client)
    receiver = kit.fail_delivery("acme", "https://hooks.example/acme", DeliveryOutcome(503, ""))
    job = kit.new("acme", tags={"order": "17"}, receivers=(receiver.id,), policy={"max_charges": 3})
    kit.enqueue(job)
    tried(kit, job.id, "unknown", Retry(5.0, "outcome_unknown", "lost"))
    kit.make_due("edits", "timetable")
    kit.rescue()
    tried(kit, job.id, "unknown", Fail("spam_filter", "refused", retryable=True))
    kit.lanes.pause()
    waiting = kit.new("acme")
    kit.enqueue(waiting)
    return {"ID": job.id, RECEIVER: receiver.id, "waiting": waiting.id}


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_answers(command: str, ids: dict[str, str]) -> None:
    """
    Each command succeeds with real ids in place of the ids on the page.

    A search for `queued` finds the waiting job. Every other search finds the failed job.
    """
    words = [word.replace(RECEIVER, ids[RECEIVER]) for word in shlex.split(command)[1:]]
    ended = typed(*(ids.get(word, word) for word in words))
    assert ended.code == 0, ended.err
    if words[0] == "jobs":
        assert ids["waiting" if "queued" in command else "ID"] in ended.out
    elif words[0] == "replay":
        assert ended.out.startswith("replay would act on 1 jobs")


def test_each_route_has_an_example_that_runs() -> None:
    """
    Each route that an answer names is among the examples of `docs/http.md`. `test_http_page.py` runs these examples.
    """
    examples = "".join(block.code for block in blocks(DOCS / "http.md", "console"))
    routes = {path for answer in ANSWERS for path in re.findall(r"`(?:GET|POST) ([^`]+)`", answer)}
    assert [path for path in sorted(routes) if path not in examples] == []
    assert len(COMMANDS) > len(ANSWERS)
