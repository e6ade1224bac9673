"""The written style: each suppression has a reason, texts are in plain English, and `Any` is rare."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest

from tests.unit.project.test_structure import FOLDERS, ROOT, sources

CHECKED = (*FOLDERS, "tests", "examples")
MOST_ANY_IN_1000_LINES = 3.0
# Spelled in halves, so that this file does not find itself.
STILTED = re.compile(r'"""\s*(Give|Say|Tell|Hand|Make kno' + r"wn)\b|(?<![a-z])to" + r"ld(?![a-z])", re.IGNORECASE)
PRAGMA = re.compile(r"(?=#\s*(?:fmt|ruff|flake8|mypy|type|noqa)\b)")
SUPPRESSES = re.compile(r"#\s*(fmt:|ruff:|flake8:|mypy:|type:\s*ignore|noqa)")
WITH_REASON = re.compile(
    r"#\s*noqa: [A-Z]+\d+(, [A-Z]+\d+)* - \S.*"  # ruff reads codes up to the dash
    r"|#\s*type: ignore\[[a-z-]+(, [a-z-]+)*\]\s+# \S.*"  # mypy allows nothing but a comment behind the codes
)


def suppressions_without_reason(code: str) -> Iterator[tuple[int, str]]:
    """Yield (line, pragma) of each pragma that lacks a code or a reason, or that disables a whole tool."""
    for token in tokenize.generate_tokens(StringIO(code).readline):
        if token.type == tokenize.COMMENT:
            for part in PRAGMA.split(token.string):
                if SUPPRESSES.match(part) and not WITH_REASON.match(part.strip()):
                    yield token.start[0], part.strip()


def stilted_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line number, text) of each line with a banned opening or word."""
    for number, line in enumerate(text.splitlines(), 1):
        if STILTED.search(line):
            yield number, line.strip()


def uses_of_any(code: str) -> int:
    """Return the number of uses of `Any` and `typing.Any` in source code, without imports."""
    nodes = ast.walk(ast.parse(code))
    return sum(
        isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node) in ("Any", "typing.Any") for node in nodes
    )


def place(path: Path, number: int) -> str:
    """Return the file and line of a fault as the text "FILE:LINE"."""
    return f"{path.relative_to(ROOT)}:{number}"


def test_each_suppression_has_a_code_and_a_reason() -> None:
    """Each `noqa` and `type: ignore` has a code and a reason, and no tool is disabled."""
    found = [
        f"{place(path, number)}: {pragma}"
        for path in sources(*CHECKED)
        for number, pragma in suppressions_without_reason(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    "comment",
    [
        "# fmt: skip",
        "# fmt: off",
        "# fmt:skip",
        "# noqa",
        "# noqa: E501",
        "# noqa: E501, BLE001 -",
        "# noqa - too long",
        "# ruff: noqa: E501 - a long file",
        "# mypy: ignore-errors",
        "# type: ignore",
        "# type: ignore  # untyped",
        "# type: ignore[arg-type]",
        "# type: ignore[arg-type]  # noqa: E501 - a long line",
        "# a word, then  # fmt: skip",
    ],
)
def test_the_check_finds_a_suppression_without_reason(comment: str) -> None:
    """A pragma without code or reason is found, also after another comment; a pragma in a string is ignored."""
    assert len(list(suppressions_without_reason(f"x = 1  {comment}\n"))) == 1
    assert list(suppressions_without_reason(f"x = '{comment}'\n")) == []


@pytest.mark.parametrize(
    "comment",
    [
        "# noqa: BLE001 - each request is answered on its own",
        "# noqa: C901, PLR0912 - one branch for each outcome",
        "# type: ignore[misc]  # the library has no stubs",
        "# type: ignore[misc]  # no stubs  # noqa: SLF001 - private on purpose",
        "# the type of an event",
        "# type: the name of an event",
    ],
)
def test_the_check_takes_a_reason(comment: str) -> None:
    """A pragma with code and reason is accepted, and so is a comment that is no pragma."""
    assert list(suppressions_without_reason(f"x = 1  {comment}\n")) == []


def test_texts_are_in_plain_english() -> None:
    """No docstring begins with a banned word, and no line contains a banned word."""
    found = [
        f"{place(path, number)}: {line}"
        for path in sources(*CHECKED)
        for number, line in stilted_lines(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        '"""' + "Give the path.",
        '"""' + "Say why it failed.",
        '"""' + "Tell a receiver.",
        '"""' + "Hand over.",
        '"""' + "Make known.",
        "to" + "ld = 1",
        "def _to" + "ld(job):",
        "# who is to" + "ld what",
    ],
)
def test_the_check_finds_stilted_lines(line: str) -> None:
    """Each line with a banned opening or word is found. A longer word that contains a banned word is allowed."""
    assert len(list(stilted_lines(line))) == 1
    assert list(stilted_lines('"""Handle a request."""\nuntold = """Given a path."""')) == []


def test_any_is_rare() -> None:
    """The four packages together use `Any` at most three times in 1,000 lines."""
    codes = [path.read_text() for path in sources(*FOLDERS)]
    lines = sum(len(code.splitlines()) for code in codes)
    assert 1_000 * sum(map(uses_of_any, codes)) / lines <= MOST_ANY_IN_1000_LINES


@pytest.mark.parametrize("code", ["x: Any = 1", "def f(x: dict[str, Any]): ...", "y = cast(Any, 1)", "z: typing.Any"])
def test_the_count_finds_any(code: str) -> None:
    """`Any` counts once in each annotation, argument and cast; an import and a longer name do not count."""
    assert uses_of_any("from typing import Any, AnyStr\n" + code) == 1
    assert uses_of_any("from typing import Any, AnyStr\nx: AnyStr") == 0
