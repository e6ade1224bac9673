"""`docs/architecture.md` agrees with the code wherever it names states, packages and numbers."""

from __future__ import annotations

import ast

from retouch.policy import FETCH_TRIES
from retouch.states import DeliveryState, JobState
from retouch.store.jobs import PRIORITY_BOOST_S
from retouch.store.lanes import AUTO_CEILING, AUTO_START, LANES
from retouch_worker.pulse import TICK_S
from tests.docs.pages import DOCS, ROOT, table

PAGE = DOCS / "architecture.md"


def test_every_state_has_its_row() -> None:
    """The state tables name each state of a job and of a delivery, in the order of the code."""
    assert [row["state"] for row in table(PAGE, "state")] == list(JobState)
    assert [row["delivery"] for row in table(PAGE, "delivery")] == list(DeliveryState)
    final = {row["state"] for row in table(PAGE, "state") if row["meaning"].startswith("final")}
    assert final == {state for state in JobState if state.is_final}


def test_every_package_has_its_row() -> None:
    """The table has the four folders from which distributions are built."""
    members = {path.parent.name for path in ROOT.glob("*/pyproject.toml")}
    assert {row["folder"].strip("/") for row in table(PAGE, "folder")} == {"retouch"} | members


def test_the_numbers_are_those_of_the_code() -> None:
    """Numbers on the page equal the constants in the code."""
    page = " ".join(PAGE.read_text().split())
    slots = (ROOT / "retouch/store/lua/modules/slots.lua").read_text()
    target_health = (ROOT / "retouch/store/lua/modules/target_health.lua").read_text()
    assert "WINDOW_MOST, QUICK_S = 8, 1.0" in target_health
    assert "has handled well, from 1 to 8;" in page
    assert "slots.MESSAGE_GRACE_S = 2 " in slots
    assert "not claimed within 2 s" in page
    assert (AUTO_START, AUTO_CEILING, TICK_S, FETCH_TRIES, PRIORITY_BOOST_S["high"]) == (5, 15, 1.0, 20, 600.0)
    assert f"starts at {AUTO_START}, is halved by a queue-full answer" in page
    assert f"never exceeds {AUTO_CEILING}" in page
    assert set(LANES) == {"edits", "deliveries"}


def callers() -> dict[str, str]:
    """
    Return the functions and methods of the store, as {name: text of the file}. A method has the name `Class.method`.
    """
    found: dict[str, str] = {}
    for path in (ROOT / "retouch" / "store").glob("*.py"):
        text = path.read_text()
        inherited: dict[str, list[str]] = {}
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef):
                methods = [part.name for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)]
                for base in node.bases:
                    methods += inherited.get(ast.unparse(base), [])
                inherited[node.name] = methods
                found |= {f"{node.name}.{method}": text for method in methods}
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found[node.name] = text
    return found


def test_every_script_has_its_row() -> None:
    """The table has one row for each script. Each function that a row names is in a file that loads the script."""
    rows = {row["script"]: row["called by"].replace("`", "").split(", ") for row in table(PAGE, "script")}
    assert sorted(rows) == sorted(path.stem for path in (ROOT / "retouch/store/lua/scripts").glob("*.lua"))
    files = callers()
    assert [script for script, names in rows.items() if any(f'"{script}"' not in files[name] for name in names)] == []
