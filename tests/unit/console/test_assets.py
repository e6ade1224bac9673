"""The files that the console sends: third-party files equal their manifest, and no file loads anything from outside."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from retouch_producer.gateway.console import assets, rendering

STATIC = Path(assets.__file__).parent / "static"
MANIFEST: list[dict[str, Any]] = json.loads((STATIC / "vendored.json").read_text())
OURS = {"colours.js", "console.css", "console.js", "history.js", "mark.svg", "vendored.json"}


@pytest.mark.parametrize("entry", MANIFEST, ids=lambda entry: entry["file"])
def test_vendored_files_are_as_they_came(entry: dict[str, Any]) -> None:
    """
    Each third-party file has the hash of its manifest entry. The entry has a name, a version, and a licence whose text
    exists.
    """
    assert hashlib.sha256((STATIC / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", entry["version"])
    assert entry["name"]
    assert (STATIC / entry["licence_file"]).read_text().strip()
    assert entry["licence"] in {"0BSD", "MIT"}


def test_every_file_is_ours_or_in_the_manifest() -> None:
    """The folder contains only our own files and those in the manifest."""
    vendored = {name for entry in MANIFEST for name in (entry["file"], entry["licence_file"])}
    assert {path.name for path in STATIC.iterdir()} == OURS | vendored


def test_our_files_name_no_other_host() -> None:
    """Our style sheet, scripts and templates load nothing from another host."""
    ours = [*(STATIC / name for name in OURS - {"mark.svg", "vendored.json"}), *STATIC.parent.glob("templates/*.html")]
    assert [path.name for path in ours if re.search(r"https?://|(?<!asset_)url\(|@import", path.read_text())] == []


def test_templates_escape_everything() -> None:
    """Autoescaping is on; no template marks a text as safe, disables escaping or has inline script or style."""
    assert rendering.environment().autoescape is True
    for path in STATIC.parent.glob("templates/*.html"):
        text = path.read_text()
        assert not re.search(r"\|\s*safe|autoescape|Markup", text), path.name
        assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", text), path.name


@pytest.mark.parametrize("name", ["../pages.py", "console.css/..", "vendored.json", "nothing.js", ".css", ""])
def test_only_files_of_known_types_are_sent(name: str) -> None:
    """
    `asset` returns None for a name outside the folder, for another type of file, and for a file that does not exist.
    """
    assert assets.asset(name) is None


def test_every_colour_is_a_token() -> None:
    """
    Except over photographs, the rules of the style sheet use only tokens as colours. Each token has a light and a dark
    colour.
    """
    sheet = (STATIC / "console.css").read_text()
    rules = sheet[sheet.index("*, ::before") :]
    allowed = {"#fff", "#f2f2f0"}  # over photographs, which are the same in both themes
    assert set(re.findall(r"#[0-9a-f]{3,8}\b", rules)) <= allowed
    blocks = dict(re.findall(r":root([^{]*){([^}]*)}", sheet))
    tokens = dict(re.findall(r"(--[\w-]+): ([^;]+);", blocks[" "]))
    colours = {name: value for name, value in tokens.items() if not re.fullmatch(r"--(s\d|radius|sans|mono)", name)}
    colour = r"#[0-9a-f]{3}(?:[0-9a-f]{3})?"
    assert [
        name for name, value in colours.items() if not re.fullmatch(rf"light-dark\({colour}, {colour}\)", value)
    ] == []
    assert {name: re.findall(r"color-scheme: ([^;]+);", block) for name, block in blocks.items()} == {
        " ": ["light dark"],
        '[data-theme="light"] ': ["light"],
        '[data-theme="dark"] ': ["dark"],
    }
    assert set(re.findall(r"var\((--(?!split|shown|ratio)[\w-]+)", rules)) <= set(tokens)
