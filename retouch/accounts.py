"""
The accounts of the endpoint, read from the TOML file that `RETOUCH_ACCOUNTS` names.

The vendor counts quota, 429 answers and costs for each account. An account keeps its id when its key changes. The TOML
file never contains a key. It names another file or an environment variable, from which a worker reads the key.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from retouch.addresses import split
from retouch.errors import SettingsError
from retouch.ids import TENANT
from retouch.settings import Settings

DEFAULT_ACCOUNT = "default"
"""The id of the account that is used without an accounts file. The values of this account come from the settings."""

LIMIT_MOST = 10_000
WEIGHT_LEAST, WEIGHT_MOST = 0.01, 1_000.0

SharedFallback = Literal["never", "free_only", "always"]

_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_ID_EXPECTED = "an id of 1 to 32 lower-case letters, digits, dashes and underscores that begins with a letter or digit"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NO_KEY_HERE = (
    "a key does not belong in this file; put it into a file of its own (key_file) or into the environment (key_env)"
)


@dataclass(frozen=True, slots=True)
class Account:
    """
    One account of the endpoint, without its key.

    The key is in the file `key_file` (an absolute path) or in the environment variable `key_env`. Both are empty for
    the account that is made from the settings. `limit` is the number of requests that may be in flight, or `auto`. With
    0, `calls_per_day` and `rate_per_s` set no bound. Workers use accounts of a lower `tier` first. Accounts of one tier
    share the work in proportion to their `weight`. `tenants` own the account; an account without owners is shared by
    all tenants. `shared_fallback` says when jobs of the owners may go to shared accounts.
    """

    id: str
    url: str
    fetch_url: str
    key_file: str = ""
    key_env: str = ""
    limit: int | Literal["auto"] = "auto"
    rate_per_s: float = 0.0
    calls_per_day: int = 0
    price_per_call: float = 0.0
    tier: int = 1
    weight: float = 1.0
    tenants: tuple[str, ...] = ()
    shared_fallback: SharedFallback = "never"


def accounts_of(settings: Settings) -> list[Account]:
    """
    Return the accounts in the order of the accounts file.

    If the settings name no file, return one account `default` with the values of the settings.
    """
    if settings.accounts:
        return read_accounts(settings.accounts, settings)
    return [Account(DEFAULT_ACCOUNT, **_defaults(settings))]


def read_accounts(path: str | Path, settings: Settings) -> list[Account]:
    """
    Return the accounts of a file; a field that a table lacks is taken from the settings.

    Raise `SettingsError` with one line for each fault, such as `accounts.main.tier: expected a whole number of 1 or
    more, got 0`. A line never quotes a text that may be a key in the wrong field.
    """
    import tomllib  # 4 ms that only processes with an accounts file pay

    where = Path(path).absolute()
    try:
        content = tomllib.loads(where.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            [f"RETOUCH_ACCOUNTS: {path}: expected a file that can be read ({error.strerror})"]
        ) from None
    except UnicodeDecodeError:
        raise SettingsError([f"RETOUCH_ACCOUNTS: {path}: expected TOML in UTF-8"]) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError([f"RETOUCH_ACCOUNTS: {path}: expected TOML ({error})"]) from None
    if faults := list(_faults_of_file(content)):
        raise SettingsError(faults)
    return [_account(name, table, where.parent, settings) for name, table in content["accounts"].items()]


def _defaults(settings: Settings) -> dict[str, Any]:
    return {
        "url": settings.pix2pix_url,
        "fetch_url": settings.pix2pix_fetch_url,
        "limit": settings.in_flight_limit,
        "rate_per_s": settings.rate_per_s,
        "price_per_call": settings.price_per_call,
    }


def _account(name: str, table: Mapping[str, Any], folder: Path, settings: Settings) -> Account:
    values = {**_defaults(settings), **table}
    if "key_file" in table:
        values["key_file"] = str(folder / table["key_file"])
    values["tenants"] = tuple(dict.fromkeys(table.get("tenants", ())))
    return Account(name, **values)


def _faults_of_file(content: Mapping[str, Any]) -> Iterator[str]:
    for name in content:
        if name != "accounts":
            yield f"{name!r:.42}: expected tables [accounts.ID] and nothing beside them"
    tables = content.get("accounts")
    if not isinstance(tables, dict) or not tables:
        yield "accounts: expected at least one table [accounts.ID]"
        return
    for name, table in tables.items():
        place = f"accounts.{name}"
        if not _ID.fullmatch(name):
            place = f"accounts.{name!r:.42}"
            yield f"{place}: expected {_ID_EXPECTED}"
        if isinstance(table, dict):
            yield from _faults_of_table(place, table)
        else:
            yield f"{place}: expected a table, got {_shown('', table)}"


def _faults_of_table(place: str, table: Mapping[str, Any]) -> Iterator[str]:
    for name, value in table.items():
        if name == "key":
            yield f"{place}.key: {_NO_KEY_HERE}"
        elif name not in _FIELDS:
            yield f"{place}.{name!r:.42}: unknown field{_nearest(name)}"
        elif not _FIELDS[name][1](value):
            yield f"{place}.{name}: expected {_FIELDS[name][0]}, got {_shown(name, value)}"
    sources = [name for name in ("key_file", "key_env") if name in table]
    if len(sources) == 2:
        yield f"{place}: expected one of key_file and key_env, got both"
    elif not sources and "key" not in table:
        yield f"{place}: expected one of key_file and key_env, got neither"


def _nearest(name: str) -> str:
    """Return the end of a message about an unknown field: the most similar known field, or all known fields."""
    import difflib

    near = difflib.get_close_matches(name, _FIELDS, 1)
    return f"; did you mean {near[0]}?" if near else f"; expected some of {', '.join(_FIELDS)}"


def _shown(field: str, value: object) -> str:
    """Return a description of a value for a message. A text is quoted only in fields where it cannot be a key."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str):
        return repr(value[:40]) if field in ("limit", "shared_fallback") else "a text" if value else "an empty text"
    kinds: dict[type, str] = {list: "a list", dict: "a table"}
    return kinds.get(type(value), "a date or a time")


def _is_url(value: object) -> bool:
    return isinstance(value, str) and not isinstance(split(value), str)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()


def _is_variable(value: object) -> bool:
    return isinstance(value, str) and _VARIABLE.fullmatch(value) is not None


def _is_limit(value: object) -> bool:
    return value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LIMIT_MOST)


def _is_whole(least: int) -> Callable[[object], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_number(value: object, least: float = 0.0, most: float = math.inf) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return math.isfinite(value) and least <= value <= most


def _is_weight(value: object) -> bool:
    # Each job adds 1 / (weight x limit) to the pass of its account: if that is next to nothing, others get no jobs.
    return _is_number(value, WEIGHT_LEAST, WEIGHT_MOST)


def _is_tenants(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) and TENANT.fullmatch(one) for one in value)


_FIELDS: dict[str, tuple[str, Callable[[object], bool]]] = {
    "url": ("an http or https URL without a password", _is_url),
    "fetch_url": ("an http or https URL without a password", _is_url),
    "key_file": ("the path of a file that holds the key", _is_text),
    "key_env": ("the name of an environment variable that holds the key", _is_variable),
    "limit": (f'"auto" or a whole number from 1 to {LIMIT_MOST}', _is_limit),
    "rate_per_s": ("a number of 0 or more", _is_number),
    "calls_per_day": ("a whole number of 0 or more", _is_whole(0)),
    "price_per_call": ("a number of 0 or more", _is_number),
    "tier": ("a whole number of 1 or more", _is_whole(1)),
    "weight": (f"a number from {WEIGHT_LEAST:g} to {WEIGHT_MOST:g}", _is_weight),
    "tenants": ("a list of tenants, each of 1 to 64 letters, digits, dots, dashes or underscores", _is_tenants),
    "shared_fallback": (
        f"one of {', '.join(get_args(SharedFallback))}",
        lambda value: value in get_args(SharedFallback),
    ),
}
"""Field of a table → (description of a valid value, function that checks a value)."""
