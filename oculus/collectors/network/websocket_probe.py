"""WebSocket probe: `net.websocket.<name>.rtt` (ms, the whole), `.up` and the phases.

The handshake is RFC 6455 §4.1, on a connection of its own; `.handshake` is from the request to the head of
the answer, `.response` the wait for the first message where one is expected.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from oculus import __version__
from oculus.collectors.base import Context
from oculus.collectors.network.dialogue import Conversation, shown
from oculus.collectors.network.expect import Pattern
from oculus.collectors.network.http_request import FRAMING, authority, check_headers
from oculus.collectors.network.probe import (
    Outcome,
    Probe,
    ProbeError,
    ProbeSettings,
    Trace,
    connect,
    milliseconds,
    resolve,
)
from oculus.collectors.network.starttls import check_server_name, secure
from oculus.collectors.network.tls import TlsSettings, client_context
from oculus.config.decode import setting
from oculus.config.settings import CollectorSpec
from oculus.cooperate import slices

MAX_RECEIVED = 2**20  # bytes: head and first message, and what comes in between
MAX_FRAMES = 1_000  # of the first message, and of pings before and within it
_PORTS = {"ws": 80, "wss": 443}
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
_URL_SIGNS = "/?[]@!$&'()*+,;=%:~"  # what path and query may hold as they are (RFC 3986)
_OWN = FRAMING | {"upgrade", "sec-websocket-key", "sec-websocket-extensions"}  # headers that are not given
_STATUS = re.compile(rb"HTTP/1\.\d (\d{3})(?: |$)")

_CONTINUED, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10  # opcodes (RFC 6455 §5.2)
_NORMAL = (1000).to_bytes(2, "big")  # the status of a connection that has served its purpose


def _check_target(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(f"{url!r} is not a WebSocket URL (such as wss://example.com/feed)")
    if parts.username is not None:
        raise ValueError("the URL holds a user name or password (headers: {Authorization: …} can send one)")
    if not url.isprintable() or " " in url:
        raise ValueError(f"{url!r} holds a space or control character (write it as %20)")
    _ = parts.port  # raises ValueError when it is no port number
    check_server_name("" if ":" in parts.hostname else parts.hostname)


def _check_headers(headers: Mapping[str, str]) -> None:
    check_headers(headers, _OWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketSettings(ProbeSettings):
    """Settings of `probe: websocket`."""

    target: str = setting(help="ws:// or wss:// URL", check=_check_target)
    headers: Mapping[str, str] = setting(
        factory=dict, help="headers to send", check=_check_headers, secret=True
    )
    send: str = setting("", help="text message to send after the handshake", secret=True)
    expect: Pattern | None = setting(None, help="regular expression that the first message must match")
    tls: TlsSettings = setting(TlsSettings(), help="how the certificate is judged")


class WebSocketProbe(Probe):
    """Shakes hands, and if it is told to, sends a message and judges the first that comes."""

    prefix = "net.websocket"
    Settings = WebSocketSettings
    phases = ("dns", "connect", "tls", "handshake", "response")

    def __init__(self, spec: CollectorSpec, context: Context) -> None:
        super().__init__(spec, context)
        assert isinstance(spec.settings, WebSocketSettings)
        self._settings = spec.settings
        parts = urlsplit(spec.settings.target)
        self._host = parts.hostname or ""
        self._port = parts.port or _PORTS[parts.scheme]
        self._secure = parts.scheme == "wss"
        path = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=_URL_SIGNS)
        given = spec.settings.headers
        agent = f"Oculus/{__version__}"
        headers = {"Host": authority(parts), "User-Agent": agent, "Sec-WebSocket-Version": "13"}
        names = {name.lower() for name in given}
        headers = {name: text for name, text in headers.items() if name.lower() not in names} | dict(given)
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {text}" for name, text in headers.items())]
        lines += ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: "]
        self._request = "\r\n".join(lines).encode("latin-1")

    def attempt(self, trace: Trace) -> Outcome:
        """Connect, shake hands and talk once."""
        settings = self._settings
        context = client_context(settings.tls, self.context) if self._secure else None
        trace.enter("dns")
        addresses = resolve(self._host, self._port, settings.family, settings.resolver)
        trace.enter("connect")
        talk = Conversation(connect(addresses), MAX_RECEIVED)
        try:
            if context is not None:
                secure(talk, trace, context, self._host, None)
            trace.enter("handshake")
            self._shake_hands(talk)
            if settings.send or settings.expect is not None:
                trace.enter("response")
                self._talk(talk)
            trace.end()
            with suppress(OSError):  # whoever has answered may hang up first
                talk.send(frame(_CLOSE, _NORMAL))
        finally:
            talk.close()
        values = milliseconds({name: trace.phases[name] for name in self.phases if name in trace.phases})
        return Outcome(True, values | {"rtt": round(sum(values.values()), 3)})

    def _shake_hands(self, talk: Conversation) -> None:
        key = base64.b64encode(os.urandom(16))
        talk.send(self._request + key + b"\r\n\r\n")
        if not (start := talk.exactly(5)).startswith(b"HTTP/"):
            raise ProbeError("the answer is not HTTP")
        head = (start + talk.through(b"\r\n\r\n")).split(b"\r\n")
        status = _STATUS.match(head[0])
        if status is None:
            raise ProbeError("the answer's status line is not HTTP")
        if status[1] != b"101":
            raise ProbeError(f"status {status[1].decode()}, expected 101")
        pairs = [line.partition(b":") for line in head[1:]]
        headers = {name.strip().lower(): text.strip() for name, _, text in pairs}
        if headers.get(b"upgrade", b"").lower() != b"websocket":
            raise ProbeError("the server did not switch to WebSocket (header Upgrade)")
        if b"upgrade" not in headers.get(b"connection", b"").lower():
            raise ProbeError("the server did not switch to WebSocket (header Connection)")
        if headers.get(b"sec-websocket-accept") != accept_of(key):
            raise ProbeError("the server's Sec-WebSocket-Accept does not answer this handshake's key")
        if headers.get(b"sec-websocket-extensions"):
            raise ProbeError("the server uses an extension that nobody asked for")

    def _talk(self, talk: Conversation) -> None:
        if self._settings.send:
            talk.send(frame(_TEXT, self._settings.send.encode("utf-8")))
        pattern = self._settings.expect
        if pattern is None:
            return
        message = bytearray()
        for opcode, last, payload in slices(_frames(talk)):
            if opcode == _CLOSE:
                code = int.from_bytes(payload[:2], "big") if len(payload) > 1 else "none given"
                raise ProbeError(f"closed by the server before a message (status {code})")
            if opcode == _PING:
                talk.send(frame(_PONG, payload))
            elif opcode in (_CONTINUED, _TEXT, _BINARY):
                message += payload
                if last:
                    break
        if not pattern.found_in(bytes(message)):
            raise ProbeError(f"the first message does not match {pattern.text!r}: {shown(message)}")


def accept_of(key: bytes) -> bytes:
    """Return the Sec-WebSocket-Accept that answers a Sec-WebSocket-Key."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def frame(opcode: int, payload: bytes) -> bytes:
    """Return a client's frame with a whole message, masked as the standard demands."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
    elif size < 2**16:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size)
    mask = os.urandom(4)
    long_mask = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return head + mask + (int.from_bytes(payload, "big") ^ long_mask).to_bytes(size, "big")


def _frames(talk: Conversation) -> Iterator[tuple[int, bool, bytes]]:
    """Yield opcode, whether it ends its message, and payload of what comes."""
    for _ in range(MAX_FRAMES):
        first, second = talk.exactly(2)
        size = second & 0x7F
        if first & 0x70 or second & 0x80:
            raise ProbeError("the server sends frames that are none of WebSocket's")
        if size > 125:
            size = int.from_bytes(talk.exactly(2 if size == 126 else 8), "big")
        if size > MAX_RECEIVED:
            raise ProbeError(f"a frame of more than {MAX_RECEIVED // 1024} KiB")
        yield first & 0x0F, bool(first & 0x80), talk.exactly(size)
    raise ProbeError(f"{MAX_FRAMES} frames and no whole message among them")
