"""Links to blobs that lead through the gateway, which reads the store for whoever holds one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from retouch.blobs.interface import checked

_STEP_S = 3600

Sign = Callable[[str, int], str]
"""Signs a name and an expiry in whole Unix seconds; see `retouch.store.links`."""


class GatewayLinks:
    """
    Mints links that start with `public_url` and carry what `sign` gives.

    Without `sign` links are bare: the gateway shows those to holders of an API key alone.
    """

    def __init__(self, public_url: str, sign: Sign | None = None) -> None:
        self._public_url, self._sign = public_url.rstrip("/"), sign

    def __call__(self, name: str, expires_s: float) -> str:
        """Give a URL on the gateway; its expiry is a full hour, so that a link minted again soon is the same link."""
        bare = f"{self._public_url}/files/{checked(name)}"
        if self._sign is None:
            return bare
        expires = math.ceil((time.time() + expires_s) / _STEP_S) * _STEP_S
        return f"{bare}?expires={expires}&signature={self._sign(name, expires)}"
