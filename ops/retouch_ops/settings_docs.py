"""
Writes `docs/settings.md` from the model of the settings: `python -m retouch_ops.settings_docs`.

A test checks that the page is up to date.
"""

from __future__ import annotations

from pathlib import Path

from retouch.settings import Settings
from retouch_ops.settings_table import default_text, unit, variable

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
HEAD = """\
# Settings

All settings are environment variables with the prefix `RETOUCH_`. They are read in one place, checked together, and
all faults are reported at once. `retouch settings` shows the values in force and where each came from, with secrets
masked; `retouch doctor` finds misspelled names.

This page is written by `python -m retouch_ops.settings_docs` from `retouch/settings.py`.

| setting | default | unit | meaning |
|---|---|---|---|
"""


def page() -> str:
    """Return the page `docs/settings.md` as Markdown."""
    lines = [
        f"| `{variable(name)}` | {_code(default_text(field))} | {unit(name)} | {field.description} |\n"
        for name, field in Settings.model_fields.items()
    ]
    return HEAD + "".join(lines)


def _code(value: str) -> str:
    return f"`{value}`" if value else "none"


if __name__ == "__main__":
    PAGE.write_text(page())
