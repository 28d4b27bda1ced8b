"""HTTP(S) probe: `net.http.<name>.rtt`, `.status`, `.up`, the phases, and `.cert_days` over TLS.

Speaks HTTP/1.1 on a plain socket: a new connection for each request, so that every phase is really
measured, and about a third of the CPU time of a client library. Phases are those of blackbox_exporter,
each summed over redirects: `dns` is the look-up, `connect` the TCP connect, `tls` the handshake (0 for
plain HTTP), `ttfb` from the connection being ready to the first byte of the answer; `rtt` is the whole,
the body's transfer included.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import gevent
from gevent import socket

from oculus import __version__
from oculus.collectors.base import Context
from oculus.collectors.network import (
    Outcome,
    Probe,
    ProbeError,
    ProbeSettings,
    Trace,
    connect,
    milliseconds,
    resolve,
)
from oculus.collectors.tls import TlsSettings, client_context, not_after
from oculus.config.decode import between, setting
from oculus.config.settings import CollectorSpec

if TYPE_CHECKING:
    import ssl

MAX_HEAD = 64 * 1024  # bytes of status line and headers; servers commonly stop at 8 to 16 KiB
MAX_BODY = 10 * 1024 * 1024  # bytes of a body that are read before the probe gives up
_CHUNK = 64 * 1024  # bytes asked of the socket at once
_URL_SIGNS = "/?#[]@!$&'()*+,;=%:~"  # what a URL may hold as it is (RFC 3986); the rest is quoted
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f]")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_DEFAULT_PORTS = {"http": 80, "https": 443}
_DAY = 86_400.0  # seconds


@dataclass(frozen=True, slots=True)
class StatusSet:
    """A set of status codes: `200`, `200-299`, `200-299,301`."""

    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def parse(cls, text: str) -> StatusSet:
        """Return the set that `text` describes; raises ValueError."""
        ranges = []
        for part in text.replace(" ", "").split(","):
            low, dash, high = part.partition("-")
            if not low.isdecimal() or (dash and not high.isdecimal()):
                raise ValueError(f"{text!r} is no set of status codes (such as 200, 200-299 or 200-299,404)")
            first, last = int(low), int(high or low)
            if not 100 <= first <= last <= 599:
                raise ValueError(f"{part!r} is no range of status codes (100 to 599)")
            ranges.append((first, last))
        return cls(tuple(ranges))

    def __contains__(self, status: int) -> bool:
        return any(low <= status <= high for low, high in self.ranges)

    def __str__(self) -> str:
        return ",".join(f"{low}-{high}" if low != high else str(low) for low, high in self.ranges)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectSettings:
    """`expect:`: what the answer must be for the target to count as up."""

    status: StatusSet = setting(StatusSet.parse("200-299"), help="status codes that are right")


def check_url(url: str) -> None:
    """Raise ValueError unless `url` is one that this probe can fetch."""
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"{url!r} is not a URL (such as https://example.com/health)")
    if parts.username is not None:
        raise ValueError("the URL holds a user name or password, which this version cannot send")
    _ = parts.port  # raises ValueError when it is no port number
    if _UNPRINTABLE.search(url):
        raise ValueError(f"{url!r} holds a space or control character (write it as %20)")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings(ProbeSettings):
    """Settings of `probe: http`."""

    target: str = setting(help="URL to fetch", check=check_url)
    redirects: int = setting(10, help="redirects that are followed at most; 0 for none", check=between(0, 50))
    expect: ExpectSettings = setting(ExpectSettings(), help="what the answer must be")
    tls: TlsSettings = setting(TlsSettings(), help="how the certificate is judged")


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers of an answer; header names in lower case, the last of equal ones kept."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)


class HttpProbe(Probe):
    """Fetches a URL once a run."""

    prefix = "net.http"
    Settings = HttpSettings
    phases = ("dns", "connect", "tls", "ttfb")

    def __init__(self, spec: CollectorSpec, context: Context) -> None:
        super().__init__(spec, context)
        assert isinstance(spec.settings, HttpSettings)
        self._settings = spec.settings
        self._first = urlsplit(spec.settings.target)
        self._requests: dict[SplitResult, bytes] = {}

    def attempt(self, trace: Trace) -> Outcome:
        """Fetch the target and follow its redirects."""
        url = self._first
        cert_days: float | None = None
        for _ in range(self._settings.redirects + 1):
            head, days = self._fetch(url, trace)
            cert_days = cert_days if days is None else days
            location = head.headers.get("location")
            if self._settings.redirects == 0 or head.status not in _REDIRECTS or not location:
                break
            url = self._follow(url, location)
        else:
            raise ProbeError(f"more than {self._settings.redirects} redirects")
        total = trace.end()
        values = milliseconds({name: trace.phases.get(name, 0.0) for name in self.phases})
        values["status"] = float(head.status)
        if cert_days is not None:
            values["cert_days"] = round(cert_days, 3)
        if head.status not in self._settings.expect.status:
            error = f"status {head.status}, expected {self._settings.expect.status}"
            return Outcome(False, values, error, "expect")
        values["rtt"] = round(total * 1000.0, 3)
        return Outcome(True, values)

    def _follow(self, url: SplitResult, location: str) -> SplitResult:
        try:
            target = urljoin(url.geturl(), location)
            check_url(target)
        except ValueError as error:
            raise ProbeError(f"redirected to where this cannot go: {error}") from None
        return urlsplit(target)

    def _fetch(self, url: SplitResult, trace: Trace) -> tuple[Head, float | None]:
        """Send one request; return the answer's head and, over TLS, the days its certificate has left."""
        host = url.hostname or ""
        tls = self._tls_context() if url.scheme == "https" else None
        trace.enter("dns")
        addresses = resolve(host, url.port or _DEFAULT_PORTS[url.scheme], self._settings.family)
        trace.enter("connect")
        sock = connect(addresses)
        try:
            days = None
            if tls is not None:
                trace.enter("tls")
                # Shaken hands apart, so that a time limit in between finds the socket to close.
                secure = tls.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
                sock = secure
                secure.do_handshake()
                days = (not_after(secure.getpeercert(binary_form=True) or b"") - time.time()) / _DAY
            trace.enter("ttfb")
            sock.sendall(self._request(url))
            head = read_response(sock, trace)
            return head, days
        finally:
            sock.close()

    def _request(self, url: SplitResult) -> bytes:
        request = self._requests.get(url)
        if request is None:
            path = quote((url.path or "/") + (f"?{url.query}" if url.query else ""), safe=_URL_SIGNS)
            host = url.netloc.rpartition("@")[2]
            if not host.isascii():
                host = host.encode("idna").decode("ascii")
            request = (
                f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Oculus/{__version__}\r\n"
                "Accept: */*\r\nConnection: close\r\n\r\n"
            ).encode("ascii")
            self._requests = {url: request}  # redirects rarely change; one is remembered
        return request

    def _tls_context(self) -> ssl.SSLContext:
        return client_context(self._settings.tls, self.context)


def read_response(sock: socket.socket, trace: Trace) -> Head:
    """Read one answer to its end and return its head; enters the phase `transfer` at the first byte.

    Interim (1xx) answers are passed over. Raises ProbeError for what is not HTTP or is too long.
    """
    data = b""
    passed_over = 0  # bytes of interim answers
    while True:
        end = data.find(b"\r\n\r\n")
        if passed_over + max(end, 0) > MAX_HEAD or (end < 0 and len(data) > MAX_HEAD):
            raise ProbeError(f"headers of more than {MAX_HEAD // 1024} KiB")
        if end < 0:
            piece = sock.recv(_CHUNK)
            if not piece:
                raise ProbeError("answer cut short" if data else "connection closed before the answer")
            if trace.current == "ttfb":
                trace.enter("transfer")
            data += piece
            if not b"HTTP/".startswith(data[:5]) and not data.startswith(b"HTTP/"):
                raise ProbeError("the answer is not HTTP")
            continue
        head = _parse_head(data[:end])
        data = data[end + 4 :]
        if head.status >= 200 or head.status == 101:
            break
        passed_over += end + 4
    if head.status in (101, 204, 304):
        return head
    for size in _body(sock, head, data):
        if size > MAX_BODY:
            raise ProbeError(f"a body of more than {MAX_BODY // 1024 // 1024} MiB")
    return head


def _parse_head(data: bytes) -> Head:
    lines = data.decode("latin-1").split("\r\n")
    words = lines[0].split(" ", 2)
    if not re.match(r"HTTP/\d\.\d \d{3}(?: |$)", lines[0]):
        raise ProbeError("the answer's status line is not HTTP")
    headers = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return Head(int(words[1]), headers)


def _body(sock: socket.socket, head: Head, data: bytes) -> Iterator[int]:
    """Read a body by its framing (RFC 9112 §6.3); yield the bytes seen so far after each piece."""
    if "chunked" in head.headers.get("transfer-encoding", "").lower():
        yield from _chunks(sock, data)
        return
    seen = len(data)
    yield seen
    length = head.headers.get("content-length")
    if length is None:
        while piece := _receive(sock):
            seen += len(piece)
            yield seen
        return
    if not length.isdecimal() or len(length) > 18:
        raise ProbeError(f"Content-Length {length!r} is no number")
    while seen < int(length):
        piece = _receive(sock)
        if not piece:
            raise ProbeError(f"body cut short: {seen} of {length} bytes")
        seen += len(piece)
        yield seen


def _chunks(sock: socket.socket, data: bytes) -> Iterator[int]:
    """Read a chunked body up to its last chunk; what follows (trailers) is left to the closing socket."""
    seen = at = 0  # with the framing, so that tiny chunks count too; `at` is how far `data` has been read
    while True:
        while (end := data.find(b"\r\n", at)) < 0:
            data, at = data[at:], 0
            if len(data) > MAX_HEAD:
                raise ProbeError("a chunk's size line without an end")
            data += _more(sock)
        digits = data[at:end].partition(b";")[0].strip()
        if not digits or digits.strip(b"0123456789abcdefABCDEF"):
            raise ProbeError("the body's chunks are malformed")
        size = int(digits, 16)
        if size == 0:
            return
        length = end - at + 2 + size + 2  # size line, chunk and its line end
        seen += length
        yield seen  # before it is there: one that is too long need not be waited for
        at += length
        while len(data) < at:
            at -= len(data)
            data = _more(sock)


def _more(sock: socket.socket) -> bytes:
    piece = _receive(sock)
    if not piece:
        raise ProbeError("body cut short")
    return piece


def _receive(sock: socket.socket) -> bytes:
    gevent.idle()  # reading from a socket that always has data would never let another greenlet run
    piece: bytes = sock.recv(_CHUNK)
    return piece
