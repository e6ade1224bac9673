"""The simulator's cache: a value is made once for all callers, and a failure is not kept."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest

from retouch_ops.simulator.image_pool import Cache


def test_a_late_waiter_does_not_drop_a_newer_value() -> None:
    """
    After a failure, the first caller makes the value again. If a second caller notices the failure later, it does not
    remove the new value.
    """
    calls = count(1)

    async def make() -> int:
        number = next(calls)
        await asyncio.sleep(0)
        if number == 1:
            raise ValueError("the first attempt fails")
        return number

    async def callers() -> list[int]:
        cache = Cache[int](4)

        async def first() -> int:
            with pytest.raises(ValueError, match="the first"):
                await cache.get("key", make)
            return await cache.get("key", make)

        async def second() -> int:
            with pytest.raises(ValueError, match="the first"):
                await cache.get("key", make)
            return await cache.get("key", make)

        return [*await asyncio.gather(first(), second()), await cache.get("key", make)]

    assert asyncio.run(callers()) == [2, 2, 2]
