"""Every relative link and every anchor in the documentation has a target."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)|<(?:img|a)\b[^>]*?(?:src|href)=\"([^\"]+)\"")
FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*\s*$", re.MULTILINE)


def pages() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])


def prose(page: Path) -> str:
    """Return a page without its fenced code, in which brackets have another meaning."""
    return FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes from a page's headings. Anchors of repeated headings get a number."""
    found: set[str] = set()
    for heading in HEADING.findall(prose(page)):
        text = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        number = 0
        while (name := slug + (f"-{number}" if number else "")) in found:
            number += 1
        found.add(name)
    return found


def fault(page: Path, link: str) -> str | None:
    """Return a description of the fault of a link, or None if it has no fault. Links to the web are not followed."""
    if re.match(r"[a-z][a-z0-9+.-]*:", link):
        return None
    address, _, anchor = unquote(link).partition("#")
    target = (page.parent / address).resolve() if address else page
    if not target.exists():
        return f"{page.relative_to(ROOT)}: {link}: there is no such file"
    if not target.is_relative_to(ROOT):
        return f"{page.relative_to(ROOT)}: {link}: leaves the repository"
    if anchor and target.suffix == ".md" and anchor not in anchors(target):
        return f"{page.relative_to(ROOT)}: {link}: there is no such heading"
    return None


def test_no_dead_link() -> None:
    """Each relative link in README, docs and examples names an existing file, and a heading in it."""
    links = [(page, one or two) for page in pages() for one, two in LINK.findall(prose(page))]
    faults = [found for page, link in links if (found := fault(page, link))]
    assert faults == []


def test_the_check_can_fail(tmp_path: Path) -> None:
    """The check finds a dead file and a dead heading, and accepts those that exist."""
    page = ROOT / "CONTRIBUTING.md"
    assert fault(page, "CHANGELOG.md") is None
    assert "no such file" in str(fault(page, "docs/nowhere.md"))
    assert "no such heading" in str(fault(page, "CHANGELOG.md#nowhere"))
    assert anchors(page) >= {"words"}
