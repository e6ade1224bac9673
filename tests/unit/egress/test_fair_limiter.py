"""`FairLimiter`: groups take turns, the order in a group is kept, and the total is never exceeded."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from PIL import Image

from retouch.egress.fair_limiter import DECODED_AT_ONCE, FairLimiter, decoding_limiter
from retouch.images.validation import ValidImage, check
from tests.process_watch import eventually


@contextmanager
def waiters(limiter: FairLimiter, *names: str) -> Iterator[list[str]]:
    """
    Context manager that starts a waiting thread for each name, in this order. The first letter of a name is the group.
    It yields a list, to which each thread adds its name when it is admitted.
    """
    served: list[str] = []
    threads = []

    def take_turn(name: str) -> None:
        with limiter.hold(name[0]):
            served.append(name)

    for name in names:
        threads.append(threading.Thread(target=take_turn, args=(name,)))
        threads[-1].start()
        assert eventually(lambda: sum(map(limiter.waiting, "abc")) == len(threads))
    yield served
    for thread in threads:
        thread.join(10)


def test_a_newcomer_is_served_after_one_of_each_other_group() -> None:
    """Three groups take turns, so the only waiter of group c is third, although ten others came before."""
    limiter = FairLimiter(1, 1)
    with ExitStack() as first:
        first.enter_context(limiter.hold("x"))
        with waiters(limiter, "a1", "a2", "a3", "a4", "a5", "a6", "b1", "b2", "b3", "b4", "c1") as served:
            first.close()
    assert served == ["a1", "b1", "c1", "a2", "b2", "a3", "b3", "a4", "b4", "a5", "a6"]


def test_one_group_leaves_a_place_free() -> None:
    """A group that has used up its share waits, while another group is admitted at once."""
    limiter = FairLimiter(2, 1)
    with limiter.hold("a"), ExitStack() as ended:
        with pytest.raises(TimeoutError), limiter.hold("a", within_s=0.01):
            pass
        ended.enter_context(limiter.hold("b", within_s=0))


def test_room_is_counted_by_amount() -> None:
    """An amount above a group's share counts as the whole share. An amount above the free room is not admitted."""
    limiter = FairLimiter(100, 60)
    with limiter.hold("a", 1_000):
        with pytest.raises(TimeoutError), limiter.hold("a", 1, within_s=0):
            pass
        with pytest.raises(TimeoutError), limiter.hold("b", 41, within_s=0):
            pass
        with limiter.hold("b", 40, within_s=0):
            pass
    with limiter.hold("a", 60, within_s=0), limiter.hold("b", 40, within_s=0):
        pass


def test_who_gives_up_holds_nobody() -> None:
    """After a waiter has given up, a waiter for a smaller amount is admitted. In the end the limiter is empty."""
    limiter = FairLimiter(10, 10)
    with limiter.hold("a", 5):
        with pytest.raises(TimeoutError), limiter.hold("b", 6, within_s=0):
            pass
        with limiter.hold("c", 5, within_s=0):
            pass
    assert not limiter._lines
    assert not limiter._held
    assert limiter._free == 10


def test_expensive_pictures_of_one_tenant_do_not_hold_anothers() -> None:
    """One tenant's PNG is checked after at most two of another tenant's twenty expensive JPEGs."""
    expensive, limiter, done = progressive(), decoding_limiter(), list[str]()

    def judge(tenant: str, data: bytes) -> None:
        with limiter.hold(tenant):
            assert isinstance(check(data), ValidImage)
            done.append(tenant)

    with ExitStack() as busy:
        for place in range(DECODED_AT_ONCE):
            busy.enter_context(limiter.hold(f"other {place}"))
        threads = [threading.Thread(target=judge, args=("greedy", expensive)) for _ in range(20)]
        threads.append(threading.Thread(target=judge, args=("modest", png())))
        for thread in threads:
            thread.start()
        assert eventually(lambda: limiter.waiting("greedy") + limiter.waiting("modest") == 21)
        busy.close()
        for thread in threads:
            thread.join(60)
    assert done.count("greedy") == 20
    assert done.index("modest") <= 2


def progressive() -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize((2_000, 2_000)).save(out, "JPEG", progressive=True)
    data = out.getvalue()
    last = data.rfind(b"\xff\xda")
    return data[:-2] + data[last:-2] * 20 + b"\xff\xd9"


def png() -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").save(out, "PNG")
    return out.getvalue()
