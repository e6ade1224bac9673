"""
The table of private parts in `docs/architecture.md` is complete. Each row has the locked version and an existing test.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT, table

PACKAGES = ("retouch", "producer", "worker", "ops")
ROWS = table(DOCS / "architecture.md", "private part")
PRIVATE = re.compile(r"\b_[a-z]\w*\b(?<!_)")  # names such as enum's `_missing_` are documented
DOCUMENTED = {"_replace"}  # of named tuples
ACTS_ON_IMPORT = {"retouch_worker.app"}


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Yield the name and the syntax tree of every module of ours."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            yield name, ast.parse(path.read_text())


def is_private(name: str) -> bool:
    return PRIVATE.fullmatch(name) is not None


def made_by(tree: ast.Module) -> set[str]:
    """Return the names that a module defines: functions, classes, values, and attributes of `self`."""
    names = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        if isinstance(node, ast.ClassDef):
            inside = (one for one in ast.walk(node) if isinstance(one, ast.Attribute))
            names |= {one.attr for one in inside if isinstance(one.ctx, ast.Store) and ast.unparse(one.value) == "self"}
    return names


def used_by(tree: ast.Module) -> set[str]:
    """Return the private names that a module uses: attributes, and imported modules and names."""
    names = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.Import):
            names |= {part for alias in node.names for part in alias.name.split(".")}
        elif isinstance(node, ast.ImportFrom):
            names |= {*(node.module or "").split("."), *(alias.name for alias in node.names)}
    return {name for name in names if is_private(name)}


def overridden_in(module: str) -> set[str]:
    """Return the private methods of libraries' classes that a module's classes override."""
    found = set[str]()
    for owner in vars(importlib.import_module(module)).values():
        if inspect.isclass(owner) and owner.__module__ == module:
            foreign = [base for base in owner.__mro__ if base.__module__.partition(".")[0] not in PACKAGES]
            own = {name for name, value in vars(owner).items() if is_private(name) and inspect.isfunction(value)}
            found |= {name for name in own if any(name in vars(base) for base in foreign)}
    return found


def test_every_private_part_is_listed() -> None:
    """The table has exactly the private attributes, methods and modules of libraries that we use or replace."""
    used = set[str]()
    for name, tree in sources():
        used |= used_by(tree) - made_by(tree) - DOCUMENTED
        used |= set() if name in ACTS_ON_IMPORT else overridden_in(name)
    assert used == {name for row in ROWS for name in PRIVATE.findall(row["private part"].replace(".", " "))}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["private part"])
def test_it_was_read_in_the_locked_version(row: dict[str, str]) -> None:
    """Each row has the locked version of its library, or the oldest Python that we support."""
    library, version = row["read in"].split()
    if library == "Python":
        assert f'requires-python = ">={version}"' in (ROOT / "pyproject.toml").read_text().splitlines()
    else:
        assert f"{library}=={version} \\" in (ROOT / "requirements.lock").read_text().splitlines()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["private part"])
def test_somebody_notices_when_it_goes(row: dict[str, str]) -> None:
    """Each row names a test that exists."""
    path, _, name = row["noticed by"].partition("::")
    tree = ast.parse(Path(ROOT / path).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
