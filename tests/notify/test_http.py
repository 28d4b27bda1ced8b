"""The HTTP of channels, against real servers on loopback: answers, failures, refusals, and no secrets."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket

from oculus.collectors.manners import LONGEST_SILENCE
from oculus.collectors.network.tls import TlsSettings
from oculus.notify.base import Undelivered
from oculus.notify.http import MAX_ANSWER, Answer, HttpSettings, post, refused
from tests.support.certificates import authority, server_context
from tests.support.proxy import Proxy
from tests.support.servers import HttpServer, TcpServer, free_port

SECRET = "123456:AA-very/secret"
Respond = Callable[[dict[str, Any]], tuple[str, dict[str, str], bytes]]


class Site:
    """A server that notes what comes and answers what it is told."""

    def __init__(self, respond: Respond | None = None, **options: Any) -> None:
        self.seen: list[dict[str, Any]] = []
        self._respond = respond or (lambda environ: ("200 OK", {}, b'{"ok": true}'))
        self._server = HttpServer(self._application, **options)
        self.url, self.port = self._server.url, self._server.port
        self._server._server.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _application(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ["body"] = environ["wsgi.input"].read()
        self.seen.append(environ)
        status, headers, body = self._respond(environ)
        start_response(status, list(headers.items()))
        return [body]

    def stop(self) -> None:
        """End it."""
        self._server.stop()


@pytest.fixture
def start() -> Iterator[Callable[[Any], Any]]:
    """Keep servers until the end of a test, and stop them then."""
    running: list[Any] = []

    def keep(server: Any) -> Any:
        running.append(server)
        return server

    yield keep
    for each in running:
        each.stop()


def tcp(answer: bytes) -> TcpServer:
    """Return a server that reads a request and writes these bytes, whatever they are."""

    def serve(sock: socket.socket) -> None:
        sock.recv(65_536)
        sock.sendall(answer)

    return TcpServer(serve)


def failure(url: str, **options: Any) -> Undelivered:
    """Return the error of a request that must fail, which names no secret wherever one looks."""
    with pytest.raises(Undelivered) as caught:
        post(url, json={}, secrets=(SECRET,), **options)
    shown = "".join(traceback.format_exception(caught.value))
    assert SECRET not in shown + repr(caught.value)
    assert caught.value.__context__ is None
    assert "\n" not in str(caught.value)
    return caught.value


def test_json_goes_out_as_json_and_the_answer_comes_back(start: Callable[[Any], Any]) -> None:
    """Status, headers in lower case, and the body, read as what it is."""
    site = start(Site(lambda environ: ("202 Accepted", {"X-Id": "7"}, b'{"id": "abc"}')))
    answer = post(f"{site.url}/hook?wait=true", json={"text": "größer > 5"}, headers={"X-Own": "1"})
    assert (answer.status, answer.ok, answer.headers["x-id"], answer.fields) == (
        202,
        True,
        "7",
        {"id": "abc"},
    )
    (seen,) = site.seen
    assert (seen["REQUEST_METHOD"], seen["PATH_INFO"], seen["QUERY_STRING"]) == ("POST", "/hook", "wait=true")
    assert seen["CONTENT_TYPE"] == "application/json; charset=utf-8"
    assert json.loads(seen["body"]) == {"text": "größer > 5"}
    assert seen["HTTP_X_OWN"] == "1"
    assert seen["HTTP_USER_AGENT"].startswith("Oculus/")


def test_bytes_go_out_as_they_are(start: Callable[[Any], Any]) -> None:
    """A channel that signs its body must know each byte of it; a method may be another one."""
    site = start(Site())
    post(site.url, data=b"\x00raw", headers={"Content-Type": "text/plain"}, method="PUT")
    (seen,) = site.seen
    assert (seen["REQUEST_METHOD"], seen["body"], seen["CONTENT_TYPE"]) == ("PUT", b"\x00raw", "text/plain")


def test_half_a_character_does_not_spoil_a_message(start: Callable[[Any], Any]) -> None:
    """A lone surrogate has no UTF-8; the rest of the text arrives."""
    site = start(Site())
    post(site.url, json={"text": "a\ud800b"})
    assert json.loads(site.seen[0]["body"]) == {"text": "a?b"}


def test_an_answer_that_is_no_json_is_none() -> None:
    """Gateways answer with pages, and a body may be anything."""
    for body in (b"<html>", b"", b"[" * 60_000, b"\xff\xfe"):
        answer = Answer(200, {}, body)
        assert (answer.json, answer.fields) == (None, {})
    assert (Answer(200, {}, b"[1]").json, Answer(200, {}, b"[1]").fields) == ([1], {})


def test_a_long_answer_is_cut(start: Callable[[Any], Any]) -> None:
    """What goes on is not read to its end."""
    site = start(Site(lambda environ: ("200 OK", {}, b"x" * (2 * MAX_ANSWER))))
    assert len(post(site.url, json={}).body) == MAX_ANSWER


def test_an_answer_that_breaks_off_still_has_its_status(start: Callable[[Any], Any]) -> None:
    """The service has taken the message, and must not be given it again."""
    server = start(tcp(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"))
    answer = post(f"http://127.0.0.1:{server.port}/", json={})
    assert (answer.status, answer.body) == (200, b"half")


def test_an_answer_has_its_time(start: Callable[[Any], Any]) -> None:
    """Neither silence nor a byte now and then holds a channel for longer than the limit."""
    server = start(TcpServer(lambda sock: gevent.sleep(60)))
    begun = time.monotonic()
    error = failure(f"http://127.0.0.1:{server.port}/bot{SECRET}", timeout=0.2)
    assert (str(error), error.permanent) == ("no whole answer within 0.2 s", False)

    def drip(sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            sock.sendall(b"x")
            gevent.sleep(0.02)

    server = start(TcpServer(drip))
    assert "no whole answer" in str(failure(f"http://127.0.0.1:{server.port}/", timeout=0.2))
    assert time.monotonic() - begun < 20


def test_the_time_limit_of_whoever_calls_is_not_swallowed(start: Callable[[Any], Any]) -> None:
    """The dispatcher's own limit ends the request and comes out as itself."""
    server = start(TcpServer(lambda sock: gevent.sleep(60)))
    with gevent.Timeout(0.1) as outer, pytest.raises(gevent.Timeout) as caught:
        post(f"http://127.0.0.1:{server.port}/", json={})
    assert caught.value is outer


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"", "remote end closed connection without response"),
        (b"220 mail.test ESMTP\r\n", "what came is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz", "what came is not a whole HTTP answer"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 100, "what came is not a whole HTTP answer"),
    ],
)
def test_what_is_no_answer_is_told_and_tried_again(
    start: Callable[[Any], Any], answer: bytes, told: str
) -> None:
    """Whatever a peer does, the error is one line and transient."""
    server = start(tcp(answer))
    error = failure(f"http://127.0.0.1:{server.port}/bot{SECRET}/x")
    assert (str(error).lower(), error.permanent) == (told.lower(), False)


def test_a_service_that_is_not_there_is_tried_again() -> None:
    """Nothing listens, or the name is unknown: neither is the message's fault."""
    error = failure(f"http://127.0.0.1:{free_port()}/bot{SECRET}/x")
    assert (str(error), error.permanent) == ("connection refused", False)
    error = failure(f"http://nowhere.invalid/bot{SECRET}/x")
    assert str(error).startswith("name lookup failed")
    assert not error.permanent


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("http://127.0.0.1:1/bot{0} /x\n", {}),
        ("http://127.0.0.1:99999/{0}", {}),
        ("http://[127.0.0.1/{0}", {}),
        ("http:///{0}", {}),
        ("http://127.0.0.1:1/", {"Authorization": "Bearer {0}\nX: y"}),
        ("http://127.0.0.1:1/", {"Authorization": "Bearer {0} ключ"}),
    ],
)
def test_what_cannot_be_sent_is_permanent_and_does_not_show_itself(url: str, headers: dict[str, str]) -> None:
    """The libraries' own errors would show the URL or the header, and so the token."""
    filled = {name: value.format(SECRET) for name, value in headers.items()}
    error = failure(url.format(SECRET), headers=filled, timeout=5.0)
    assert error.permanent or "refused" in str(error)  # a space in a path is quoted


def test_a_certificate_must_be_trusted_unless_told_otherwise(
    start: Callable[[Any], Any], tmp_path: Path
) -> None:
    """By default that of the system's authorities; one of a company's own, or none at all, is a setting."""
    made, ca_file = authority(tmp_path)
    site = start(Site(context=server_context(made.issue_cert("127.0.0.1"))))
    error = failure(f"{site.url}/bot{SECRET}")
    assert str(error).startswith("certificate not trusted")
    assert not error.permanent
    for tls in (TlsSettings(ca_file=ca_file), TlsSettings(verify=False)):
        assert HttpSettings(tls=tls).post(site.url, json={}).ok
    other = start(Site(context=server_context(made.issue_cert("other.test"))))
    assert "certificate not trusted" in str(failure(other.url, verify=ca_file))


def test_a_proxy_is_used_for_both_schemes(start: Callable[[Any], Any], tmp_path: Path) -> None:
    """One that refuses is told as what it is, and tried again."""
    made, ca_file = authority(tmp_path)
    site = start(Site())
    proxy = start(Proxy(site.port))
    assert HttpSettings(proxy=proxy.url).post("http://hooks.test/x", json={}).ok
    secure = start(Site(context=server_context(made.issue_cert("hooks.test"))))
    tunnel = start(Proxy(secure.port))
    settings = HttpSettings(proxy=tunnel.url, tls=TlsSettings(ca_file=ca_file))
    assert settings.post("https://hooks.test/x", json={}).ok
    assert [line.rpartition(" ")[0] for line in tunnel.asked] == ["CONNECT hooks.test:443"]
    closed = start(Proxy())
    error = failure(f"https://hooks.test/{SECRET}", proxy=closed.url)
    assert (str(error), error.permanent) == ("Tunnel connection failed: 502 Bad Gateway", False)


def test_the_proxy_of_the_environment_is_used(
    start: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As other programs do, and not for hosts that it excepts."""
    site = start(Site())
    proxy = start(Proxy(site.port))
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert post("http://hooks.test/x", json={}).ok
    assert post(site.url, json={}).ok
    assert len(proxy.asked) == 1


def test_a_base_url_replaces_scheme_and_host(start: Callable[[Any], Any]) -> None:
    """The path that a service documents is kept."""
    site = start(Site())
    HttpSettings(base_url=f"{site.url}/gate/").post("https://api.test/v1/send?x=1", json={})
    assert (site.seen[0]["PATH_INFO"], site.seen[0]["QUERY_STRING"]) == ("/gate/v1/send", "x=1")


def test_a_redirect_is_not_followed(start: Callable[[Any], Any]) -> None:
    """The message would go where nobody sent it; the error says where that is, without the token."""
    other = start(Site())
    site = start(Site(lambda environ: ("302 Found", {"Location": f"{other.url}/bot{SECRET}/y"}, b"")))
    answer = post(f"{site.url}/x", json={}, secrets=(SECRET,))
    error = refused(answer)
    assert other.seen == []
    assert error.permanent
    assert str(error) == (
        f"302: redirected to {other.url}/bot***/y, which is not followed (give the right URL)"
    )


def answer(status: int, body: bytes = b"", **headers: str) -> Answer:
    """Return an answer; underscores in names of headers are hyphens."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, names, body, secrets=(SECRET,))


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 529])
def test_refusals_that_pass_are_transient(status: int) -> None:
    """The same message may be taken later."""
    error = refused(answer(status, b"<html><body>busy</body></html>"))
    assert (str(error), error.permanent, error.retry_after) == (f"{status}: busy", False, None)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 413, 415, 422, 451, 200])
def test_refusals_that_do_not_pass_are_permanent(status: int) -> None:
    """Trying again would only be refused again."""
    error = refused(answer(status), "the token is wrong\n(see bot_token)")
    assert (str(error), error.permanent) == (f"{status}: the token is wrong (see bot_token)", True)


def test_the_time_to_wait_is_the_services(start: Callable[[Any], Any]) -> None:
    """Seconds or a date in a header, or what the body says; never longer than the longest ban known."""
    assert refused(answer(429, retry_after="7")).retry_after == 7
    assert refused(answer(503, retry_after="7")).retry_after == 7
    assert refused(answer(429, retry_after="7"), after=0.748).retry_after == 0.748
    assert refused(answer(429), after=1e9).retry_after == LONGEST_SILENCE
    assert refused(answer(429), after=-1.0).retry_after == 0
    assert refused(answer(429, retry_after="soon")).retry_after is None
    present = datetime(2026, 8, 20, 12, 0, tzinfo=UTC)
    later = format_datetime(present + timedelta(seconds=90), usegmt=True)
    assert (
        refused(answer(429, retry_after=later, date=format_datetime(present, usegmt=True))).retry_after == 90
    )


def test_a_service_that_repeats_the_token_does_not_have_it_shown() -> None:
    """Whether the error shows the body, a field of it, or what a channel makes of that."""
    echo = answer(400, f"no such bot: {SECRET}".encode())
    shown = [str(refused(echo)), str(refused(echo, f"no such bot: {SECRET}")), echo.snippet, repr(echo)]
    shown.append(echo.words("x" * 195 + SECRET))  # cut inside of it
    assert not [text for text in shown if SECRET[:5] in text]
    assert (echo.words(7), echo.words(" a\n b ")) == ("", "a b")
