"""Names follow the table of words in CONTRIBUTING.md, and the files that CONTRIBUTING.md names exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, table

PAGE = ROOT / "CONTRIBUTING.md"
FOLDERS = ("retouch", "producer", "worker", "ops")
OTHER_SENSE = {
    "request": "an HTTP request",
    "result": "the image of a job: `Job.result()`, `EditResult`",
    "queue": "`EditQueue`, and the queue that Celery consumes",
    "eta": "the field of the endpoint's own answers",
    "lock": "threading's locks and file locks",
    "token": "the marker of a prompt in the simulator, and the tokens of a rate limit",
}
"""Words of the third column that also name something else, where they are the field's own noun."""
OF_LIBRARIES = {
    "consumer": "Celery's Consumer, of which ours is a subclass",
    "BatchingConsumer": "Celery's Consumer, of which ours is a subclass",
}
"""Names that take a word of the third column from the library that they extend."""


def words_of(name: str) -> set[str]:
    """Return the words of a name in lower case, split at underscores and capitals."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def banned_words() -> set[str]:
    """Return the words of the column "not", except for words that the column "word" or OTHER_SENSE allows."""
    rows = table(PAGE, "concept")
    right = {word for row in rows for word in re.findall(r"\*\*(\w+)\*\*", row["word"])}
    cells = (re.sub(r"\([^)]*\)", "", row["not"]) for row in rows)
    wrong = {word.strip().lower() for cell in cells for word in cell.split(",")}
    return {word for word in wrong if word.isidentifier()} - right - OTHER_SENSE.keys()


def names() -> Iterator[tuple[str, str]]:
    """
    Yield (place, name) of every module, class and function of the four packages; a place is "FILE" or "FILE:LINE".
    """
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            place = path.relative_to(ROOT).as_posix()
            yield place, path.stem
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{place}:{node.lineno}", node.name


def faults(found: Iterator[tuple[str, str]], banned: set[str]) -> list[str]:
    """Return one text for each name that contains a banned word, except for the names in OF_LIBRARIES."""
    return [
        f"{place} {name}: {', '.join(wrong)}"
        for place, name in found
        if name not in OF_LIBRARIES and (wrong := words_of(name) & banned)
    ]


def test_no_name_holds_a_word_that_the_table_rules_out() -> None:
    """No name of a module, class or function contains a banned word."""
    assert faults(names(), banned_words()) == []


@pytest.mark.parametrize("name", ["submit_edit", "EnqueueVerdict", "upstream", "on_notification", "reap", "pushJobs"])
def test_the_check_finds_what_is_ruled_out(name: str) -> None:
    """A name with a banned word is found, in snake case, camel case and Pascal case."""
    assert faults(iter([("somewhere", name)]), banned_words()) != []


def test_each_change_names_files_that_exist() -> None:
    """Every file in the two tables of changes exists, and the first table has twelve rows."""
    rows = table(PAGE, "change")
    cited = [
        path
        for row in [*rows, *table(PAGE, "other change")]
        for path in re.findall(r"`([\w./-]+)`", f"`{row['files']}`".replace("``", "`"))
    ]
    assert len(rows) == 12
    assert cited
    assert [path for path in cited if not (ROOT / Path(path)).exists()] == []
