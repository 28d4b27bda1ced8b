"""Reading HTTP/1.1 answers off a socket: head, framing and packed bodies, all of it bounded."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import gevent
from gevent import socket

from oculus.collectors.network.probe import ProbeError, Trace
from oculus.cooperate import pause

MAX_HEAD = 64 * 1024  # bytes of status line and headers; servers commonly stop at 8 to 16 KiB
MAX_BODY = 10**7  # bytes of a body that are read before the probe gives up, unless it is told otherwise
_CHUNK = 64 * 1024  # bytes asked of the socket at once
_UNPACKED = 256 * 1024  # bytes unpacked at once: a millisecond
_GZIP = b"\x1f\x8b"  # how each part of one begins
_PARTS = 1_000  # of a gzip: each costs a pause, however small it is
_STATUS_LINE = re.compile(r"HTTP/\d\.\d \d{3}(?: |$)")

Take = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers of an answer; header names in lower case, the last of equal ones kept."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)  # as they came, the status line first

    def all(self, name: str) -> list[str]:
        """Return the values of every header of this name, which is in lower case."""
        pairs = (line.partition(":") for line in self.lines[1:])
        return [value.strip() for key, colon, value in pairs if colon and key.strip().lower() == name]


def read_answer(
    sock: socket.socket, trace: Trace, method: str = "GET", most: int = MAX_BODY, take: Take | None = None
) -> Head:
    """Read one answer to its end, give its body to `take`, and return its head.

    Enters the phase `transfer` at the first byte. Interim (1xx) answers are passed over. Raises ProbeError
    for what is not HTTP, is cut short, or has more than `most` bytes.
    """
    head, data = read_head(sock, trace)
    status = head.status
    if method == "HEAD" or status in (101, 204, 304):
        return head
    _read_body(sock, head, data, most, take)
    return head


def read_head(sock: socket.socket, trace: Trace) -> tuple[Head, bytes]:
    """Return the head of an answer, and what came behind it."""
    data = b""
    passed_over = 0  # bytes of interim answers
    while True:
        end, rest = _end_of_head(data)
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
        data = data[rest:]
        if head.status >= 200 or head.status == 101:
            return head, data
        passed_over += rest


def _end_of_head(data: bytes) -> tuple[int, int]:
    """Return where a head ends, -1 for nowhere yet, and where what follows begins.

    Lines should end in CR LF; small devices and scripts send LF alone, which all take (RFC 9112 §2.2).
    """
    end = data.find(b"\r\n\r\n")
    bare = data.find(b"\n\n", 0, len(data) if end < 0 else end)
    return (end, end + 4) if bare < 0 else (bare, bare + 2)


def _parse_head(data: bytes) -> Head:
    lines = [line.removesuffix("\r") for line in data.decode("latin-1").split("\n")]
    if not _STATUS_LINE.match(lines[0]):
        raise ProbeError("the answer's status line is not HTTP")
    headers = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return Head(int(lines[0][9:12]), headers, lines)


def _read_body(sock: socket.socket, head: Head, data: bytes, most: int, take: Take | None) -> None:
    """Read a body by its framing (RFC 9112 §6.3)."""
    if "chunked" in head.headers.get("transfer-encoding", "").lower():
        _read_chunks(sock, data, most, take)
        return
    seen = len(data)
    length = head.headers.get("content-length")
    whole = most + 1
    if length is not None:
        if not length.isdecimal() or len(length) > 18:
            raise ProbeError(f"Content-Length {length[:40]!r} is no number")
        whole = int(length)
        _check_size(whole, most)
        if seen > whole:
            data = data[:whole]
    if take is not None:
        take(data)
    while seen < whole:
        piece = _receive(sock)
        if not piece:
            if length is None:
                return
            raise ProbeError(f"body cut short: {seen} of {length} bytes")
        seen += len(piece)
        if take is not None:
            take(piece if seen <= whole else piece[: whole - seen])
    _check_size(seen if length is None else whole, most)


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise ProbeError(f"a body of more than {most / 1e6:.3g} MB")


def _read_chunks(sock: socket.socket, data: bytes, most: int, take: Take | None) -> None:
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
        start, stop = end + 2, end + 2 + size  # of the chunk within `data`, which it may go beyond
        seen += stop - at + 2
        _check_size(seen, most)  # before it is there: one that is too long need not be waited for
        while True:
            if take is not None:
                take(data[start : max(stop, 0)])
            if len(data) >= stop + 2:
                break
            start, stop = max(start - len(data), 0), stop - len(data)
            data = _more(sock)
        if stop >= 0 and data[stop : stop + 2] != b"\r\n":
            raise ProbeError("the body's chunks are malformed")
        at = stop + 2


def _more(sock: socket.socket) -> bytes:
    piece = _receive(sock)
    if not piece:
        raise ProbeError("body cut short")
    return piece


def _receive(sock: socket.socket) -> bytes:
    gevent.idle()  # reading from a socket that always has data would never let another greenlet run
    piece: bytes = sock.recv(_CHUNK)
    return piece


# -- packed bodies ------------------------------------------------------------------------------------


def unpacked(head: Head, body: bytes, most: int) -> bytes:
    """Return a body as it was before its Content-Encoding; raises ProbeError for more than `most` bytes."""
    if head.headers.get("transfer-encoding", "chunked").lower() not in ("chunked", "identity"):
        raise ProbeError(f"Transfer-Encoding {head.headers['transfer-encoding'][:40]!r} cannot be unpacked")
    coding = head.headers.get("content-encoding", "").lower()
    if not body or coding in ("", "identity"):
        return body
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise ProbeError(f"Content-Encoding {coding[:40]!r} cannot be unpacked (gzip and deflate can)")
    # `deflate` means zlib's format (RFC 9110 §8.4.1.2), but some send what is inside it alone.
    bare = coding == "deflate" and (body[0] & 0x0F != 8 or int.from_bytes(body[:2], "big") % 31 != 0)
    format_ = -zlib.MAX_WBITS if bare else zlib.MAX_WBITS | 32
    unpacker = zlib.decompressobj(format_)
    pieces: list[bytes] = []
    size = at = 0
    parts = 1  # of which gzip may have several
    fed = b""
    while True:
        if not fed:
            fed, at = body[at : at + _CHUNK], at + _CHUNK
        ended = not fed
        try:
            piece = unpacker.decompress(fed, _UNPACKED)
        except zlib.error:
            raise ProbeError(f"the body is not {coding}, as its Content-Encoding says") from None
        fed = unpacker.unconsumed_tail
        size += len(piece)
        if size > most:
            raise ProbeError(f"a body of more than {most / 1e6:.3g} MB, unpacked")
        pieces.append(piece)
        if unpacker.eof:
            fed = unpacker.unused_data
            if coding == "deflate" or (fed + body[at : at + 2])[:2] != _GZIP:
                return b"".join(pieces)
            parts += 1
            if parts > _PARTS:
                raise ProbeError(f"a gzip of more than {_PARTS} parts")
            unpacker = zlib.decompressobj(format_)
        elif ended and not piece:
            raise ProbeError(f"the body is cut short within its {coding}")
        pause()
