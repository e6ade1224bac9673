"""
Composes the Lua scripts of `lua/`, and makes them callable from Python.

Each move is one script, so the record stays consistent even if a process dies between two instructions.

Python calls the scripts in `lua/scripts/`. They share the modules in `lua/modules/`, one subject per file. A file of a
module returns a table of functions. A script or module names each module that it uses at the top of its file, in a
local with the name of that module:

    local clock = require('clock')

Redis has no `require`, so this module composes the text that is sent. The text begins with the modules that the script
needs, directly or through others. Each of them is there once, as `local clock = (function() … end)()`, after the
modules that it needs itself. Then the script follows. The `require` lines become empty lines. A script contains only
modules that it uses. A module that uses another one must name it: the linter reads each file alone, and would report an
undefined variable. Modules cannot need each other in a circle.

Creating the functions of all modules would take a large part of a script's time: about 0.15 µs for each function.
Therefore a script may also name modules inside a block, in consecutive lines. These modules, and those that only they
need, are created when the block runs. A module that few runs need is named with `require_late`, in scripts and modules:

    local account_dispatch = require_late('account_dispatch')
    account_dispatch().serve(turn, now)

A late module is composed as a function. Each call creates the module anew, so it cannot store anything between two
calls. A module that a late module needs is created with the others. If the needed module is late too, it is composed
inside the late module.

Lua allows 200 locals in one function, and the composed text has one for each module. Redis stores a script under the
hash of its text, which is the same in each process.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Sequence
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from inspect import iscoroutine
from typing import Any, TypeVar

from retouch.redis_without_sdk import redis
from retouch.store.redis_commands import AnyClient, Pipeline, Script, Value

Message = tuple[str, str]
"""One Celery message to send: the lane and the item."""


Reply = TypeVar("Reply")


_FOLDER = resources.files("retouch.store") / "lua"
_NEED = re.compile(r"^( *)local (\w+) = require(_late)?\('(\w+)'\)$", re.MULTILINE)
_NEEDS_OF_BLOCK = re.compile(r"(?:^ +local \w+ = require\('\w+'\)$\n?)+", re.MULTILINE)


@cache
def source(name: str) -> str:
    """Return the composed text of one script of `lua/`: its modules first, then the script itself."""
    return compose(_FOLDER, name)


def compose_all() -> None:
    """
    Compose all scripts now, so that the first call of each is as quick as later ones.

    A process that runs for long does this at its start. After an update of the files, it still has the scripts of its
    own version.
    """
    for script in (_FOLDER / "scripts").iterdir():
        source(script.name.removesuffix(".lua"))


def compose(folder: Traversable, name: str) -> str:
    """
    Compose the text of a script from `scripts/` and `modules/` of a folder.

    Raise `ValueError` if modules need each other in a circle, or if a module needs another one inside a function. Raise
    it also for a local that is not named like its module, and for a module with both `require` and `require_late`.
    """
    script = (folder / "scripts" / f"{name}.lua").read_text()
    always: dict[str, str] = {}
    for indent, local, late, module in _NEED.findall(script):
        if not indent:
            _add(folder, local, module, late, always, ())

    def in_block(needs: re.Match[str]) -> str:
        modules = dict(always)
        for _, local, late, module in _NEED.findall(needs[0]):
            _add(folder, local, module, late, modules, ())
        return _written({module: text for module, text in modules.items() if module not in always})

    return _written(always) + _NEED.sub("", _NEEDS_OF_BLOCK.sub(in_block, script))


def _add(
    folder: Traversable, local: str, module: str, late: str, modules: dict[str, str], path: tuple[str, ...]
) -> None:
    """
    Add the definition of a module to `modules`, after the definitions of the modules that it needs. `path` has the
    modules that need this one, for error messages.
    """
    if local != module:
        raise ValueError(f"module {module!r} is called {local!r}, expected its own name")
    if module in path:
        raise ValueError(f"modules need each other in a circle: {' -> '.join((*path, module))}")
    if module in modules:
        if modules[module].startswith(f"local function {module}(") != bool(late):
            raise ValueError(f"module {module!r} is needed both at once and late")
        return
    text = (folder / "modules" / f"{module}.lua").read_text()
    inner: dict[str, str] = {}
    for indent, inner_local, inner_late, needed in _NEED.findall(text):
        if indent:
            raise ValueError(f"module {module!r} needs {needed!r} inside a function, expected it at the top")
        if late and inner_late:
            # Inside: a script that does not call the outer module does not even make the inner function.
            around = dict(modules)
            _add(folder, inner_local, needed, inner_late, around, (*path, module))
            inner[needed] = around.pop(needed)
            modules |= {name: made for name, made in around.items() if name not in modules}
        else:
            _add(folder, inner_local, needed, inner_late, modules, (*path, module))
    begin, end = (f"local function {module}()", "end") if late else (f"local {module} = (function()", "end)()")
    modules[module] = f"{begin}\n{_written(inner)}{_NEED.sub('', text)}{end}\n"


def _written(modules: dict[str, str]) -> str:
    return "".join(modules.values())


def load(client: AnyClient, name: str) -> Script[Reply]:
    """
    Return a function that runs a script; the first call composes the script and sends it to Redis.

    After a failover, the new primary may not know the script, since redis-py may have sent it to the old primary over
    another connection. Then the text of the script is sent with the call.
    """
    own = client

    @cache
    def known() -> Script[Reply]:
        return own.register_script(source(name))

    def run(*, args: Sequence[Value], client: Pipeline | None = None) -> Reply:
        try:
            replied: Any = known()(args=args, client=client)
        except redis.exceptions.NoScriptError:
            replied = own.eval(source(name), 0, *args)
        # A client for asyncio has sent nothing yet: it raises when its coroutine is awaited.
        if iscoroutine(replied):
            replied = awaited(replied, args)
        reply: Reply = replied
        return reply

    async def awaited(replied: Awaitable[Reply], args: Sequence[Value]) -> Reply:
        try:
            return await replied
        except redis.exceptions.NoScriptError:
            reply: Reply = await own.eval(source(name), 0, *args)
            return reply

    return run


def messages_of(reply: list[str]) -> list[Message]:
    """Return (lane, item) for each message that a script asks its caller to send; `reply` has them as `LANE ITEM`."""
    return [(lane, item) for lane, _, item in (line.partition(" ") for line in reply)]


def fields_of(flat: list[str]) -> dict[str, str]:
    """Return a hash as a dict; a script returns it as a flat list of names and values in turn."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
