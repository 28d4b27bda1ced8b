"""The DNS probe against a real name server on loopback."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import dns.message
import dns.rrset
import gevent
import pytest
from gevent import socket

from oculus.collectors.network.dns_exchange import (
    MAX_RECORDS,
    NameServer,
    ascii_name,
    ask,
    question,
    system_server,
)
from oculus.collectors.network.dns_probe import DnsExpectSettings, DnsSettings
from oculus.collectors.network.expect import Comparison
from oculus.collectors.network.probe import ProbeError
from oculus.collectors.network.tls import TlsSettings
from oculus.model import Sample, unit_of
from tests.support import probes
from tests.support.certificates import authority, server_context
from tests.support.configs import mistakes_of
from tests.support.name_server import ZoneServer, with_id
from tests.support.probes import failure, values
from tests.support.servers import free_port

ZONE: dict[str, dict[str, list[str]]] = {
    "example.test": {
        "A": ["192.0.2.1", "192.0.2.2"],
        "AAAA": ["2001:db8::1"],
        "MX": ["10 mail.example.test.", "20 backup.example.test."],
        "NS": ["ns1.example.test.", "NS2.Example.test."],
        "TXT": ['"v=spf1 ip4:192.0.2.0/24 " "-all"', '"token=AbC"'],
        "CAA": ['0 issue "ca.example.net"'],
        "SOA": ["ns1.example.test. admin.example.test. 7 3600 900 604800 300"],
    },
    "www.example.test": {"CNAME": ["alias.example.test."]},
    "alias.example.test": {"CNAME": ["example.test."]},
    "_sip._tcp.example.test": {"SRV": ["0 5 5060 sip.example.test."]},
    "1.2.0.192.in-addr.arpa": {"PTR": ["example.test."]},
    "loop.example.test": {"CNAME": ["loop.example.test."]},
    "xn--mnchen-3ya.test": {"A": ["192.0.2.3"]},
    "long.example.test": {"TXT": [f'"{number:03d}{"x" * 200}"' for number in range(20)]},
}


@pytest.fixture
def server() -> Iterator[ZoneServer]:
    """A name server that knows ZONE."""
    made = ZoneServer(ZONE)
    yield made
    made.stop()


def check(server: ZoneServer | str, target: str = "example.test", **settings: Any) -> dict[str, Sample]:
    """Probe once; what `expect` takes may be given as it is."""
    names = {"answers", "contains", "rcode", "ttl"} & settings.keys()
    expect = DnsExpectSettings(**{name: settings.pop(name) for name in names})
    address = server if isinstance(server, str) else server.address
    return probes.run(probes.probe("dns", target, server=address, expect=expect, **settings))


def test_a_name_with_addresses_is_up(server: ZoneServer) -> None:
    """A success has rtt, the number of records, how long they may be kept, and up."""
    samples = check(server)
    found = values(samples)
    assert 0.0 < found.pop("rtt") < 5000.0
    assert found == {"answers": 2.0, "ttl": 300.0, "up": 1.0}
    assert samples["ttl"].symbol == "net.dns.t.ttl"
    assert unit_of(samples["ttl"].symbol, {}) == "s"
    assert server.asked == [("example.test", "A", "udp")]


@pytest.mark.parametrize(
    ("target", "record", "answers"),
    [
        ("example.test", "A", ("192.0.2.2", "192.0.2.1")),
        ("example.test", "AAAA", ("2001:DB8:0::1",)),
        ("example.test", "MX", ("20 backup.example.test", "10 MAIL.example.test.")),
        ("example.test", "NS", ("ns1.example.test", "ns2.example.test")),
        ("example.test", "TXT", ("token=AbC", "v=spf1 ip4:192.0.2.0/24 -all")),
        ("example.test", "CAA", ('0 issue "ca.example.net"',)),
        ("example.test.", "SOA", ("ns1.example.test admin.example.test 7 3600 900 604800 300",)),
        ("www.example.test", "CNAME", ("alias.example.test",)),
        ("WWW.Example.test", "A", ("192.0.2.1", "192.0.2.2")),
        ("_sip._tcp.example.test", "SRV", ("0 5 5060 sip.example.test",)),
        ("192.0.2.1", "PTR", ("example.test",)),
        ("1.2.0.192.in-addr.arpa", "PTR", ("example.test",)),
        ("münchen.test", "A", ("192.0.2.3",)),
    ],
)
def test_each_type_of_record_is_read(
    server: ZoneServer, target: str, record: str, answers: tuple[str, ...]
) -> None:
    """Expected records are written as in zone files; a dot at the end and capitals make no difference."""
    samples = check(server, target, record=record, answers=answers)
    assert values(samples)["up"] == 1.0, samples["up"].tags


@pytest.mark.parametrize(
    ("expect", "error"),
    [
        ({"answers": ("192.0.2.1",)}, "answered 192.0.2.1, 192.0.2.2, expected 192.0.2.1"),
        ({"answers": ()}, "answered 192.0.2.1, 192.0.2.2, expected nothing"),
        ({"contains": ("192.", "198.51")}, "answered 192.0.2.1, 192.0.2.2, none with '198.51'"),
        ({"rcode": "NXDOMAIN"}, "NOERROR, expected NXDOMAIN"),
        ({"ttl": Comparison.parse("> 600")}, "ttl is 300, expected > 600"),
    ],
)
def test_an_unexpected_answer_is_down(server: ZoneServer, expect: dict[str, Any], error: str) -> None:
    """The reason tells what came and what should have; the numbers that were measured stay."""
    samples = check(server, **expect)
    assert failure(samples) == ("expect", error)
    assert values(samples) == {"answers": 2.0, "ttl": 300.0, "up": 0.0}


@pytest.mark.parametrize(
    ("target", "expect"),
    [
        ("example.test", {"contains": ("192.0.2.1",), "ttl": Comparison.parse(">= 300")}),
        ("example.test", {"contains": ("192.0.2.1", "192.0.2.2")}),
        ("gone.example.test", {"rcode": "NXDOMAIN"}),
        ("_sip._tcp.example.test", {"answers": ()}),
    ],
)
def test_an_expected_answer_is_up(server: ZoneServer, target: str, expect: dict[str, Any]) -> None:
    """Also that there is no such name, and that it has no such record."""
    assert values(check(server, target, **expect))["up"] == 1.0


def test_a_long_list_of_answers_is_cut_short(server: ZoneServer) -> None:
    """An error shows the first few answers, without what a terminal would act on."""
    server.zone["many.test"] = {"TXT": [f'"{n}\\027[2J{"y" * 100}"' for n in range(5)]}
    error = failure(check(server, "many.test", record="TXT", answers=("z",)))[1]
    assert error.startswith("answered 0?[2Jyyyy")
    assert error.endswith("… and 2 more, expected z")
    assert len(error) < 250


@pytest.mark.parametrize(
    ("rcode", "error"),
    [
        ("SERVFAIL", "SERVFAIL: the server failed"),
        ("REFUSED", "REFUSED: the server refuses to answer"),
        ("FORMERR", "FORMERR: the server does not understand the question"),
    ],
)
def test_a_servers_refusal_is_named(server: ZoneServer, rcode: str, error: str) -> None:
    """The response code is the reason, with its meaning."""
    server.rcode = rcode
    samples = check(server)
    assert failure(samples) == ("expect", error)
    assert values(samples) == {"answers": 0.0, "up": 0.0}


def test_a_name_that_does_not_exist_is_down(server: ZoneServer) -> None:
    """NXDOMAIN is told apart from a name without such a record."""
    assert failure(check(server, "gone.example.test"))[1] == "NXDOMAIN: there is no such name"
    assert failure(check(server, "example.test", record="SRV"))[1] == "no SRV record"


def test_aliases_in_a_circle_make_no_sense(server: ZoneServer) -> None:
    """A server's mistake is a reason, not an endless loop."""

    def circle(wire: bytes, transport: str) -> list[bytes]:
        made = dns.message.from_wire(wire)
        made.answer = [
            dns.rrset.from_text("example.test.", 60, "IN", "CNAME", "b.test."),
            dns.rrset.from_text("b.test.", 60, "IN", "CNAME", "example.test."),
        ]
        return [made.to_wire()]

    server.fault = circle
    phase, error = failure(check(server))
    assert phase == "query"
    assert error.startswith("the answer makes no sense: ")


def test_a_long_answer_comes_by_tcp(server: ZoneServer) -> None:
    """What does not fit a datagram is asked for again over a connection, within the same attempt."""
    samples = check(server, "long.example.test", record="TXT")
    assert values(samples)["answers"] == 20.0
    assert [transport for _, _, transport in server.asked] == ["udp", "tcp"]


def test_a_truncated_answer_from_a_server_without_tcp_is_down(server: ZoneServer) -> None:
    """The reason is that of the connection."""
    server._tcp.stop()
    assert failure(check(server, "long.example.test", record="TXT"))[1] == "connection refused"


def test_tcp_alone(server: ZoneServer) -> None:
    """`transport: tcp` sends no datagram."""
    assert values(check(server, transport="tcp"))["up"] == 1.0
    assert server.asked == [("example.test", "A", "tcp")]


def test_ipv6() -> None:
    """A server is asked at its IPv6 address."""
    server = ZoneServer(ZONE, host="::1")
    try:
        assert values(check(server))["up"] == 1.0
        assert values(check(server, "long.example.test", record="TXT"))["up"] == 1.0
    finally:
        server.stop()


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[ZoneServer, TlsSettings]]:
    """A name server that answers over TLS and HTTPS too, and what it takes to trust it."""
    made, path = authority(tmp_path)
    server = ZoneServer(ZONE, context=server_context(made.issue_cert("localhost")))
    yield server, TlsSettings(ca_file=path)
    server.stop()


def test_tls(secure: tuple[ZoneServer, TlsSettings]) -> None:
    """DNS over TLS, with the certificate verified."""
    server, trust = secure
    assert values(check(server.tls_address, transport="tls", tls=trust))["up"] == 1.0
    phase, error = failure(check(server.tls_address, transport="tls"))
    assert phase == "tls"
    assert error.startswith("certificate not trusted: ")


def test_https(secure: tuple[ZoneServer, TlsSettings]) -> None:
    """DNS over HTTPS: the answer, and the reasons why there is none."""
    server, trust = secure
    assert values(check(server.https_url, transport="https", tls=trust))["answers"] == 2.0
    assert server.asked[-1][2] == "https"
    where = server.https_url.removeprefix("https://").partition("/")[0]
    assert values(check(where, transport="https", tls=trust))["up"] == 1.0
    server.type = "text/html"
    error = failure(check(server.https_url, transport="https", tls=trust))[1]
    assert error == "the answer from /dns-query is no application/dns-message"
    server.status = 403
    error = failure(check(server.https_url, transport="https", tls=trust))[1]
    assert error == "status 403 from /dns-query, expected 200"


def test_a_server_of_https_that_speaks_something_else(tcp_server: Callable[..., Any], tmp_path: Path) -> None:
    """What comes is not HTTP: a reason, not an exception."""
    made, path = authority(tmp_path)
    context = server_context(made.issue_cert("localhost"))

    def serve(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(b"220 mail ready\r\n")

    server = tcp_server(serve, context=context)
    address = f"localhost:{server.port}"
    samples = check(address, transport="https", tls=TlsSettings(ca_file=path))
    assert failure(samples) == ("query", "the answer is not HTTP")


def test_a_server_of_https_that_never_comes_to_its_answer(
    tcp_server: Callable[..., Any], tmp_path: Path
) -> None:
    """Interim answers without end: other greenlets run meanwhile, and there is a bound."""
    made, path = authority(tmp_path)

    def serve(sock: socket.socket) -> None:
        sock.recv(4096)
        while True:
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 600)
            gevent.sleep(0)

    address = f"localhost:{tcp_server(serve, context=server_context(made.issue_cert('localhost'))).port}"
    samples = check(address, transport="https", tls=TlsSettings(ca_file=path))
    assert failure(samples) == ("query", "headers of more than 64 KiB")


def test_datagrams_that_are_dropped_run_into_the_time_limit(server: ZoneServer) -> None:
    """A lost packet is a failed attempt, which `retries` repeats."""
    server.fault = lambda wire, transport: []
    assert failure(check(server, timeout=0.2)) == ("query", "timed out after 0.2 s")
    server.fault = lambda wire, transport: [wire] if len(server.asked) > 2 else []
    assert values(check(server, timeout=0.2, retries=1))["up"] == 1.0


def test_a_slow_server_is_slow(server: ZoneServer) -> None:
    """The time until the answer is the rtt."""
    server.delay["A"] = 0.05
    assert 50.0 <= values(check(server))["rtt"] < 5000.0


def test_a_port_where_nobody_answers_is_refused() -> None:
    """The kernel tells that the datagram was refused, long before the time limit."""
    assert failure(check(f"127.0.0.1:{free_port()}")) == ("query", "connection refused")
    down = failure(check(f"127.0.0.1:{free_port()}", transport="tcp"))
    assert down == ("connect", "connection refused")


def test_answers_to_other_questions_are_passed_over(server: ZoneServer) -> None:
    """Neither another id nor another question is taken for the answer, which comes behind them."""

    def strays(wire: bytes, transport: str) -> list[bytes]:
        other = dns.message.make_response(
            dns.message.make_query("other.test", "A", id=wire[0] * 256 + wire[1])
        )
        return [with_id(wire, 7), b"", b"\0" * 3, other.to_wire(), wire]

    server.fault = strays
    assert values(check(server))["answers"] == 2.0


def test_a_flood_of_strays_ends(server: ZoneServer) -> None:
    """A server that only sends other answers does not keep the probe busy for long."""

    def flood(wire: bytes, transport: str) -> Iterable[bytes]:
        for _ in range(300):
            gevent.sleep(0)
            yield with_id(wire, 7)

    server.fault = flood
    assert failure(check(server))[1] == "100 answers to other questions, and none to this one"


def test_another_answer_over_a_connection_is_an_error(server: ZoneServer) -> None:
    """Over a connection of our own nobody else can have sent it."""
    server.fault = lambda wire, transport: [with_id(wire, 7)]
    assert failure(check(server, transport="tcp"))[1] == "the answer is to another question"


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"", "connection closed before the answer"),
        (b"\0", "answer cut short"),
        (b"\0\x20only", "answer cut short"),
        (b"\0\0", "the answer is to another question"),
    ],
)
def test_a_broken_stream_is_down(tcp_server: Callable[..., Any], sent: bytes, error: str) -> None:
    """A connection that ends early, or with nothing in it."""

    def serve(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(sent)

    server = tcp_server(serve)
    assert failure(check(f"127.0.0.1:{server.port}", transport="tcp")) == ("query", error)


def test_a_huge_answer_is_refused(server: ZoneServer) -> None:
    """Reading thousands of records would hold everything else up."""
    server.zone["huge.test"] = {"A": [f"10.0.{n // 250}.{n % 250}" for n in range(MAX_RECORDS + 50)]}
    error = failure(check(server, "huge.test", transport="tcp"))[1]
    assert error == "an answer of 301 records, more than 250"


def test_garbage_is_an_error_with_its_reason() -> None:
    """Whatever bytes follow the right id: an answer, or one of the two errors that a probe reports."""
    dice = random.Random(7)
    query = question("example.test", "A")
    right = dns.message.make_response(query)
    right.answer.append(dns.rrset.from_text("example.test.", 60, "IN", "A", "192.0.2.1"))
    right.answer.append(dns.rrset.from_text("example.test.", 60, "IN", "TXT", '"text"'))
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind(("127.0.0.1", 0))
    address = int(socket.AF_INET), ("127.0.0.1", listener.getsockname()[1])

    def spoil() -> None:
        while True:
            _, back = listener.recvfrom(4096)
            wire = bytearray(right.to_wire())
            for _ in range(dice.randint(1, 6)):
                wire[dice.randrange(3, len(wire))] = dice.randrange(256)
            listener.sendto(bytes(wire[: dice.randint(12, len(wire))]), back)
            listener.sendto(right.to_wire(), back)

    greenlet = gevent.spawn(spoil)
    reasons = []
    for _ in range(500):
        try:
            ask(query, address)
        except ProbeError as error:
            reasons.append(str(error))
    greenlet.kill()
    listener.close()
    assert 50 < len(reasons) < 500
    assert not any("\n" in reason for reason in reasons)


def test_nothing_stays_open(server: ZoneServer) -> None:
    """Sockets are closed after success, refusal and time limit, over both transports."""
    check(server)
    before = probes.open_files()
    for transport in ("udp", "tcp"):
        check(server, transport=transport)
        server.delay["A"] = 30.0
        check(server, transport=transport, timeout=0.2)
        server.delay.clear()
    gevent.sleep(0.05)
    server.stop()
    assert probes.open_files() <= before


def test_the_systems_server(tmp_path: Path) -> None:
    """The first that resolv.conf names; this host where it names none."""
    path = tmp_path / "resolv.conf"
    path.write_text("# made by hand\nsearch example.test\nnameserver 192.0.2.53\nnameserver 192.0.2.54\n")
    assert system_server(str(path)) == NameServer("192.0.2.53", 53)
    path.write_text("nameserver\nnameserver not/a/server\nnameserver fe80::1%eth0\n")
    assert system_server(str(path)) == NameServer("fe80::1%eth0", 53)
    path.write_text("")
    assert system_server(str(path)) == NameServer("127.0.0.1", 53)
    assert system_server(str(tmp_path / "none")) == NameServer("127.0.0.1", 53)


@pytest.mark.parametrize(
    ("text", "transport", "expected"),
    [
        ("1.1.1.1", "udp", NameServer("1.1.1.1", 53)),
        ("1.1.1.1:5353", "tcp", NameServer("1.1.1.1", 5353)),
        ("2001:db8::1", "tls", NameServer("2001:db8::1", 853)),
        ("[2001:db8::1]", "udp", NameServer("2001:db8::1", 53)),
        ("[2001:db8::1]:5353", "udp", NameServer("2001:db8::1", 5353)),
        ("dns.local", "https", NameServer("dns.local", 443, "/dns-query")),
        ("https://dns.local:8443/ask", "https", NameServer("dns.local", 8443, "/ask")),
    ],
)
def test_servers_are_written_in_these_ways(text: str, transport: Any, expected: NameServer) -> None:
    """Address or name, with a port or the transport's own, or a URL."""
    assert NameServer.parse(text, transport) == expected


@pytest.mark.parametrize(
    "name", ["", "a..b", "x" * 64 + ".test", ".".join(["x" * 60] * 5), "a b", "a/b", "é" * 70]
)
def test_what_is_no_name_is_refused(name: str) -> None:
    """A mistake of the configuration, not a failure each half minute."""
    with pytest.raises(ValueError, match="is not a name in the DNS"):
        ascii_name(name)


@pytest.mark.usefixtures("in_folder")
@pytest.mark.parametrize(
    ("settings", "mistake"),
    [
        ("target: a..b", "'a..b' is not a name in the DNS (such as example.com)"),
        ("target: a.test, record: ANY", "(one of: A, AAAA, CNAME"),
        ("target: a.test, server: 'x y'", "'x y' is not a name server"),
        ("target: a.test, server: 'https://x/q'", "is no name server (1.1.1.1, or https://… with"),
        ("target: a.test, transport: tls", "transport tls needs a server (such as server: 1.1.1.1)"),
        (
            "target: a.test, expect: {answers: [192.0.2.300]}",
            "'192.0.2.300' is no A record (such as 192.",
        ),
        ("target: a.test, record: MX, expect: {answers: mail.a.test}", "is no MX record (such as 10 mail."),
        ("target: a.test, expect: {rcode: NOPE}", "(one of: NOERROR, FORMERR"),
    ],
)
def test_mistakes_are_told(settings: str, mistake: str) -> None:
    """`oculus check` finds them."""
    (told,) = mistakes_of(f"collectors:\n  - {{type: network, probe: dns, {settings}}}\n")
    assert mistake in told


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


def test_the_tags_tell_what_was_asked(server: ZoneServer) -> None:
    """Target, type of record, and the server where one is configured."""
    asked = probes.probe("dns", "example.test", record="MX", server="192.0.2.53").tags
    assert asked == {"target": "example.test", "record": "MX", "server": "192.0.2.53"}
    assert probes.probe("dns", "example.test").tags == {"target": "example.test", "record": "A"}
    assert DnsSettings(target="Example.test").default_name() == "example_test"
