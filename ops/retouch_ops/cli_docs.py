"""
Writes `docs/cli.md` from the help of the commands: `python -m retouch_ops.cli_docs`. A test checks that it is up to
date.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

from retouch_ops.cli import app
from retouch_ops.simulator.__main__ import simulator

Command = TyperGroup | TyperCommand
Param = TyperArgument | TyperOption

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
HEAD = """\
# Commands

One command, `retouch`, for those who enqueue and for those who run it. It reads [the settings](settings.md) from the
environment; in a folder where `retouch up` runs, it finds that stack by itself, unless `RETOUCH_REDIS_URL` is set.

Exit codes: 0 is success, 1 means that the job (or a check) failed, 2 is a usage error, 130 means that you pressed
Ctrl-C. With `--json` a command prints one JSON document to standard output and nothing else. Times are `15m`, `1h` or
`2d` ago, an ISO 8601 time, or Unix seconds.

This page is written by `python -m retouch_ops.cli_docs` from the commands' own help.
"""


def page() -> str:
    """Return the page `docs/cli.md` as Markdown."""
    group = _typed(get_command(app))
    assert isinstance(group, TyperGroup)
    panels: dict[str, list[str]] = {}
    for name, command in group.commands.items():
        known = _typed(command)
        shown = standalone_command(simulator) if name == "simulator" else known
        panels.setdefault(str(known.rich_help_panel), []).extend(_section(f"retouch {name}", shown))
    parts = [part for panel, sections in panels.items() for part in (f"## {panel}", *sections)]
    return "\n".join([HEAD, "\n\n".join(parts), ""])


def standalone_command(function: Callable[..., None]) -> Command:
    """Return a typer command made from one function, with the function's arguments and options."""
    one = typer.Typer(add_completion=False)
    one.command()(function)
    return _typed(get_command(one))


def _typed(command: object) -> Command:
    """
    Return a command unchanged, but typed as a public class of typer. Functions of typer return a private base class.
    """
    assert isinstance(command, TyperGroup | TyperCommand)
    return command


def _section(name: str, command: Command, depth: int = 3) -> Iterator[str]:
    """Yield the Markdown of one command and of its subcommands. `depth` is the level of the heading."""
    yield f"{'#' * depth} {name}\n{_plain(command.help)}"
    if isinstance(command, TyperGroup):
        for word, one in command.commands.items():
            yield from _section(f"{name} {word}", _typed(one), depth + 1)
        return
    arguments = [param for param in command.params if isinstance(param, TyperArgument)]
    options = [param for param in command.params if isinstance(param, TyperOption) and param.name != "help"]
    words = [_argument(param) for param in arguments]
    yield f"```text\n{' '.join([name, *(['[OPTIONS]'] if options else []), *words])}\n```"
    params: list[Param] = [*arguments, *options]
    if rows := [f"| `{_usage(param)}` | {_plain(param.help)} | {_default(param)} |" for param in params]:
        yield "\n".join(["| | meaning | default |", "|---|---|---|", *rows])


def _plain(text: str | None) -> str:
    """Return a help text on one line, with the characters that Markdown would interpret replaced or escaped."""
    return " ".join((text or "").split()).replace("|", "/").replace("<", "\\<")


def _argument(param: TyperArgument) -> str:
    word = f"{_value(param)}…" if param.nargs == -1 else _value(param)
    return word if param.required else f"[{word}]"


def _usage(param: Param) -> str:
    if isinstance(param, TyperArgument):
        return _value(param)
    return param.opts[0] if param.is_flag else f"{param.opts[0]} {_value(param)}"


def _value(param: Param) -> str:
    return param.metavar or str(param.name).upper()


def _default(param: Param) -> str:
    if param.required:
        return "required"
    return f"`{param.default}`" if param.default not in (None, False, "", (), []) else ""


if __name__ == "__main__":
    PAGE.write_text(page())
