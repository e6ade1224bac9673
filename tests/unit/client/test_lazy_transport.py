"""A client opens its transport at the first use, and still reads and checks its settings when it is made."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from retouch import EditQueue, Settings, SettingsError
from retouch.transport import client_settings
from retouch.transport.client_settings import are_plain
from retouch.transport.gateway_transport import GatewayTransport

URL = "redis://127.0.0.1:1/0"
PLAIN: list[dict[str, Any]] = [
    {"redis_url": URL},
    {"redis_url": "rediss://user:p%40ss@redis.internal:6380/15", "broker_url": ""},
    {"redis_url": "redis://localhost", "broker_url": "redis://:word@broker"},
    {"gateway_url": "https://gateway.example:8443/retouch/", "api_key": "rtk_planted"},
    {"gateway_url": "", "store_url": "file:///var/blobs", "public_url": "https://shop.example", "pix2pix_key": "k"},
]
WRONG: list[tuple[dict[str, Any], type[Exception]]] = [
    ({"redis_url": "http//nonsense"}, SettingsError),
    ({"redis_url": "redis://127.0.0.1:65536/0"}, ValueError),
    ({"redis_url": "REDIS://127.0.0.1"}, ValueError),
    ({"redis_url": "redis://127.0.0.1/0?socket_timeout=soon"}, ValueError),
    ({"redis_url": ""}, ValueError),
    ({"redis_url": 17}, SettingsError),
    ({"broker_url": "amqp://broker"}, SettingsError),
    ({"gateway_url": "https://user:secret@gateway.example"}, SettingsError),
    ({"redis_timeout_s": 0}, SettingsError),
    ({"redis_ur": URL}, SettingsError),
]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of Retouch is set when a test begins."""
    for name in client_settings.from_environment():
        monkeypatch.delenv(f"RETOUCH_{name.upper()}")


@pytest.mark.parametrize("values", PLAIN)
def test_plain_settings_are_those_of_the_model(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Plain settings from arguments or from the environment equal the settings that `Settings.load` returns. The client
    opens at its first use.
    """
    given = EditQueue(**values)
    for name, value in values.items():
        monkeypatch.setenv(f"RETOUCH_{name.upper()}", value)
    for queue in (given, EditQueue()):
        assert not queue._lazy.is_open
        assert queue.settings == Settings.load()
        assert queue._lazy.is_open


@pytest.mark.parametrize(("values", "error"), WRONG)
def test_a_wrong_setting_fails_when_the_client_is_made(values: dict[str, Any], error: type[Exception]) -> None:
    """A client with a wrong setting cannot be made: the error does not wait for the first call."""
    with pytest.raises(error):
        EditQueue(**values)


def test_a_variable_may_have_any_case_or_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of a variable may have any case. A wrong value raises SettingsError when the client is made."""
    monkeypatch.setenv("retouch_gateway_url", "https://gateway.example")
    assert isinstance(EditQueue()._transport, GatewayTransport)
    monkeypatch.setenv("RETOUCH_MAX_ATTEMPTS", "0")
    with pytest.raises(SettingsError, match="RETOUCH_MAX_ATTEMPTS"):
        EditQueue()


def test_the_environment_counts_when_the_client_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that are changed or set after the client was made do not change its settings."""
    monkeypatch.setenv("RETOUCH_REDIS_URL", URL)
    queue, expected = EditQueue(), Settings.load()
    monkeypatch.setenv("RETOUCH_REDIS_URL", "redis://elsewhere")
    monkeypatch.setenv("RETOUCH_LEASE_S", "soon")
    assert queue.settings == expected


def test_plain_settings_are_texts_of_the_model() -> None:
    """Each setting in `_PLAIN` is a text in `Settings` and has no constraint there."""
    fields = {name: Settings.model_fields[name] for name in client_settings._PLAIN}
    assert {str(field.annotation.__name__) for field in fields.values() if field.annotation} == {"str", "SecretStr"}
    assert [name for name, field in fields.items() if field.metadata] == []


@pytest.mark.parametrize("value", ["redis://h/0\n", "redis://é", "redis://[::1]:6379", "unix:///run/redis.sock"])
def test_what_needs_the_model_is_not_plain(value: str) -> None:
    """A Redis URL of an unusual form is not plain, so `Settings` and redis-py check it."""
    assert not are_plain({"redis_url": value})


def test_threads_share_one_transport() -> None:
    """Threads that are the first to use a client at the same time get the same transport."""
    queue, switch = EditQueue(URL), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            opened = {id(transport) for transport in threads.map(lambda _: queue._transport, range(8))}
    finally:
        sys.setswitchinterval(switch)
    assert opened == {id(queue._transport)}


def test_closing_an_unused_client_opens_nothing() -> None:
    """`close` does not open a client that was never used."""
    with EditQueue(URL) as queue:
        pass
    assert not queue._lazy.is_open
