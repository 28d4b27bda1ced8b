"""A real name server on loopback, over UDP, TCP, TLS and HTTPS, with faults to order."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import gevent
from gevent import socket
from gevent.server import DatagramServer

from tests.support.servers import HttpServer, TcpServer

Zone = Mapping[str, Mapping[str, Iterable[str]]]
TTL = 300  # seconds of every record, unless a test says otherwise


class ZoneServer:
    """Answers from `zone`: name → type → records. What is in no zone does not exist.

    `fault(wire, transport)` may change, multiply or leave out what is sent; `transport` is `udp` or `tcp`.
    """

    def __init__(
        self, zone: Zone | None = None, host: str = "127.0.0.1", context: ssl.SSLContext | None = None
    ) -> None:
        self.zone: dict[str, Mapping[str, Iterable[str]]] = dict(zone or {})
        self.ttl = TTL
        self.rcode = "NOERROR"  # another one is what every question is answered with
        self.delay: dict[str, float] = {}  # seconds before an answer, by the type that is asked for
        self.fault: Callable[[bytes, str], Iterable[bytes]] = lambda wire, transport: [wire]
        self.asked: list[tuple[str, str, str]] = []  # name, type, transport
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._tcp = TcpServer(self._stream, host)
        self.port = self._tcp.port
        udp = socket.socket(family, socket.SOCK_DGRAM)
        udp.bind((host, self.port))
        self._udp = DatagramServer(udp, self._datagram)
        self._udp.start()
        self.address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self._secure = TcpServer(self._stream, host, context=context) if context else None
        self._https = HttpServer(self._web, host=host, context=context) if context else None
        self.status = 200
        self.type = "application/dns-message"

    @property
    def tls_address(self) -> str:
        """Where it answers over TLS."""
        assert self._secure is not None
        return f"localhost:{self._secure.port}"

    @property
    def https_url(self) -> str:
        """Where it answers over HTTPS."""
        assert self._https is not None
        return f"https://localhost:{self._https.port}/dns-query"

    def stop(self) -> None:
        """Close all sockets."""
        self._udp.stop(timeout=0)
        for server in (self._tcp, self._secure, self._https):
            if server is not None:
                server.stop()

    def answer(self, data: bytes, transport: str) -> bytes:
        """Return the right answer to a question."""
        query = dns.message.from_wire(data)
        asked = query.question[0]
        record = dns.rdatatype.to_text(asked.rdtype)
        name = asked.name.to_text(omit_final_dot=True).lower()
        self.asked.append((name, record, transport))
        gevent.sleep(self.delay.get(record, 0.0))
        made = dns.message.make_response(query, recursion_available=True)
        if self.rcode != "NOERROR":
            made.set_rcode(dns.rcode.from_text(self.rcode))
        elif name not in self.zone:
            made.set_rcode(dns.rcode.NXDOMAIN)
        while made.rcode() == dns.rcode.NOERROR and name in self.zone:
            known = self.zone[name]
            kind = record if record in known else "CNAME"
            texts = list(known.get(kind, ()))
            if not texts:
                break
            made.answer.append(dns.rrset.from_text_list(name + ".", self.ttl, "IN", kind, texts))
            if kind == record:
                break
            name = texts[0].rstrip(".").lower()
        wire = made.to_wire(max_size=65_535)
        if transport == "udp" and len(wire) > (query.payload or 512):
            made.answer.clear()
            made.flags |= dns.flags.TC
            wire = made.to_wire(max_size=65_535)
        return wire

    def _datagram(self, data: Any, address: Any) -> None:
        for wire in self.fault(self.answer(data, "udp"), "udp"):
            self._udp.sendto(wire, address)

    def _stream(self, sock: socket.socket) -> None:
        length = int.from_bytes(sock.recv(2), "big")
        data = b""
        while len(data) < length:
            data += sock.recv(length - len(data))
        for wire in self.fault(self.answer(data, "tcp"), "tcp"):
            sock.sendall(len(wire).to_bytes(2, "big") + wire)

    def _web(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        data = cast("bytes", environ["wsgi.input"].read())
        start_response(f"{self.status} Said", [("Content-Type", self.type)])
        return list(self.fault(self.answer(data, "https"), "https"))


def with_id(wire: bytes, number: int) -> bytes:
    """Return a message with another id, or with its own shifted when that is the same."""
    own = int.from_bytes(wire[:2], "big")
    return (number if number != own else own ^ 1).to_bytes(2, "big") + wire[2:]
