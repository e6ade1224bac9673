"""Sign-ins to the ops console: sessions, links that work once, and a count of wrong keys. Secrets are stored hashed."""

from __future__ import annotations

import secrets
import time

from retouch.store import keys
from retouch.store.redis_commands import Client
from retouch.store.tenants import ApiKey, TenantStore, digest_of

IDLE_S, LIFE_S = 3_600, 12 * 3_600
"""A session ends after `IDLE_S` seconds without a request of a person, and after `LIFE_S` seconds in all."""
LINK_LIFE_S = 3_600
WRONG_KEYS_MOST, WRONG_KEYS_WITHIN_S = 10, 60
_SECRET_BYTES = 32


class ConsoleSessions:
    """Sessions in Redis. Each belongs to an API key, and ends when that key is revoked."""

    def __init__(self, client: Client) -> None:
        self._client, self._tenants = client, TenantStore(client)

    def begin(self, api_key: str) -> str:
        """Begin a session for a valid API key; return the secret of the session, 256 random bits."""
        return self._begin(digest_of(api_key))

    def find(self, session: str) -> ApiKey | None:
        """Return the API key to which a session belongs; None if the session is over or the key was revoked."""
        name = keys.console_session(digest_of(session))
        digest = self._client.hget(name, "key")
        key = self._tenants.find_by_digest(digest) if digest else None
        if digest and key is None:
            self._client.delete(name)
        return key

    def touch(self, session: str) -> None:
        """Restart the idle hour after a request of a person; the session still ends after twelve hours in all."""
        name = keys.console_session(digest_of(session))
        began_at = self._client.hget(name, "began_at")
        if began_at:
            left_s = float(began_at) + LIFE_S - time.time()
            self._client.expire(name, max(1, min(IDLE_S, int(left_s))))

    def end(self, session: str) -> None:
        """End a session, if it is open."""
        self._client.delete(keys.console_session(digest_of(session)))

    def make_link(self, api_key: str) -> str:
        """Return the secret of a new sign-in link for a valid API key; the link works once, within an hour."""
        link = secrets.token_urlsafe(_SECRET_BYTES)
        self._client.set(keys.console_link(digest_of(link)), digest_of(api_key), ex=LINK_LIFE_S)
        return link

    def use_link(self, link: str) -> str | None:
        """
        Begin a session with a sign-in link; return the secret of the session.

        Return None if the link was used, has expired or is unknown, or if its API key was revoked.
        """
        name = keys.console_link(digest_of(link))
        # One transaction reads and deletes the link, so that only one of two simultaneous requests signs in.
        with self._client.pipeline() as pipe:
            pipe.get(name).delete(name)
            digest, _ = pipe.execute()
        return self._begin(digest) if digest and self._tenants.find_by_digest(digest) else None

    def wait_s(self, address: str) -> int:
        """Return for how many seconds an address is still blocked; 0 if it is not blocked."""
        with self._client.pipeline(transaction=False) as pipe:
            pipe.get(keys.console_wrong_keys(address)).ttl(keys.console_wrong_keys(address))
            count, left_s = pipe.execute()
        return max(1, int(left_s)) if int(count or 0) >= WRONG_KEYS_MOST else 0

    def note_wrong_key(self, address: str) -> None:
        """Count a wrong key from an address; the count expires a minute after the first wrong key."""
        name = keys.console_wrong_keys(address)
        with self._client.pipeline() as pipe:
            pipe.set(name, 0, ex=WRONG_KEYS_WITHIN_S, nx=True).incr(name)
            pipe.execute()

    def _begin(self, digest: str) -> str:
        session = secrets.token_urlsafe(_SECRET_BYTES)
        name = keys.console_session(digest_of(session))
        with self._client.pipeline() as pipe:
            pipe.hset(name, "key", digest).hset(name, "began_at", f"{time.time():.0f}").expire(name, IDLE_S)
            pipe.execute()
        return session
