"""`docs/cli.md` equals the help of the commands."""

from __future__ import annotations

from typing import Any

from typer.main import get_command

from retouch import Edit
from retouch_ops import cli_docs
from retouch_ops.cli import app
from tests.docs.pages import headings


def test_the_page_is_what_the_commands_say() -> None:
    """The page has every command, argument and option with its current help text; `make fmt` writes the page again."""
    assert cli_docs.PAGE.read_text() == cli_docs.page()


def test_no_command_is_missing() -> None:
    """Each command of `retouch` has a heading of its own and a help text."""
    group: Any = get_command(app)
    assert {f"retouch {name}" for name in group.commands} <= set(headings(cli_docs.PAGE))
    assert [name for name, command in group.commands.items() if not command.help] == []


def test_the_defaults_of_an_edit_are_the_edits() -> None:
    """The defaults in the help of `retouch edit` are the defaults of `Edit`."""
    lines = cli_docs.PAGE.read_text().splitlines()
    for name in ("steps", "guidance_scale", "image_guidance_scale"):
        (line,) = (line for line in lines if line.startswith(f"| `--{name.replace('_', '-')} "))
        assert f"; {Edit.model_fields[name].default:g} by default. |" in line
