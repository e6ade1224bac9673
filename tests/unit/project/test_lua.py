"""House rules for Lua that luacheck does not know: sizes, headers, arguments, and the functions of modules."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from retouch.store.scripts import compose, source
from tests.unit.project.test_structure import ROOT

LUA = ROOT / "retouch" / "store" / "lua"
SCRIPTS, MODULES = sorted((LUA / "scripts").glob("*.lua")), sorted((LUA / "modules").glob("*.lua"))
LONGEST_FUNCTION, LONGEST_FILE = 50, 150
NOT_CODE = re.compile(r"--[^\n]*|'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"")
BLOCK = re.compile(r"\b(function|if|do|repeat|end|until)\b")
NEED = re.compile(r"local (\w+) = require(?:_late)?\('\w+'\)")
ALIAS = r"(\w+) = {}\(\)(?=\n|$)"
EXPORT = r"^(?:function )?{}\.(\w+)(?:\(| =)"


def code(text: str) -> str:
    """Return the text without comments and strings; the lines keep their numbers."""
    return NOT_CODE.sub("", text)


def function_lengths(text: str) -> list[int]:
    """Return the number of lines of each function, in the order in which the functions end."""
    lengths, open_blocks = [], []
    for number, line in enumerate(code(text).splitlines(), 1):
        for word in BLOCK.findall(line):
            if word not in ("end", "until"):
                open_blocks.append((word, number))
                continue
            opened, start = open_blocks.pop()
            if opened == "function":
                lengths.append(number - start + 1)
    assert open_blocks == []
    return lengths


def too_long(path: Path, text: str) -> list[str]:
    """Return one text for each function that is too long, and one for the file if the file is too long."""
    lines = len(text.splitlines())
    found = [f"{path.name}: {lines} lines"] if lines > LONGEST_FILE else []
    return found + [f"{path.name}: function of {n} lines" for n in function_lengths(text) if n > LONGEST_FUNCTION]


def exports(module: Path) -> set[str]:
    return set(re.findall(EXPORT.format(module.stem), module.read_text(), re.MULTILINE))


def uses(text: str, module: str) -> set[str]:
    """Return the names of the functions of a module that a Lua text calls, by the module's name or by an alias."""
    names = "|".join([module, rf"{module}\(\)", *re.findall(ALIAS.format(module), code(text))])
    return set(re.findall(rf"(?<![\w.])(?:{names})\.(\w+)", code(text)))


def test_sizes_of_lua_functions_and_files() -> None:
    """No function is longer than 50 lines, and no file is longer than 150 lines."""
    assert [fault for path in (*SCRIPTS, *MODULES) for fault in too_long(path, path.read_text())] == []


def test_what_is_too_long_is_found() -> None:
    """A function of 51 lines with blocks of all kinds is found, and so is a file of 151 lines."""
    body = "  if a then b() end  -- function\n  for _ in c do d('end') end\n" * 24 + "  repeat e() until f\n"
    path = Path("long.lua")
    assert function_lengths(f"local function g()\n{body}end\n") == [51]
    assert too_long(path, f"local function g()\n{body}end\n") == ["long.lua: function of 51 lines"]
    assert too_long(path, "a()\n" * 151) == ["long.lua: 151 lines"]
    assert too_long(path, f"local function g()\n{body[:-21]}end\n" + "a()\n" * 90) == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_begins_with_its_keys_arguments_and_answers(path: Path) -> None:
    """
    The header of a script describes keys, arguments and return values. Only the first lines after the header use ARGV,
    and no line uses KEYS.
    """
    text = path.read_text()
    header = re.match(r"(--[^\n]*\n)+", text)
    assert header is not None
    assert re.findall(r"^-- (Keys|ARGV|Returns)\b", header[0], re.MULTILINE) == ["Keys", "ARGV", "Returns"]
    arguments, _, rest = text[header.end() :].partition("\n\n")
    assert all(line.startswith("local ") and "ARGV" in line for line in arguments.splitlines())
    assert "ARGV" not in code(rest)
    assert "KEYS" not in code(text)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_what_a_module_offers_is_used_and_there(path: Path) -> None:
    """The functions that a module exports are exactly the functions that other files call."""
    need = re.compile(rf"require(_late)?\('{path.stem}'\)")
    others = [other.read_text() for other in (*SCRIPTS, *MODULES) if need.search(other.read_text())]
    assert {name for text in others for name in uses(text, path.stem)} == exports(path)
    assert path.read_text().rstrip().endswith(f"\nreturn {path.stem}")


def test_no_json_is_put_together_by_hand() -> None:
    """No string in a script or module is a piece of JSON: cjson and json.lua write all JSON."""
    pieces = re.compile(r"""'[^'\n]*":[^'\n]*'\s*\.\.|\.\.\s*'[^'\n]*":[^'\n]*'""")
    assert [path.name for path in (*SCRIPTS, *MODULES) if pieces.search(path.read_text())] == []
    assert pieces.search("""entry = '{"type":"' .. type""")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_composed_script_has_each_module_behind_what_it_needs(path: Path) -> None:
    """In a composed script, each module comes after the modules that it uses. No `require` is left."""
    text = source(path.stem)
    assert "require(" not in text
    made: set[str] = set()
    for line in code(text).splitlines():
        if begins := re.match(r"local (?:function )?(\w+)(?: = \(function)?\(\)$", line):
            made.add(begins[1])
        known = {module.stem for module in MODULES if re.search(rf"(?<![\w.]){module.stem}(\(\))?\.\w+\(", line)}
        assert known <= made, line
    assert set(NEED.findall(path.read_text())) <= made


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_messages_are_collected_in_one_place(path: Path) -> None:
    """A script that returns messages contains the module `slots` exactly once, so that all messages are in one list."""
    if "slots.messages" in path.read_text():
        assert source(path.stem).count("local slots = (function()") == 1
    else:
        assert "messages" not in code(path.read_text()).replace("message_requested", "")


def composed(folder: Path, script: str, **modules: str) -> str:
    """Write a script and its modules to `folder`, compose the script, and return the composed text."""
    for subfolder, files in {"scripts": {"go": script}, "modules": modules}.items():
        (folder / subfolder).mkdir()
        for name, text in files.items():
            (folder / subfolder / f"{name}.lua").write_text(text)
    return compose(folder, "go")


def test_a_script_carries_what_it_needs_once(tmp_path: Path) -> None:
    """
    A module that several modules need is copied into a script once. A module that only one block needs is copied
    into that block.
    """
    text = composed(
        tmp_path,
        "local b = require('b')\nif b.x then\n  local c = require('c')\n  return c.x\nend\n",
        a="return {}\n",
        b="local a = require('a')\nreturn { x = a }\n",
        c="local a = require('a')\nreturn { x = a }\n",
        unused="return {}\n",
    )
    assert re.findall(r"local (\w+) = \(function", text) == ["a", "b", "c"]
    assert text.index("if b.x then") < text.index("local c = (function")


def test_a_module_that_few_runs_need_is_made_by_a_call(tmp_path: Path) -> None:
    """
    A module that is named in `require_late` is composed once, as a function. The modules that it needs come before it.
    """
    text = composed(
        tmp_path,
        "local b = require('b')\nlocal late = require_late('late')\nif b.x then return late().x end\n",
        a="return {}\n",
        b="local late = require_late('late')\nreturn { x = late }\n",
        late="local a = require('a')\nreturn { x = a }\n",
    )
    assert re.findall(r"^local (?:function )?(\w+)", text, re.MULTILINE) == ["a", "late", "b"]
    assert "local function late()\n" in text
    assert "require" not in text


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ("local a = require('a')\n", "a -> b -> a"),
        ("local other = require('c')\n", "expected its own name"),
        ("local d = require('d')\n", "expected it at the top"),
        ("local c = require('c')\nlocal c = require_late('c')\n", "both at once and late"),
    ],
)
def test_what_cannot_be_composed(tmp_path: Path, script: str, fault: str) -> None:
    """
    Composing raises ValueError for modules that need each other, a wrong name, a `require` inside a function, and a
    module that is named in both `require` and `require_late`.
    """
    modules = {
        "a": "local b = require('b')\nreturn {}\n",
        "b": "local a = require('a')\nreturn {}\n",
        "c": "return {}\n",
        "d": "local d = {}\nfunction d.x()\n  local c = require('c')\n  return c\nend\nreturn d\n",
    }
    with pytest.raises(ValueError, match=fault):
        composed(tmp_path, script, **modules)
