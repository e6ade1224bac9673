"""Reads the documentation for tests: its pages, headings, tables and fenced blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "examples" / "README.md", *DOCS.glob("*.md")])

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{2,4} (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: its content, and the line of the page (from 1) on which the content begins."""

    page: Path
    line: int
    code: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path, language: str) -> list[Block]:
    """Return the fenced blocks of one language, in order."""
    text = page.read_text()
    return [
        Block(page, text.count("\n", 0, found.start(2)) + 1, found[2])
        for found in _FENCE.finditer(text)
        if found[1] == language
    ]


def headings(page: Path) -> list[str]:
    """Return the headings below the title, without backticks."""
    return [text.replace("`", "").strip() for text in _HEADING.findall(_FENCE.sub("", page.read_text()))]


def table(page: Path, first: str) -> list[dict[str, str]]:
    """
    Return the rows of the table whose first column is called `first`, as dictionaries by column.

    Backticks around a whole cell are removed.
    """
    lines = iter(page.read_text().splitlines())
    head = next(cells for line in lines if (cells := _cells(line))[:1] == [first])
    assert set("".join(_cells(next(lines)))) <= set("-: "), f"{page.name}: no line of dashes under {first!r}"
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append(dict(zip(head, _cells(line), strict=True)))
    return rows


def _cells(line: str) -> list[str]:
    if not line.startswith("|"):
        return []
    return [_bare(cell.strip()) for cell in line.strip().strip("|").split("|")]


def _bare(cell: str) -> str:
    whole = re.fullmatch(r"`([^`]*)`", cell)
    return whole[1] if whole else cell
