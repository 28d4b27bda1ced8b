"""The WebSocket probe against real servers that speak it by another library, and against bad ones."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, Request, TextMessage
from wsproto.events import Event as WsEvent

from oculus.collectors.network.expect import Pattern
from oculus.collectors.network.tls import TlsSettings
from oculus.collectors.network.websocket_probe import WebSocketSettings, accept_of, frame
from oculus.config import loads
from oculus.errors import ConfigError
from oculus.model import Sample
from oculus.vocabulary import vocabulary
from tests.support import probes
from tests.support.certificates import authority, server_context
from tests.support.probes import answer, failure
from tests.support.servers import TcpServer, free_port, full_port, wait_for

TcpServers = Callable[..., TcpServer]

BASE = {"dns", "connect", "handshake", "rtt", "up"}


def check(target: str, **settings: Any) -> dict[str, Sample]:
    """Probe once; `expect` is written as in the file."""
    if "expect" in settings:
        settings["expect"] = Pattern.parse(settings["expect"])
    return probes.run(probes.probe("websocket", target, **settings))


class Peer:
    """A server by wsproto that sends what `reply(event)` gives for each event, and keeps what it heard."""

    def __init__(self, reply: Callable[[WsEvent], list[WsEvent]] = lambda event: []) -> None:
        self.reply = reply
        self.heard: list[WsEvent] = []

    def __call__(self, sock: socket.socket) -> None:
        connection = WSConnection(ConnectionType.SERVER)
        while data := sock.recv(65536):
            connection.receive_data(data)
            for event in connection.events():
                self.heard.append(event)
                first = [AcceptConnection()] if isinstance(event, Request) else []
                # In one go: a first message may come with the answer.
                sent = b"".join(connection.send(one) for one in [*first, *self.reply(event)])
                if sent:
                    sock.sendall(sent)


def test_a_handshake(tcp_server: TcpServers) -> None:
    """Up with its phases; the request is what the standard wants, and the connection is closed politely."""
    peer = Peer()
    server = tcp_server(peer)
    samples = check(f"ws://127.0.0.1:{server.port}/a b?c=1".replace(" ", "%20"), headers={"X-Key": "k"})
    assert set(samples) == BASE
    assert samples["up"].value == 1.0
    assert samples["rtt"].value >= samples["handshake"].value > 0.0
    assert {sample.symbol.rpartition(".")[0] for sample in samples.values()} == {"net.websocket.t"}
    request, closed = wait_for(lambda: peer.heard if len(peer.heard) == 2 else None)
    assert isinstance(request, Request)
    assert request.target == "/a%20b?c=1"
    assert request.host == f"127.0.0.1:{server.port}"
    headers = dict(request.extra_headers)
    assert headers[b"x-key"] == b"k"
    assert headers[b"user-agent"].startswith(b"Oculus/")
    assert closed == CloseConnection(code=1000, reason="")


@pytest.mark.parametrize("size", [1, 125, 126, 70_000])
def test_a_message_goes_and_one_comes_back(tcp_server: TcpServers, size: int) -> None:
    """Text of any length is sent, masked, and the first message must match."""
    text = "ä" + "x" * (size - 1)

    joined: list[str] = []

    def reply(event: WsEvent) -> list[WsEvent]:
        if not isinstance(event, TextMessage):
            return []
        joined.append(event.data)
        return [TextMessage("got it")] if event.message_finished else []

    server = tcp_server(Peer(reply))
    samples = check(f"ws://127.0.0.1:{server.port}", send=text, expect="^got it$")
    assert set(samples) == BASE | {"response"}
    assert "".join(joined) == text


def test_the_first_message_is_judged(tcp_server: TcpServers) -> None:
    """It may come with the handshake, in pieces, in bytes, long, and behind pings; what it is not is told."""

    def greeting(*events: WsEvent) -> str:
        peer = Peer(lambda event: list(events) if isinstance(event, Request) else [])
        return f"ws://127.0.0.1:{tcp_server(peer).port}"

    pieces = [TextMessage("hel", message_finished=False), Ping(b"1"), TextMessage("lo")]
    assert check(greeting(*pieces), expect="^hello$")["up"].value == 1.0
    assert check(greeting(BytesMessage(b"\x00hello")), expect="hello")["up"].value == 1.0
    assert check(greeting(TextMessage("x" * 200_000 + "end")), expect="xend$")["up"].value == 1.0
    samples = check(greeting(TextMessage("bye\n"), TextMessage("hello")), expect="^hello$")
    assert failure(samples) == ("response", "the first message does not match '^hello$': 'bye'")
    assert set(samples) == {"dns", "connect", "handshake", "up"}
    samples = check(greeting(CloseConnection(1013, "later")), expect="x")
    assert failure(samples) == ("response", "closed by the server before a message (status 1013)")
    assert failure(check(greeting(), expect="x", timeout=0.2)) == ("response", "timed out after 0.2 s")


def test_a_ping_is_answered(tcp_server: TcpServers) -> None:
    """A server that wants a sign of life before it speaks gets one."""

    def reply(event: WsEvent) -> list[WsEvent]:
        if isinstance(event, Request):
            return [Ping(b"there?")]
        return [TextMessage("hello")] if type(event).__name__ == "Pong" else []

    assert check(f"ws://127.0.0.1:{tcp_server(Peer(reply)).port}", expect="hello")["up"].value == 1.0


def test_over_tls(tcp_server: TcpServers, tmp_path: Path) -> None:
    """`wss:` has its phase, and the certificate is judged."""
    ca, path = authority(tmp_path)
    context: ssl.SSLContext = server_context(ca.issue_cert("127.0.0.1"))
    target = f"wss://127.0.0.1:{tcp_server(Peer(), context=context).port}/"
    assert set(check(target, tls=TlsSettings(ca_file=path))) == BASE | {"tls"}
    phase, error = failure(check(target))
    assert (phase, error) == ("tls", "certificate not trusted: unable to get local issuer certificate")


def upgraded(*headers: str, status: str = "101 Switching Protocols", accept: bool = True) -> probes.Serve:
    """Serve an answer to a handshake, with the right key unless told otherwise."""

    def serve(sock: socket.socket) -> None:
        request = probes.read_request(sock)
        lines = [f"HTTP/1.1 {status}", *headers]
        if accept:
            key = request.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
            lines.append("sec-websocket-accept:" + accept_of(key).decode())
        sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        sock.recv(1)

    return serve


UPGRADE, CONNECTION = "upgrade: WebSocket", "connection: keep-alive, Upgrade"


@pytest.mark.parametrize(
    ("serve", "reason"),
    [
        (answer(probes.ok()), "status 200, expected 101"),
        (answer(b"HTTP/1.1 401\r\n\r\n"), "status 401, expected 101"),
        (upgraded(CONNECTION), "the server did not switch to WebSocket (header Upgrade)"),
        (upgraded(UPGRADE), "the server did not switch to WebSocket (header Connection)"),
        (
            upgraded(UPGRADE, CONNECTION, accept=False),
            "the server's Sec-WebSocket-Accept does not answer this handshake's key",
        ),
        (
            upgraded(UPGRADE, CONNECTION, "Sec-WebSocket-Extensions: permessage-deflate"),
            "the server uses an extension that nobody asked for",
        ),
        (answer(b"SSH-2.0-OpenSSH\r\n"), "the answer is not HTTP"),
        (answer(b"HTTP/1.1 what\r\n\r\n"), "the answer's status line is not HTTP"),
        (answer(b"HTTP/1.1 101 x\r\n"), "answer cut short"),
        (answer(), "connection closed before the answer"),
        (probes.reset, "connection reset by peer"),
        (
            probes.forever(b"HTTP/1.1 101 x\r\n", b"a: b\r\n" * 2000),
            "more than 1024 KiB and still not what was expected",
        ),
    ],
)
def test_a_handshake_that_fails(tcp_server: TcpServers, serve: probes.Serve, reason: str) -> None:
    """Each way to answer something else has its reason."""
    samples = check(f"ws://127.0.0.1:{tcp_server(serve).port}")
    assert failure(samples) == ("handshake", reason)
    assert set(samples) == {"dns", "connect", "up"}


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        (frame(1, b"masked"), "the server sends frames that are none of WebSocket's"),
        (b"\xc1\x00", "the server sends frames that are none of WebSocket's"),
        (b"\x82\x7f" + bytes(4) + b"\x7f" * 4, "a frame of more than 1024 KiB"),
        (b"\x01\x01a" * 1_001, "1000 frames and no whole message among them"),
        (b"\x8a\x00" * 1_001, "1000 frames and no whole message among them"),
        (
            (b"\x01\x7f" + (600_000).to_bytes(8, "big") + bytes(600_000)) * 2,
            "more than 1024 KiB and still not what was expected",
        ),
        (b"\x81\x05ab", "answer cut short"),
        (b"\x88\x00", "closed by the server before a message (status none given)"),
    ],
    ids=["masked", "reserved", "huge", "pieces", "pongs", "long", "cut", "closed"],
)
def test_frames_that_are_none(tcp_server: TcpServers, frames: bytes, reason: str) -> None:
    """Floods end, and what breaks the standard is told."""

    def serve(sock: socket.socket) -> None:
        key = probes.read_request(sock).partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
        head = f"HTTP/1.1 101 x\r\n{UPGRADE}\r\n{CONNECTION}\r\nSec-WebSocket-Accept: ".encode()
        sock.sendall(head + accept_of(key) + b"\r\n\r\n" + frames)

    samples = check(f"ws://127.0.0.1:{tcp_server(serve).port}", expect="x")
    assert failure(samples) == ("response", reason)


def test_a_target_that_is_not_there(tcp_server: TcpServers) -> None:
    """Refused, dropped and silent, each in its phase."""
    assert failure(check(f"ws://127.0.0.1:{free_port()}")) == ("connect", "connection refused")
    with full_port() as port:
        samples = check(f"ws://127.0.0.1:{port}", timeout=0.2)
        assert failure(samples) == ("connect", "timed out after 0.2 s")
    server = tcp_server(lambda sock: gevent.sleep(5))
    samples = check(f"ws://127.0.0.1:{server.port}", timeout=0.2)
    assert failure(samples) == ("handshake", "timed out after 0.2 s")


def test_the_answer_to_a_key_is_that_of_the_standard() -> None:
    """The example of RFC 6455 §1.3."""
    assert accept_of(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("target: http://a.test", "is not a WebSocket URL"),
        ("target: 'ws://'", "is not a WebSocket URL"),
        ("target: ws://me@a.test", "holds a user name"),
        ("target: 'ws://a.test/a b'", "holds a space"),
        ("target: ws://a.test:99999", "Port out of range"),
        ("target: ws://a..test", "is not a host name"),
        ("target: ws://a.test, headers: {'a b': c}", "is not the name of a header"),
        ('target: ws://a.test, headers: {a: "b\\nc"}', "holds what a header cannot"),
        ("target: ws://a.test, headers: {Upgrade: h2c}", "Upgrade is a header that the request sets itself"),
        ("target: ws://a.test, expect: '('", "is not a regular expression"),
    ],
)
def test_mistakes_are_told(setting: str, problem: str) -> None:
    """Before anything is sent."""
    text = f"collectors:\n  - {{type: network, probe: websocket, {setting}}}\n"
    with pytest.raises(ConfigError, match=problem):
        loads(text, "c.yaml", vocabulary())


def test_names_of_other_alphabets_are_asked_for() -> None:
    """The Host header has the name as DNS knows it; a header of the user's own goes before the probe's."""
    probe: Any = probes.probe("websocket", "ws://bücher.test:81/", headers={"user-agent": "me"})
    assert b"\r\nHost: xn--bcher-kva.test:81\r\n" in probe._request
    assert b"Oculus" not in probe._request
    assert "s3cret" not in repr(WebSocketSettings(target="ws://a", headers={"x": "s3cret"}))
