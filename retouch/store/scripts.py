"""
The Lua scripts, loaded from `lua/` with what they build on in front, as callables.

One script per move, so that a process may die between any two instructions and leave a record that holds together.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import TypeVar

from redis.exceptions import NoScriptError

from retouch.store.redis_commands import AnyClient, Pipeline, Script, Value

Message = tuple[str, str]
"""One Celery message to send: the lane and the item."""


Reply = TypeVar("Reply")


@cache
def source(name: str) -> str:
    """Give the text of one script behind the lane's and the job's functions."""
    folder = resources.files("retouch.store") / "lua"
    parts = ("lane", "money", "targets", "room", "job_index", "job", name)
    return "\n".join((folder / f"{part}.lua").read_text() for part in parts)


def load(client: AnyClient, name: str) -> Script[Reply]:
    """
    Make a script callable on a connection; it is sent to Redis when first called.

    During a failover redis-py may send a script to the old primary over one connection and call it at the new one over
    another; then it goes there with its text, in one command.
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
    """Read the messages that a script asks its caller to send."""
    return [(lane, item) for lane, _, item in (line.partition(" ") for line in reply)]


def fields_of(flat: list[str]) -> dict[str, str]:
    """Read a flat list of names and values."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
