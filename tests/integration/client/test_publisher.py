"""The publisher on a real broker: it trims a list that nobody reads, and a broker that stalls delays no caller."""

from __future__ import annotations

import json
import threading
from base64 import b64decode
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest

from retouch.publisher import _LONGEST_LIST, Publisher
from retouch.settings import Settings
from retouch.store.lanes import Lanes
from retouch.store.redis_client import connect
from retouch.store.scripts import Message
from retouch_worker.pulse import Pulse
from tests.chaos.proxy import Proxy
from tests.lane_kit import LaneKit
from tests.process_watch import eventually


@pytest.fixture
def broker(redis_url: str) -> Iterator[Proxy]:
    """Yield a proxy to the broker, which a test can stall or cut. The store has a connection without the proxy."""
    with Proxy(int(redis_url.rpartition(":")[2].partition("/")[0])) as way:
        yield way
        way.heal()


@pytest.fixture
def settings(redis_url: str, broker: Proxy) -> Settings:
    return Settings.load(
        redis_url=redis_url, broker_url=f"redis://127.0.0.1:{broker.port}/0", redis_timeout_s=1.0, lease_s=1.5
    )


def items(client: Any, lane: str) -> list[str]:
    """Return the items in the messages of a lane, newest first."""
    bodies = [json.loads(text)["body"] for text in client.lrange(f"rt:broker:{lane}", 0, -1)]
    return [json.loads(b64decode(body))[0][0] for body in bodies]


def test_a_list_that_nobody_reads_stays_short(client: Any, redis_url: str) -> None:
    """If no worker reads the messages of a lane, the oldest of them are dropped. A second lane keeps its message."""
    publisher = Publisher(Settings.load(redis_url=redis_url))
    publisher.publish([("edits", "ed_1")])
    for start in range(0, 2 * _LONGEST_LIST, 500):
        publisher.publish([("deliveries", f"dl_{number}") for number in range(start, start + 500)])
        assert client.llen("rt:broker:deliveries") <= _LONGEST_LIST
    newest = items(client, "deliveries")
    assert newest == [f"dl_{2 * _LONGEST_LIST - 1 - at}" for at in range(len(newest))]
    assert len(newest) >= _LONGEST_LIST // 2
    assert client.llen("rt:broker:edits") == 1
    publisher.close()


def test_what_was_cut_off_is_called_for_again(client: Any, kit: LaneKit) -> None:
    """If the message of a job with a slot is lost, each rescue sends the message again. The job can then be claimed."""
    new = kit.new()
    kit.enqueue(new)
    for _ in range(3):
        kit.make_due("edits", "slots")
        assert kit.rescue() == [("edits", new.id)]
    assert kit.claim(new.id).number == 0


def test_a_broker_that_stalls_is_waited_for_once(broker: Proxy, settings: Settings) -> None:
    """
    Only the first call waits for a silent broker. All messages to the silent broker are dropped.

    The first loss is reported at once, and the later losses when the broker answers again.
    """
    lost: list[tuple[int, str]] = []
    store: Any = connect(settings)
    store.delete("rt:broker:edits")
    publisher = Publisher(settings, lambda messages, error: lost.append((messages, type(error).__name__)))
    publisher.publish([("edits", "ed_1")])
    broker.stall()
    publisher.publish([("edits", "ed_2"), ("edits", "ed_3")])
    assert lost == [(2, "TimeoutError")]
    for _ in range(50):
        publisher.publish([("edits", "ed_4")])
    assert len(lost) == 1, "it was asked again at once"
    broker.heal()
    sent = list[str]()

    def arrives() -> bool:
        sent.append(f"ed_late_{len(sent)}")
        publisher.publish([("edits", sent[-1])])
        return sent[-1] in items(store, "edits")

    assert eventually(arrives)
    assert lost == [(2, "TimeoutError"), (50 + len(sent) - 1, "TimeoutError")]
    store.delete("rt:broker:edits")
    publisher.close()
    store.close()


def test_a_broker_that_closed_the_connection_gets_the_message(broker: Proxy, settings: Settings) -> None:
    """A restart of the broker between two messages loses neither message."""
    lost: list[int] = []
    store: Any = connect(settings)
    store.delete("rt:broker:edits")
    publisher = Publisher(settings, lambda messages, _: lost.append(messages))
    publisher.publish([("edits", "ed_1")])
    broker.cut()
    broker.heal()
    publisher.publish([("edits", "ed_2")])
    assert lost == []
    assert store.llen("rt:broker:edits") == 2
    store.delete("rt:broker:edits")
    publisher.close()
    store.close()


class HeldUp:
    """A publisher whose calls block until it is released."""

    def __init__(self) -> None:
        self.holds, self.released = threading.Event(), threading.Event()

    def publish(self, messages: Sequence[Message]) -> None:
        """Block until `released` is set, at most 60 s, and send nothing."""
        if messages:
            self.holds.set()
            self.released.wait(60)


def test_leases_are_renewed_while_the_broker_stalls(kit: LaneKit, settings: Settings) -> None:
    """While rescue waits for a silent broker, the lease of a paid call is still renewed."""
    kit.open(20, 0.0)
    paid, called_for = kit.new(), kit.new()
    kit.enqueue(paid, called_for)
    claim = kit.jobs.claim(paid.id, settings.lease_s)
    assert claim is not None
    publisher = HeldUp()
    pulse = Pulse(Lanes(connect(settings)), cast(Publisher, publisher), settings)
    pulse.start()
    with pulse.renewing(claim):
        kit.make_due("edits", "slots", called_for.id)
        assert publisher.holds.wait(20)
        ends_at = kit.client.zscore("rt:edits:slots", paid.id)
        assert eventually(lambda: kit.client.zscore("rt:edits:slots", paid.id) > ends_at + 2 * settings.lease_s)
        pulse.drain()
        publisher.released.set()
    assert kit.jobs.intend(claim) == "ok"
