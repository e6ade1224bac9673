"""
Rules for the addresses that a user may make us call: for the text of a URL, and for the IP addresses of its host.

A URL that a user supplies is checked twice. When a request is accepted, `fault_of` checks the text, without network
access. When we connect, `resolve` looks the host up once and vets all its addresses. The caller then connects to one of
these addresses. A second lookup is not allowed, since it could return an address that was not vetted.

`networks` are CIDR texts (setting `dangerous_allow_private_networks`). Inside these networks every address and port is
allowed. Messages never contain the URL; they may contain an IP address.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from retouch.errors import RetouchError

MAX_URL_LENGTH = 2048
ALLOWED_PORTS = (80, 443)

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<query>\?[^#]*)?(?:#.*)?", re.IGNORECASE
)
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::(?P<port>[1-9][0-9]{0,4}))?")
_LABEL = re.compile(r"[0-9a-z_](?:[0-9a-z_-]{0,61}[0-9a-z_])?")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PRIVATE_NAMES = frozenset(
    ("localhost", "localdomain", "local", "internal", "intranet", "lan", "home", "corp", "private", "home.arpa")
)

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Users may not reach these although `ipaddress.is_global` is true. In Python 3.11 it is true for NAT64, 6to4 and
# multicast too.
_LESS_V4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "192.0.0.0/24",  # IETF protocol assignments
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # automatic multicast tunnelling
        "192.88.99.0/24",  # 6to4 relays
        "192.175.48.0/24",  # AS112
        "168.63.129.16/32",  # Azure's host agent, reachable from inside every virtual machine
    )
)
_LOOPBACK = (ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1"))
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_LESS_V6 = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo and other protocol assignments
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: the IPv4 address inside is unvetted
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)


class AddressRefused(RetouchError):
    """
    A name resolved to an address that users may not make us call; no connection was made.

    The message contains the address, never the URL or the host.
    """


class Url(NamedTuple):
    """
    The parts of a URL that passed the text rules.

    `host` is in lower case; an IPv6 address has no brackets. `target` is path and query, beginning with `/`.
    """

    scheme: str
    host: str
    port: int
    target: str


class SocketAddress(NamedTuple):
    """One vetted address from a lookup, for `socket.socket(family)` and `connect(sockaddr)`."""

    family: socket.AddressFamily
    sockaddr: tuple[object, ...]


def fault_of(url: str, networks: Sequence[str] = (), ports: Sequence[int] = ALLOWED_PORTS) -> str | None:
    """
    Return a message about the first fault in the text of a URL that a user supplied, or None. No name is looked up.

    If there are `networks`, an unusual port is accepted, and so is a name that looks private, since the address is
    vetted when we connect. The name `localhost` is accepted only if `networks` have a loopback address.
    """
    parts = split(url)
    if isinstance(parts, str):
        return parts
    literal = _literal(parts.host)
    if literal is None:
        return _fault_of_name(parts, networks, ports)
    if within(literal, networks):
        return None
    if not is_public(literal):
        return f"expected a public address, got private {literal}"
    return _fault_of_port(parts.port, ports)


def split(url: str) -> Url | str:
    """
    Return the parts of an http(s) URL, or the message that says why its text is refused.
    """
    # Stricter than RFC 3986 on purpose: guards are bypassed by URLs whose host two parsers read differently.
    if len(url) > MAX_URL_LENGTH:
        return f"expected a URL of at most {MAX_URL_LENGTH} characters, got {len(url)}"
    if not url.isprintable() or " " in url or "\\" in url:
        return "expected a URL without spaces, backslashes and control characters"
    match = _URL.fullmatch(url)
    if match is None:
        return _fault_of_scheme(url)
    authority = _AUTHORITY.fullmatch(match["authority"])
    if authority is None:
        return _fault_of_authority(match["authority"])
    scheme, host = match["scheme"].lower(), authority["host"].lower().strip("[]")
    port = int(authority["port"] or (443 if scheme == "https" else 80))
    target = (match["path"] or "/") + (match["query"] or "")
    return _fault_of_host(authority["host"]) or _fault_of_number(port) or Url(scheme, host, port, target)


def vet(address: str, networks: Sequence[str] = ()) -> bool:
    """Return whether we may connect to an IP address: it is public or inside `networks`, and has no scope id."""
    ip = _literal(address)
    return ip is not None and (within(ip, networks) or is_public(ip))


def resolve(
    host: str, port: int, networks: Sequence[str] | None = (), ports: Sequence[int] = ALLOWED_PORTS
) -> list[SocketAddress]:
    """
    Look a host up once, vet all its addresses, and return them.

    The caller must connect to one of these addresses and must not look the host up again. Each address must be inside
    `networks`, or be public with a `port` in `ports`; otherwise `AddressRefused` is raised. If `networks` is None, no
    address is vetted; this is for hosts that the operator set. Raises `OSError` if the name does not resolve.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    answers = [(family, str(sockaddr[0]), sockaddr) for family, _, _, _, sockaddr in found]
    if networks is not None:
        for _, address, _ in answers:
            _require(address, port, networks, ports)
    return [SocketAddress(family, sockaddr) for family, _, sockaddr in answers]


def is_public(ip: Ip) -> bool:
    """
    Return whether an address is on the public internet; an IPv4-mapped address counts as the IPv4 address inside it.
    """
    ip = _unwrapped(ip)
    if isinstance(ip, ipaddress.IPv6Address):
        return ip.scope_id is None and ip in _GLOBAL_V6 and not any(ip in network for network in _LESS_V6)
    special = ip.is_multicast or ip.is_reserved or not ip.is_global
    return not special and not any(ip in network for network in _LESS_V4)


def within(ip: Ip, networks: Sequence[str]) -> bool:
    """Return whether an address, or the IPv4 address inside it, is in one of the networks."""
    inner = _unwrapped(ip)
    return any(ip in network or inner in network for network in _compiled(tuple(networks)))


@lru_cache(maxsize=64)
def _compiled(networks: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(network) for network in networks)


def _unwrapped(ip: Ip) -> Ip:
    """Return the IPv4 address inside an IPv4-mapped IPv6 address; return any other address as it is."""
    return ip if isinstance(ip, ipaddress.IPv4Address) else ip.ipv4_mapped or ip


@lru_cache(4_096)
def _literal(text: str) -> Ip | None:
    """Return the IP address that is written in a text. Return None for a name and for an address with a scope id."""
    try:
        return ipaddress.ip_address(text) if "%" not in text else None
    except ValueError:
        return None


def _require(address: str, port: int, networks: Sequence[str], ports: Sequence[int]) -> None:
    """Raise `AddressRefused` unless users may make us call this address and port."""
    if not vet(address, networks):
        raise AddressRefused(f"expected a public address, the name resolved to private {address}")
    ip = _literal(address)
    if port not in ports and ip is not None and not within(ip, networks):
        raise AddressRefused(f"expected port {_listed(ports)}, got {port}")


def _fault_of_scheme(url: str) -> str:
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]{0,31}(?=:)", url)
    return f"expected an http(s) URL, got scheme {scheme[0]!r}" if scheme else "expected an http(s) URL"


def _fault_of_authority(authority: str) -> str:
    if "@" in authority:
        return "expected a URL without user name and password"
    if not authority.isascii():
        return "expected an ASCII host (write other alphabets in their xn-- form)"
    if "%" in authority:
        return "expected a host without scope id and percent signs"
    return "expected a host and, if any, a port from 1 to 65535" if authority else "expected a URL with a host"


def _fault_of_number(port: int) -> str | None:
    return None if port <= 65535 else f"expected a port from 1 to 65535, got {port}"


@lru_cache(4_096)
def _fault_of_host(host: str) -> str | None:
    if host.startswith("["):
        return _fault_of_ipv6(host[1:-1])
    labels = host.lower().split(".")
    # Many parsers read a host whose last label is a number as an IPv4 address, such as "127.1" and "0x7f000001".
    if _NUMERIC_LABEL.fullmatch(labels[-1] or labels[-2 if len(labels) > 1 else 0]):
        ip = _literal(host)
        return None if ip is not None else f"expected an IPv4 address as four decimal numbers, got {host[:64]!r}"
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        return "expected a host of labels of 1 to 63 letters, digits and hyphens, without a dot at its end"
    return None


def _fault_of_ipv6(text: str) -> str | None:
    ip = _literal(text)
    if not isinstance(ip, ipaddress.IPv6Address):
        return "expected an IPv6 address within the brackets"
    # Only one way to write an address is accepted, since some parsers read the others differently.
    if ip.ipv4_mapped is None and ip.compressed != text.lower():
        return f"expected the IPv6 address in its short form, {ip.compressed}"
    return None


def _fault_of_name(parts: Url, networks: Sequence[str], ports: Sequence[int]) -> str | None:
    labels = parts.host.split(".")
    # "localhost" is the only name whose address is known without a lookup.
    if networks and (labels[-1] != "localhost" or any(within(ip, networks) for ip in _LOOPBACK)):
        return None
    if len(labels) == 1 or labels[-1] in _PRIVATE_NAMES or ".".join(labels[-2:]) in _PRIVATE_NAMES:
        return "expected a public address, got a name that only a private network knows"
    return _fault_of_port(parts.port, ports)


def _fault_of_port(port: int, ports: Sequence[int]) -> str | None:
    return None if port in ports else f"expected port {_listed(ports)}, got {port}"


def _listed(ports: Sequence[int]) -> str:
    return " or ".join(str(port) for port in ports)
