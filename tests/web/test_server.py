"""What stands before every route, over a real socket: rate, host, origin, token, headers, errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from oculus.config.settings import ServerSettings
from oculus.web import server
from oculus.web.auth import COOKIE, cookie_value
from tests.support.client import fresh_address
from tests.support.site import Site

TOKEN = "a long secret"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}

PAGES = ["/", "/alerts", "/rules", "/partials/metrics", "/partials/alerts", "/partials/rules"]
READS = ["/api/metrics", "/api/rules", "/api/alerts", "/metrics"]


@pytest.fixture(scope="module")
def open_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site without a token, shared by tests that change nothing."""
    site = Site(tmp_path_factory.mktemp("open"), server=ServerSettings(hosts=("monitor.example",)))
    site.write(("custom.x", 1.0))
    yield site
    site.close()


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with a token, shared by tests that change nothing."""
    site = Site(tmp_path_factory.mktemp("locked"), server=ServerSettings(token=TOKEN))
    site.write(("custom.x", 1.0))
    yield site
    site.close()


def code(answer: Any) -> str:
    """Return the code of an error."""
    return str(answer.json()["error"]["code"])


# -- token ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", [*READS, "/api/metrics/custom.x", "/partials/metrics", "/nothing", "/api/nothing"]
)
def test_reading_needs_the_token(locked: Site, path: str) -> None:
    """Without the token a program gets 401, even for what is not there; with it, an answer."""
    answer = locked.get(path)
    assert (answer.status_code, code(answer)) == (401, "unauthorized")
    assert locked.get(path, headers=BEARER).status_code in (200, 404)


@pytest.mark.parametrize("path", ["/api/query", "/api/push", "/api/push/custom.x", "/logout"])
def test_writing_needs_the_token(locked: Site, path: str) -> None:
    """A POST without the token gets 401, a browser's too."""
    body = '{"value": 1}'
    assert locked.post(path, data=body).status_code == 401
    assert locked.post(path, data=body, headers=BROWSER, allow_redirects=False).status_code == 401
    assert len(locked.pipe) == 0


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN} x"])
def test_a_wrong_token_is_no_token(locked: Site, header: str) -> None:
    """Anything but the token itself gets 401."""
    assert locked.get("/api/metrics", headers={"Authorization": header}).status_code == 401


@pytest.mark.parametrize("path", PAGES)
def test_a_browser_without_the_token_is_sent_to_the_log_in(locked: Site, path: str) -> None:
    """Pages redirect to /login, which is open."""
    answer = locked.get(path, headers=BROWSER, allow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"{locked.url}/login" or answer.headers["Location"] == "/login"
    assert locked.get("/login").status_code == 200


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/login", "/static/css/oculus.css", "/static/vendor/htmx/htmx.min.js"]
)
def test_health_log_in_and_static_files_are_open(locked: Site, path: str) -> None:
    """What monitors and the log-in page need is answered without the token."""
    assert locked.get(path).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/healthz/../api/metrics",
        "/static/../api/metrics",
        "/static/%2e%2e/api/metrics",
        "/static/..%2fapi%2fmetrics",
        "//api/metrics",
        "/login/../api/metrics",
        "/healthz%2f..%2fapi%2fmetrics",
    ],
)
def test_an_open_prefix_opens_nothing_else(locked: Site, path: str) -> None:
    """No spelling of a path takes a request around the token."""
    answer = locked.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert answer.split(b" ", 2)[1] in (b"401", b"404")
    assert b"custom.x" not in answer


def test_the_log_in_trades_the_token_for_a_cookie(locked: Site) -> None:
    """The right token sets a cookie that scripts and other sites cannot use, and leads to the dashboard."""
    answer = locked.post("/login", data={"token": TOKEN}, allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith(f"{COOKIE}={cookie_value(TOKEN)};")
    assert TOKEN not in cookie
    for attribute in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age=7776000"):
        assert attribute.lower() in cookie.lower()
    assert locked.get("/", cookies={COOKIE: answer.cookies[COOKIE]}, allow_redirects=False).status_code == 200


@pytest.mark.parametrize(
    "form", [{"token": "wrong"}, {"token": ""}, {}, {"token": TOKEN + " "}, {"token": "\xff"}]
)
def test_a_wrong_log_in_sets_no_cookie(locked: Site, form: dict[str, str]) -> None:
    """A wrong token shows the form again with 403."""
    answer = locked.post("/login", data=form, allow_redirects=False)
    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers
    assert "not the token" in answer.text


def test_logging_out_takes_the_cookie_away(locked: Site) -> None:
    """POST /logout deletes the cookie and leads to the log-in."""
    answer = locked.post("/logout", cookies={COOKIE: cookie_value(TOKEN)}, allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login")
    assert f'{COOKIE}=""' in answer.headers["Set-Cookie"]
    assert "Max-Age=-1" in answer.headers["Set-Cookie"]


def test_a_wrong_cookie_is_no_log_in(locked: Site) -> None:
    """A made-up cookie does not pass."""
    assert locked.get("/api/metrics", cookies={COOKIE: cookie_value("other")}).status_code == 401


@pytest.mark.parametrize("cookie", ["a(b=1", "a,b/c@d=1; e", '";";', "oculus", "=", "\xff=\xfe"])
def test_a_malformed_cookie_of_another_program_is_not_in_the_way(
    open_site: Site, locked: Site, cookie: str
) -> None:
    """Browsers send the cookies of every port of a host; odd ones do not keep the pages from showing."""
    headers = {"Cookie": cookie.encode("latin-1")}
    assert open_site.get("/", headers=headers).status_code == 200
    assert locked.get("/api/metrics", headers=headers).status_code == 401
    both = {"Cookie": f"{cookie}; {COOKIE}={cookie_value(TOKEN)}".encode("latin-1")}
    assert locked.get("/api/metrics", headers=both).status_code == 200


@pytest.mark.parametrize(
    "name", ["Accept", "Authorization", "Host", "Origin", "Accept-Encoding", "If-None-Match", "User-Agent"]
)
def test_headers_may_hold_any_bytes(open_site: Site, name: str) -> None:
    """A header that is no UTF-8 is refused or ignored, and never an internal error."""
    for path in ("/", "/static/css/oculus.css", "/nothing"):
        assert open_site.get(path, headers={name: b"\xff\xfe"}).status_code in (200, 400, 403, 404)


def test_a_token_of_any_characters_passes(new_site: Callable[..., Site]) -> None:
    """A token beyond ASCII works in the header, as UTF-8, and in the log-in form."""
    site = new_site(server=ServerSettings(token="gehëim 🔑"))
    header = {"Authorization": "Bearer gehëim 🔑".encode()}
    assert site.get("/api/metrics", headers=header).status_code == 200
    assert site.post("/login", data={"token": "gehëim 🔑"}, allow_redirects=False).status_code == 303


def test_without_a_token_nobody_can_log_in(open_site: Site) -> None:
    """An empty token is no password that an empty form could match."""
    answer = open_site.post("/login", data={"token": ""}, allow_redirects=False)
    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers


# -- Host and Origin ------------------------------------------------------------------------------------


def from_host(site: Site, host: str, path: str = "/api/metrics") -> Any:
    """GET with this Host header."""
    return site.get(path, headers={"Host": host})


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example"])
@pytest.mark.parametrize("path", ["/", "/api/metrics", "/healthz", "/metrics", "/nothing"])
def test_a_foreign_host_name_is_refused(open_site: Site, host: str, path: str) -> None:
    """A page elsewhere that rebinds its name to this address reads nothing."""
    answer = from_host(open_site, host, path)
    assert (answer.status_code, code(answer)) == (403, "wrong_host")
    assert "server.hosts" in answer.json()["error"]["message"]
    assert "custom.x" not in answer.text


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:1", "[::1]:8080", "monitor.example", "a.localhost:1"]
)
def test_addresses_and_configured_names_are_answered(open_site: Site, host: str) -> None:
    """The check lets through what cannot be rebound, and what the configuration names."""
    assert from_host(open_site, host).status_code == 200


def test_a_request_without_a_host_is_answered(open_site: Site) -> None:
    """HTTP/1.0 programs send no Host, and no browser leaves it out."""
    assert b" 200 OK\r\n" in open_site.raw(b"GET /healthz HTTP/1.0\r\n\r\n")


def test_with_a_token_any_host_name_will_do(locked: Site) -> None:
    """A rebinding page has no token and no cookie; a proxy's name needs no configuration."""
    assert locked.get("/api/metrics", headers={"Host": "proxy.example", **BEARER}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost"])
@pytest.mark.parametrize("path", ["/api/push/custom.y", "/api/query", "/login", "/logout"])
def test_a_post_from_another_sites_page_is_refused(open_site: Site, origin: str, path: str) -> None:
    """A foreign page cannot push samples or run SQL by way of the visitor's browser."""
    body = '{"value": 1, "sql": "select 1"}'
    answer = open_site.post(path, data=body, headers={"Origin": origin})
    assert (answer.status_code, code(answer)) == (403, "wrong_origin")
    assert open_site.latest.get("custom.y") is None


def test_a_post_from_an_own_page_passes(open_site: Site) -> None:
    """The Origin that a browser sends for Oculus' own pages is accepted, and so is none."""
    for headers in ({"Origin": open_site.url}, {}):
        assert open_site.post("/api/query", json={"sql": "select 1"}, headers=headers).status_code == 200


# -- rate -----------------------------------------------------------------------------------------------


def test_a_client_that_asks_too_often_is_told_to_wait(open_site: Site) -> None:
    """A burst of twenty passes, the rest gets 429 with Retry-After; another address is not concerned."""
    source, other = fresh_address(), fresh_address()
    started = time.monotonic()
    answers = [open_site.get("/healthz", source=source) for _ in range(60)]
    refilled = (time.monotonic() - started) * 10
    passed = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(passed) + len(refused) == 60
    assert 20 <= len(passed) <= 21 + refilled
    assert all(answer.status_code == 200 for answer in answers[:20])
    assert refused
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
    assert code(refused[0]) == "too_many_requests"
    assert open_site.get("/healthz", source=other).status_code == 200


def test_after_the_told_wait_a_client_is_answered_again(open_site: Site) -> None:
    """Retry-After is true."""
    source = fresh_address()
    answers = [open_site.get("/healthz", source=source) for _ in range(60)]
    wait = next(int(answer.headers["Retry-After"]) for answer in answers if answer.status_code == 429)
    gevent.sleep(wait)
    assert open_site.get("/healthz", source=source).status_code == 200


def test_static_files_do_not_count(open_site: Site) -> None:
    """A page with many files leaves the whole burst for requests that work."""
    source = fresh_address()
    for _ in range(60):
        assert open_site.get("/static/icons/oculus.svg", source=source).status_code == 200
    started = time.monotonic()
    statuses = [open_site.get("/healthz", source=source).status_code for _ in range(20)]
    assert statuses == [200] * 20, time.monotonic() - started


@pytest.mark.parametrize("path", ["/api/metrics", "/nothing", "/login"])
def test_refused_requests_count_too(locked: Site, path: str) -> None:
    """Guessing tokens or paths meets the same limit."""
    source = fresh_address()
    statuses = [locked.get(path, source=source).status_code for _ in range(60)]
    assert statuses[:20] == [locked.get(path).status_code] * 20
    assert 429 in statuses


# -- every answer ---------------------------------------------------------------------------------------

ANSWERS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/", {}),
    ("GET", "/partials/metrics", {}),
    ("GET", "/login", {}),
    ("POST", "/login", {"data": {"token": "wrong"}}),
    ("POST", "/logout", {}),
    ("GET", "/api/metrics", {}),
    ("GET", "/api/metrics?limit=0", {}),
    ("GET", "/api/nothing", {}),
    ("GET", "/nothing", {"headers": BROWSER}),
    ("DELETE", "/api/metrics", {}),
    ("POST", "/api/query", {"data": "{"}),
    ("POST", "/api/push", {"headers": {"Origin": "http://evil.example"}}),
    ("GET", "/", {"headers": {"Host": "evil.example"}}),
    ("GET", "/healthz", {}),
    ("GET", "/metrics", {}),
    ("GET", "/static/css/oculus.css", {}),
    ("GET", "/static/icons/oculus.svg", {}),
    ("GET", "/static/nothing", {}),
    ("HEAD", "/", {}),
]


@pytest.mark.parametrize(("method", "path", "options"), ANSWERS, ids=lambda value: str(value)[:40])
def test_every_answer_carries_the_security_headers(
    open_site: Site, method: str, path: str, options: dict[str, Any]
) -> None:
    """Pages, files, JSON, redirects and errors alike tell the browser what it may do with them."""
    assert_secure(open_site.ask(method, path, allow_redirects=False, **options))


def test_redirects_and_refusals_carry_the_security_headers(locked: Site) -> None:
    """What the gate answers is no exception."""
    assert_secure(locked.get("/", headers=BROWSER, allow_redirects=False))
    assert_secure(locked.get("/api/metrics"))
    source = fresh_address()
    answers = [locked.get("/healthz", source=source) for _ in range(60)]
    assert_secure(next(answer for answer in answers if answer.status_code == 429))


def test_an_unchanged_file_carries_the_security_headers(open_site: Site) -> None:
    """304 too."""
    tag = open_site.get("/static/css/oculus.css").headers["ETag"]
    answer = open_site.get("/static/css/oculus.css", headers={"If-None-Match": tag})
    assert answer.status_code == 304
    assert_secure(answer)


def assert_secure(answer: Any) -> None:
    """Fail unless scripts, frames, forms and types are restricted, each header given once."""
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "object-src 'none'" in policy
    assert "base-uri 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"


def test_pages_for_browsers_json_for_programs(open_site: Site) -> None:
    """The same error is a page where a browser asks for one, and JSON under /api/ whoever asks."""
    page = open_site.get("/nothing", headers=BROWSER)
    assert (page.status_code, page.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "/nothing" in page.text
    assert open_site.get("/nothing").headers["Content-Type"] == "application/json"
    assert open_site.get("/api/nothing", headers=BROWSER).headers["Content-Type"] == "application/json"
    bad = open_site.get("/alerts?state=bogus", headers=BROWSER)
    assert (bad.status_code, bad.headers["Content-Type"]) == (400, "text/html; charset=utf-8")


def test_what_goes_wrong_inside_tells_nothing_outside(new_site: Callable[..., Site]) -> None:
    """An unforeseen error is a plain 500; its details are for the log."""

    def broken() -> str:
        raise RuntimeError("the secret detail")

    site = new_site(not_ready=broken)
    answer = site.get("/readyz")
    assert (answer.status_code, code(answer)) == (500, "internal")
    assert "secret detail" not in answer.text
    assert_secure(answer)
    assert site.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /api/push HTTP/1.1\r\nHost: localhost\r\nContent-Length: many\r\n\r\n",
        b"POST /api/push HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /api/push HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{}",
        b"POST /api/push HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /\x00\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    ],
    ids=lambda data: repr(data[:44]),
)
def test_malformed_requests_leave_the_server_standing(open_site: Site, data: bytes) -> None:
    """Whatever a client sends, the next one is answered, and nothing is queued."""
    answer = open_site.raw(data)
    assert not answer.startswith(b"HTTP/1.1 5"), answer
    assert not answer.startswith(b"HTTP/1.0 5"), answer
    assert open_site.get("/healthz").status_code == 200
    assert len(open_site.pipe) == 0


def test_a_silent_client_is_let_go(new_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection on which nothing comes is closed after a while, and does not stay for ever."""
    monkeypatch.setattr(server, "IDLE", 0.2)
    site = new_site()
    from gevent import socket

    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
        assert not sock.recv(65536).startswith(b"HTTP/1.1 2")


def test_requests_sent_ahead_hold_nobody_up(open_site: Site) -> None:
    """A client that pipelines static files, which no rate limits, leaves the hub to others in between."""
    turns = 0

    def count() -> None:
        nonlocal turns
        while True:
            gevent.sleep(0.001)
            turns += 1

    counter = gevent.spawn(count)
    request = b"GET /static/js/oculus.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET /static/js/oculus.js HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    try:
        answers = open_site.raw(request * 199 + last)
    finally:
        counter.kill()
    assert answers.count(b"HTTP/1.1 200 OK") == 200
    assert turns >= 20


def test_a_client_over_the_limit_is_disconnected(open_site: Site) -> None:
    """Its further requests need a new connection each, so that a flood costs the sender too."""
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answers = open_site.raw(request * 100)
    assert answers.count(b" 429 ") == 1
    assert answers.count(b" 200 OK") < 60
