"""`retouch settings`: the table of all settings, made from their model, with secrets masked."""

from __future__ import annotations

import json
import os
import re
import shlex
from dataclasses import asdict, dataclass

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from retouch.errors import RetouchError
from retouch.settings import Settings
from retouch_ops.stack_discovery import adopted_names

PREFIX = "RETOUCH_"
UNITS = {"rate_per_s": "per second", "price_per_call": "currency", "in_flight_limit": "requests"}
_USERINFO = re.compile(r"(?<=://)[^/@]*@")


class NoStackHere(RetouchError):
    """No `retouch up` runs in this folder, or RETOUCH_REDIS_URL is set and used instead."""

    is_usage_error = True


@dataclass(frozen=True)
class Row:
    """One setting, with every column as text. `value` is masked if it is a secret or contains a secret."""

    name: str
    unit: str
    default: str
    value: str
    origin: str
    description: str


def variable(field_name: str) -> str:
    """Return the name of a setting's environment variable."""
    return PREFIX + field_name.upper()


def unit(name: str) -> str:
    """
    Return the unit of a setting, such as seconds for a name that ends in `_s`. Return an empty string if none is known.
    """
    if name in UNITS:
        return UNITS[name]
    endings = {"_s": "seconds", "_url": "URL", "_port": "port", "_attempts": "attempts", "_charges": "charges"}
    return next((meaning for ending, meaning in endings.items() if name.endswith(ending)), "")


def text(value: object) -> str:
    """
    Return a value as an environment variable would hold it. A secret, or a password in a URL, becomes asterisks.

    A secret that is not set becomes an empty string.
    """
    if isinstance(value, SecretStr):
        return "********" if value.get_secret_value() else ""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.12g}"
    return _USERINFO.sub("********@", str(value))


def default_text(field: FieldInfo) -> str:
    """Return a setting's default, or an empty text if it has none."""
    return text(field.default)


def rows(settings: Settings) -> list[Row]:
    """Return a row for each setting, in the order of the model."""
    return [
        Row(
            variable(name), unit(name), default_text(field), text(getattr(settings, name)), _origin(name), _about(field)
        )
        for name, field in Settings.model_fields.items()
    ]


def _origin(name: str) -> str:
    if variable(name) in adopted_names():
        return "running stack"
    present = variable(name) in {key.upper() for key in os.environ}
    return "environment" if present else "default"


def _about(field: FieldInfo) -> str:
    return field.description or ""


def show(*, as_json: bool) -> None:
    """Print all settings as a table, or as a JSON array of objects with the members of `Row`."""
    table = rows(Settings.load())
    if as_json:
        print(json.dumps([asdict(row) for row in table], indent=2))
    else:
        _print_table(table)


def export() -> None:
    """
    Print the settings of the stack that runs in this folder, as lines for `eval`. They contain no secret.

    Raises `NoStackHere` if no stack was found.
    """
    if not adopted_names():
        raise NoStackHere("no stack of `retouch up` runs in this folder, or RETOUCH_REDIS_URL is set and used instead")
    for name in sorted(adopted_names()):
        print(f"export {name}={shlex.quote(os.environ[name])}")


def _print_table(table: list[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("setting", "value", "unit", "default", "from"):
        drawn.add_column(heading, overflow="fold", no_wrap=heading == "setting")
    for row in table:
        drawn.add_row(row.name, row.value or "-", row.unit, row.default or "-", row.origin)
    Console(soft_wrap=False).print(drawn)
