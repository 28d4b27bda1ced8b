"""The TCP probe against real sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from oculus.collectors.network.tcp import TcpSettings
from oculus.model import Sample
from tests.support import probes
from tests.support.probes import failure, values
from tests.support.servers import TcpServer, free_port, full_port

TcpServers = Callable[..., TcpServer]


def check(target: str, **settings: Any) -> dict[str, Sample]:
    """Probe once."""
    return probes.run(probes.probe("tcp", target, **settings))


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_an_open_port_is_up(tcp_server: TcpServers, host: str, shown: str) -> None:
    """A success has rtt and up, of both IP versions."""
    server = tcp_server(host=host)
    samples = check(f"{shown}:{server.port}")
    assert set(samples) == {"rtt", "up"}
    assert samples["up"].value == 1.0
    assert 0.0 < samples["rtt"].value < 5000.0
    assert samples["rtt"].value == round(samples["rtt"].value, 3)
    assert {sample.symbol for sample in samples.values()} == {"net.tcp.t.rtt", "net.tcp.t.up"}


def test_a_server_that_never_speaks_is_up(tcp_server: TcpServers) -> None:
    """The connection counts, not what comes over it, and it is closed again."""
    closed: list[bytes] = []
    server = tcp_server(lambda sock: closed.append(sock.recv(1)))
    assert check(f"127.0.0.1:{server.port}")["up"].value == 1.0
    assert check(f"127.0.0.1:{server.port}")["up"].value == 1.0
    assert server.accepted >= 1
    assert set(closed) == {b""}


def test_a_closed_port_is_down() -> None:
    """Nothing but `.up` = 0 with its reason."""
    samples = check(f"127.0.0.1:{free_port()}")
    assert set(samples) == {"up"}
    assert failure(samples) == ("connect", "connection refused")


def test_a_name_without_an_address_is_down() -> None:
    """A failed look-up is told apart from a failed connection."""
    samples = check("no-such-host.invalid:80", timeout=25.0)
    phase, error = failure(samples)
    assert phase == "dns"
    assert error.startswith("name lookup failed: ")


def test_packets_that_are_dropped_run_into_the_time_limit() -> None:
    """A full backlog drops packets, as a firewall does."""
    with full_port() as port:
        samples = check(f"127.0.0.1:{port}", timeout=0.3)
    assert failure(samples) == ("connect", "timed out after 0.3 s")


def test_retries_are_made(tcp_server: TcpServers) -> None:
    """A run tries again before it counts as failed; a success ends it."""
    assert failure(check(f"127.0.0.1:{free_port()}", retries=1))[1] == "connection refused"
    server = tcp_server()
    assert values(check(f"127.0.0.1:{server.port}", retries=5))["up"] == 1.0
    probes.run(probes.probe("tcp", f"127.0.0.1:{server.port}"))
    assert server.accepted == 2


def test_the_target_is_in_the_tags() -> None:
    """Every sample tells host and port."""
    assert probes.probe("tcp", "db.local:5432").tags == {"target": "db.local:5432"}


def test_the_name_is_made_from_the_target() -> None:
    """Without a name the symbols carry the target's slug."""
    assert TcpSettings(target="DB.local:5432").default_name() == "db_local_5432"
