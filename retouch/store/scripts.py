"""
Composes the Lua scripts of `lua/` from their modules, and makes them callable.

Each move of a job is one script. So a process may die between any two instructions, and the record stays consistent.

`lua/scripts/` holds the scripts, which Python calls; `lua/modules/` holds what the scripts share, one subject per file.
A module is a file that returns a table of functions. A file that uses a module requires it at its top, into a local
with the name of the module:

    local clock = require('clock')

Redis has no `require`, so the text that is sent to it is composed here. It begins with the modules that the script
needs, directly or through other modules. Each is there once, after the modules that it needs itself, as `local clock =
(function() … end)()`. Then comes the script, whose `require` lines have become empty lines. So a script carries only
what it uses. A module cannot use another one that it does not require: the linter, which reads the original files,
reports an undefined variable. Modules cannot need each other in a circle.

Creating a function takes about 0.15 µs, and creating those of all modules would be a large part of a script's time. So
a script may also require modules inside a block, in consecutive lines. These modules, with those that only they need,
are composed in that place and created when the block runs. Lua allows 200 locals in one function; the composed text has
one for each module. Redis stores a script under the hash of its text, which is the same in each process.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import TypeVar

from redis.exceptions import NoScriptError

from retouch.store.redis_commands import AnyClient, Pipeline, Script, Value

Message = tuple[str, str]
"""One Celery message to send: the lane and the item."""


Reply = TypeVar("Reply")


_FOLDER = resources.files("retouch.store") / "lua"
_NEED = re.compile(r"^( *)local (\w+) = require\('(\w+)'\)$", re.MULTILINE)
_NEEDS_OF_BLOCK = re.compile(r"(?:^ +local \w+ = require\('\w+'\)$\n?)+", re.MULTILINE)


@cache
def source(name: str) -> str:
    """Return the composed text of one script of `lua/`: its modules first, then the script itself."""
    return compose(_FOLDER, name)


def compose(folder: Traversable, name: str) -> str:
    """
    Return the text of a script of `folder/scripts`, composed with its modules of `folder/modules`.

    Raises `ValueError` when modules need each other in a circle, a local is not named like its module, or a module
    needs another one inside a function.
    """
    script = (folder / "scripts" / f"{name}.lua").read_text()
    always: dict[str, str] = {}
    for indent, local, module in _NEED.findall(script):
        if not indent:
            _add(folder, local, module, always, ())

    def in_block(needs: re.Match[str]) -> str:
        modules = dict(always)
        for _, local, module in _NEED.findall(needs[0]):
            _add(folder, local, module, modules, ())
        return _as_locals({module: text for module, text in modules.items() if module not in always})

    return _as_locals(always) + _NEED.sub("", _NEEDS_OF_BLOCK.sub(in_block, script))


def _add(folder: Traversable, local: str, module: str, modules: dict[str, str], path: tuple[str, ...]) -> None:
    """
    Add a module to `modules` (name → text), after the modules that it needs; `path` has the modules that led to it.
    """
    if local != module:
        raise ValueError(f"module {module!r} is called {local!r}, expected its own name")
    if module in path:
        raise ValueError(f"modules need each other in a circle: {' -> '.join((*path, module))}")
    if module in modules:
        return
    text = (folder / "modules" / f"{module}.lua").read_text()
    for indent, inner_local, needed in _NEED.findall(text):
        if indent:
            raise ValueError(f"module {module!r} needs {needed!r} inside a function, expected it at the top")
        _add(folder, inner_local, needed, modules, (*path, module))
    modules[module] = _NEED.sub("", text)


def _as_locals(modules: dict[str, str]) -> str:
    """Return Lua text that creates each module (name → text) as a local."""
    return "".join(f"local {module} = (function()\n{text}end)()\n" for module, text in modules.items())


def load(client: AnyClient, name: str) -> Script[Reply]:
    """
    Return a function that runs a script on this client's connections; the script is sent to Redis when first called.

    During a failover, redis-py may send the script to the old primary over one connection and call it on the new
    primary over another connection. The new primary does not know the script; then its text is sent with the call.
    """
    own, text = client, source(name)
    known: Script[Reply] = client.register_script(text)

    def run(*, args: Sequence[Value], client: Pipeline | None = None) -> Reply:
        try:
            return known(args=args, client=client)
        except NoScriptError:
            reply: Reply = own.eval(text, 0, *args)
            return reply

    return run


def messages_of(reply: list[str]) -> list[Message]:
    """Parse the messages that a script asks its caller to send, each `lane item`; return (lane, item) pairs."""
    return [(lane, item) for lane, _, item in (line.partition(" ") for line in reply)]


def fields_of(flat: list[str]) -> dict[str, str]:
    """Return a hash as a dict; a script returns it as a flat list of names and values in turn."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
