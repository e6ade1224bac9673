"""
Collects the settings of a client, and checks them without the model `Settings`.

A wrong setting must raise an error where the client is made. Only the model can describe the error, but loading the
model takes half of the time that `LazyTransport` saves. Therefore `_PLAIN` has patterns for the settings that most
clients have. A value that matches its pattern is right; for any other value, the model is loaded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retouch.settings import Settings

_PREFIX = "retouch_"
_HTTP = ("http://", "https://")

# Stricter than the model and redis-py: if these match, neither of them finds a fault. A value that does not match may
# still be right.
_HOST = r"[A-Za-z0-9._-]+(:[1-5]?\d{1,4})?"
_REDIS = rf"rediss?://([\w.~%:!$&'()*+,;=-]*@)?{_HOST}(/\d{{1,5}})?"
_GATEWAY = rf"https?://{_HOST}(/[\w./-]*)?"
_TEXT = r"[ -~]*"
_PLAIN = {
    "redis_url": _REDIS,
    "broker_url": f"({_REDIS})?",
    "gateway_url": f"({_GATEWAY})?",
    "api_key": _TEXT,
    "pix2pix_url": _TEXT,
    "pix2pix_fetch_url": _TEXT,
    "pix2pix_key": _TEXT,
    "public_url": _TEXT,
    "store_url": _TEXT,
}


def given_values(
    url: str | None, api_key: str | None, settings: Settings | None, overrides: Mapping[str, object]
) -> dict[str, object]:
    """
    Return {setting: value} for the arguments of a client.

    Raise `TypeError` if `settings` is given together with another argument.
    """
    given = dict(overrides)
    if url is not None:
        given["gateway_url" if url.lower().startswith(_HTTP) else "redis_url"] = url
    if api_key is not None:
        given["api_key"] = api_key
    if settings is not None and given:
        raise TypeError(f"expected settings or single values, got settings and {', '.join(given)}")
    # A Redis URL in the code overrides a gateway in the environment.
    if "redis_url" in given:
        given.setdefault("gateway_url", "")
    return given


def from_environment() -> dict[str, object]:
    """Return {setting: value} for the variables of Retouch. Upper and lower case count as the same, as in the model."""
    names = {name: name.lower() for name in os.environ}
    return {lower.removeprefix(_PREFIX): os.environ[name] for name, lower in names.items() if lower.startswith(_PREFIX)}


def are_plain(values: Mapping[str, object]) -> bool:
    """Return whether all these settings match their patterns in `_PLAIN`. If so, the model would accept them."""
    return all(
        isinstance(value, str) and name in _PLAIN and re.fullmatch(_PLAIN[name], value, re.ASCII)
        for name, value in values.items()
    )
