"""Settings: all faults are reported together, the documentation is made from them, and secrets are never shown."""

from __future__ import annotations

import json

import pytest

from retouch.errors import SettingsError
from retouch.settings import ALL_ADDRESSES, Settings
from retouch_ops import settings_docs, settings_table, stack_discovery

SECRET = "planted-secret-value"


def test_all_faults_are_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One SettingsError names both wrong variables and what was expected, and does not contain the secret value."""
    monkeypatch.setenv("RETOUCH_MAX_ATTEMPTS", "0")
    monkeypatch.setenv("RETOUCH_LEASE_S", SECRET)
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert len(caught.value.faults) == 2
    assert "RETOUCH_MAX_ATTEMPTS" in str(caught.value)
    assert "greater than or equal to 1" in str(caught.value)
    assert "RETOUCH_LEASE_S" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "named"), [({"backoff_base_s": 10, "backoff_cap_s": 5}, "backoff_cap_s"), ({"lease_s": 1}, "lease_s")]
)
def test_settings_are_checked_against_each_other(wrong: dict[str, float], named: str) -> None:
    """If two settings contradict each other, SettingsError names one of them."""
    with pytest.raises(SettingsError, match=named):
        Settings.load(**wrong)


@pytest.mark.parametrize(
    ("text", "networks"),
    [
        ("", ()),
        ("0", ()),
        ("1", ALL_ADDRESSES),
        ("all", ALL_ADDRESSES),
        ("127.0.0.0/8, ::1/128", ("127.0.0.0/8", "::1/128")),
    ],
)
def test_networks_are_read_from_text(monkeypatch: pytest.MonkeyPatch, text: str, networks: tuple[str, ...]) -> None:
    """The text "1" or "all" allows every network, "0" or an empty text allows none, and a list allows its networks."""
    monkeypatch.setenv("RETOUCH_DANGEROUS_ALLOW_PRIVATE_NETWORKS", text)
    assert Settings.load().dangerous_allow_private_networks == networks


def test_no_secret_in_repr_or_dump() -> None:
    """Neither the `repr` nor the JSON of the settings contains a key or password."""
    settings = Settings.load(pix2pix_key=SECRET, flower_basic_auth=f"me:{SECRET}")
    assert SECRET not in repr(settings) + str(settings) + settings.model_dump_json()


def test_the_table_masks_secrets_and_passwords(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    `retouch settings --json` prints asterisks for a secret that is set and for the user and password of a Redis URL.
    """
    monkeypatch.setenv("RETOUCH_PIX2PIX_KEY", SECRET)
    monkeypatch.setenv("RETOUCH_REDIS_URL", f"redis://user:{SECRET}@redis.internal:6379/0")
    settings_table.show(as_json=True)
    printed = capsys.readouterr().out
    table = {row["name"]: row for row in json.loads(printed)}
    assert SECRET not in printed
    assert table["RETOUCH_PIX2PIX_KEY"]["value"] == "********"
    assert table["RETOUCH_REDIS_URL"]["value"] == "redis://********@redis.internal:6379/0"
    assert table["RETOUCH_REDIS_URL"]["origin"] == "environment"


def test_the_table_says_units_defaults_and_origins(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each row of the table has the current value, the unit, the default and the origin of the value."""
    monkeypatch.delenv("RETOUCH_LEASE_S", raising=False)
    monkeypatch.setenv("RETOUCH_BACKOFF_CAP_S", "60")
    monkeypatch.setenv("COLUMNS", "200")
    settings_table.show(as_json=False)
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert lines["RETOUCH_BACKOFF_CAP_S"] == ["RETOUCH_BACKOFF_CAP_S", "60", "seconds", "300", "environment"]
    assert lines["RETOUCH_LEASE_S"] == ["RETOUCH_LEASE_S", "15", "seconds", "15", "default"]


def test_every_setting_is_documented_from_the_model() -> None:
    """`docs/settings.md` is the page that settings_docs makes, and each setting has a description."""
    assert settings_docs.PAGE.read_text() == settings_docs.page()
    assert all(field.description for field in Settings.model_fields.values())


def test_names_that_durations_promise() -> None:
    """Every setting whose name ends in `_s`, except for rate_per_s, has the unit seconds."""
    durations = [name for name in Settings.model_fields if name.endswith("_s") and name != "rate_per_s"]
    assert {settings_table.unit(name) for name in durations} == {"seconds"}


def test_a_running_stack_gives_way_to_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """If RETOUCH_REDIS_URL is set, it is used instead of the Redis of a running local stack."""
    monkeypatch.setenv("RETOUCH_REDIS_URL", "redis://elsewhere:6379/0")
    stack_discovery.adopt_running_stack()
    assert Settings.load().redis_url == "redis://elsewhere:6379/0"
    assert "RETOUCH_REDIS_URL" not in stack_discovery.adopted_names()
