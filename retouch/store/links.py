"""
The signature of links to images. Processes sign links with a secret from Redis, and the gateway verifies links with the
same secret.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from functools import cached_property

from retouch.store import keys
from retouch.store.redis_commands import Client


class LinkSigner:
    """Signs a blob's name and an expiry (whole Unix seconds) with a secret that all processes share through Redis."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @cached_property
    def _key(self) -> bytes:
        # With `nx`, the secret of the first process stays, and all processes read that one.
        self._client.set(keys.LINK_KEY, secrets.token_hex(32), nx=True)
        shared = self._client.get(keys.LINK_KEY)
        assert shared, "the key was set above and never expires"
        return bytes.fromhex(shared)

    def __call__(self, name: str, expires: int) -> str:
        """Return the signature, 64 hex digits."""
        return hmac.new(self._key, f"{name}\n{expires}".encode(), hashlib.sha256).hexdigest()

    def verify(self, name: str, expires: str, signature: str) -> bool:
        """Return whether a signature is ours and the link has not expired; the arguments may be any text."""
        # At most twelve digits: a longer text of digits takes long to convert.
        if not (expires.isascii() and expires.isdecimal() and len(expires) <= 12) or int(expires) < time.time():
            return False
        return hmac.compare_digest(self(name, int(expires)).encode(), signature.encode())
