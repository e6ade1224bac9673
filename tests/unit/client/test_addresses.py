"""URLs and addresses from users: which URLs are accepted, and to which addresses a connection may be opened."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retouch.addresses import MAX_URL_LENGTH, AddressRefused, Url, fault_of, is_public, resolve, split, vet

LOOPBACK = ("127.0.0.0/8", "::1/128")
EVERYTHING = ("0.0.0.0/0", "::/0")
SECRET = "hunter2"


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "HTTPS://Example.COM/a?b=c#d",
        "https://example.com:443/",
        "http://sub.do-main.example.com:80/x",
        "http://1.1.1.1/",
        "http://[2606:4700::1111]/",
        "https://xn--bcher-kva.example/",
        "http://example.com/a%20b?next=http://127.0.0.1/",
        "http://example.com?x=@y",
        "http://under_score.example.com/",
        "https://example.com/ünïcode",
    ],
)
def test_public_urls_pass(url: str) -> None:
    """Ordinary public URLs have no fault, whatever their path and query."""
    assert fault_of(url) is None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "expected an http(s) URL"),
        ("example.com", "expected an http(s) URL"),
        ("//example.com/", "expected an http(s) URL"),
        ("http:example.com", "scheme 'http'"),
        ("file:///etc/passwd", "scheme 'file'"),
        ("gopher://example.com/", "scheme 'gopher'"),
        ("javascript:alert(1)", "scheme 'javascript'"),
        ("data:image/png;base64,AAAA", "scheme 'data'"),
        ("http://", "a URL with a host"),
        ("http:///path", "a URL with a host"),
        ("http://:80/", "a host and, if any, a port"),
        ("http://example.com:/", "a host and, if any, a port"),
        ("http://example.com:0/", "a host and, if any, a port"),
        ("http://example.com:080/", "a host and, if any, a port"),
        ("http://example.com:+80/", "a host and, if any, a port"),
        ("http://example.com:99999/", "from 1 to 65535, got 99999"),
        ("http://example.com:8080/", "expected port 80 or 443, got 8080"),
        ("http://1.1.1.1:22/", "expected port 80 or 443, got 22"),
        ("http://user:hunter2@example.com/", "without user name"),
        ("http://example.com@127.0.0.1/", "without user name"),
        ("http://example.com\\@127.0.0.1/", "backslashes"),
        ("http:\\\\127.0.0.1/", "backslashes"),
        ("http://example.com/a b", "spaces"),
        (" http://example.com/", "spaces"),
        ("http://example.com/\r\nHost: x", "control characters"),
        ("http://example.com/\0", "control characters"),
        ("http://exa\tmple.com/", "control characters"),
        ("http://example.com/\u2028", "control characters"),
        ("http://example.com/\u202e", "control characters"),
        ("http://example.com/\ud800", "control characters"),
        ("http://exämple.com/", "ASCII host"),
        ("http://①②⑦.⓪.⓪.①/", "ASCII host"),
        ("http://example。com/", "ASCII host"),
        ("http://%31%32%37.0.0.1/", "percent signs"),
        ("http://[fe80::1%25eth0]/", "scope id"),
        ("http://example.com./", "without a dot at its end"),
        ("http://a..b.com/", "labels"),
        ("http://-a.example.com/", "labels"),
        ("http://.../", "labels"),
        ("http://" + "a" * 64 + ".com/", "labels"),
        ("http://" + ".".join(["a" * 60] * 5) + "/", "labels"),
        ("http://[::g]/", "a host and, if any"),
        ("http://[1:2:3]/", "an IPv6 address"),
        ("http://[127.0.0.1]/", "an IPv6 address"),
        ("http://[2606:4700:0:0::1111]/", "short form"),
        ("http://[2606:4700::1111/", "a host and, if any"),
    ],
)
def test_malformed_urls_are_refused(url: str, words: str) -> None:
    """Each malformed URL has a fault with its reason; the fault contains neither the URL nor its password."""
    fault = fault_of(url)
    assert fault is not None
    assert words in fault
    assert SECRET not in fault
    assert len(url) < 12 or url not in fault
    assert fault_of(url, EVERYTHING) is not None or "port" in fault


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "017700000001",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "127.1",
        "127.0.1",
        "127.0.0.1.",
        "0",
        "127.0.0.01",
        "1.1.1",
        "256.1.1.1",
        "1.2.3.4.5",
        "example.0x1",
        "0x",
    ],
)
def test_numbers_that_are_no_dotted_quad_are_refused(host: str) -> None:
    """Decimal, octal, hexadecimal and short forms of IPv4 addresses are refused, even if every network is allowed."""
    assert "four decimal numbers" in str(fault_of(f"http://{host}/"))
    assert fault_of(f"http://{host}/", EVERYTHING) is not None


PRIVATE = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.9",
    "192.0.2.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.88.99.1",
    "192.168.1.1",
    "192.175.48.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "168.63.129.16",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:a9fe:a9fe",
    "::ffff:0:7f00:1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "100::1",
    "2001::1",
    "2001:1::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:101:101::",
    "2620:4f:8000::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd12::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "fe80::1%eth0",
    "2606:4700::1111%1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_not_vetted(address: str) -> None:
    """`vet` returns False for each special-purpose address, in any notation."""
    assert not vet(address)


@pytest.mark.parametrize("address", [address for address in PRIVATE if "%" not in address])
def test_private_literals_are_refused_by_their_text(address: str) -> None:
    """A URL whose host is a private address is refused without a lookup, and the fault says that it is private."""
    host = f"[{address}]" if ":" in address else address
    assert "got private" in str(fault_of(f"http://{host}/"))


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_vetted(address: str) -> None:
    """`vet` returns True for public addresses, also for an IPv4-mapped address with a public IPv4 address."""
    assert vet(address)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST",
        "a.localhost",
        "printer.local",
        "db.internal",
        "metadata.google.internal",
        "redis",
        "nas.lan",
        "router.home.arpa",
        "host.localdomain",
    ],
)
def test_private_names_are_refused_by_their_text(host: str) -> None:
    """Host names of private networks are refused, unless all networks are allowed."""
    assert "private network" in str(fault_of(f"http://{host}/"))
    assert fault_of(f"http://{host}:8080/", EVERYTHING) is None


def test_allowed_networks_lift_the_rule_inside_them_alone() -> None:
    """
    If only loopback is allowed, localhost and its addresses are accepted on any port. Other private addresses are
    refused.
    """
    assert fault_of("http://127.0.0.1:8123/a", LOOPBACK) is None
    assert fault_of("http://[::1]:8123/a", LOOPBACK) is None
    assert fault_of("http://localhost:8123/a", LOOPBACK) is None
    assert fault_of("http://[::ffff:127.0.0.1]/", LOOPBACK) is None
    assert "10.0.0.1" in str(fault_of("http://10.0.0.1/", LOOPBACK))
    assert "port" in str(fault_of("http://1.1.1.1:8123/", LOOPBACK))
    assert "private" in str(fault_of("http://localhost/", ("10.0.0.0/8",)))


def test_length_limit_is_exact() -> None:
    """A URL of 2,048 characters is accepted. A URL with one more is refused, and the fault has both numbers."""
    url = "http://example.com/".ljust(MAX_URL_LENGTH, "a")
    assert fault_of(url) is None
    assert fault_of(url + "a") == "expected a URL of at most 2048 characters, got 2049"


def test_split_gives_what_is_sent() -> None:
    """
    `split` makes the host lower-case, adds the scheme's port, turns an empty path into a slash, and removes brackets
    and the fragment.
    """
    assert split("HTTPS://Example.COM?a=b#c") == Url("https", "example.com", 443, "/?a=b")
    assert split("http://[2606:4700::1111]:8080/x") == Url("http", "2606:4700::1111", 8080, "/x")


def answers(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Make every lookup return these addresses. Return a list that gets the name of each lookup."""
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(family[":" in one], socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def test_resolve_returns_what_to_connect_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """`resolve` makes one lookup and returns all addresses with the port, in order."""
    asked = answers(monkeypatch, "1.1.1.1", "2606:4700::1111")
    found = resolve("example.com", 443)
    assert [one.sockaddr for one in found] == [("1.1.1.1", 443), ("2606:4700::1111", 443)]
    assert asked == ["example.com"]


@pytest.mark.parametrize("bad", ["127.0.0.1", "::1", "169.254.169.254", "::ffff:10.0.0.1", "fe80::1%2"])
def test_one_private_answer_refuses_all(monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    """A name with a private address among public addresses is refused. The error has the address and not the name."""
    answers(monkeypatch, "1.1.1.1", bad)
    with pytest.raises(AddressRefused) as refused:
        resolve("example.com", 443)
    assert bad in str(refused.value)
    assert "example.com" not in str(refused.value)


def test_ports_of_names_are_vetted_by_what_they_resolve_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with the port 9000 is accepted only if it resolves into an allowed network."""
    answers(monkeypatch, "10.0.0.5")
    assert resolve("minio.internal", 9000, ("10.0.0.0/8",))[0].sockaddr == ("10.0.0.5", 9000)
    answers(monkeypatch, "1.1.1.1")
    with pytest.raises(AddressRefused, match="got 9000"):
        resolve("example.com", 9000, ("10.0.0.0/8",))


def test_operators_addresses_are_not_vetted(monkeypatch: pytest.MonkeyPatch) -> None:
    """`resolve` with `networks=None` accepts any address and port, since the operator configured them."""
    answers(monkeypatch, "10.0.0.5")
    assert resolve("endpoint.internal", 9000, None)[0].sockaddr == ("10.0.0.5", 9000)


@given(st.ip_addresses(v=4))
def test_vetted_ipv4_is_global_and_mapping_changes_nothing(ip: ipaddress.IPv4Address) -> None:
    """Every IPv4 address that `vet` accepts is global unicast. Its IPv4-mapped form gets the same answer."""
    assert vet(str(ip)) == vet(f"::ffff:{ip}")
    assert not vet(str(ip)) or (ip.is_global and not ip.is_multicast and not ip.is_reserved and not ip.is_loopback)


@given(st.ip_addresses(v=4), st.sampled_from(["64:ff9b::", "2002:", "::", "2001::"]))
def test_no_ipv4_gets_in_by_a_tunnel(ip: ipaddress.IPv4Address, prefix: str) -> None:
    """`vet` refuses NAT64, 6to4, IPv4-compatible and Teredo addresses with any IPv4 address in them."""
    tail = f"{int(ip) >> 16:x}:{int(ip) & 0xFFFF:x}"
    assert not vet(f"{prefix}{tail}::" if prefix == "2002:" else f"{prefix}{tail}")


@given(st.ip_addresses(v=6))
def test_vetted_ipv6_is_global_unicast(ip: ipaddress.IPv6Address) -> None:
    """Every IPv6 address that `vet` accepts is in 2000::/3, or maps a public IPv4 address."""
    assert not vet(str(ip)) or ip in ipaddress.ip_network("2000::/3") or is_public(ip.ipv4_mapped or ip)


@given(st.ip_addresses(), st.integers(0, 32))
def test_allowed_networks_vet_exactly_their_addresses(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address, prefix: int
) -> None:
    """
    If a network is allowed, `vet` accepts each of its addresses, and a URL with such an address may have any port.
    """
    network = ipaddress.ip_network((ip, prefix), strict=False)
    host = f"[{ip.compressed}]" if ip.version == 6 else str(ip)
    assert vet(str(ip), (str(network),))
    assert fault_of(f"http://{host}:8123/", (str(network),)) is None


@given(st.text())
def test_any_text_gets_an_answer(text: str) -> None:
    """`split` never raises. The URLs that it accepts have an ASCII host and only printable characters in the target."""
    for url in (text, f"http://{text}/", f"http://example.com/{text}"):
        parts = split(url)
        assert isinstance(parts, str) or (parts.host.isascii() and parts.target.isprintable())
