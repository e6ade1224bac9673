"""Each distribution declares the packages that it imports, so it works without the other distributions."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.unit.project.test_structure import PACKAGES, ROOT, sources, third_party

FOLDERS = {"retouch": "retouch", "retouch_producer": "producer", "retouch_worker": "worker", "retouch_ops": "ops"}


def declared(pyproject: Path) -> tuple[set[str], set[str]]:
    """
    Return the names of the distributions and the extras of `retouch` that a pyproject.toml requires. The extra `dev`
    does not count.
    """
    project = tomllib.loads(pyproject.read_text())["project"]
    extras = {name: wanted for name, wanted in project.get("optional-dependencies", {}).items() if name != "dev"}
    lines = [*project["dependencies"], *(line for wanted in extras.values() for line in wanted)]
    names = {re.split(r"[\s\[=<>!~;]", line)[0] for line in lines}
    ours = {
        extra for line in lines for found in re.findall(r"^retouch\[([\w,]+)\]", line) for extra in found.split(",")
    }
    return names, ours


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_imported_is_declared(package: str) -> None:
    """Every package that a distribution imports, also inside functions, is in its pyproject.toml."""
    folder = ROOT if package == "retouch" else ROOT / FOLDERS[package]
    names, _ = declared(folder / "pyproject.toml")
    home = packages_distributions()
    known = {name.lower().replace("_", "-") for name in names} | {package.replace("_", "-")}
    source = "retouch" if package == "retouch" else f"{FOLDERS[package]}/{package}"
    missing = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources(source)
        for name in third_party(path)
        if not known & {one.lower().replace("_", "-") for one in home.get(name, [name])}
    }
    assert missing == set()


def test_extras_that_are_asked_for_exist() -> None:
    """Every extra of `retouch` that another distribution requires exists."""
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    wanted = {
        extra
        for folder in FOLDERS.values()
        if folder != "retouch"
        for extra in declared(ROOT / folder / "pyproject.toml")[1]
    }
    assert {"celery", "egress", "images"} <= wanted <= extras
