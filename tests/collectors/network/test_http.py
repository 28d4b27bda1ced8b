"""The HTTP probe against real servers: every symbol, every phase, and everything that a server can do."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import gevent
import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from gevent import socket

from oculus.collectors.base import Context
from oculus.collectors.network.http_answer import MAX_BODY
from oculus.collectors.network.http_expect import ExpectSettings, StatusSet
from oculus.collectors.network.http_request import check_url
from oculus.collectors.network.probe import ProbeError
from oculus.collectors.network.tls import TlsSettings, client_context, not_after
from oculus.model import Sample
from oculus.supervise import Watchdog
from tests.support import probes
from tests.support.certificates import authority, der, in_days, server_context
from tests.support.daemon import ROOT
from tests.support.name_server import ZoneServer
from tests.support.probes import answer, failure, forever, in_turn, ok, values
from tests.support.servers import HttpServer, TcpServer, free_port, full_port

TcpServers = Callable[..., TcpServer]
HttpServers = Callable[..., HttpServer]

PHASES = {"dns", "connect", "tls", "ttfb"}
UNVERIFIED = TlsSettings(verify=False)


def fetch(target: str, **settings: Any) -> dict[str, Sample]:
    """Probe a URL once."""
    return probes.run(probes.probe("http", target, **settings))


def fetch_raw(tcp_server: TcpServers, serve: probes.Serve, **settings: Any) -> dict[str, Sample]:
    """Probe a server that does `serve` with its connections."""
    return fetch(f"http://127.0.0.1:{tcp_server(serve).port}/", **settings)


def expecting(status: str) -> ExpectSettings:
    """Return settings that expect these status codes."""
    return ExpectSettings(status=StatusSet.parse(status))


# -- a target that is up --------------------------------------------------------------------------------


def test_a_success_yields_every_symbol(http_server: HttpServers) -> None:
    """Over plain HTTP a success has rtt, status, up and all phases, of which tls is 0; no cert_days."""
    samples = fetch(http_server().url)
    assert set(samples) == PHASES | {"rtt", "status", "up"}
    found = values(samples)
    assert found["up"] == 1.0
    assert found["status"] == 200.0
    assert found["tls"] == 0.0
    assert 0.0 < found["connect"] + found["ttfb"] + found["dns"] <= found["rtt"] + 0.002
    assert all(sample.tags == {} for sample in samples.values())


def test_values_are_rounded_to_the_microsecond(http_server: HttpServers) -> None:
    """Times carry three decimals of a millisecond: noise digits would triple the size on disk."""
    for value in values(fetch(http_server().url)).values():
        assert value == round(value, 3)


def test_the_time_to_the_first_byte_is_apart_from_the_transfer(tcp_server: TcpServers) -> None:
    """What the body takes counts for rtt and not for ttfb; what the server thinks counts for both."""

    def slow_body(sock: socket.socket) -> None:
        probes.read_request(sock)
        gevent.sleep(0.1)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
        gevent.sleep(0.3)
        sock.sendall(b"k")

    found = values(fetch_raw(tcp_server, slow_body))
    assert found["ttfb"] >= 95.0
    assert found["rtt"] - found["ttfb"] >= 290.0


def test_every_sample_carries_its_target_and_the_users_tags() -> None:
    """The scheduler adds a collector's own tags: the user's, and the URL as `target`."""
    collector = probes.probe("http", "http://127.0.0.1:1/", tags={"site": "home"})
    assert collector.tags == {"site": "home", "target": "http://127.0.0.1:1/"}


def test_symbols_are_made_of_the_name(http_server: HttpServers) -> None:
    """Symbols are `net.http.<name>.<part>`."""
    collector = probes.probe("http", http_server().url)
    assert {sample.symbol.rpartition(".")[0] for sample in collector.collect()} == {"net.http.t"}


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param((ok(),), id="content length"),
        pytest.param((ok(b""),), id="empty body"),
        pytest.param((b"HTTP/1.1 200 OK\r\n\r\n", b"until", b" close"), id="until close"),
        pytest.param((b"HTTP/1.0 200 OK\r\n\r\nold",), id="HTTP/1.0"),
        pytest.param((b"HTTP/1.1 200 OK\nContent-Length: 4\n\n\r\n\r\n",), id="lines without CR"),
        pytest.param((b"HTTP/1.1 200 OK\nContent-Length: 1\n", b"\n", b"x"), id="in pieces, without CR"),
        pytest.param((b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",), id="no reason phrase"),
        pytest.param((b"HTTP/1.1 200 \r\ncontent-LENGTH:0\r\n\r\n",), id="odd spelling"),
        pytest.param((b"HTTP/1.1 200 OK\r\nX: \xff\xfe\r\nContent-Length: 0\r\n\r\n",), id="latin-1 header"),
        pytest.param((b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 0\r\n\r\n",), id="line without colon"),
        pytest.param(tuple(bytes([byte]) for byte in ok(b"slow")), id="byte by byte"),
        pytest.param(
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",), id="chunked"
        ),
        pytest.param(
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", b"5", b"\r", b"\nhel", b"lo\r\n0\r\n"),
            id="chunks cut anywhere",
        ),
        pytest.param(
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                b"A;name=value\r\n0123456789\r\n0000\r\nTrailer: x\r\n\r\n",
            ),
            id="chunk extensions and trailers",
        ),
        pytest.param(
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                b"".join(
                    b"%x\r\n" % size + b"x" * size + b"\r\n"
                    for size in (1, 70_000, 65_536, 65_535, 3, 300_000)
                ),
                b"0\r\n\r\n",
            ),
            id="chunks beyond a buffer",
        ),
        pytest.param((b"HTTP/1.1 100 Continue\r\n\r\n", ok()), id="interim answer"),
        pytest.param(
            (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + ok(),),
            id="interim answers in one piece",
        ),
    ],
)
def test_bodies_are_read_to_their_end(tcp_server: TcpServers, pieces: tuple[bytes, ...]) -> None:
    """Every framing of RFC 9112 is understood, however it is cut into packets."""
    found = values(fetch_raw(tcp_server, answer(*pieces)))
    assert found["up"] == 1.0
    assert found["status"] == 200.0


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_an_answer_without_a_body_is_not_waited_for(tcp_server: TcpServers, status: str) -> None:
    """After 204 and 304 the answer is over, though the server keeps the connection open."""
    serve = answer(f"HTTP/1.1 {status}\r\n\r\n".encode(), hold=True)
    found = values(fetch_raw(tcp_server, serve, expect=expecting("204,304")))
    assert found["up"] == 1.0


def test_a_body_is_not_waited_for_beyond_its_length(tcp_server: TcpServers) -> None:
    """The framing ends the body, not the connection."""
    assert fetch_raw(tcp_server, answer(ok(), hold=True))["up"].value == 1.0


# -- requests -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rest", "line"),
    [
        ("", b"GET / HTTP/1.1"),
        ("/a/b?c=d&e=%20f", b"GET /a/b?c=d&e=%20f HTTP/1.1"),
        ("?q=1", b"GET /?q=1 HTTP/1.1"),
        ("/page#part", b"GET /page HTTP/1.1"),
        ("/gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n", b"GET /gr%C3%BCn HTTP/1.1"),
        ("/[x]{y}", b"GET /[x]%7By%7D HTTP/1.1"),
    ],
)
def test_the_path_is_sent_as_urls_are(tcp_server: TcpServers, rest: str, line: bytes) -> None:
    """The request line holds path and query, quoted where they must be, and no fragment."""
    asked: list[bytes] = []

    def serve(sock: socket.socket) -> None:
        asked.append(probes.read_request(sock))
        sock.sendall(ok())

    port = tcp_server(serve).port
    assert fetch(f"http://127.0.0.1:{port}{rest}")["up"].value == 1.0
    lines = asked[0].split(b"\r\n")
    assert lines[0] == line
    assert f"Host: 127.0.0.1:{port}".encode() in lines
    assert b"Connection: close" in lines


def test_credentials_of_a_url_are_no_part_of_its_host(tcp_server: TcpServers) -> None:
    """`user:password@` is no part of the Host header."""
    asked: list[bytes] = []

    def serve(sock: socket.socket) -> None:
        asked.append(probes.read_request(sock))
        sock.sendall(ok())

    port = tcp_server(serve).port
    fetch(f"http://user:secret@127.0.0.1:{port}/")
    assert b"secret" not in asked[0]
    assert f"\r\nHost: 127.0.0.1:{port}\r\n".encode() in asked[0]


@pytest.mark.parametrize(
    "url",
    ["https://example.com", "http://[::1]:8080/x?y#z", "http://host:1/", "HTTP://EXAMPLE.COM/%20",
     "http://user@host/", "http://user:pass%40word@host/"],
)  # fmt: skip
def test_urls_that_can_be_fetched_are_taken(url: str) -> None:
    """Both schemes, ports, IPv6 addresses, queries."""
    check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "example.com", "ftp://example.com", "http://", "http:///path", "https://:443/", "http://host:port/",
        "http://host:99999/", "http://a b/", "http://host/a b", "http://host/\n", "http://host/\x7f",
        "http://user@/", "http://[::1", "", "javascript:alert(1)",
    ],
)  # fmt: skip
def test_urls_that_cannot_be_fetched_are_refused(url: str) -> None:
    """Other schemes, no host, bad ports, spaces and control characters."""
    with pytest.raises(ValueError):  # noqa: PT011 - the text differs, the type is the contract
        check_url(url)


# -- status ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "expected", "up"),
    [
        (200, "200-299", True), (299, "200-299", True), (300, "200-299", False), (199 + 1, "201", False),
        (404, "200-299,404", True), (500, "500-599", True), (503, "200-299", False), (999, "200-299", False),
        (418, "418", True),
    ],
)  # fmt: skip
def test_the_status_decides(tcp_server: TcpServers, status: int, expected: str, up: bool) -> None:
    """The target is up when the status is in the expected set; the status is stored either way."""
    samples = fetch_raw(
        tcp_server, answer(ok(status=f"{status} Told")), expect=expecting(expected), redirects=0
    )
    assert samples["status"].value == status
    assert samples["up"].value == float(up)
    assert ("rtt" in samples) == up
    if not up:
        assert failure(samples) == ("expect", f"status {status}, expected {expected}")


def test_a_wrong_status_keeps_its_phases(tcp_server: TcpServers) -> None:
    """An answer that is not the expected one was measured all the same: phases and status are stored."""
    samples = fetch_raw(tcp_server, answer(ok(status="500 Oops")))
    assert set(samples) == PHASES | {"status", "up"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [("200", "200"), ("200-299", "200-299"), (" 200 - 299 , 404 ", "200-299,404"), ("100-599", "100-599")],
)
def test_sets_of_status_codes_are_read(text: str, shown: str) -> None:
    """Codes and ranges, separated by commas; spaces are free."""
    assert str(StatusSet.parse(text)) == shown


@pytest.mark.parametrize("text", ["", "2xx", "200-", "-200", "299-200", "99", "600", "200,,201", "200;300"])
def test_what_is_no_set_of_status_codes_is_refused(text: str) -> None:
    """Typing errors and codes that HTTP does not have."""
    with pytest.raises(ValueError, match="status codes"):
        StatusSet.parse(text)


# -- broken servers -------------------------------------------------------------------------------------

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("pieces", "phase", "error"),
    [
        ((), "ttfb", "connection closed before the answer"),
        ((b"HTT",), "transfer", "answer cut short"),
        ((b"HTTP/1.1 200 OK\r\nContent-Le",), "transfer", "answer cut short"),
        ((b"HTTP/1.1 100 Continue\r\n\r\n",), "transfer", "connection closed before the answer"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfour",), "transfer", "body cut short: 4 of 9 bytes"),
        ((CHUNKED,), "transfer", "body cut short"),
        ((CHUNKED, b"5\r\nhel"), "transfer", "body cut short"),
        ((CHUNKED, b"5\r\nhello\r\n"), "transfer", "body cut short"),
        ((b"SSH-2.0-OpenSSH_9.2\r\n",), "transfer", "the answer is not HTTP"),
        ((b"\x00\xff\x00\xff\r\n\r\n",), "transfer", "the answer is not HTTP"),
        ((b"ICY 200 OK\r\n\r\n",), "transfer", "the answer is not HTTP"),
        ((b"HTTP/1.1 abc OK\r\n\r\n",), "transfer", "the answer's status line is not HTTP"),
        ((b"HTTP/1.1 20 OK\r\n\r\n",), "transfer", "the answer's status line is not HTTP"),
        ((b"HTTP/1.1 2000 OK\r\n\r\n",), "transfer", "the answer's status line is not HTTP"),
        ((b"HTTP/1.1\r\n\r\n",), "transfer", "the answer's status line is not HTTP"),
        ((b"HTTP/ 200 OK\r\n\r\n",), "transfer", "the answer's status line is not HTTP"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",), "transfer", "Content-Length 'x' is no number"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",), "transfer", "Content-Length '-1' is no number"),
        ((CHUNKED, b"zz\r\n"), "transfer", "the body's chunks are malformed"),
        ((CHUNKED, b"\r\n"), "transfer", "the body's chunks are malformed"),
        ((CHUNKED, b"-5\r\nhello\r\n0\r\n\r\n"), "transfer", "the body's chunks are malformed"),
        ((CHUNKED, b"+5\r\nhello\r\n0\r\n\r\n"), "transfer", "the body's chunks are malformed"),
        ((CHUNKED, b"0x5\r\nhello\r\n0\r\n\r\n"), "transfer", "the body's chunks are malformed"),
        ((CHUNKED, b"1_0\r\nhello\r\n0\r\n\r\n"), "transfer", "the body's chunks are malformed"),
        ((CHUNKED, b"1" * 70_000), "transfer", "a chunk's size line without an end"),
    ],
    ids=lambda value: value[-1][:60] if isinstance(value, tuple) and value else None,
)
def test_a_broken_answer_is_a_failed_probe(
    tcp_server: TcpServers, pieces: tuple[bytes, ...], phase: str, error: str
) -> None:
    """Cut, garbled and impossible answers are told by phase and reason; the collector does not raise."""
    samples = fetch_raw(tcp_server, answer(*pieces))
    assert failure(samples) == (phase, error)
    completed = {"dns", "connect"} | ({"ttfb"} if phase == "transfer" else set())
    assert set(samples) == completed | {"up"}


def test_an_enormous_length_is_refused(tcp_server: TcpServers) -> None:
    """A Content-Length of thousands of digits, which Python refuses to read, is a failed probe too."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n"
    phase, error = failure(fetch_raw(tcp_server, answer(head)))
    assert phase == "transfer"
    assert error.endswith("is no number")


@pytest.mark.parametrize(
    ("start", "repeated", "error"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 500, "headers of more than 64 KiB"),
        (b"HTTP/1.1 200 ", b"O" * 5000, "headers of more than 64 KiB"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100, "headers of more than 64 KiB"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536, "a body of more than 10 MB"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
            b"x" * 65536,
            "a body of more than 10 MB",
        ),
        (CHUNKED, b"8000\r\n" + b"x" * 0x8000 + b"\r\n", "a body of more than 10 MB"),
        (CHUNKED, b"1\r\nx\r\n" * 5000, "a body of more than 10 MB"),
        (CHUNKED + b"ffffffffff\r\n", b"x", "a body of more than 10 MB"),
    ],
    ids=["headers", "status line", "interim", "until close", "length", "chunks", "tiny chunks", "one chunk"],
)
def test_an_endless_answer_is_cut_off(
    tcp_server: TcpServers, start: bytes, repeated: bytes, error: str
) -> None:
    """No server can make the probe read without end."""
    samples = fetch_raw(tcp_server, forever(start, repeated), timeout=20.0)
    assert failure(samples) == ("transfer", error)


def test_a_body_of_the_greatest_length_is_read(tcp_server: TcpServers) -> None:
    """The bound on bodies is the one that is documented."""
    assert fetch_raw(tcp_server, answer(ok(b"x" * MAX_BODY)), timeout=20.0)["up"].value == 1.0


FLOOD = """
import socket
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(5)
print(listener.getsockname()[1], flush=True)
sock, _ = listener.accept()
sock.recv(4096)
try:
    sock.sendall(b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n")
    while True:
        sock.sendall(b"1\\r\\nx\\r\\n" * 100_000)
except OSError:
    pass
"""


def test_a_flood_leaves_the_hub_to_the_others() -> None:
    """A server that sends faster than the probe reads must not keep other greenlets, or the time limit,
    from running."""
    watchdog = Watchdog()
    with subprocess.Popen([sys.executable, "-c", FLOOD], stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            watching = gevent.spawn(watchdog.run)
            samples = fetch(f"http://127.0.0.1:{port}/", timeout=20.0)
            watching.kill()
        finally:
            server.kill()
    assert failure(samples)[0] == "transfer"
    # It takes a second. A probe that does not let others run leaves the watchdog without a single look.
    assert sum(watchdog.counts) >= 3


# -- time limits, refused and reset connections -----------------------------------------------------------


def test_a_server_that_never_answers_runs_into_the_time_limit(tcp_server: TcpServers) -> None:
    """A mute server fails in ttfb, which is then not stored."""
    samples = fetch_raw(tcp_server, answer(hold=True), timeout=0.2)
    assert failure(samples) == ("ttfb", "timed out after 0.2 s")
    assert set(samples) == {"dns", "connect", "up"}


def test_a_slow_drip_runs_into_the_time_limit(tcp_server: TcpServers) -> None:
    """The limit is on the whole attempt, not on the pause between two bytes."""
    started = time.monotonic()
    serve = answer(b"HTTP/1.1 200 OK\r\n\r\n", *[b"x"] * 1000, pause=0.05)
    samples = fetch_raw(tcp_server, serve, timeout=0.4)
    assert failure(samples) == ("transfer", "timed out after 0.4 s")
    assert set(samples) == {"dns", "connect", "ttfb", "up"}
    assert 0.4 <= time.monotonic() - started < 5.0


def test_a_handshake_that_hangs_runs_into_the_time_limit(tcp_server: TcpServers) -> None:
    """A TCP server that says nothing to a TLS greeting fails in tls, and its socket is closed."""
    port = tcp_server(answer(hold=True)).port
    collector = probes.probe("http", f"https://127.0.0.1:{port}/", timeout=0.3)
    probes.run(collector)
    before = probes.open_files()
    for _ in range(5):
        assert failure(probes.run(collector)) == ("tls", "timed out after 0.3 s")
    gevent.sleep(0.05)  # the server's ends close too
    assert probes.open_files() <= before


def test_a_connection_that_is_not_accepted_runs_into_the_time_limit() -> None:
    """A port that drops packets (a full backlog) fails in connect."""
    with full_port() as port:
        samples = fetch(f"http://127.0.0.1:{port}/", timeout=0.3)
    assert failure(samples) == ("connect", "timed out after 0.3 s")
    assert set(samples) == {"dns", "up"}


def test_a_refused_connection_is_told() -> None:
    """Nobody listens: phase connect, and only the look-up was completed."""
    samples = fetch(f"http://127.0.0.1:{free_port()}/")
    assert failure(samples) == ("connect", "connection refused")
    assert set(samples) == {"dns", "up"}


def test_a_reset_connection_is_told(tcp_server: TcpServers) -> None:
    """A reset instead of an answer: phase ttfb."""
    samples = fetch_raw(tcp_server, probes.reset)
    assert failure(samples) == ("ttfb", "connection reset by peer")
    assert set(samples) == {"dns", "connect", "up"}


def test_failures_leave_no_socket_behind(tcp_server: TcpServers) -> None:
    """Whatever goes wrong, the connection is closed at once and not when memory is tidied."""
    targets = [
        f"http://127.0.0.1:{tcp_server(serve).port}/"
        for serve in (answer(hold=True), answer(b"junk"), probes.reset)
    ]
    collectors = [probes.probe("http", target, timeout=0.1) for target in targets]
    for collector in collectors:
        probes.run(collector)
    gevent.sleep(0.05)
    before = probes.open_files()
    for collector in collectors * 5:
        probes.run(collector)
    gevent.sleep(0.05)
    assert probes.open_files() <= before


# -- names and addresses --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["no-such-host.invalid", "a..b", "x" * 64 + ".example", "\N{LATIN SMALL LETTER A WITH DIAERESIS}..b"],
)
def test_a_name_that_does_not_resolve_is_told(host: str) -> None:
    """Unknown and impossible host names fail in dns, with nothing measured."""
    samples = fetch(f"http://{host}/", timeout=25.0)
    phase, error = failure(samples)
    assert phase == "dns"
    assert error.startswith("name lookup failed: ")
    assert set(samples) == {"up"}


def test_ipv6_is_spoken(http_server: HttpServers) -> None:
    """A literal IPv6 address works, in brackets as URLs have it."""
    hosts: list[str] = []

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        hosts.append(environ["HTTP_HOST"])
        start("200 OK", [])
        return [b"six"]

    server = http_server(app, host="::1")
    assert fetch(server.url, family="ipv6")["up"].value == 1.0
    assert hosts == [f"[::1]:{server.port}"]


@pytest.mark.parametrize(
    ("host", "family", "told"),
    [
        ("127.0.0.1", "ipv6", "127.0.0.1 is an IPv4 address, and family is ipv6"),
        ("[::1]", "ipv4", "::1 is an IPv6 address, and family is ipv4"),
    ],
)
def test_an_address_of_the_other_family_is_refused(host: str, family: str, told: str) -> None:
    """The choice of the IP version is kept to, also against the target."""
    assert failure(fetch(f"http://{host}:1/", family=family)) == ("dns", told)


def test_localhost_is_found_where_it_listens(http_server: HttpServers) -> None:
    """`localhost` may have two addresses; the server listens on one of them."""
    assert fetch(f"http://localhost:{http_server().port}/")["up"].value == 1.0


def test_the_family_chooses_among_a_names_addresses(http_server: HttpServers) -> None:
    """With `family: ipv4` a name is reached by its IPv4 address."""
    assert fetch(f"http://localhost:{http_server().port}/", family="ipv4")["up"].value == 1.0


# -- redirects ------------------------------------------------------------------------------------------


class Redirects:
    """A site whose paths lead elsewhere: `{"/a": (302, "/b")}`; other paths answer 200."""

    def __init__(self, places: dict[str, tuple[int, str]]) -> None:
        self.places = places
        self.asked: list[str] = []

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request."""
        path = environ["PATH_INFO"]
        self.asked.append(path)
        if path not in self.places:
            start("200 OK", [])
            return [b"here"]
        status, location = self.places[path]
        start(f"{status} Moved", [("Location", location)] if location else [])
        return [b"there"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(http_server: HttpServers, status: int) -> None:
    """Every redirecting status leads on; the last answer counts."""
    site = Redirects({"/": (status, "/b"), "/b": (status, "c/d?e=f")})
    found = values(fetch(http_server(site).url))
    assert site.asked == ["/", "/b", "/c/d"]
    assert found["status"] == 200.0
    assert found["up"] == 1.0


def test_phases_are_summed_over_redirects(tcp_server: TcpServers) -> None:
    """Two requests of 0.1 s each are a ttfb of 0.2 s, and rtt is the whole."""

    def slowly(data: bytes) -> probes.Serve:
        def serve(sock: socket.socket) -> None:
            probes.read_request(sock)
            gevent.sleep(0.1)
            sock.sendall(data)

        return serve

    serve = in_turn(slowly(ok(status="302 Found", headers=["Location: /x"])), slowly(ok()))
    found = values(fetch_raw(tcp_server, serve))
    assert found["ttfb"] >= 190.0
    assert found["rtt"] >= found["ttfb"]


def test_redirects_can_be_off(http_server: HttpServers) -> None:
    """With `redirects: 0` the redirect itself is the answer."""
    site = Redirects({"/": (302, "/b")})
    url = http_server(site).url
    assert failure(fetch(url, redirects=0)) == ("expect", "status 302, expected 200-299")
    assert fetch(url, redirects=0, expect=expecting("302"))["up"].value == 1.0
    assert site.asked == ["/", "/"]


def test_the_number_of_redirects_is_limited(http_server: HttpServers) -> None:
    """Two are followed when two are allowed, a third is a failure."""
    site = Redirects({"/": (302, "/1"), "/1": (302, "/2"), "/2": (302, "/3")})
    url = http_server(site).url
    assert failure(fetch(url, redirects=2))[1] == "more than 2 redirects"
    assert fetch(url, redirects=3)["up"].value == 1.0


def test_a_loop_of_redirects_ends(http_server: HttpServers) -> None:
    """A page that leads to itself is a failure after the allowed number."""
    site = Redirects({"/": (302, "/")})
    samples = fetch(http_server(site).url)
    assert failure(samples)[1] == "more than 10 redirects"
    assert len(site.asked) == 11


def test_a_redirect_without_a_place_is_an_answer(http_server: HttpServers) -> None:
    """A 302 without Location leads nowhere, and is not what was expected."""
    assert failure(fetch(http_server(Redirects({"/": (302, "")})).url)) == (
        "expect",
        "status 302, expected 200-299",
    )


@pytest.mark.parametrize(
    "location",
    ["ftp://example.com/", "http://[::1", "https://", "mailto:x@example.com", "http://host:port/", "/a b"],
)
def test_a_redirect_to_junk_is_a_failed_probe(http_server: HttpServers, location: str) -> None:
    """A place that cannot be fetched is told, and does not raise."""
    phase, error = failure(fetch(http_server(Redirects({"/": (302, location)})).url))
    assert phase == "transfer"
    assert error.startswith("redirected to where this cannot go: ")


def test_a_redirect_to_a_dead_port_fails_in_connect(http_server: HttpServers) -> None:
    """The phase is that of the request that failed; earlier requests' phases are kept."""
    dead = f"http://127.0.0.1:{free_port()}/"
    samples = fetch(http_server(Redirects({"/": (302, dead)})).url)
    assert failure(samples) == ("connect", "connection refused")
    assert set(samples) == {"dns", "connect", "ttfb", "up"}


def test_a_redirect_may_change_the_scheme(http_server: HttpServers, tmp_path: Path) -> None:
    """From http to https, as sites do: the certificate is that of the place where it ends."""
    ca, _ = authority(tmp_path)
    secure = http_server(context=server_context(ca.issue_cert("127.0.0.1", not_after=in_days(20))))
    plain = http_server(Redirects({"/": (301, secure.url)}))
    samples = fetch(plain.url, tls=UNVERIFIED)
    assert samples["up"].value == 1.0
    assert samples["tls"].value > 0.0
    assert 19.5 < samples["cert_days"].value <= 20.0


def test_redirects_do_not_change_where_the_next_run_starts(http_server: HttpServers) -> None:
    """Each run begins at the target."""
    site = Redirects({"/": (302, "/b")})
    collector = probes.probe("http", http_server(site).url)
    probes.run(collector)
    probes.run(collector)
    assert site.asked == ["/", "/b", "/", "/b"]


# -- retries --------------------------------------------------------------------------------------------


def test_a_retry_saves_a_run(tcp_server: TcpServers) -> None:
    """A failed attempt is repeated within the run; a success then leaves no trace of the failure."""
    server = tcp_server(in_turn(answer(b"junk"), answer(ok())))
    samples = fetch(f"http://127.0.0.1:{server.port}/", retries=2)
    assert server.accepted == 2
    assert samples["up"].value == 1.0
    assert samples["up"].tags == {}


def test_a_run_fails_when_its_retries_are_used_up(tcp_server: TcpServers) -> None:
    """The last attempt's reason is the one that is told."""
    server = tcp_server(in_turn(answer(b"junk"), answer(b"junk"), answer(ok(status="500 No"))))
    samples = fetch(f"http://127.0.0.1:{server.port}/", retries=2)
    assert server.accepted == 3
    assert failure(samples) == ("expect", "status 500, expected 200-299")


def test_without_retries_one_attempt_is_made(tcp_server: TcpServers) -> None:
    """The default is no retry."""
    server = tcp_server(answer(b"junk"))
    failure(fetch(f"http://127.0.0.1:{server.port}/"))
    assert server.accepted == 1


# -- TLS ------------------------------------------------------------------------------------------------


@pytest.fixture
def ca(tmp_path: Path) -> tuple[trustme.CA, str]:
    """An authority and its PEM file."""
    return authority(tmp_path)


@pytest.fixture
def tls_server(http_server: HttpServers) -> Callable[[trustme.LeafCert], HttpServer]:
    """Start HTTPS servers with a certificate."""
    return lambda certificate: http_server(context=server_context(certificate))


TlsServers = Callable[[trustme.LeafCert], HttpServer]


@pytest.mark.parametrize("days", [400, 20, 0.5])
def test_a_trusted_certificate_is_verified_and_measured(
    ca: tuple[trustme.CA, str], tls_server: TlsServers, days: float
) -> None:
    """Over TLS a success has the days that the certificate has left, and the time of the handshake."""
    server = tls_server(ca[0].issue_cert("127.0.0.1", not_after=in_days(days)))
    samples = fetch(server.url, tls=TlsSettings(ca_file=ca[1]))
    assert set(samples) == PHASES | {"rtt", "status", "up", "cert_days"}
    assert samples["up"].value == 1.0
    assert samples["tls"].value > 0.0
    assert days - 0.01 < samples["cert_days"].value <= days


@pytest.mark.parametrize(
    ("days", "host", "why"),
    [
        (-3, "127.0.0.1", "certificate has expired"),
        (90, "192.0.2.1", "IP address mismatch, certificate is not valid for '127.0.0.1'."),
        (90, "elsewhere.example", "IP address mismatch, certificate is not valid for '127.0.0.1'."),
    ],
    ids=["expired", "another address", "another host"],
)
def test_a_certificate_that_is_wrong_fails_only_when_it_is_verified(
    ca: tuple[trustme.CA, str], tls_server: TlsServers, days: float, host: str, why: str
) -> None:
    """With `verify` it is a failure in tls; without, the target is up. The days left are told of both."""
    made = ca[0].issue_cert(host, not_before=in_days(-30), not_after=in_days(days))
    server = tls_server(made)
    samples = fetch(server.url, tls=TlsSettings(ca_file=ca[1]))
    assert failure(samples) == ("tls", f"certificate not trusted: {why}")
    assert set(samples) == {"dns", "connect", "cert_days", "up"}
    assert days - 0.01 < samples["cert_days"].value <= days
    samples = fetch(server.url, tls=UNVERIFIED)
    assert samples["up"].value == 1.0
    assert days - 0.01 < samples["cert_days"].value <= days


def test_a_certificate_of_an_unknown_authority_fails_when_it_is_verified(
    ca: tuple[trustme.CA, str], tls_server: TlsServers
) -> None:
    """Self-made certificates are not trusted by default."""
    server = tls_server(ca[0].issue_cert("127.0.0.1"))
    phase, error = failure(fetch(server.url))
    assert phase == "tls"
    assert error.startswith("certificate not trusted: ")
    assert fetch(server.url, tls=UNVERIFIED)["up"].value == 1.0


def test_a_dot_at_the_end_of_a_name_is_none_of_the_certificate(
    ca: tuple[trustme.CA, str], tls_server: TlsServers
) -> None:
    """`https://host./` is that host, off the search lists."""
    names = ZoneServer({"site.test": {"A": ["127.0.0.1"]}})
    server = tls_server(ca[0].issue_cert("site.test"))
    try:
        url = f"https://site.test.:{server.port}/"
        samples = fetch(url, tls=TlsSettings(ca_file=ca[1]), resolver=names.address)
    finally:
        names.stop()
    assert samples["up"].value == 1.0


def test_the_certificate_must_fit_a_host_name(ca: tuple[trustme.CA, str], tls_server: TlsServers) -> None:
    """By name the certificate for that name fits, and one for an address does not."""
    trusted = TlsSettings(ca_file=ca[1])
    right = tls_server(ca[0].issue_cert("localhost"))
    wrong = tls_server(ca[0].issue_cert("127.0.0.1"))
    assert fetch(f"https://localhost:{right.port}/", tls=trusted, family="ipv4")["up"].value == 1.0
    phase, error = failure(fetch(f"https://localhost:{wrong.port}/", tls=trusted, family="ipv4"))
    assert phase == "tls"
    assert "not valid for 'localhost'" in error


def test_a_missing_file_of_authorities_is_told(ca: tuple[trustme.CA, str], tls_server: TlsServers) -> None:
    """The probe fails with the file's name, and works once the file is there: the mistake is not kept."""
    server = tls_server(ca[0].issue_cert("127.0.0.1"))
    path = Path(ca[1]).with_name("later.pem")
    collector = probes.probe("http", server.url, tls=TlsSettings(ca_file=str(path)))
    assert failure(probes.run(collector))[1] == f"tls.ca_file {path}: No such file or directory"
    path.write_bytes(Path(ca[1]).read_bytes())
    assert probes.run(collector)["up"].value == 1.0


def test_a_file_of_authorities_that_is_none_is_told(tmp_path: Path) -> None:
    """A file without certificates is a failed probe, not a crash."""
    path = tmp_path / "ca.pem"
    path.write_text("nothing")
    samples = fetch("https://127.0.0.1:1/", tls=TlsSettings(ca_file=str(path)))
    assert failure(samples)[1].startswith(f"tls.ca_file {path}: ")


def test_plain_http_where_tls_is_expected_fails_in_tls(http_server: HttpServers) -> None:
    """An https URL on a plain port."""
    phase, error = failure(fetch(f"https://127.0.0.1:{http_server().port}/"))
    assert phase == "tls"
    assert error.startswith("TLS failed: ")


def test_a_hang_up_in_the_handshake_fails_in_tls(tcp_server: TcpServers) -> None:
    """A server that closes instead of shaking hands."""
    port = tcp_server(lambda sock: None).port
    assert failure(fetch(f"https://127.0.0.1:{port}/"))[0] == "tls"


def test_a_body_until_close_ends_without_a_farewell_of_tls(
    ca: tuple[trustme.CA, str], tcp_server: TcpServers
) -> None:
    """Many servers drop the connection without TLS's close_notify; that is an end like any other."""

    def serve(sock: Any) -> None:
        probes.read_request(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\nuntil close")
        sock.shutdown(socket.SHUT_RDWR)

    server = tcp_server(serve, context=server_context(ca[0].issue_cert("127.0.0.1")))
    assert fetch(f"https://127.0.0.1:{server.port}/", tls=UNVERIFIED)["up"].value == 1.0


def test_probes_with_equal_tls_settings_share_one_context(ca: tuple[trustme.CA, str]) -> None:
    """A context costs 20 ms and memory: one is made for each distinct setting, also when many ask at once."""
    context, other = Context(), Context()
    settings = [TlsSettings(ca_file=ca[1])] * 3 + [TlsSettings(verify=False)] * 2
    asking = [gevent.spawn(client_context, tls, context) for tls in settings]
    gevent.joinall(asking, raise_error=True)
    made = [greenlet.value for greenlet in asking]
    assert made[0] is made[1] is made[2]
    assert made[3] is made[4]
    assert made[0] is not made[3]
    assert client_context(settings[0], context) is made[0]
    assert client_context(settings[0], other) is not made[0]


@pytest.mark.parametrize("shows", [True, False])
def test_a_certificate_is_shown_to_a_server_that_wants_one(
    ca: tuple[trustme.CA, str], http_server: HttpServers, tmp_path: Path, shows: bool
) -> None:
    """With `cert_file`, its key in the same file or another, the server lets us in; without, it does not."""
    context = server_context(ca[0].issue_cert("127.0.0.1"))
    context.verify_mode = ssl.CERT_REQUIRED
    ca[0].configure_trust(context)
    server = http_server(context=context)
    ours = ca[0].issue_cert("probe@example.com")
    ours.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    ours.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    ours.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    both = TlsSettings(ca_file=ca[1], cert_file=str(tmp_path / "both.pem"))
    apart = TlsSettings(
        ca_file=ca[1], cert_file=str(tmp_path / "cert.pem"), key_file=str(tmp_path / "key.pem")
    )
    for tls in (both, apart) if shows else (TlsSettings(ca_file=ca[1]),):
        samples = fetch(server.url, tls=tls)
        assert samples["up"].value == float(shows)
        if not shows:
            assert failure(samples)[0] in ("tls", "ttfb")


def test_a_certificate_that_is_of_no_use_is_told(ca: tuple[trustme.CA, str], tmp_path: Path) -> None:
    """A key that does not fit, or that is locked, is a failed probe: nobody is asked on the terminal."""
    key = rsa.generate_private_key(65537, 2048)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (tmp_path / "locked.pem").write_bytes(locked)
    cert = tmp_path / "cert.pem"
    ca[0].issue_cert("a@example.com").cert_chain_pems[0].write_to_path(str(cert))
    for key_file in (tmp_path / "locked.pem", Path(ca[1])):
        tls = TlsSettings(cert_file=str(cert), key_file=str(key_file))
        assert failure(fetch("https://127.0.0.1:1/", tls=tls))[1].startswith(f"tls.cert_file {cert}: ")
    with pytest.raises(ValueError, match="key_file without cert_file"):
        TlsSettings(key_file=str(cert))


AUTHORITIES = """
import sys
from gevent import monkey
monkey.patch_all()
from oculus.collectors.base import Context
from oculus.collectors.network.tls import TlsSettings, client_context
print(len(client_context(TlsSettings(), Context()).get_ca_certs()))
"""


def test_authorities_are_the_systems_and_else_those_of_a_package(
    ca: tuple[trustme.CA, str], tmp_path: Path
) -> None:
    """A company's own authority in the system's store counts; a slim container without a store works too."""

    def count(**environment: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", AUTHORITIES], env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return int(done.stdout)

    nowhere = str(tmp_path / "nowhere")
    assert count(SSL_CERT_FILE=ca[1], SSL_CERT_DIR=nowhere) == 1
    assert count(SSL_CERT_FILE=nowhere, SSL_CERT_DIR=nowhere) > 50
    assert count(SSL_CERT_FILE=nowhere, SSL_CERT_DIR=str(tmp_path)) > 50


# -- certificates' dates --------------------------------------------------------------------------------


def tlv(tag: int, content: bytes) -> bytes:
    """Return a DER element."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def hand_made(end: bytes, *, version: bool = True, issuer: int = 10, tag: int = 0x17) -> bytes:
    """Return the beginning of a certificate that ends at `end`, its issuer that many bytes long."""
    fields = [
        tlv(0xA0, tlv(0x02, b"\x02")) if version else b"",
        tlv(0x02, b"\x01\x02\x03"),
        tlv(0x30, tlv(0x06, b"\x2a\x86\x48")),
        tlv(0x30, b"\x00" * issuer),
        tlv(0x30, tlv(0x17, b"200101000000Z") + tlv(tag, end)),
        tlv(0x30, b"subject"),
    ]
    return tlv(0x30, tlv(0x30, b"".join(fields)) + tlv(0x30, b"") + tlv(0x03, b"\x00"))


@pytest.mark.parametrize("key_type", list(trustme.KeyType), ids=lambda key: key.name)
@pytest.mark.parametrize("days", [30, 3000, 20_000], ids=["soon", "years", "after 2050"])
def test_the_end_of_real_certificates_is_read(key_type: trustme.KeyType, days: int) -> None:
    """RSA and elliptic curves; dates of two-digit and of four-digit years."""
    end = in_days(days)
    names = [f"host{number}.example" for number in range(1, 40)]
    made = trustme.CA(key_type=key_type).issue_cert(*names, not_after=end, key_type=key_type)
    assert not_after(der(made)) == end.timestamp()


@pytest.mark.parametrize(
    ("certificate", "end"),
    [
        (hand_made(b"300102030405Z"), 1893553445.0),
        (hand_made(b"300102030405Z", version=False), 1893553445.0),
        (hand_made(b"300102030405Z", issuer=200), 1893553445.0),
        (hand_made(b"300102030405Z", issuer=70_000), 1893553445.0),
        (hand_made(b"491231235959Z"), 2524607999.0),
        (hand_made(b"500101000000Z"), -631152000.0),
        (hand_made(b"20500101000000Z", tag=0x18), 2524608000.0),
        (hand_made(b"99991231235959Z", tag=0x18), 253402300799.0),
    ],
    ids=["plain", "version 1", "long", "longer", "2049", "1950", "2050", "no end"],
)
def test_certificates_of_every_shape_are_read(certificate: bytes, end: float) -> None:
    """Without a version, with long fields, and at the limits of the two date formats (RFC 5280 §4.1.2.5)."""
    assert not_after(certificate) == end


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\x30", b"\x30\x82", b"\x30\x84\xff\xff\xff\xff", b"not a certificate", b"\x00" * 50,
        hand_made(b""), hand_made(b"never"), hand_made(b"301302030405Z"), hand_made(b"\xff\xfe0102030405Z"),
        hand_made(b"20500101000000Z"), hand_made(b"300102030405+0100"),
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_certificate_is_told(data: bytes) -> None:
    """Rubbish is a ProbeError, and nothing else."""
    with pytest.raises(ProbeError, match="certificate cannot be read"):
        not_after(data)


def test_a_certificate_cut_anywhere_is_told_or_read() -> None:
    """However much of a certificate is missing, no other error than ProbeError comes out."""
    whole = der(trustme.CA().issue_cert("host.example", not_after=in_days(30)))
    end = not_after(whole)
    for length in range(len(whole)):
        try:
            assert not_after(whole[:length]) == end
        except ProbeError:
            continue
