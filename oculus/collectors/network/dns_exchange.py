"""Questions to a name server, over UDP, TCP, TLS (RFC 7858) and HTTPS (RFC 8484), and reading the answers.

dnspython writes and reads the messages, and tells whether an answer belongs to a question. The sockets are
gevent's own, which cost a fraction of dnspython's waiting. dnspython is imported by the first question.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args
from urllib.parse import urlsplit

from gevent import socket

from oculus import __version__
from oculus.collectors.network.http_answer import read_answer
from oculus.collectors.network.probe import Address, ProbeError, Trace, connect, split_host_port

if TYPE_CHECKING:
    from dns.message import QueryMessage
    from dns.rrset import RRset

Transport = Literal["udp", "tcp", "tls", "https"]
_PORTS: dict[Transport, int] = {"udp": 53, "tcp": 53, "tls": 853, "https": 443}
_HTTPS_PATH = "/dns-query"  # where the public services answer

Record = Literal["A", "AAAA", "CNAME", "MX", "NS", "TXT", "SRV", "CAA", "SOA", "PTR"]
RECORDS: tuple[Record, ...] = get_args(Record)

_EXAMPLES: dict[Record, str] = {
    "A": "192.0.2.1",
    "AAAA": "2001:db8::1",
    "CNAME": "www.example.net",
    "MX": "10 mail.example.com",
    "NS": "ns1.example.com",
    "SRV": "0 5 5060 sip.example.com",
    "CAA": '0 issue "ca.example.net"',
    "SOA": "ns1.example.com admin.example.com 7 3600 900 604800 300",
    "PTR": "host.example.com",
}

RESOLV_CONF = "/etc/resolv.conf"

# Longest answer over UDP that is asked for: fits every path without fragments. What is longer comes by TCP.
_UDP_PAYLOAD = 1_232  # bytes
_LONGEST = 65_535  # bytes of a message: its length is sent as two bytes
_LONGEST_PAGE = 2**20  # bytes of what comes over HTTPS: a page that tells why there is no answer may be long

# A record takes 25 µs to read and nobody else runs meanwhile; the longest honest answers have some dozens.
MAX_RECORDS = 250

# Datagrams that answer something else before it counts as a flood: late answers and forgeries are few.
_MAX_STRAYS = 100


@dataclass(frozen=True, slots=True)
class NameServer:
    """Where questions go. `path` is for HTTPS."""

    host: str
    port: int
    path: str = _HTTPS_PATH

    @classmethod
    def parse(cls, text: str, transport: Transport = "udp") -> NameServer:
        """Return the server that `1.1.1.1`, `[::1]:5353`, `dns.local` or a URL names; raises ValueError."""
        port = _PORTS[transport]
        if "://" in text:
            parts = urlsplit(text)
            right = transport == "https" == parts.scheme and parts.hostname and not parts.query
            if not right or not text.isascii() or not text.isprintable() or " " in text:
                raise ValueError(f"{text!r} is no name server (1.1.1.1, or https://… with transport https)")
            return cls(parts.hostname or "", parts.port or port, parts.path or _HTTPS_PATH)
        bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
        try:
            return cls(str(ipaddress.ip_address(bare)), port)
        except ValueError:
            pass
        if not bare.isascii() or not bare.isprintable() or any(sign in text for sign in " /") or not text:
            raise ValueError(f"{text!r} is not a name server (such as 1.1.1.1 or dns.local:5353)")
        return cls(*split_host_port(text)) if ":" in text else cls(text, port)

    @property
    def is_address(self) -> bool:
        """Whether it is named by its address, so that nothing must be looked up to ask it."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True


def system_server(path: str = RESOLV_CONF) -> NameServer:
    """Return the first name server of resolv.conf; where it has none, loopback, as in the C library."""
    try:
        lines = Path(path).read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            try:
                return NameServer.parse(words[1])
            except ValueError:
                continue
    return NameServer("127.0.0.1", _PORTS["udp"])


def ascii_name(name: str) -> str:
    """Return a name as the DNS has it, without a dot at its end; raises ValueError for what is none."""
    wrong = f"{name!r} is not a name in the DNS (such as example.com)"
    if not name.isprintable() or any(sign in name for sign in " /\\@:"):
        raise ValueError(wrong)
    try:
        found = name.rstrip(".") if name.isascii() else name.encode("idna").decode("ascii").rstrip(".")
    except UnicodeError:
        raise ValueError(wrong) from None
    if len(found) > 253 or not all(0 < len(label) < 64 for label in found.split(".")):
        raise ValueError(wrong)
    return found.lower()


def reverse_name(target: str) -> str:
    """Return the name under which an address' PTR record is; what is no address is returned as it is."""
    try:
        return ipaddress.ip_address(target).reverse_pointer
    except ValueError:
        return target


def question(name: str, record: Record) -> QueryMessage:
    """Return a new question; `name` is as `ascii_name` gives it."""
    from dns.message import make_query

    number = int.from_bytes(os.urandom(2), "big")
    return make_query(name + ".", record, use_edns=0, payload=_UDP_PAYLOAD, id=number)


class _Truncated(Exception):
    """The answer did not fit a datagram."""


def ask(query: QueryMessage, address: Address, repeat_after: float | None = None) -> QueryMessage:
    """Ask over UDP, and over TCP when the answer is too long for a datagram.

    Waits without end unless the caller's time limit ends it. With `repeat_after` the datagram is sent again
    after so many seconds, which double each time. Raises OSError and ProbeError.
    """
    try:
        return _ask_datagram(query, address, repeat_after)
    except _Truncated:
        with connect([address]) as sock:
            return ask_stream(query, sock)


def _ask_datagram(query: QueryMessage, address: Address, repeat_after: float | None) -> QueryMessage:
    wire = query.to_wire()
    with socket.socket(address[0], socket.SOCK_DGRAM) as sock:
        # Connected: the kernel then passes on what comes from that server only, and its refusals too.
        sock.connect(address[1])
        sock.settimeout(repeat_after)
        sock.send(wire)
        strays = 0
        while strays < _MAX_STRAYS:
            try:
                data = sock.recv(_LONGEST)
            except TimeoutError:
                if repeat_after is None:
                    raise
                repeat_after *= 2
                sock.settimeout(repeat_after)
                sock.send(wire)
                continue
            answer = _matching(query, data, datagram=True)
            if answer is not None:
                return answer
            strays += 1
    raise ProbeError(f"{_MAX_STRAYS} answers to other questions, and none to this one")


def ask_stream(query: QueryMessage, sock: socket.socket) -> QueryMessage:
    """Ask over a connection, plain or TLS. Raises OSError and ProbeError."""
    wire = query.to_wire()
    sock.sendall(len(wire).to_bytes(2, "big") + wire)
    length = int.from_bytes(_exactly(sock, 2), "big")
    return _only(query, _exactly(sock, length))


def ask_https(query: QueryMessage, sock: socket.socket, server: NameServer) -> QueryMessage:
    """Ask with a POST over a TLS connection, in HTTP/1.1. Raises OSError and ProbeError."""
    wire, kind = query.to_wire(), "application/dns-message"
    host = f"[{server.host}]" if ":" in server.host else server.host
    head = (
        f"POST {server.path} HTTP/1.1\r\nHost: {host}:{server.port}\r\nUser-Agent: Oculus/{__version__}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(wire)}\r\nAccept: {kind}\r\nConnection: close\r\n\r\n"
    )
    sock.sendall(head.encode("ascii") + wire)  # at once: a second piece would wait for an acknowledgement
    body: list[bytes] = []
    answer = read_answer(sock, Trace(), "POST", _LONGEST_PAGE, body.append)
    if answer.status != 200:
        raise ProbeError(f"status {answer.status} from {server.path}, expected 200")
    if answer.headers.get("content-type", "").partition(";")[0].strip().lower() != kind:
        raise ProbeError(f"the answer from {server.path} is no {kind}")
    return _only(query, b"".join(body))


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise ProbeError("answer cut short" if data else "connection closed before the answer")
        data += piece
    return data


def _only(query: QueryMessage, data: bytes) -> QueryMessage:
    """Return the answer that came over a connection of our own; raises ProbeError unless it belongs here."""
    answer = _matching(query, data, datagram=False)
    if answer is None:
        raise ProbeError("the answer is to another question")
    return answer


def _matching(query: QueryMessage, data: bytes, *, datagram: bool) -> QueryMessage | None:
    """Return a message if it answers the question; raises ProbeError for what cannot be read."""
    from dns.exception import DNSException
    from dns.message import QueryMessage, from_wire

    if len(data) < 12 or int.from_bytes(data[:2], "big") != query.id:
        return None
    if datagram and data[2] & 0x02:
        raise _Truncated
    records = sum(int.from_bytes(data[at : at + 2], "big") for at in (6, 8, 10))
    if records > MAX_RECORDS:
        raise ProbeError(f"an answer of {records} records, more than {MAX_RECORDS}")
    try:
        answer = from_wire(data)
    except (DNSException, ValueError) as error:
        raise ProbeError(f"the answer cannot be read: {error}") from None
    return answer if isinstance(answer, QueryMessage) and query.is_response(answer) else None


@dataclass(frozen=True, slots=True)
class Answers:
    """What an answer says. `records` are texts as zone files have them, in lower case; TXT is joined as is.

    `ttl` is the seconds that they may be kept: the least along the chain of aliases.
    """

    rcode: str
    records: tuple[str, ...] = ()
    ttl: int = 0


def read_answers(answer: QueryMessage) -> Answers:
    """Return what an answer says about its question, aliases followed; raises ProbeError."""
    from dns import rcode
    from dns.exception import DNSException

    code = rcode.to_text(answer.rcode())
    if code != "NOERROR":
        return Answers(code)
    try:
        chain = answer.resolve_chaining()
    except DNSException as error:
        raise ProbeError(f"the answer makes no sense: {error}") from None
    if chain.answer is None:
        return Answers(code)
    return Answers(code, record_texts(chain.answer), chain.minimum_ttl)


def record_texts(found: RRset) -> tuple[str, ...]:
    """Return records as texts, sorted."""
    texts = []
    for record in found:
        strings = getattr(record, "strings", None)
        if strings is None:
            texts.append(record.to_text().lower())
        else:  # what is longer than 255 bytes is split for the wire only
            texts.append(b"".join(strings).decode("utf-8", "replace"))
    return tuple(sorted(texts))


def expected_text(record: Record, text: str) -> str:
    """Return a record that a person wrote as `record_texts` gives it; raises ValueError for what is none."""
    if record == "TXT":
        return text
    from dns.exception import DNSException
    from dns.name import root
    from dns.rdata import from_text

    try:
        return from_text("IN", record, text, origin=root, relativize=False).to_text().lower()
    except (DNSException, ValueError):
        raise ValueError(f"{text!r} is no {record} record (such as {_EXAMPLES[record]})") from None
