"""Links to blobs through the gateway, which sends the bytes of a blob to anybody who has its link."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from retouch.blobs.interface import checked

_STEP_S = 3600

Sign = Callable[[str, int], str]
"""A function that returns the signature of a name and an expiry in whole Unix seconds; see `retouch.store.links`."""


class GatewayLinks:
    """
    Makes links that start with `public_url` and end with the signature of `sign`.

    Without `sign`, links have no signature, and the gateway asks for an API key.
    """

    def __init__(self, public_url: str, sign: Sign | None = None) -> None:
        self._public_url, self._sign = public_url.rstrip("/"), sign

    def __call__(self, name: str, expires_s: float) -> str:
        """Return a URL on the gateway that is valid for at least `expires_s` seconds."""
        bare = f"{self._public_url}/files/{checked(name)}"
        if self._sign is None:
            return bare
        # Rounded up to a full hour, so that a link which is made again soon is the same and caches can use it.
        expires = math.ceil((time.time() + expires_s) / _STEP_S) * _STEP_S
        return f"{bare}?expires={expires}&signature={self._sign(name, expires)}"
