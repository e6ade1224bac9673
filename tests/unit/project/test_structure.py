"""House rules that no linter knows: import layers, sizes, docstrings and assertions of tests, no stubs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[3]
FOLDERS = ("retouch", "producer", "worker", "ops")
PACKAGES = ("retouch", "retouch_producer", "retouch_worker", "retouch_ops")
LONGEST_FUNCTION, LONGEST_FILE = 50, 350
DRAWERS = {"utils", "util", "common", "helpers", "helper", "misc", "shared", "base", "lib"}
BASE_INSTALL = {"pydantic", "pydantic_settings", "redis", "retouch"}
EXTRA_PACKAGES = {
    "retouch/egress/": {"requests", "urllib3"},
    "retouch/images/": {"PIL"},
    "retouch/blobs/s3.py": {"obstore"},
    "retouch/broker.py": {"celery", "kombu"},
    "retouch/tracing/otel.py": {"opentelemetry"},
}
# Spelled in halves, so that this file does not find itself.
LOOSE_ENDS = re.compile("|".join(["TO" + "DO", "FIX" + "ME", "NotImplemented" + "Error", "pragma: no " + "cover"]))
DODGES = re.compile(r"pytest\.(mark\.)?(" + "|".join(["sk" + "ip", "xf" + "ail", "import" + "orskip"]) + ")")

SLEEP = re.compile(r"\bsleep\(\s*[1-9]")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def functions(path: Path) -> Iterator[Function]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, Function))


def named(path: Path, node: ast.AST | None = None) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def third_party(path: Path) -> set[str]:
    """Return every top-level package that a file imports, also for typing and inside functions."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).split(".")[0])
    return found - set(sys.stdlib_module_names)


def length(function: Function) -> int:
    """Return the number of lines of a function, without its decorators and its docstring."""
    assert function.end_lineno is not None
    whole = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is None:
        return whole
    first = function.body[0]
    assert first.end_lineno is not None
    return whole - (first.end_lineno - first.lineno + 1)


def test_retouch_stays_inside_its_base_install() -> None:
    """Except for the paths in EXTRA_PACKAGES, `retouch` imports only packages of the base install."""
    strays = {}
    for path in sources("retouch"):
        name = path.relative_to(ROOT).as_posix()
        allowed = next((extra for prefix, extra in EXTRA_PACKAGES.items() if name.startswith(prefix)), set())
        if stray := third_party(path) - BASE_INSTALL - allowed:
            strays[name] = stray
    assert strays == {}


def test_only_some_packages_import_heavy_libraries() -> None:
    """Outside the packages `retouch.egress` and `retouch.images`, no module of `retouch` imports from them."""
    graph = grimp.build_graph("retouch", cache_dir=None)
    inside = {name for name in graph.modules if name.startswith(("retouch.egress", "retouch.images"))}
    callers = {caller for name in inside for caller in graph.find_modules_that_directly_import(name)} - inside
    assert callers == set()


def test_importing_retouch_is_light() -> None:
    """
    A new interpreter that imports `retouch` loads no HTTP client, no web framework, no Pillow, and none of our other
    packages.
    """
    heavy = ["requests", "PIL", "fastapi", "starlette", "obstore", "typer", *PACKAGES[1:]]
    code = f"import sys, retouch; print([name for name in {heavy} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert answer.stdout.strip() == "[]"


def test_no_cycle_in_the_import_graph() -> None:
    """The modules of the four packages do not import each other in a cycle."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    edges = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    try:
        order = list(TopologicalSorter(edges).static_order())
    except CycleError as cycle:
        raise AssertionError(" -> ".join(cycle.args[1])) from None
    assert set(order) == graph.modules


def test_sizes_of_functions_and_files() -> None:
    """No function is longer than 50 lines without its docstring, no file longer than 350."""
    folders = (*FOLDERS, "tests")
    functions_too_long = [
        f"{named(path, function)} {function.name}: {length(function)}"
        for path in sources(*folders)
        for function in functions(path)
        if length(function) > LONGEST_FUNCTION
    ]
    files = [*sources(*folders), *(ROOT / "retouch").rglob("*.lua")]
    counts = {named(path): len(path.read_text().splitlines()) for path in files}
    assert functions_too_long == []
    assert {name: count for name, count in counts.items() if count > LONGEST_FILE} == {}


def test_no_drawers() -> None:
    """No module or folder has a name such as `utils` that does not describe its content."""
    folders = [path for name in (*FOLDERS, "tests") for path in (ROOT / name).rglob("*") if path.is_dir()]
    found = [named(path) for path in [*sources(*FOLDERS, "tests"), *folders] if path.stem in DRAWERS]
    assert found == []


def test_tests_say_and_assert_what_they_show() -> None:
    """
    Every test has a docstring and an assertion: `assert`, `pytest.raises`, or a call of a function named `assert…`.
    """
    faults = []
    for path in sources("tests"):
        for function in functions(path):
            if not function.name.startswith("test_"):
                continue
            if not ast.get_docstring(function):
                faults.append(f"{named(path, function)} {function.name}: no docstring")
            if not any(_asserts(node) for node in ast.walk(function)):
                faults.append(f"{named(path, function)} {function.name}: asserts nothing")
    assert faults == []


def _asserts(node: ast.AST) -> bool:
    """Return whether a node is an assert, `pytest.raises`, or a call of a helper whose name begins with `assert`."""
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        return called == "pytest.raises" or called.split(".")[-1].startswith("assert")
    return isinstance(node, ast.Assert)


def test_no_loose_ends() -> None:
    """There are no stubs, no notes of work to do, no skipped tests, and no lines excluded from coverage."""
    ours = list(sources(*FOLDERS, "tests"))
    found = [named(path) for path in ours if LOOSE_ENDS.search(path.read_text())]
    dodged = [named(path) for path in sources("tests") if DODGES.search(path.read_text())]
    assert found == []
    assert dodged == []


def test_no_sleep_of_a_second_in_tests() -> None:
    """Tests, and programs in their strings, never sleep for a second or more."""
    slept = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sources("tests")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if SLEEP.search(line)
    ]
    assert slept == []


@pytest.mark.parametrize("seconds", ["1", "60", "2.5", " 3 "])
def test_the_check_finds_sleeps(seconds: str) -> None:
    """A sleep of a second or more is found, in code and in a program in a string; half a second is allowed."""
    assert SLEEP.search(f"time.sleep({seconds})")
    assert SLEEP.search(f"run('import time; time.sleep({seconds})')")
    assert not SLEEP.search("sleep(0.5)")


def test_no_folder_of_tests_shadows_a_package() -> None:
    """No folder under tests/ has the name of a package, since it could be imported in place of the package."""
    folders = {path.name for path in (ROOT / "tests").rglob("*") if path.is_dir()}
    assert folders & set(PACKAGES) == set()


def test_the_attempt_stays_the_shortest() -> None:
    """`run_edit`, which runs one attempt, has fewer than 25 lines without its docstring."""
    found = {
        function.name: function for function in functions(ROOT / "worker" / "retouch_worker" / "edits" / "attempt.py")
    }
    assert length(found["run_edit"]) < 25
