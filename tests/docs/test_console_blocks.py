"""Every command in a console block of README and docs exists, with its options."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import yaml
from typer.main import get_command

from retouch.settings import Settings
from retouch_ops.cli import app
from retouch_ops.cli_docs import standalone_command
from retouch_ops.simulator.__main__ import simulator
from tests.docs.pages import PAGES, ROOT, Block, blocks

ENVIRONMENT = re.compile(r"([A-Z][A-Z0-9_]*)=")
OTHERS = {"curl", "docker", "pip", "kill", "celery", "python", "source"}


def commands(block: Block) -> list[list[str]]:
    """
    Return the words of each command line (`$ …`, with its continuation lines).

    If a line begins with assignments such as `A=b`, these are its first words.
    """
    text = block.code.replace("\\\n", " ")
    return [shlex.split(line[2:], comments=True) for line in text.splitlines() if line.startswith("$ ")]


CONSOLE = [(block, words) for page in PAGES for block in blocks(page, "console") for words in commands(block)]


def fault(words: list[str]) -> str | None:
    """Return a description of the fault in a command line, or None if it has no fault."""
    while words and (found := ENVIRONMENT.match(words[0])):
        if wrong := fault_of_variable(found[1]):
            return wrong
        words = words[1:]
    if not words:
        return None
    name, *rest = words
    if name == "export":
        return next((wrong for word in rest if (wrong := fault_of_variable(word.partition("=")[0]))), None)
    if name == "eval":
        return fault(shlex.split(rest[0].removeprefix("$(").removesuffix(")")))
    if name == "retouch":
        return fault_of_retouch(rest)
    if name == "make":
        return None if f"\n{rest[0]}:" in (ROOT / "Makefile").read_text() else f"no target {rest[0]!r}"
    if name == "docker" and "compose" in rest:
        return fault_of_compose(rest)
    return None if name in OTHERS else f"unknown command {name!r}"


def fault_of_variable(name: str) -> str | None:
    known = name.removeprefix("RETOUCH_").lower() in Settings.model_fields
    return f"no setting {name!r}" if name.startswith("RETOUCH_") and not known else None


def fault_of_retouch(words: list[str]) -> str | None:
    command: Any = get_command(app)
    while hasattr(command, "commands") and words:
        if words[0] not in command.commands:
            return f"no command {words[0]!r}"
        command = standalone_command(simulator) if words[0] == "simulator" else command.commands[words[0]]
        words = words[1:]
    known = {spelling for param in command.params for spelling in param.opts + param.secondary_opts}
    given = [word.partition("=")[0] for word in words if word.startswith("--")]
    return next((f"no option {word!r}" for word in given if word not in known), None)


def fault_of_compose(words: list[str]) -> str | None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    scaled = [word.partition("=")[0] for word in words if re.fullmatch(r"\w+=\d+", word)]
    return next((f"no service {name!r}" for name in scaled if name not in services), None)


@pytest.mark.parametrize(("block", "words"), CONSOLE, ids=lambda value: str(value)[:60])
def test_each_command_exists(block: Block, words: list[str]) -> None:
    """Every command, make target and compose service in a console block exists."""
    assert fault(words) is None, f"{block}: {' '.join(words)}: {fault(words)}"


def test_the_check_can_fail() -> None:
    """The check finds misspelt commands, options, targets, settings and services."""
    wrong = [
        "retouch edits",
        "retouch job X --nowhere",
        "make nothing",
        "export RETOUCH_KEY=1",
        "no_such_command",
        "docker compose up --scale workers=3",
    ]
    assert [fault(shlex.split(line)) is None for line in wrong] == [False] * len(wrong)
    assert fault(shlex.split("RETOUCH_PIX2PIX_KEY=x retouch worker --lanes edits")) is None


def test_every_console_block_shows_a_command() -> None:
    """Every console block has a command line: output alone could not be checked."""
    silent = [str(block) for page in PAGES for block in blocks(page, "console") if not commands(block)]
    assert silent == []


def test_no_block_is_of_an_unknown_language() -> None:
    """Each fenced block names a known language, so that it can be checked."""
    known = {"python", "console", "text", "json", "ini", "toml", "http", "javascript", "php", "yaml"}
    opening = re.compile(r"^```(\w*)$", re.MULTILINE)
    opened = {(page.name, word) for page in PAGES for word in opening.findall(page.read_text())[::2]}
    assert {(page, word) for page, word in opened if word not in known} == set()


def test_every_yaml_block_is_yaml() -> None:
    """Every YAML block can be parsed."""
    assert [yaml.safe_load(block.code) for page in PAGES for block in blocks(page, "yaml")]
