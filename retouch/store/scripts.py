"""
The Lua scripts, loaded from `lua/` with what they build on in front, as callables.

One script per move, so that a process may die between any two instructions and leave a record that holds together.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any, Protocol

from redis.exceptions import NoScriptError

from retouch.store.redis_client import Client

Message = tuple[str, str]
"""One Celery message to send: the lane and the item."""


class Script(Protocol):
    """A script that runs in Redis: arguments in, the reply out."""

    def __call__(self, *, args: list[Any], client: Any = None) -> Any:
        """Run it, atomically, and give its reply; on a pipeline, add it there."""


@cache
def source(name: str) -> str:
    """Give the text of one script behind the lane's and the job's functions."""
    folder = resources.files("retouch.store") / "lua"
    modules = ("lane", "money", "targets", "room", "job_index", "job")
    paths = [*(folder / "modules" / f"{part}.lua" for part in modules), folder / "scripts" / f"{name}.lua"]
    return "\n".join(path.read_text() for path in paths)


def load(client: Client, name: str) -> Script:
    """
    Make a script callable on a connection; it is sent to Redis when first called.

    During a failover redis-py may send a script to the old primary over one connection and call it at the new one over
    another; then it goes there with its text, in one command.
    """
    own, text = client, source(name)
    known = client.register_script(text)

    def run(*, args: list[Any], client: Any = None) -> Any:
        try:
            return known(args=args, client=client)
        except NoScriptError:
            return own.eval(text, 0, *args)

    return run


def messages_of(reply: list[str]) -> list[Message]:
    """Read the messages that a script asks its caller to send."""
    return [(lane, item) for lane, _, item in (line.partition(" ") for line in reply)]


def fields_of(flat: list[str]) -> dict[str, str]:
    """Read a flat list of names and values."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
