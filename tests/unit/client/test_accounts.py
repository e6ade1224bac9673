"""The accounts file: all faults are reported together, and no error contains a key."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from retouch.accounts import _FIELDS, Account, accounts_of, read_accounts
from retouch.errors import SettingsError
from retouch.settings import Settings

KEY = "sk-planted-account-key"
SETTINGS = Settings.load(
    pix2pix_url="https://vendor.example/edit",
    pix2pix_fetch_url="https://vendor.example/fetch",
    in_flight_limit=7,
    rate_per_s=2.5,
    price_per_call=0.02,
)


def faults_of(tmp_path: Path, text: str) -> list[str]:
    """Write this text to an accounts file, read the file, and return the faults of the SettingsError."""
    path = tmp_path / "accounts.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_accounts(path, SETTINGS)
    assert KEY not in str(caught.value)
    return caught.value.faults


def test_without_a_file_the_settings_are_one_account() -> None:
    """
    Without an accounts file, the only account is `default`. Its addresses, limit, rate and price are those of the
    settings.
    """
    assert accounts_of(SETTINGS) == [
        Account(
            "default",
            "https://vendor.example/edit",
            "https://vendor.example/fetch",
            limit=7,
            rate_per_s=2.5,
            price_per_call=0.02,
        )
    ]


def test_a_file_is_read_in_its_order(tmp_path: Path) -> None:
    """
    Accounts have the order of the file, and missing values come from the settings. The path of a key file is relative
    to the accounts file.
    """
    path = tmp_path / "accounts.toml"
    path.write_text(
        '[accounts.zeta]\nkey_file = "keys/zeta"\n'
        '[accounts.main-2]\nurl = "http://10.0.0.7:8100/edit"\nfetch_url = "http://10.0.0.7:8100/fetch"\n'
        'key_env = "MAIN_KEY"\nlimit = "auto"\nrate_per_s = 0\ncalls_per_day = 100\nprice_per_call = 0\ntier = 2\n'
        'weight = 0.5\ntenants = ["acme", "b.c"]\nshared_fallback = "free_only"\n'
    )
    zeta, main = accounts_of(SETTINGS.model_copy(update={"accounts": str(path)}))
    assert (zeta.id, zeta.url, zeta.limit, zeta.rate_per_s) == ("zeta", "https://vendor.example/edit", 7, 2.5)
    assert zeta.key_file == str(tmp_path / "keys" / "zeta")
    assert main == Account(
        "main-2",
        "http://10.0.0.7:8100/edit",
        "http://10.0.0.7:8100/fetch",
        key_env="MAIN_KEY",
        limit="auto",
        calls_per_day=100,
        tier=2,
        weight=0.5,
        tenants=("acme", "b.c"),
        shared_fallback="free_only",
        rate_per_s=0,
    )


def test_a_relative_path_is_read_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of the accounts file may be relative to the working folder; the paths of its key files are absolute."""
    (tmp_path / "a.toml").write_text('[accounts.main]\nkey_file = "/run/secrets/main"\n[accounts.b]\nkey_file = "b"\n')
    monkeypatch.chdir(tmp_path)
    main, other = read_accounts("a.toml", SETTINGS)
    assert (main.key_file, other.key_file) == ("/run/secrets/main", str(tmp_path / "b"))


def test_tenants_may_have_two_accounts(tmp_path: Path) -> None:
    """Two accounts may name the same tenant. A tenant that one account names twice counts once."""
    path = tmp_path / "accounts.toml"
    path.write_text(
        '[accounts.a]\nkey_env = "A"\ntenants = ["acme", "acme"]\n[accounts.b]\nkey_env = "B"\ntenants = ["acme"]\n'
    )
    assert [account.tenants for account in read_accounts(path, SETTINGS)] == [("acme",), ("acme",)]


NUMBER, WHOLE, LIMIT = (
    "a number of 0 or more",
    "a whole number of 0 or more",
    '"auto" or a whole number from 1 to 10000',
)
URL, FALLBACK = "an http or https URL without a password", "one of never, free_only, always"
TENANTS = "a list of tenants, each of 1 to 64 letters, digits, dots, dashes or underscores"
NO_KEY_HERE = (
    "a key does not belong in this file; put it into a file of its own (key_file) or into the environment (key_env)"
)
FIELDS = ", ".join(_FIELDS)


@pytest.mark.parametrize(
    ("line", "expected", "got"),
    [
        ("weight = 0", "a number from 0.01 to 1000", "0"),
        ("weight = -1.5", "a number from 0.01 to 1000", "-1.5"),
        ("weight = 0.009", "a number from 0.01 to 1000", "0.009"),
        ("weight = 1000.5", "a number from 0.01 to 1000", "1000.5"),
        ("weight = 1e300", "a number from 0.01 to 1000", "1e+300"),
        ("weight = inf", "a number from 0.01 to 1000", "inf"),
        ("weight = true", "a number from 0.01 to 1000", "true"),
        ("limit = 0", LIMIT, "0"),
        ("limit = -5", LIMIT, "-5"),
        ("limit = 2.0", LIMIT, "2.0"),
        ("limit = true", LIMIT, "true"),
        ('limit = "10"', LIMIT, "'10'"),
        ("rate_per_s = nan", NUMBER, "nan"),
        ("rate_per_s = -0.1", NUMBER, "-0.1"),
        ("calls_per_day = -1", WHOLE, "-1"),
        ("calls_per_day = 1.5", WHOLE, "1.5"),
        ("price_per_call = 2020-01-01", NUMBER, "a date or a time"),
        ("tier = 0", "a whole number of 1 or more", "0"),
        (f'tier = "{KEY}"', "a whole number of 1 or more", "a text"),
        ('tenants = "acme"', TENANTS, "a text"),
        ('tenants = ["a b"]', TENANTS, "a list"),
        ('shared_fallback = "often"', FALLBACK, "'often'"),
        ("shared_fallback = []", FALLBACK, "a list"),
        ("shared_fallback = {}", FALLBACK, "a table"),
        (f'url = "https://me:{KEY}@vendor.example/"', URL, "a text"),
        ('fetch_url = "ftp://vendor.example/"', URL, "a text"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, line: str, expected: str, got: str) -> None:
    """
    The fault of a wrong value has the account, the field, the expected and the actual value. The value of a free text
    is not shown.
    """
    field = line.partition(" ")[0]
    fault = f"accounts.main.{field}: expected {expected}, got {got}"
    assert faults_of(tmp_path, f'[accounts.main]\nkey_env = "MAIN"\n{line}\n') == [fault]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("wieght = 2", ".'wieght': unknown field; did you mean weight?"),
        (f'secret = "{KEY}"', f".'secret': unknown field; expected some of {FIELDS}"),
        (f'key = "{KEY}"', f".key: {NO_KEY_HERE}"),
        ('key_file = "x"', ": expected one of key_file and key_env, got both"),
    ],
)
def test_a_field_that_does_not_belong_is_named(tmp_path: Path, line: str, fault: str) -> None:
    """An unknown field, a second place for the key, and the key itself are faults. No fault contains the key."""
    assert faults_of(tmp_path, f'[accounts.main]\nkey_env = "MAIN"\n{line}\n') == [f"accounts.main{fault}"]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('key_file = ""', ".key_file: expected the path of a file that holds the key, got an empty text"),
        ("key_file = 3", ".key_file: expected the path of a file that holds the key, got 3"),
        (f'key_env = "{KEY}"', ".key_env: expected the name of an environment variable that holds the key, got a text"),
        ("tier = 1", ": expected one of key_file and key_env, got neither"),
        (f'key = "{KEY}"', f".key: {NO_KEY_HERE}"),
    ],
)
def test_where_the_key_is_must_be_named(tmp_path: Path, line: str, fault: str) -> None:
    """An account must name exactly one place for its key, and may not contain the key."""
    assert faults_of(tmp_path, f"[accounts.main]\n{line}\n") == [f"accounts.main{fault}"]


@pytest.mark.parametrize("name", ["Main", "-main", "ma.in", "", "m" * 33, "ma in", "ä"])
def test_a_wrong_id_is_refused(tmp_path: Path, name: str) -> None:
    """An id may have only certain characters, since it is a part of queue names and Redis keys."""
    (fault,) = faults_of(tmp_path, f'[accounts."{name}"]\nkey_env = "MAIN"\n')
    assert fault.startswith(f"accounts.{name!r:.42}: expected an id of 1 to 32 lower-case letters")


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    """One error has the faults of all accounts and of the rest of the file."""
    faults = faults_of(
        tmp_path,
        "stray = 1\n[accounts]\nthird = 3\n[accounts.main]\nweight = 0\ntier = 0\n[accounts.Other]\n"
        f'key = "{KEY}"\nkey_env = "A"\nkey_file = "b"\n',
    )
    assert [fault.partition(":")[0] for fault in faults] == [
        "'stray'",
        "accounts.third",
        "accounts.main.weight",
        "accounts.main.tier",
        "accounts.main",
        "accounts.'Other'",
        "accounts.'Other'.key",
        "accounts.'Other'",
    ]


@pytest.mark.parametrize("text", ["", "[accounts]\n", "accounts = 3\n", "accounts = []\n"])
def test_a_file_without_accounts_is_refused(tmp_path: Path, text: str) -> None:
    """A file that names no account is refused, since no job could run."""
    assert faults_of(tmp_path, text) == ["accounts: expected at least one table [accounts.ID]"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'[accounts.main]\nkey = "' + KEY.encode(), "expected TOML (Unterminated string (at end of document))"),
        (b"\xff", "expected TOML in UTF-8"),
        (b"a = " + b"[" * 5_000, "expected TOML ("),
    ],
)
def test_what_is_not_toml_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    """For a file that is not TOML, the error has the path and the parser's reason, and no text of the file."""
    path = tmp_path / "accounts.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        read_accounts(path, SETTINGS)
    assert f"RETOUCH_ACCOUNTS: {path}: {words}" in caught.value.faults[0]
    assert KEY not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """The error for a missing file, or for a folder in its place, has the path and the reason."""
    for path, reason in ((tmp_path / "none.toml", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(SettingsError, match=reason) as caught:
            read_accounts(path, SETTINGS)
        assert caught.value.faults == [f"RETOUCH_ACCOUNTS: {path}: expected a file that can be read ({reason})"]


def test_every_field_is_checked() -> None:
    """The fields with a check are exactly the fields of `Account`, except for its id."""
    assert ["id", *_FIELDS] == list(Account.__dataclass_fields__)


def test_importing_retouch_reads_no_toml() -> None:
    """Importing `retouch` loads neither the module of accounts nor a parser for TOML."""
    code = "import sys, retouch; print([name for name in ('retouch.accounts', 'tomllib') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
