"""Tests of changes to a receiver that is removed before or during the change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from retouch.store.receivers import Receiver, ReceiverStore
from tests.store_access import stored_contents

Change = Callable[[ReceiverStore, str], Receiver | None]


@pytest.mark.parametrize(
    "change",
    [
        lambda store, receiver: store.set_disabled(receiver, True),
        lambda store, receiver: store.set_disabled(receiver, False),
        ReceiverStore.rotate,
    ],
    ids=["disable", "enable", "rotate"],
)
def test_a_removed_receiver_does_not_come_back(client: Any, monkeypatch: pytest.MonkeyPatch, change: Change) -> None:
    """When a receiver is removed before or during a change, the change writes nothing."""
    store = ReceiverStore(client)
    receiver = store.add("acme", "https://hooks.example/a")
    read, remove = ReceiverStore.get, ReceiverStore.remove

    def read_and_lose(self: ReceiverStore, identity: str) -> Receiver | None:
        found = read(self, identity)
        with monkeypatch.context() as patch:
            patch.setattr(ReceiverStore, "get", read)
            remove(self, identity)
        return found

    monkeypatch.setattr(ReceiverStore, "get", read_and_lose)
    change(store, receiver.id)
    assert stored_contents(client) == {}
    assert change(store, receiver.id) is None
    assert stored_contents(client) == {}
