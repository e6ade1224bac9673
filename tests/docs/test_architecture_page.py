"""What `docs/architecture.md` says can be counted is what the code has."""

from __future__ import annotations

from retouch.policy import FETCH_TRIES
from retouch.states import DeliveryState, JobState
from retouch.store.jobs import PRIORITY_BOOST_S
from retouch.store.lanes import AUTO_CEILING, AUTO_START, LANES
from retouch_worker.pulse import TICK_S
from tests.docs.pages import DOCS, ROOT, table

PAGE = DOCS / "architecture.md"


def test_every_state_has_its_row() -> None:
    """The state tables name each state of a job and of a delivery, in the order of their lives."""
    assert [row["state"] for row in table(PAGE, "state")] == list(JobState)
    assert [row["delivery"] for row in table(PAGE, "delivery")] == list(DeliveryState)
    final = {row["state"] for row in table(PAGE, "state") if row["meaning"].startswith("final")}
    assert final == {state for state in JobState if state.is_final}


def test_every_package_has_its_row() -> None:
    """The four folders are those of the distributions that are built."""
    members = {path.parent.name for path in ROOT.glob("*/pyproject.toml")}
    assert {row["folder"].strip("/") for row in table(PAGE, "folder")} == {"retouch"} | members


def test_the_numbers_are_those_of_the_code() -> None:
    """Numbers that the page names are the constants, so that a changed one is noticed."""
    page = " ".join(PAGE.read_text().split())
    lane = (ROOT / "retouch/store/lua/lane.lua").read_text()
    targets = (ROOT / "retouch/store/lua/targets.lua").read_text()
    assert "WINDOW_MOST, QUICK_S = 8, 1.0" in targets
    assert "has handled well, from 1 to 8;" in page
    assert "local MESSAGE_GRACE_S = 2 " in lane
    assert "not claimed within 2 s" in page
    assert (AUTO_START, AUTO_CEILING, TICK_S, FETCH_TRIES, PRIORITY_BOOST_S["high"]) == (5, 15, 1.0, 20, 600.0)
    assert f"starts at {AUTO_START}, is halved by a queue-full answer" in page
    assert f"never exceeds {AUTO_CEILING}" in page
    assert set(LANES) == {"edits", "deliveries"}
