"""Tests of the sign-in to the console: by key or by link, the life of a session, and wrong keys."""

from __future__ import annotations

from typing import Any

import pytest

from retouch.store import keys
from retouch.store.console_sessions import IDLE_S, LIFE_S, WRONG_KEYS_MOST, ConsoleSessions
from retouch.store.tenants import TenantStore, digest_of
from tests.integration.console.conftest import People, Person

COOKIE = "retouch-console"


def test_a_key_begins_a_session(people: People, client: Any) -> None:
    """
    Signing in sets a cookie that is HttpOnly, Strict and 256 bits long. The store has only the hash of the cookie, and
    no page shows the key.
    """
    person = people()
    answer = person.browser.post("/console/sign-in", data={"key": person.secret}, follow_redirects=False)
    cookie = answer.headers["set-cookie"]
    assert answer.status_code == 303
    assert cookie.startswith(f"{COOKIE}=")
    assert {"HttpOnly", "SameSite=strict", "Path=/", f"Max-Age={LIFE_S}"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    session = cookie.partition("=")[2].partition(";")[0]
    assert len(session) == 43
    assert 0 < client.ttl(keys.console_session(digest_of(session))) <= IDLE_S
    assert not [name for name in client.scan_iter("*") if session in name]
    assert person.secret not in person.text("/console")


def test_over_tls_the_cookie_is_bound_to_the_host(people: People) -> None:
    """
    On a host other than loopback, the cookie is `Secure`, and its name begins with `__Host-`. Browsers then send the
    cookie only over TLS.
    """
    person = people()
    answer = person.browser.post(
        "/console/sign-in",
        data={"key": person.secret},
        headers={"Host": "ops.example", "Origin": "https://ops.example"},
        follow_redirects=False,
    )
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-retouch-console=")
    assert {"HttpOnly", "SameSite=strict", "Path=/", "Secure"} <= set(cookie.split("; "))


def test_plain_http_elsewhere_is_refused(people: People) -> None:
    """Over plain HTTP on a host other than loopback, the sign-in is answered 400 with a page that asks for https."""
    person = people()
    elsewhere = {"Host": "ops.example", "Origin": "http://ops.example"}
    answer = person.browser.post("/console/sign-in", data={"key": person.secret}, headers=elsewhere)
    assert answer.status_code == 400
    assert "needs https" in answer.text


def test_ten_wrong_keys_and_it_waits(stranger: Person, client: Any) -> None:
    """
    After ten wrong keys from one address, even a right key is answered 429, with a Retry-After of at most one minute.
    """
    _, secret = TenantStore(client).create_key("acme", "producer")
    for _ in range(WRONG_KEYS_MOST):
        assert stranger.sign_in("rtk_wrong").status_code == 403
    answer = stranger.sign_in(secret)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 60
    client.delete(keys.console_wrong_keys("127.0.0.1"))
    assert stranger.sign_in(secret).status_code == 200


def test_a_session_ends_with_its_key(people: People, client: Any) -> None:
    """
    After the key of a session is revoked, the next request is redirected to the sign-in page, and the session is
    deleted.
    """
    person = people()
    (key,) = TenantStore(client).api_keys("acme")
    TenantStore(client).revoke(key.id)
    answer = person.get("/console/jobs?state=failed")
    assert answer.url.path == "/console/sign-in"
    assert answer.url.params["back"] == "/console/jobs?state=failed"
    assert list(client.scan_iter("rt:console_session:*")) == []


def test_signing_out(people: People, client: Any) -> None:
    """
    Signing out deletes the session in the store and clears the browser's cache. The next page is the sign-in page.
    """
    person = people()
    answer = person.browser.post("/console/sign-out", follow_redirects=False)
    assert answer.headers["clear-site-data"] == '"cache"'
    assert list(client.scan_iter("rt:console_session:*")) == []
    assert person.get("/console").url.path == "/console/sign-in"


def test_only_people_keep_a_session(people: People, client: Any) -> None:
    """
    A click extends the session, up to twelve hours after the sign-in. A request that a page sends by itself does not
    extend the session.
    """
    person = people()
    (name,) = client.scan_iter("rt:console_session:*")
    client.expire(name, 100)
    person.get("/console", headers={"X-Console-Live": "1"})
    assert client.ttl(name) <= 100
    person.get("/console")
    assert client.ttl(name) > IDLE_S - 60
    client.hset(name, "began_at", float(client.hget(name, "began_at")) - LIFE_S + 30)
    person.get("/console")
    assert 0 < client.ttl(name) <= 30


def test_a_link_works_once(stranger: Person, client: Any) -> None:
    """
    Opening a link signs nobody in. The button on the page signs in once; when it is pressed again, the answer is 403.
    The link of a revoked key is answered 403 too.
    """
    _, secret = TenantStore(client).create_key("acme", "producer")
    link = ConsoleSessions(client).make_link(secret)
    assert "Sign in" in stranger.text(f"/console/enter/{link}")
    assert list(client.scan_iter("rt:console_session:*")) == []
    assert stranger.post("/console/enter", link=link).url.path == "/console"
    stranger.browser.cookies.clear()
    assert stranger.post("/console/enter", link=link).status_code == 403
    late = ConsoleSessions(client).make_link(secret)
    (key,) = TenantStore(client).api_keys("acme")
    TenantStore(client).revoke(key.id)
    assert stranger.post("/console/enter", link=late).status_code == 403


@pytest.mark.parametrize(
    "back",
    [
        "https://evil.example/",
        "//evil.example/console",
        "/\\evil.example",
        "/console\\@evil.example",
        "javascript:alert(1)",
        "/v1/edits",
        "/consoles",
        "/console/\r\nX: y",
    ],
)
def test_signing_in_leads_nowhere_else(people: People, back: str) -> None:
    """If `back` is not an address of the console, signing in redirects to `/console`."""
    person = people()
    data = {"key": person.secret, "back": back}
    answer = person.browser.post("/console/sign-in", data=data, follow_redirects=False)
    assert answer.headers["location"] == "/console"


def test_signing_in_leads_back(people: People) -> None:
    """Signing in redirects to the page that was requested, with its query."""
    person = people()
    data = {"key": person.secret, "back": "/console/jobs?state=failed"}
    answer = person.browser.post("/console/sign-in", data=data, follow_redirects=False)
    assert answer.headers["location"] == "/console/jobs?state=failed"


def test_forms_are_bounded(stranger: Person) -> None:
    """
    A form from a person without a session is refused without being read if it is large, has no length, or is of another
    type.
    """
    large = stranger.browser.post("/console/sign-in", data={"key": "x" * 20_000})
    unknown = stranger.browser.post(
        "/console/sign-in",
        content=iter([b"key=", b"x"]),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    other = stranger.browser.post("/console/sign-in", files={"key": b"x"})
    assert [answer.status_code for answer in (large, unknown, other)] == [413, 413, 415]
    assert {answer.headers["content-type"] for answer in (large, unknown, other)} == {"text/html; charset=utf-8"}


def test_a_stream_ends_with_its_key(people: People, client: Any) -> None:
    """
    A live stream ends soon after the key of the session is revoked. A request without a session is redirected to the
    sign-in page.
    """
    person = people()
    with person.browser.stream("GET", "/console/live") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "retry: 2000"
        (key,) = TenantStore(client).api_keys("acme")
        TenantStore(client).revoke(key.id)
        assert len(list(lines)) < 20
    assert person.get("/console/live").url.path == "/console/sign-in"


def test_a_live_page_is_led_to_the_sign_in(stranger: Person) -> None:
    """Without a session, a request that a page sends by itself gets 401 and the address of the sign-in page."""
    answer = stranger.get("/console/jobs", headers={"HX-Request": "true"})
    assert answer.status_code == 401
    assert answer.headers["hx-redirect"] == "/console/sign-in?back=%2Fconsole%2Fjobs"


def test_a_theme_is_remembered(stranger: Person) -> None:
    """A person without a session chooses a theme, and later pages have it. An unknown theme selects `auto`."""
    assert 'data-theme="auto"' in stranger.text("/console/sign-in")
    assert 'data-theme="dark"' in stranger.post("/console/theme", theme="dark", back="/console/sign-in").text
    assert 'data-theme="dark"' in stranger.text("/console/sign-in")
    assert 'data-theme="auto"' in stranger.post("/console/theme", theme='"><script>', back="/console/sign-in").text
