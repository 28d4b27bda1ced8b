"""Networks that fail: packets dropped or late, connections reset or half-open, no IPv6.

For each kind of probe the failure comes in time, in the phase where it happened, and with its own reason.
"""

from __future__ import annotations

import _socket
import ssl
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import monkey, socket

from oculus.collectors.network.dialogue import Step
from oculus.collectors.network.expect import Pattern
from oculus.collectors.network.probe import ProbeError, connect, resolve
from oculus.collectors.network.tls import TlsSettings
from tests.support import probes
from tests.support.certificates import authority, server_context
from tests.support.namespace import run_in_namespace
from tests.support.probes import failure
from tests.support.servers import TcpServer, full_port, wait_for

TcpServers = Callable[..., TcpServer]

# Kind of probe, its target for a port, its settings, and the phase in which it waits for the server's word.
SPOKEN: list[Any] = [
    pytest.param("http", "http://127.0.0.1:{}/", "", "ttfb", id="http"),
    pytest.param("http", "https://127.0.0.1:{}/", "", "tls", id="https"),
    pytest.param("tcp", "127.0.0.1:{}", "steps", "response", id="tcp"),
    pytest.param("dns", "example.test", "server", "query", id="dns"),
    pytest.param("tls", "127.0.0.1:{}", "", "tls", id="tls"),
    pytest.param("websocket", "ws://127.0.0.1:{}/", "", "handshake", id="websocket"),
]

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def check(kind: str, target: str, setting: str, port: int, timeout: float = 5.0) -> tuple[str, str]:
    """Probe a port once; return phase and reason of the failure that it must be."""
    given: dict[str, Any] = {"timeout": timeout}
    if setting == "steps":
        given["steps"] = (Step(send="hello"), Step(expect=Pattern.parse("^never$")))
    elif setting == "server":
        given |= {"server": f"127.0.0.1:{port}", "transport": "tcp"}
    return failure(probes.run(probes.probe(kind, target.format(port), **given)))


@pytest.mark.parametrize(("kind", "target", "setting", "phase"), SPOKEN)
def test_packets_that_are_dropped(kind: str, target: str, setting: str, phase: str) -> None:
    """No connection comes about: the time limit ends it in connect."""
    with full_port() as port:
        assert check(kind, target, setting, port, 0.15) == ("connect", "timed out after 0.15 s")


@pytest.mark.parametrize(("kind", "target", "setting", "phase"), SPOKEN)
def test_a_server_that_is_too_late(
    tcp_server: TcpServers, kind: str, target: str, setting: str, phase: str
) -> None:
    """Whatever comes after the time limit comes too late, and the connection is closed by then."""
    closed = []

    def serve(sock: socket.socket) -> None:
        while sock.recv(65_536):
            pass
        closed.append(True)

    found, error = check(kind, target, setting, tcp_server(serve).port, 0.7)
    assert found == phase
    late = "timed out before a line that matches '^never$'" if kind == "tcp" else "timed out after 0.7 s"
    assert error == late
    assert wait_for(lambda: closed, every=0.005) == [True]


@pytest.mark.parametrize(("kind", "target", "setting", "phase"), SPOKEN)
def test_a_connection_that_is_reset(
    tcp_server: TcpServers, kind: str, target: str, setting: str, phase: str
) -> None:
    """The system's reason, in the phase where the server was to speak."""

    def serve(sock: socket.socket) -> None:
        sock.recv(65_536)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    assert check(kind, target, setting, tcp_server(serve).port) == (phase, "connection reset by peer")


@pytest.mark.parametrize(
    ("kind", "target", "setting", "phase", "sent"),
    [
        ("http", "http://127.0.0.1:{}/", "", "transfer", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"),
        ("http", "http://127.0.0.1:{}/", "", "transfer", CHUNKED + b"5\r\n"),
        ("tcp", "127.0.0.1:{}", "steps", "response", b"some line\nhalf"),
        ("dns", "example.test", "server", "query", b"\0\x40half"),
        ("tls", "127.0.0.1:{}", "", "tls", b"\x16\x03\x03\x00\x40half"),
        ("websocket", "ws://127.0.0.1:{}/", "", "handshake", b"HTTP/1.1 101 Swi"),
    ],
)  # fmt: skip
def test_a_reset_in_the_middle_of_the_answer(
    tcp_server: TcpServers, kind: str, target: str, setting: str, phase: str, sent: bytes
) -> None:
    """Half an answer is none, and the reason is the reset."""

    def serve(sock: socket.socket) -> None:
        sock.recv(65_536)
        sock.sendall(sent)
        gevent.sleep(0.1)  # a reset overtakes what is not yet read
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    assert check(kind, target, setting, tcp_server(serve).port) == (phase, "connection reset by peer")


def test_a_reset_over_tls(tcp_server: TcpServers, tmp_path: Path) -> None:
    """Behind the handshake, in the middle of an answer; OpenSSL may take the reset for an end."""
    ca, path = authority(tmp_path)

    def serve(sock: ssl.SSLSocket) -> None:
        sock.recv(65_536)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        gevent.sleep(0.1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    port = tcp_server(serve, context=server_context(ca.issue_cert("127.0.0.1"))).port
    made = probes.probe("http", f"https://127.0.0.1:{port}/", tls=TlsSettings(ca_file=path))
    phase, error = failure(probes.run(made))
    assert phase == "transfer"
    assert error in ("connection reset by peer", "body cut short: 4 of 9 bytes")


def test_a_peer_that_vanishes_after_the_connection() -> None:
    """Its host lost power: no packet comes any more, not even a reset, and every probe ends in time."""
    found = run_in_namespace(
        """
        import time
        import gevent
        from oculus.collectors.network.dialogue import Step
        from oculus.collectors.network.expect import Pattern
        from tests.support import probes

        def down(name):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                fcntl.ioctl(sock, 0x8914, struct.pack("16sh22x", name.encode(), 0))

        give_address("lo", "127.0.0.1")
        listener = socket.create_server(("127.0.0.1", 0))
        at = f"127.0.0.1:{listener.getsockname()[1]}"
        answer = (Step(send="x"), Step(expect=Pattern.parse(".")))
        made = [
            probes.probe("http", f"http://{at}/", timeout=1.5),
            probes.probe("http", f"https://{at}/", timeout=1.5),
            probes.probe("tcp", at, timeout=1.5, steps=answer),
            probes.probe("dns", "example.test", timeout=1.5, server=at, transport="tcp"),
            probes.probe("tls", at, timeout=1.5),
            probes.probe("websocket", f"ws://{at}/", timeout=1.5),
        ]
        started = time.monotonic()
        running = [gevent.spawn(probes.run, each) for each in made]
        peers = [listener.accept() for _ in made]
        down("lo")
        ended = [probes.failure(each.get()) for each in running]
        tell([time.monotonic() - started, ended])
        """
    )
    late = "timed out after 1.5 s"
    assert found[0] < 10.0  # all at once
    assert found[1] == [
        ["ttfb", late],
        ["tls", late],
        ["response", "timed out before a line that matches '.'"],
        ["query", late],
        ["tls", late],
        ["handshake", late],
    ]


def test_a_host_without_ipv6() -> None:
    """A name with IPv6 addresses alone fails with a reason that says so; one with both is reached by IPv4,
    and where that fails it is IPv4's reason that is told."""
    found = run_in_namespace(
        """
        from tests.support import probes
        from tests.support.name_server import ZoneServer
        from tests.support.servers import TcpServer, free_port

        set_kernel("ipv6/conf/all/disable_ipv6", "1")
        names = ZoneServer({
            "six.test": {"AAAA": ["2001:db8::6"]},
            "both.test": {"A": ["127.0.0.1"], "AAAA": ["2001:db8::6"]},
        })
        open_port, closed = TcpServer().port, free_port()

        def reason(kind, target, **settings):
            found = probes.run(probes.probe(kind, target, timeout=5.0, **settings))
            return list(probes.failure(found)) if not found["up"].value else "up"

        tell({
            "tcp": reason("tcp", f"six.test:{open_port}", resolver=names.address),
            "http": reason("http", f"http://six.test:{open_port}/", resolver=names.address),
            "ping": reason("ping", "six.test", resolver=names.address),
            "dns": reason("dns", "x.test", server="six.test", resolver=names.address),
            "literal": reason("tcp", "[2001:db8::7]:80"),
            "both": reason("tcp", f"both.test:{open_port}", resolver=names.address),
            "refused": reason("tcp", f"both.test:{closed}", resolver=names.address),
        })
        """
    )
    why = "cannot assign requested address"
    told = f"this host has no IPv6 route to 2001:db8::{{}}, and no IPv4 address is known ({why})"
    assert found == {
        "tcp": ["connect", told.format(6)],
        "http": ["connect", told.format(6)],
        "ping": ["reply", told.format(6)],
        "dns": ["query", told.format(6)],
        "literal": ["connect", told.format(7)],
        "both": "up",
        "refused": ["connect", "connection refused"],
    }


def test_a_kernel_without_a_version_of_ip(tcp_server: TcpServers) -> None:
    """Where not even a socket is to be had, the next address is tried."""
    nowhere = int(socket.AF_APPLETALK), ("::1", 1, 0, 0)
    port = tcp_server().port
    with connect([nowhere, (int(socket.AF_INET), ("127.0.0.1", port))]) as reached:
        assert reached.getpeername() == ("127.0.0.1", port)
    with pytest.raises(OSError, match=r"(?i)address family not supported"):
        connect([nowhere])


def test_a_name_whose_servers_are_silent_takes_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's look-up goes on after the probe has given up; the next run waits for the same one."""
    asked: list[str] = []
    native_sleep = monkey.get_original("time", "sleep")

    def slow(host: str, *rest: Any) -> list[Any]:
        asked.append(host)
        native_sleep(0.3)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(_socket, "getaddrinfo", slow)  # the C library, which asks no server here
    for _ in range(3):
        samples = probes.run(probes.probe("tcp", "silent.test:1", timeout=0.05))
        assert failure(samples) == ("dns", "timed out after 0.05 s")
    waiting = [gevent.spawn(probes.run, probes.probe("tcp", "silent.test:1")) for _ in range(3)]
    gevent.joinall(waiting)
    told = ("dns", "name lookup failed: Temporary failure in name resolution")
    assert [failure(each.get()) for each in waiting] == [told] * 3
    assert asked == ["silent.test"]
    with pytest.raises(socket.gaierror):
        resolve("silent.test", 1, "any")
    assert len(asked) == 2


def test_an_address_is_looked_up_for_its_port_alone() -> None:
    """Who waits for another's look-up gets its own port."""
    ports = [gevent.spawn(resolve, "localhost", port, "ipv4") for port in (1, 2)]
    gevent.joinall(ports)
    assert [each.get()[0][1] for each in ports] == [("127.0.0.1", 1), ("127.0.0.1", 2)]
    with pytest.raises(ProbeError, match="is not a host name"):
        resolve("x" * 64 + ".example", 1, "any")
