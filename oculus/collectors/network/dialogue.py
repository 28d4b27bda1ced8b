"""Conversations with a server over one connection: lines both ways, bounded, and TLS from some point on."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import gevent
from gevent import socket

from oculus.collectors.network.expect import Pattern
from oculus.collectors.network.probe import ProbeError
from oculus.collectors.network.tls import wrap
from oculus.config.decode import setting
from oculus.cooperate import slices
from oculus.masking import HIDDEN

if TYPE_CHECKING:
    import ssl

# Bytes of a line that are matched. SMTP allows 512; a search in more could hold the hub for too long.
MAX_LINE = 1024
MAX_BYTES = 64 * 1024  # that a server may send before it has said what was expected
_CHUNK = 16 * 1024  # bytes asked of the socket at once

# `$$`, `$1`, `${1}`, `$name`, `${name}`
_SECRET = 4  # characters: what is shorter stands in many a line for other reasons

_REFERENCE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)


def shown(data: bytes | bytearray) -> str:
    """Return what a server said, for a message: printable, on one line and not long."""
    text = data[:MAX_LINE].decode("utf-8", "replace").strip()
    text = "".join(sign if sign.isprintable() else "·" for sign in text)
    return repr(text if len(text) <= 100 else text[:99] + "…")


class Conversation:
    """What is said over one connection. Raises OSError, and ProbeError for what is too long or cut short."""

    def __init__(self, sock: socket.socket, most: int = MAX_BYTES) -> None:
        self._sock = sock
        self._most = most  # bytes that the server may send
        self.tls: ssl.SSLSocket | None = None  # once the handshake has begun
        self._buffer = bytearray()
        self._received = 0

    def send(self, data: bytes) -> None:
        """Send all of `data`."""
        self._sock.sendall(data)

    def line(self) -> bytes | None:
        """Return the next line without its end, of a long one the beginning; None after the last."""
        start = 0
        while (end := self._buffer.find(b"\n", start)) < 0:
            start = len(self._buffer)
            if not self._more():
                end = len(self._buffer)
                if not end:
                    return None
                break
        return bytes(self._take(end, 1).rstrip(b"\r")[:MAX_LINE])

    def lines(self) -> Iterator[bytes]:
        """Yield lines until the server closes the connection."""
        while (line := self.line()) is not None:
            yield line

    def through(self, mark: bytes) -> bytes:
        """Return what comes up to `mark`, and with it."""
        start = 0
        while (end := self._buffer.find(mark, start)) < 0:
            start = max(0, len(self._buffer) - len(mark) + 1)
            self._require_more()
        return bytes(self._take(end + len(mark)))

    def exactly(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        while len(self._buffer) < count:
            self._require_more()
        return bytes(self._take(count))

    def secure(self, context: ssl.SSLContext, name: str) -> None:
        """Shake hands; the server must show a certificate for `name` if the context verifies it."""
        if self._buffer:
            # Whoever sits in between could have put it there, to be taken for the server's word.
            raise ProbeError("the server went on in plain text where TLS was to begin")
        self._sock = self.tls = secure = wrap(self._sock, context, name)
        secure.do_handshake()

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()

    def _take(self, count: int, skip: int = 0) -> bytearray:
        taken = self._buffer[:count]
        del self._buffer[: count + skip]
        return taken

    def _more(self) -> bool:
        piece = self._sock.recv(_CHUNK)
        self._received += len(piece)
        if self._received > self._most:
            raise ProbeError(f"more than {self._most // 1024} KiB and still not what was expected")
        self._buffer += piece
        return bool(piece)

    def _require_more(self) -> None:
        if not self._more():
            raise ProbeError("answer cut short" if self._received else "connection closed before the answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One of `steps:`; what it has of `expect`, `send` and `starttls` is done in this order."""

    expect: Pattern | None = setting(None, help="regular expression that a line of the server must match")
    send: str = setting("", help="line to send; $1 is the first group of the last expect", secret=True)
    starttls: bool = setting(False, help="whether TLS begins here")

    def __post_init__(self) -> None:
        if self.expect is None and not self.send and not self.starttls:
            raise ValueError("does nothing (expect, send or starttls)")


def check_steps(steps: Sequence[Step]) -> None:
    """Raise ValueError when a step refers to what no `expect` before it has found."""
    known: set[str] = set()
    for step in steps:
        if step.expect is not None:
            compiled = re.compile(step.expect.text)
            known = {str(number) for number in range(compiled.groups + 1)} | set(compiled.groupindex)
        for dollar, bare, braced in _REFERENCE.findall(step.send):
            if not dollar and (bare or braced) not in known:
                raise ValueError(
                    f"send: ${bare or braced} is no group of an expect before it ($$ is a dollar sign)"
                )


def follow(steps: Sequence[Step], talk: Conversation, seconds: float, secure: Callable[[], None]) -> None:
    """Do one step after the other; `secure` begins TLS. Raises OSError and ProbeError.

    What is expected must come within `seconds` of the beginning; the caller's time limit ends all else.
    """
    pattern: Pattern | None = None
    groups: list[str] = []
    said: list[str] = []
    until = time.monotonic() + seconds
    for step in steps:
        if step.expect is not None:
            pattern, groups = step.expect, _await(step.expect, talk, until - time.monotonic(), said)
        if step.send:
            said.append(_filled_in(step.send, pattern, groups))
            talk.send(said[-1].encode("utf-8"))
        if step.starttls:
            secure()


def _await(pattern: Pattern, talk: Conversation, seconds: float, said: Sequence[str]) -> list[str]:
    """Return the groups of the first line that matches. No error shows what has been `said`."""
    last: bytes | None = None
    problem = "connection closed before"
    with gevent.Timeout(max(seconds, 0.0)) as limit:
        try:
            for line in slices(talk.lines()):
                last = line
                if (groups := pattern.groups_in(line)) is not None:
                    return groups
        except gevent.Timeout as fired:
            if fired is not limit:
                raise
            problem = "timed out before"
    told = "" if last is None else f"; the last was {shown(last)}"
    for text in (line.strip() for line in said):
        for secret in (text, text.rpartition(" ")[2]):
            told = told.replace(secret, HIDDEN) if len(secret) >= _SECRET else told
    raise ProbeError(f"{problem} a line that matches {pattern.text!r}{told}")


def _filled_in(text: str, pattern: Pattern | None, groups: Sequence[str]) -> str:
    """Return the line to send: references replaced, and a line's end put behind it where there is none."""
    names = {} if pattern is None else re.compile(pattern.text).groupindex

    def value(match: re.Match[str]) -> str:
        name = match[2] or match[3]
        if match[1]:
            return "$"
        return groups[int(name) if name.isdecimal() else names[name]]

    text = _REFERENCE.sub(value, text)
    return text if text.endswith("\n") else text + "\n"
