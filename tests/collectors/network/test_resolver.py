"""Looking names up at a chosen name server, a real one on loopback."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

import dns.message
import gevent
import pytest
from gevent import socket

from oculus.collectors.network import resolver
from oculus.collectors.network.probe import Family, ProbeError
from oculus.collectors.network.resolver import Resolver, check_server
from tests.support import probes
from tests.support.clocks import Clock
from tests.support.name_server import ZoneServer
from tests.support.servers import free_port

V4, V6 = int(socket.AF_INET), int(socket.AF_INET6)
ZONE: dict[str, dict[str, list[str]]] = {
    "both.test": {"A": ["127.0.0.2", "127.0.0.3"], "AAAA": ["::1"]},
    "v4.test": {"A": ["127.0.0.4"]},
    "v6.test": {"AAAA": ["::1"]},
    "alias.test": {"CNAME": ["v4.test."]},
    "nothing.test": {"TXT": ['"no address"']},
    "far.test": {"A": ["127.0.0.5"], "AAAA": ["fe80::5"]},
    "many.test": {"A": [f"127.0.1.{n}" for n in range(1, 100)]},
}


@pytest.fixture
def server() -> Iterator[ZoneServer]:
    """A name server that knows ZONE."""
    made = ZoneServer(ZONE)
    yield made
    made.stop()


def refusal(server: ZoneServer | str, host: str, timeout: float = 5.0) -> str:
    """Return why a name was not found."""
    address = server if isinstance(server, str) else server.address
    with pytest.raises(ProbeError) as caught:
        Resolver().lookup(host, "any", address, timeout)
    return str(caught.value).replace(address, "SERVER")


@pytest.mark.alone
def test_both_versions_are_asked_for_at_once(server: ZoneServer) -> None:
    """IPv6 comes first, and one slow answer costs its own time only."""
    server.delay = {"A": 0.1, "AAAA": 0.1}
    started = time.monotonic()
    found = Resolver().lookup("both.test", "any", server.address)
    assert found == [(V6, "::1"), (V4, "127.0.0.2"), (V4, "127.0.0.3")]
    assert time.monotonic() - started < 0.19
    assert sorted(record for _, record, _ in server.asked) == ["A", "AAAA"]


def test_one_version_alone(server: ZoneServer) -> None:
    """A family that is chosen is all that is asked for."""
    found = Resolver()
    assert found.lookup("both.test", "ipv4", server.address) == [(V4, "127.0.0.2"), (V4, "127.0.0.3")]
    assert found.lookup("both.test", "ipv6", server.address) == [(V6, "::1")]
    assert [record for _, record, _ in server.asked] == ["A", "AAAA"]


def test_names_with_one_version_and_aliases(server: ZoneServer) -> None:
    """What there is, is found; aliases are followed in the answer, and a dot at the end is allowed."""
    for host in ("v4.test", "alias.test", "V4.test."):
        assert Resolver().lookup(host, "any", server.address) == [(V4, "127.0.0.4")]
    assert Resolver().lookup("v6.test", "any", server.address) == [(V6, "::1")]


def test_a_long_answer_comes_by_tcp(server: ZoneServer) -> None:
    """A hundred addresses fit no datagram that is asked for."""
    assert len(Resolver().lookup("many.test", "ipv4", server.address)) == 99
    assert [transport for _, _, transport in server.asked] == ["udp", "tcp"]


def test_addresses_without_a_route_come_last(server: ZoneServer) -> None:
    """On a host without IPv6 a ping to the first address would fail for ever; a link-local address that
    names no interface has no route on any host.
    """
    found = Resolver().lookup("far.test", "any", server.address)
    assert found == [(V4, "127.0.0.5"), (V6, "fe80::5")]


def test_failures_are_named(server: ZoneServer) -> None:
    """What a person needs to know: where was asked, and what it said."""
    assert refusal(server, "gone.test") == "name lookup failed at SERVER: NXDOMAIN"
    assert refusal(server, "nothing.test") == "name lookup failed at SERVER: no address"
    assert (
        refusal(f"127.0.0.1:{free_port()}", "v4.test") == "name lookup failed at SERVER: connection refused"
    )
    assert refusal(server, "a..b") == (
        "name lookup failed: 'a..b' is not a name in the DNS (such as example.com)"
    )
    server.rcode = "SERVFAIL"
    assert refusal(server, "v4.test") == "name lookup failed at SERVER: SERVFAIL"
    server.fault = lambda wire, transport: []
    assert refusal(server, "v4.test", timeout=0.1) == "name lookup failed at SERVER: no answer within 0.1 s"


def test_a_failure_tells_more_than_that_there_is_no_address(server: ZoneServer) -> None:
    """Where one question fails and the other has no records, the failure is the reason."""
    server.fault = lambda wire, transport: [] if server.asked[-1][1] == "A" else [wire]
    assert refusal(server, "nothing.test", 0.2) == "name lookup failed at SERVER: no answer within 0.2 s"


def test_a_server_that_never_answers_for_one_version(server: ZoneServer) -> None:
    """The other version's addresses are used, after half a second."""
    server.fault = lambda wire, transport: (
        [] if dns.message.from_wire(wire).question[0].rdtype == 28 else [wire]
    )
    started = time.monotonic()
    assert Resolver().lookup("both.test", "any", server.address) == [(V4, "127.0.0.2"), (V4, "127.0.0.3")]
    assert 0.4 < time.monotonic() - started < 2.0


def test_a_lost_packet_is_sent_again(server: ZoneServer) -> None:
    """One lost datagram is no failed look-up."""
    server.fault = lambda wire, transport: [wire] if len(server.asked) > 1 else []
    assert Resolver().lookup("v4.test", "ipv4", server.address) == [(V4, "127.0.0.4")]
    assert len(server.asked) == 2


def test_addresses_are_kept_as_long_as_the_server_allows(server: ZoneServer) -> None:
    """At most a minute; failures, and what must not be kept, not at all."""
    clock = Clock()
    found = Resolver(clock)

    def asked(host: str, family: Family = "ipv4") -> int:
        server.asked.clear()
        with suppress(ProbeError):
            found.lookup(host, family, server.address)
        return len(server.asked)

    server.ttl = 20
    assert [asked("v4.test"), asked("v4.test"), asked("v4.test", "any")] == [1, 0, 2]
    clock.now += 19.9
    assert asked("v4.test") == 0
    clock.now += 0.1
    assert asked("v4.test") == 1
    server.ttl = 86_400
    assert asked("both.test") == 1
    clock.now += 59.9
    assert asked("both.test") == 0
    clock.now += 0.1
    assert asked("both.test") == 1
    assert [asked("gone.test"), asked("gone.test")] == [1, 1]
    server.ttl = 0
    clock.now += 60
    assert [asked("v4.test"), asked("v4.test")] == [1, 1]


def test_what_is_kept_is_that_servers_alone(server: ZoneServer) -> None:
    """Two servers may tell different things of one name, as behind a split DNS."""
    other = ZoneServer({"v4.test": {"A": ["127.0.0.44"]}})
    found = Resolver()
    try:
        assert found.lookup("v4.test", "ipv4", server.address) == [(V4, "127.0.0.4")]
        assert found.lookup("v4.test", "ipv4", other.address) == [(V4, "127.0.0.44")]
    finally:
        other.stop()


def test_what_is_kept_has_a_bound(server: ZoneServer) -> None:
    """The name that was used least recently goes first."""
    found = Resolver(most=2)
    for host in ("v4.test", "both.test", "v4.test", "alias.test", "v4.test"):
        found.lookup(host, "ipv4", server.address)
    assert [name for name, _, _ in server.asked] == ["v4.test", "both.test", "alias.test"]
    found.lookup("both.test", "ipv4", server.address)
    assert len(server.asked) == 4


def test_a_time_limit_from_outside_leaves_nothing(server: ZoneServer) -> None:
    """When the attempt's own limit ends a look-up, its questions end with it."""
    server.fault = lambda wire, transport: []
    resolver.prepare()
    before = probes.open_files()
    with suppress(gevent.Timeout), gevent.Timeout(0.1):
        Resolver().lookup("v4.test", "any", server.address)
    gevent.sleep(0.01)
    assert probes.open_files() == before


@pytest.mark.parametrize("text", ["", "9.9.9.9", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]:5353"])
def test_servers_that_can_be_set(text: str) -> None:
    """Addresses with a port or without; empty stands for the system's own way."""
    check_server(text)


@pytest.mark.parametrize(
    "text", ["dns.local", "dns.local:53", "https://9.9.9.9/dns-query", "9.9.9.9:0", "a b"]
)
def test_servers_that_cannot_be_set(text: str) -> None:
    """A name would have to be looked up first."""
    with pytest.raises(ValueError, match=r"is not|is no name server"):
        check_server(text)
