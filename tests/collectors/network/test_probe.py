"""What the network probes share: phases, addresses, connecting, reasons."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import gevent
import pytest
from gevent import socket

from oculus.collectors.network.probe import (
    RETRY_DELAY,
    Address,
    ProbeError,
    ProbeSettings,
    SocketAddress,
    Trace,
    connect,
    explain,
    resolve,
    split_host_port,
)
from oculus.config.decode import Seconds
from tests.support.servers import TcpServer, free_port

TcpServers = Callable[..., TcpServer]


def test_phases_add_up_and_an_open_one_is_not_counted() -> None:
    """A phase entered twice is summed; the one that runs is known but not yet measured."""
    trace = Trace()
    for _ in range(2):
        trace.enter("dns")
        gevent.sleep(0.02)
        trace.enter("connect")
    assert set(trace.phases) == {"dns", "connect"}
    assert trace.phases["dns"] >= 0.038
    assert trace.phases["connect"] < 0.02
    assert trace.current == "connect"
    total = trace.end()
    assert total >= sum(trace.phases.values()) - 1e-9
    assert trace.current == ""


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", (socket.AF_INET, ("127.0.0.1", 7))),
        ("::1", (socket.AF_INET6, ("::1", 7, 0, 0))),
        ("0:0:0:0:0:0:0:1", (socket.AF_INET6, ("::1", 7, 0, 0))),
        ("2001:DB8:0:0::A", (socket.AF_INET6, ("2001:db8::a", 7, 0, 0))),
    ],
)
def test_a_literal_address_is_its_own_answer(host: str, address: tuple[int, SocketAddress]) -> None:
    """No look-up is made, and the address has the spelling in which replies come."""
    assert resolve(host, 7, "any") == [address]


@pytest.mark.parametrize(("family", "number"), [("ipv4", socket.AF_INET), ("any", socket.AF_INET)])
def test_a_name_is_looked_up(family: str, number: int) -> None:
    """`localhost` is this host, and addresses of the wanted family only are given."""
    found = resolve("localhost", 7, family)  # type: ignore[arg-type]
    assert (number, ("127.0.0.1", 7)) in found
    if family == "ipv4":
        assert {entry[0] for entry in found} == {number}


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example", ".", ".x"])
def test_an_impossible_name_is_a_failed_look_up(host: str) -> None:
    """Names that cannot be asked for are failures with a reason, not bugs."""
    with pytest.raises((ProbeError, OSError)) as caught:
        resolve(host, 7, "any")
    assert explain(caught.value).startswith("name lookup failed: ")


def both(first: Address, second: Address) -> list[Address]:
    """Return the addresses of a name that has two."""
    return [first, second]


def test_the_second_address_is_tried_when_the_first_refuses(tcp_server: TcpServers) -> None:
    """A name may have two addresses, of which the server listens on the second."""
    port = tcp_server().port
    with connect(
        both((socket.AF_INET6, ("::1", port, 0, 0)), (socket.AF_INET, ("127.0.0.1", port)))
    ) as reached:
        assert reached.getpeername() == ("127.0.0.1", port)
    port = tcp_server(host="::1").port
    with connect(
        both((socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port, 0, 0)))
    ) as reached:
        assert reached.getpeername()[:2] == ("::1", port)


def test_the_last_reason_is_told_when_no_address_answers() -> None:
    """Every address was tried, and none answered."""
    port = free_port()
    with pytest.raises(ConnectionRefusedError):
        connect(both((socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port, 0, 0))))
    with pytest.raises(OSError, match=os.strerror(errno.EADDRNOTAVAIL)):
        connect([])


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("db.local:5432", ("db.local", 5432)),
        ("127.0.0.1:1", ("127.0.0.1", 1)),
        ("[::1]:65535", ("::1", 65535)),
    ],
)
def test_host_and_port_are_split(target: str, found: tuple[str, int]) -> None:
    """Names, IPv4 addresses, and IPv6 addresses in brackets."""
    assert split_host_port(target) == found


@pytest.mark.parametrize(
    "target",
    [
        "",
        "host",
        "host:",
        ":80",
        "host:0",
        "host:65536",
        "host:http",
        "host:-1",
        "::1:22",
        "[]:80",
        "host:8 0",
    ],
)
def test_what_is_no_host_and_port_is_refused(target: str) -> None:
    """Missing parts, impossible ports, and IPv6 addresses whose port cannot be told."""
    with pytest.raises(ValueError, match=r"host:port|unambiguous"):
        split_host_port(target)


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "whatever"), "connection refused"),
        (OSError(errno.ENETUNREACH, "x"), "network is unreachable"),
        (OSError("no number"), "no number"),
        (ProbeError("as it is"), "as it is"),
        (ProbeError(""), "ProbeError"),
        (socket.gaierror(-2, "Name or service not known"), "name lookup failed: Name or service not known"),
    ],
)
def test_reasons_are_told_in_a_few_words(failure: Exception, text: str) -> None:
    """What a user reads in the tag `error`."""
    assert explain(failure) == text


def test_the_time_of_a_run_allows_for_all_attempts() -> None:
    """The scheduler's hard limit is beyond what the attempts and their pauses may take."""
    settings = ProbeSettings(target="x", timeout=Seconds(2.0), retries=3)
    assert settings.longest_run() > 4 * 2.0 + 3 * RETRY_DELAY
