"""
Every Python block of README and docs runs, page by page and from top to bottom, against a real worker.

A comment may state the value of a line, or the error that the line raises. In `job.state  # → 'succeeded'`, the text
after the arrow is the repr of the value. In `Edit(prompt="")  # raises InvalidEdit: prompt: …`, the text is the type
and the message of the error. `…` stands for any text. The tests' own servers replace the addresses on the pages.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from retouch import EditQueue
from retouch.store.tenants import TenantStore
from retouch_ops.simulator.process import Simulator
from tests.conftest import Sink
from tests.docs.pages import PAGES, ROOT, Block, blocks
from tests.gateway_process import running_gateway

PYTHON = [page for page in PAGES if blocks(page, "python")]
SAYS = re.compile(r"#\s*(→|raises)\s*(.+?)\s*$")


def statements(block: Block) -> Iterator[tuple[ast.stmt, str, str]]:
    """
    Yield (statement, sign, promise) for each statement of a block.

    The sign is `→` or `raises`, and the promise is the text after it. Both are empty if the statement promises nothing.
    """
    lines = block.code.splitlines()
    for statement in ast.parse(block.code).body:
        found = SAYS.search(lines[(statement.end_lineno or 1) - 1])
        yield statement, found[1] if found else "", found[2] if found else ""


def fits(pattern: str, text: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("…"))), text, re.DOTALL) is not None


def run(block: Block, names: dict[str, Any]) -> None:
    """Run a block statement by statement, and assert the promise of each statement."""
    for statement, sign, promised in statements(block):
        where = f"{block.page.relative_to(ROOT)}:{block.line + statement.lineno - 1}"
        if sign == "raises":
            with pytest.raises(Exception) as raised:
                exec(compile(ast.Module([statement], []), where, "exec"), names)
            assert fits(promised, f"{type(raised.value).__name__}: {raised.value}"), f"{where}: {raised.value}"
        elif sign == "→":
            assert isinstance(statement, ast.Expr), f"{where}: only an expression gives something"
            value = eval(compile(ast.Expression(statement.value), where, "eval"), names)
            assert fits(promised, repr(value)), f"{where}: {value!r}"
        else:
            exec(compile(ast.Module([statement], []), where, "exec"), names)


@pytest.fixture(scope="module")
def gateway_url(worker_environment: dict[str, str]) -> Iterator[str]:
    with running_gateway(worker_environment) as (url, _):
        yield url


@pytest.mark.parametrize("page", PYTHON, ids=lambda page: page.name)
def test_each_block_runs(
    page: Path,
    queue: EditQueue,
    module_worker: Any,
    simulator: Simulator,
    sink: Sink,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    client: Any,
    gateway_url: str,
) -> None:
    """The blocks of a page, run from first to last, do what the page says."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    TenantStore(client).add_key("rtk_a-key-of-yours", "acme", "producer")
    stand_ins = {
        "https://retouch.example": gateway_url,
        "https://shop.example/photos/17.jpg": simulator.portrait_url,
        "https://shop.example/retouch": f"{sink.url}/retouch",
    }
    for block in blocks(page, "python"):
        code = block.code
        for address, own in stand_ins.items():
            code = code.replace(address, own)
        run(Block(page, block.line, code), names)
    assert names
    for queue_of_the_page in (value for value in names.values() if isinstance(value, EditQueue)):
        queue_of_the_page.close()


def test_the_runner_can_fail() -> None:
    """A block with a wrong promise fails."""
    page = ROOT / "README.md"
    with pytest.raises(AssertionError):
        run(Block(page, 1, "1 + 1  # → 3"), {})
    with pytest.raises(AssertionError):
        run(Block(page, 1, "int('x')  # raises ValueError: something else"), {})
    run(Block(page, 1, "[1, 2, 3]  # → [1, …]\nint('x')  # raises ValueError: invalid literal…"), {})
