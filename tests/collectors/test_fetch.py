"""The polite HTTP client, against real servers on loopback."""

from __future__ import annotations

import gzip
import itertools
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, formatdate
from typing import Any

import gevent
import pytest
import trustme
from gevent import socket

from oculus import __version__
from oculus.collectors.base import Context
from oculus.collectors.fetch import Fetcher, Request, SourceError, redact
from oculus.collectors.manners import Backoff, Bucket, Rate
from tests.support.certificates import server_context
from tests.support.clocks import Clock
from tests.support.proxy import Proxy
from tests.support.servers import HttpServer, TcpServer, free_port

Respond = Callable[[dict[str, Any]], tuple[int, dict[str, str], bytes]]


class Site:
    """An HTTP server that notes requests and answers what `respond` says."""

    def __init__(self, respond: Respond | None = None, **options: Any) -> None:
        self.respond: Respond = respond or (lambda environ: (200, {}, b'{"value": 1}'))
        self.seen: list[dict[str, Any]] = []
        self._server = HttpServer(self._application, **options)
        self.url, self.port = self._server.url, self._server.port
        # Head and body go out in two pieces; the second would wait for the first to be acknowledged.
        self._server._server.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _application(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ["body"] = environ["wsgi.input"].read()
        self.seen.append(environ)
        status, headers, body = self.respond(environ)
        start_response(f"{status} Said", [("Content-Type", "application/json"), *headers.items()])
        return [body] if body else []

    def stop(self) -> None:
        """End it."""
        self._server.stop()


@pytest.fixture
def site() -> Iterator[Callable[..., Site]]:
    """Start sites, stopped at the end."""
    running: list[Site] = []

    def start(*arguments: Any, **options: Any) -> Site:
        running.append(Site(*arguments, **options))
        return running[-1]

    yield start
    for each in running:
        each.stop()


@pytest.fixture
def proxy() -> Iterator[Callable[..., Proxy]]:
    """Start proxies, stopped at the end."""
    running: list[Proxy] = []

    def start(to: int = 0) -> Proxy:
        running.append(Proxy(to))
        return running[-1]

    yield start
    for each in running:
        each.stop()


@pytest.fixture
def clock() -> Clock:
    """A monotonic clock that is moved by hand."""
    return Clock()


@pytest.fixture
def fetcher(clock: Clock) -> Iterator[Fetcher]:
    """A fetcher on that clock."""
    made = Fetcher(clock, clock.sleep)
    yield made
    made.close()


def always(status: int = 200, body: bytes = b"{}", **headers: str) -> Respond:
    """Answer this to everything."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda environ: (status, named, body)


def refusal(fetcher: Fetcher, request: Request) -> SourceError:
    """Return the error of a fetch that must fail."""
    with pytest.raises(SourceError) as caught:
        fetcher.fetch(request)
    return caught.value


# -- what is asked ------------------------------------------------------------------------------------


def test_a_request_arrives_as_it_was_meant(site: Callable[..., Site], fetcher: Fetcher) -> None:
    """Method, parameters, headers and body; the User-Agent names Oculus, and there is no other decoration."""
    made = site()
    request = Request(f"{made.url}/a?x=1", (("ids", "b,c"), ("q", "ä&")), "POST", {"X-Key": "k"}, b'{"y": 2}')
    answer = fetcher.fetch(request)
    assert answer.json() == {"value": 1}
    (seen,) = made.seen
    assert seen["REQUEST_METHOD"] == "POST"
    assert seen["QUERY_STRING"] == "x=1&ids=b,c&q=%C3%A4%26"
    assert seen["body"] == b'{"y": 2}'
    assert seen["HTTP_X_KEY"] == "k"
    agent = seen["HTTP_USER_AGENT"]
    assert f"Oculus/{__version__}" in agent
    assert "python" not in agent.lower()
    assert "HTTP_COOKIE" not in seen


def test_a_user_agent_of_ones_own_replaces_it(site: Callable[..., Site], fetcher: Fetcher) -> None:
    """Some services want a contact in it."""
    made = site()
    fetcher.fetch(Request(made.url, headers={"User-Agent": "me@example.com"}))
    assert made.seen[0]["HTTP_USER_AGENT"] == "me@example.com"


def test_cookies_are_not_kept(site: Callable[..., Site], fetcher: Fetcher) -> None:
    """What a service hands out to recognise a client is not brought back."""
    made = site(always(Set_Cookie="id=42; Path=/"))
    for _ in range(2):
        fetcher.fetch(Request(made.url))
    assert all("HTTP_COOKIE" not in seen for seen in made.seen)


def test_a_kept_connection_that_was_closed_is_replaced(
    tcp_server: Callable[..., TcpServer], fetcher: Fetcher
) -> None:
    """A server may close a connection just when it is used again: a GET is sent once more, a POST is not."""

    def once(sock: socket.socket) -> None:
        sock.recv(65_536)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        sock.recv(65_536)  # the next request, which gets no answer

    server = tcp_server(once)
    url = f"http://127.0.0.1:{server.port}/"
    for _ in range(3):
        assert fetcher.fetch(Request(url)).json() == {}
    assert server.accepted == 3
    assert str(refusal(fetcher, Request(url, method="POST", body=b"{}")))
    assert server.accepted == 3


# -- what comes back ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"a": 1', b'{"a": NaN}', b'{"a": Infinity}', b"\xff\xfe", b"[" * 60_000]
)
def test_what_is_no_json_is_an_error(body: bytes, site: Callable[..., Site], fetcher: Fetcher) -> None:
    """Anything but JSON, NaN and infinity included, is told with how it begins."""
    made = site(always(body=body))
    answer = fetcher.fetch(Request(made.url))
    with pytest.raises(SourceError, match="the answer is not JSON") as caught:
        answer.json()
    assert len(str(caught.value)) < 200


def test_a_long_body_is_parsed_beside_the_hub(site: Callable[..., Site], fetcher: Fetcher) -> None:
    """Greenlets run on while megabytes are parsed."""
    made = site(always(body=b"[" + b'{"price": "81250.11", "n": [1, 2]},' * 60_000 + b"1]"))
    answer = fetcher.fetch(Request(made.url))
    ticks: list[float] = []

    def tick() -> None:
        while True:
            ticks.append(time.perf_counter())
            gevent.sleep(0.001)

    ticking = gevent.spawn(tick)
    gevent.sleep(0.01)
    assert len(answer.json()) == 60_001
    ticking.kill()
    assert len(ticks) > 15


def test_an_error_shows_the_words_of_a_page(site: Callable[..., Site], fetcher: Fetcher) -> None:
    """Of an HTML page only its text is shown, and not more than a line; never the secrets."""
    page = b"<html><title>Bad   gateway</title>\n<p>key=s3cret " + b"long " * 100
    made = site(always(502, page))
    answer = fetcher.fetch(Request(made.url, secrets=("s3cret", "")))
    with pytest.raises(SourceError) as caught:
        answer.json()
    assert str(caught.value).startswith("status 502: Bad gateway key=*** long long")
    assert len(str(caught.value)) < 110


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_is_bounded(declared: bool, site: Callable[..., Site], fetcher: Fetcher) -> None:
    """A body of more than the bound is refused, at once where its length was announced."""
    sent = itertools.count()

    def pieces() -> Iterator[bytes]:
        for _ in range(500):
            next(sent)
            yield b"x" * 100_000

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        length = [("Content-Length", "50000000")] if declared else []
        start_response("200 OK", length)
        return pieces()

    server = HttpServer(application)
    try:
        error = refusal(fetcher, Request(server.url, max_body=1_000_000))
    finally:
        server.stop()
    assert str(error) == "a body of more than 1 MB"
    assert next(sent) < 200  # what fits into the sockets' buffers


def test_a_compressed_body_counts_as_unpacked(site: Callable[..., Site], fetcher: Fetcher) -> None:
    """A small body that unpacks to a large one is refused; an ordinary one is unpacked."""
    made = site(always(body=gzip.compress(b" " * 3_000_000 + b"1"), Content_Encoding="gzip"))
    assert fetcher.fetch(Request(made.url)).json() == 1
    assert str(refusal(fetcher, Request(made.url, max_body=2_000_000))) == "a body of more than 2 MB"
    made.respond = always(body=b"no gzip", Content_Encoding="gzip")
    assert str(refusal(fetcher, Request(made.url)))


def test_the_time_limit_is_for_all_of_it(tcp_server: Callable[..., TcpServer], fetcher: Fetcher) -> None:
    """Connection, head and body together; a server that sends byte after byte is cut off."""

    def drip(sock: socket.socket) -> None:
        sock.recv(65_536)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            sock.sendall(b"x")
            gevent.sleep(0.02)

    server = tcp_server(drip)
    started = time.monotonic()
    error = refusal(fetcher, Request(f"http://127.0.0.1:{server.port}/", timeout=0.2))
    assert 0.15 < time.monotonic() - started < 2.0
    assert str(error) == "no whole answer within 0.2 s"


def test_interim_answers_have_an_end(
    tcp_server: Callable[..., TcpServer], proxy: Callable[..., Proxy], fetcher: Fetcher
) -> None:
    """A server that says 100 and nothing else would hold the hub for good; one or two are passed over."""

    def serve(sock: socket.socket) -> None:
        asked = sock.recv(65_536)
        count = 2 if b"/fine" in asked else 100
        last = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
        sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * count + last)

    port = tcp_server(serve).port
    url = f"http://127.0.0.1:{port}"
    for through in ("", f"http://127.0.0.1:{proxy(port).port}"):
        assert fetcher.fetch(Request(f"{url}/fine", proxy=through)).json() == {}
        assert str(refusal(fetcher, Request(f"{url}/flood", proxy=through))) == "more than 20 interim answers"


def test_the_time_limit_of_a_caller_goes_through(
    tcp_server: Callable[..., TcpServer], fetcher: Fetcher
) -> None:
    """A timeout that is not the request's own is not taken for it."""
    server = tcp_server(lambda sock: gevent.sleep(10.0))
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.05):
        fetcher.fetch(Request(f"http://127.0.0.1:{server.port}/"))


def test_failures_are_told_in_words(
    site: Callable[..., Site], tcp_server: Callable[..., TcpServer], fetcher: Fetcher
) -> None:
    """Refused, unknown, reset and garbled: a few words each, without the library's wrapping."""
    garbled = tcp_server(lambda sock: sock.sendall(b"SSH-2.0-OpenSSH\r\n"))
    cut = tcp_server(lambda sock: sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"))
    urls = {
        f"http://127.0.0.1:{free_port()}/": "refused",
        "http://no-such-host.invalid/": "",
        f"http://127.0.0.1:{garbled.port}/?key=s3cret": "what came is not HTTP: 'SSH-2.0-OpenSSH'",
        f"http://127.0.0.1:{cut.port}/": "",
        "http://[bad/": "not a URL",
        "http:///nowhere": "",
    }
    for url, expected in urls.items():
        told = str(refusal(fetcher, Request(url, timeout=5.0, secrets=("s3cret",))))
        assert expected in told
        assert told.strip()
        assert len(told) < 250
        for ugly in ("s3cret", "HTTPConnection", "object at", "Max retries"):
            assert ugly not in told


@pytest.mark.filterwarnings("ignore:Unverified HTTPS")
def test_tls_is_verified(site: Callable[..., Site], fetcher: Fetcher, tmp_path: Any) -> None:
    """A certificate that nobody vouches for is refused, unless its authority is named."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    made = site(context=server_context(authority.issue_cert("127.0.0.1")))
    assert "certificate" in str(refusal(fetcher, Request(made.url)))
    assert fetcher.fetch(Request(made.url, verify=str(tmp_path / "ca.pem"))).status == 200
    assert fetcher.fetch(Request(made.url, verify=False)).status == 200
    assert "certificate" in str(refusal(fetcher, Request(made.url)))


# -- redirects ----------------------------------------------------------------------------------------


def test_redirects_are_followed_on_the_same_host(site: Callable[..., Site], fetcher: Fetcher) -> None:
    """A path may move; the answer is that of the new place."""

    def respond(environ: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        if environ["PATH_INFO"] == "/old":
            return 301, {"Location": "/new?b=2"}, b""
        return 200, {}, b'"new"'

    made = site(respond)
    assert fetcher.fetch(Request(f"{made.url}/old", (("a", "1"),))).json() == "new"
    assert [(seen["PATH_INFO"], seen["QUERY_STRING"]) for seen in made.seen] == [
        ("/old", "a=1"),
        ("/new", "b=2"),
    ]


@pytest.mark.parametrize(
    ("status", "method"), [(301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")]
)
def test_a_redirected_post_keeps_its_body_where_it_should(
    status: int, method: str, site: Callable[..., Site], fetcher: Fetcher
) -> None:
    """As browsers do: a GET after 301, 302 and 303, the same request after 307 and 308."""

    def respond(environ: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        return (status, {"Location": "/new"}, b"") if environ["PATH_INFO"] == "/old" else (200, {}, b"1")

    made = site(respond)
    fetcher.fetch(Request(f"{made.url}/old", method="POST", body=b"data"))
    assert made.seen[1]["REQUEST_METHOD"] == method
    assert made.seen[1]["body"] == (b"data" if method == "POST" else b"")


def test_another_host_is_not_followed(site: Callable[..., Site], fetcher: Fetcher) -> None:
    """Keys and limits are for one host; neither are other schemes, nor circles without end."""
    other = site()
    made = site()
    for location, reason in {
        other.url.replace("127.0.0.1", "127.0.0.2"): "another host, '127.0.0.2'",
        "//example.com/x": "another host, 'example.com'",
        "file:///etc/passwd": "redirected to",
        "/again": "more than 5 redirects",
    }.items():
        made.respond = always(302, Location=location)
        assert reason in str(refusal(fetcher, Request(made.url)))
    assert not other.seen


@pytest.mark.filterwarnings("ignore:Unverified HTTPS")
def test_tls_is_not_left_by_a_redirect(site: Callable[..., Site], fetcher: Fetcher) -> None:
    """From TLS to plain text is no way, even on the same host."""
    plain = site()
    context: ssl.SSLContext = server_context(trustme.CA().issue_cert("127.0.0.1"))
    made = site(always(302, Location=plain.url), context=context)
    assert str(refusal(fetcher, Request(made.url, verify=False))) == "redirected to http, away from https"
    assert not plain.seen


# -- politeness ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 418, 503])
def test_retry_after_in_seconds_is_obeyed(
    status: int, site: Callable[..., Site], fetcher: Fetcher, clock: Clock
) -> None:
    """The host is asked nothing for that time, to the second, and by nobody; then it is asked again."""
    made = site(always(status, b"too fast", Retry_After="30"))
    error = refusal(fetcher, Request(f"{made.url}/a"))
    assert error.retry_in == 30.0
    assert str(error) == f"status {status}: too fast (asked again after 30 s)"
    made.respond = always()
    clock.now += 29.99
    again = refusal(fetcher, Request(f"{made.url}/b"))
    assert again.retry_in == pytest.approx(0.01)
    assert len(made.seen) == 1
    clock.now += 0.02
    assert fetcher.fetch(Request(f"{made.url}/b")).status == 200


def test_retry_after_may_be_a_date(site: Callable[..., Site], fetcher: Fetcher) -> None:
    """The date is one of the wall clock; one that has passed, or is none, makes nobody wait for ever."""
    soon = datetime.now(UTC) + timedelta(seconds=90)
    made = site(always(429, Retry_After=format_datetime(soon.replace(microsecond=0), usegmt=True)))
    error = refusal(fetcher, Request(made.url))
    assert error.retry_in is not None
    assert 85.0 < error.retry_in <= 90.0
    for text, least, most in (
        (formatdate(0, usegmt=True), 0.0, 0.0),
        ("soon", 60.0, 90.0),
        ("-5", 60.0, 90.0),
    ):
        other = Fetcher()
        made.respond = always(429, Retry_After=text)
        told = refusal(other, Request(made.url)).retry_in
        other.close()
        assert told is not None
        assert least <= told <= most, text


@pytest.mark.parametrize("name", ["x-ratelimit-reset", "x-rate-limit-reset"])
def test_other_headers_that_tell_the_time(name: str, site: Callable[..., Site], fetcher: Fetcher) -> None:
    """Two services name the end of their window instead; a moment since 1970 is not taken for seconds."""
    made = site(lambda environ: (429, {name: "12"}, b""))
    assert refusal(fetcher, Request(made.url)).retry_in == 12.0
    other = Fetcher()
    made.respond = lambda environ: (429, {name: "1787184000"}, b"")
    told = refusal(other, Request(made.url)).retry_in
    other.close()
    assert told is not None
    assert 60.0 <= told <= 90.0


def test_a_silence_is_never_longer_than_days(site: Callable[..., Site], fetcher: Fetcher) -> None:
    """A service that names a year means no harm, and gets none."""
    made = site(always(429, Retry_After="31536000"))
    assert refusal(fetcher, Request(made.url)).retry_in == 3 * 86_400.0


def test_refusals_without_a_time_double_the_silence(
    site: Callable[..., Site], fetcher: Fetcher, clock: Clock
) -> None:
    """From about a minute to a quarter of an hour; a success ends that."""
    made = site(always(429))
    waits = []
    for _ in range(6):
        wait = refusal(fetcher, Request(made.url)).retry_in
        assert wait is not None
        waits.append(wait)
        clock.now += wait + 0.01
    for wait, first in zip(waits, (60, 120, 240, 480, 900, 900), strict=True):
        assert first <= wait <= min(first + 30, 900)
    made.respond = always()
    fetcher.fetch(Request(made.url))
    made.respond = always(429)
    assert (refusal(fetcher, Request(made.url)).retry_in or 999.0) <= 90.0


def test_refusals_of_one_moment_count_once(site: Callable[..., Site], fetcher: Fetcher) -> None:
    """Requests that were under way together are refused together; that is no reason to wait for an hour."""
    made = site(always(429))
    asking = [gevent.spawn(refusal, fetcher, Request(f"{made.url}/{number}")) for number in range(8)]
    waits = [greenlet.get().retry_in or 0.0 for greenlet in asking]
    assert len(made.seen) > 1
    assert 0.0 < max(waits) <= 90.0


def test_a_plain_503_is_an_answer(site: Callable[..., Site], fetcher: Fetcher) -> None:
    """Without a time it is a failure like others, which the caller backs off from."""
    made = site(always(503))
    assert fetcher.fetch(Request(made.url)).status == 503
    assert fetcher.fetch(Request(made.url)).status == 503


def test_silence_is_that_of_a_host(site: Callable[..., Site], fetcher: Fetcher) -> None:
    """Others are asked as before."""
    made, other = site(always(429, Retry_After="60")), site()
    refusal(fetcher, Request(made.url))
    assert fetcher.fetch(Request(other.url)).status == 200


def test_a_body_may_ask_for_silence(site: Callable[..., Site], fetcher: Fetcher, clock: Clock) -> None:
    """Services that refuse with a status of success are silenced by who reads the body."""
    made = site()
    request = Request(made.url)
    with pytest.raises(SourceError, match=r"slow down \(asked again after 15 s\)") as caught:
        fetcher.refuse(request, 15.0, "slow down")
    assert caught.value.retry_in == 15.0
    clock.now += 10.0
    assert refusal(fetcher, request).retry_in == 5.0
    assert not made.seen
    clock.now += 5.0
    assert fetcher.fetch(request).status == 200


def test_requests_wait_for_their_turn(site: Callable[..., Site], fetcher: Fetcher, clock: Clock) -> None:
    """A burst goes through, the rest as fast as the rate allows, whatever path is asked for."""
    made = site()
    rates = (Rate(3, 6.0),)
    times = []
    for number in range(6):
        fetcher.fetch(Request(f"{made.url}/{number}", rates=rates))
        times.append(clock.now - 1000.0)
    assert times == pytest.approx([0.0, 0.0, 0.0, 2.0, 4.0, 6.0])


def test_a_turn_that_comes_too_late_is_an_error(
    site: Callable[..., Site], fetcher: Fetcher, clock: Clock
) -> None:
    """Nobody waits for longer than the request's own time; it is told when it makes sense to come back."""
    made = site()
    request = Request(made.url, rates=(Rate(2, 3_600.0),), timeout=10.0)
    fetcher.fetch(request)
    fetcher.fetch(request)
    error = refusal(fetcher, request)
    assert "is used up for 30 min" in str(error)
    assert error.retry_in == pytest.approx(1_800.0)
    clock.now += 1_800.0
    fetcher.fetch(request)
    assert len(made.seen) == 3


def test_greenlets_share_the_bucket_of_a_host(site: Callable[..., Site]) -> None:
    """Many who ask at once get no more than one who asks often, and none of them waits for ever."""
    made, fetcher = site(), Fetcher()
    request = Request(made.url, rates=(Rate(5, 0.5),))
    started = time.monotonic()
    gevent.joinall([gevent.spawn(fetcher.fetch, request) for _ in range(9)], raise_error=True)
    assert time.monotonic() - started > 0.39
    assert len(made.seen) == 9
    fetcher.close()


def test_a_bucket_keeps_all_its_rates() -> None:
    """The strictest at the moment counts; a rate that was once named holds for who does not name it."""
    clock = Clock(0.0)
    bucket = Bucket(clock)
    both = (Rate(2, 1.0), Rate(3, 60.0))
    assert [bucket.take(both) for _ in range(2)] == [0.0, 0.0]
    assert bucket.take(both) == pytest.approx(0.5)
    clock.now += 0.5
    assert bucket.take(()) == 0.0
    assert bucket.take(()) == pytest.approx(19.5)
    clock.now += 3_600.0
    assert [bucket.take(both) for _ in range(2)] == [0.0, 0.0]  # no more than a burst is saved up


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("10/s", Rate(10, 1.0)),
        ("30/m", Rate(30, 60.0)),
        ("5/10s", Rate(5, 10.0)),
        (" 25 / d ", Rate(25, 86_400.0)),
    ],
)
def test_rates_are_written_as_people_do(text: str, rate: Rate) -> None:
    """Requests, a stroke, and a time."""
    assert Rate.parse(text) == rate


@pytest.mark.parametrize("text", ["", "10", "0/s", "-1/s", "10/0s", "10/y", "1.5/s", "ten/s"])
def test_what_is_no_rate_is_told(text: str) -> None:
    """The message shows what would be right."""
    with pytest.raises(ValueError, match="is not a rate \\(such as 10/s"):
        Rate.parse(text)


def test_pauses_double_with_jitter() -> None:
    """So that those who failed together do not come back together; success begins anew."""
    backoff = Backoff(2.0, 60.0)
    pauses = [backoff.fail() for _ in range(200)]
    for pause, first in zip(pauses, (2, 4, 8, 16, 32, 60, 60), strict=False):
        assert first <= pause <= min(first + 1.0, 60.0)
    assert pauses[-1] == 60.0
    backoff.succeed()
    assert backoff.fail() <= 3.0
    assert len({Backoff(2.0, 60.0).fail() for _ in range(20)}) > 1


# -- conditional requests -----------------------------------------------------------------------------


def tagged(environ: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    """Answer with a validator, and 304 to who has it."""
    if environ.get("HTTP_IF_NONE_MATCH") == '"v1"':
        return 304, {"ETag": '"v1"'}, b""
    return 200, {"ETag": '"v1"'}, b'{"version": 1}'


def test_an_unchanged_answer_is_not_sent_again(site: Callable[..., Site], fetcher: Fetcher) -> None:
    """Who offers an ETag is asked with it; 304 stands for the body of before, received now."""
    made = site(tagged)
    request = Request(f"{made.url}/x", (("a", "1"),))
    first, again = fetcher.fetch(request), fetcher.fetch(request)
    assert again.json() == first.json() == {"version": 1}
    assert again.status == 200
    assert again.received > first.received
    assert [seen.get("HTTP_IF_NONE_MATCH") for seen in made.seen] == [None, '"v1"']
    fetcher.fetch(replace(request, params=(("a", "2"),)))
    assert "HTTP_IF_NONE_MATCH" not in made.seen[-1]


def test_a_date_is_a_validator_too(site: Callable[..., Site], fetcher: Fetcher) -> None:
    """Last-Modified is sent back as it came."""
    date = "Wed, 19 Aug 2026 00:00:00 GMT"
    made = site(always(Last_Modified=date))
    for _ in range(2):
        fetcher.fetch(Request(made.url))
    assert made.seen[1]["HTTP_IF_MODIFIED_SINCE"] == date


def test_failures_and_posts_are_not_remembered(site: Callable[..., Site], fetcher: Fetcher) -> None:
    """A 304 that nobody asked for is an answer without a body."""
    made = site(always(500, ETag='"v1"'))
    fetcher.fetch(Request(made.url))
    made.respond = tagged
    fetcher.fetch(Request(made.url, method="POST", body=b""))
    fetcher.fetch(Request(made.url))
    assert [seen.get("HTTP_IF_NONE_MATCH") for seen in made.seen] == [None, None, None]
    made.respond = always(304, b"")
    assert fetcher.fetch(Request(f"{made.url}/other")).status == 304


def test_what_is_remembered_is_bounded(site: Callable[..., Site], fetcher: Fetcher) -> None:
    """The least recent answers are forgotten, and large ones are never kept."""
    made = site(tagged)
    for number in range(205):
        fetcher.fetch(Request(f"{made.url}/{number}"))
    made.seen.clear()
    for number in (4, 204):
        fetcher.fetch(Request(f"{made.url}/{number}"))
    assert [seen.get("HTTP_IF_NONE_MATCH") for seen in made.seen] == [None, '"v1"']
    made.respond = always(body=b"1" * 300_000, ETag='"big"')
    for _ in range(2):
        fetcher.fetch(Request(f"{made.url}/big"))
    assert "HTTP_IF_NONE_MATCH" not in made.seen[-1]


# -- proxies ------------------------------------------------------------------------------------------


def test_requests_go_through_a_proxy(
    site: Callable[..., Site], proxy: Callable[..., Proxy], fetcher: Fetcher
) -> None:
    """Plain requests with their whole URL; the proxy finds the host, which need not be known here."""
    made = site()
    through = proxy(made.port)
    request = Request("http://prices.invalid/x", (("a", "1"),), proxy=through.url)
    assert fetcher.fetch(request).json() == {"value": 1}
    assert through.asked == ["GET http://prices.invalid/x?a=1 HTTP/1.1"]


def test_tls_goes_through_a_tunnel(
    site: Callable[..., Site], proxy: Callable[..., Proxy], fetcher: Fetcher, tmp_path: Any
) -> None:
    """The proxy learns the host alone, and the certificate is that of the host."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    made = site(context=server_context(authority.issue_cert("prices.invalid")))
    through = proxy(made.port)
    request = Request("https://prices.invalid/x?key=1", proxy=through.url, verify=str(tmp_path / "ca.pem"))
    assert fetcher.fetch(request).json() == {"value": 1}
    (asked,) = through.asked
    assert asked.startswith("CONNECT prices.invalid:443 HTTP/")


def test_a_proxy_that_refuses_is_told(proxy: Callable[..., Proxy], fetcher: Fetcher) -> None:
    """The reason names the proxy's answer, not the library's wrapping."""
    told = str(refusal(fetcher, Request("https://prices.invalid/?key=s3cret", proxy=proxy().url)))
    assert "502" in told
    assert "s3cret" not in told
    gone = f"http://user:s3cret@127.0.0.1:{free_port()}"
    told = str(refusal(fetcher, Request("https://prices.invalid/", proxy=gone)))
    assert "refused" in told
    assert "s3cret" not in told


def test_the_proxy_of_the_environment_is_used(
    site: Callable[..., Site], proxy: Callable[..., Proxy], fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the host is among those that need none, or another proxy is set."""
    made = site()
    through, other = proxy(made.port), proxy(made.port)
    monkeypatch.setenv("http_proxy", through.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    fetcher.fetch(Request("http://prices.invalid/"))
    fetcher.fetch(Request(made.url))
    fetcher.fetch(Request("http://prices.invalid/", proxy=other.url))
    assert (len(through.asked), len(other.asked), len(made.seen)) == (1, 1, 3)


# -- the rest -----------------------------------------------------------------------------------------


def test_a_daemon_has_one_fetcher() -> None:
    """All collectors share it, and it is closed with the daemon."""
    context = Context()
    assert Fetcher.of(context) is Fetcher.of(context)
    context.close()


def test_secrets_are_left_out_of_texts() -> None:
    """An empty secret is none."""
    assert redact("a key-1 b key-1", ("key-1", "")) == "a *** b ***"


def test_many_at_once_are_served_side_by_side(site: Callable[..., Site], fetcher: Fetcher) -> None:
    """A slow host holds nobody else up."""

    def slow(environ: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        gevent.sleep(0.3)
        return 200, {}, b"1"

    made = site(slow)
    started = time.monotonic()
    gevent.joinall(
        [gevent.spawn(fetcher.fetch, Request(f"{made.url}/{number}")) for number in range(20)],
        raise_error=True,
    )
    assert time.monotonic() - started < 2.0
