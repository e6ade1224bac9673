"""Checks the endpoint: its name resolves, and something answers there. Nothing is POSTed, so nothing is paid."""

from __future__ import annotations

import http.client
import socket
import ssl
from urllib.parse import urlsplit

from retouch.accounts import accounts_of
from retouch.errors import SettingsError
from retouch.settings import Settings
from retouch_producer.findings import Finding, bad, good, note

TIMEOUT_S = 5.0
CHECK = "endpoint"


def check_endpoint(settings: Settings) -> list[Finding]:
    """
    Return findings about the address of each account and about the public URL.

    If no accounts file is set, also return findings about the key.
    """
    urls = _urls(settings)
    keys = [] if settings.accounts else _key(settings)
    return [*map(_address, urls), *keys, *_public_url(settings, urls)]


def _urls(settings: Settings) -> list[str]:
    """
    Return the URLs of the accounts, without duplicates.

    If the accounts file is wrong, return an empty list, since the check of accounts reports that fault.
    """
    try:
        return list(dict.fromkeys(account.url for account in accounts_of(settings)))
    except SettingsError:
        return []


def _address(url: str) -> Finding:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        why, do = "no edit can be sent", "write RETOUCH_PIX2PIX_URL as https://host/path"
        return bad(CHECK, "its URL is not one", why, do)
    host = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    try:
        status = _head(parts.scheme, parts.netloc, parts.path or "/")
    except socket.gaierror:
        why = "no edit can be sent; jobs wait and retry"
        return bad(CHECK, f"{parts.hostname} does not resolve", why, "correct RETOUCH_PIX2PIX_URL, or the name server")
    except ssl.SSLError:
        why, do = "no edit can be sent", "look at its certificate, and at the clock and the CA bundle here"
        return bad(CHECK, f"{host} offers no TLS that we trust", why, do)
    except (OSError, http.client.HTTPException) as error:
        why, do = (
            "no edit can be sent; jobs wait and retry",
            "look at the network between, or correct RETOUCH_PIX2PIX_URL",
        )
        return bad(CHECK, f"{host} does not answer ({type(error).__name__})", why, do)
    if status >= 500:
        why, do = "jobs wait and retry until it is back", "look at the vendor's status page"
        return note(CHECK, f"{host} answers HTTP {status}", why, do)
    return good(CHECK, f"{host} answers")


def _head(scheme: str, netloc: str, path: str) -> int:
    """
    Return the HTTP status of a HEAD request, which cannot start a generation.

    Any status, even 405 (method not allowed), shows that the endpoint answers.
    """
    kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    connection = kind(netloc.rpartition("@")[2], timeout=TIMEOUT_S)
    try:
        connection.request("HEAD", path)
        return connection.getresponse().status
    finally:
        connection.close()


def _key(settings: Settings) -> list[Finding]:
    if settings.pix2pix_key.get_secret_value():
        return [good(CHECK, "a key is set")]
    why = "producers need none; a worker without one is refused by the endpoint"
    return [note(CHECK, "no key is set here", why, "set RETOUCH_PIX2PIX_KEY where workers run")]


def _public_url(settings: Settings, urls: list[str]) -> list[Finding]:
    inside = {"127.0.0.1", "::1", "localhost"}
    ours, theirs = urlsplit(settings.public_url).hostname, {urlsplit(url).hostname for url in urls}
    if ours in inside and theirs - inside:
        why = (
            "the endpoint cannot fetch images that were given as local files, and receivers cannot follow result links"
        )
        return [note(CHECK, "RETOUCH_PUBLIC_URL is this machine alone", why, "set it to the gateway's outside address")]
    return []
