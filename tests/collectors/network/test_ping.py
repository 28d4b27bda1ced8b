"""The ping probe: real ICMP to this host, in each of its three modes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import which
from typing import Any, cast

import gevent
import pytest
from gevent import socket

from oculus.collectors.base import Context
from oculus.collectors.network.ping import EchoSocket, Mode, Pinger, PingSettings, checksum, jitter
from oculus.config.decode import Seconds
from oculus.model import Sample
from tests.support import probes
from tests.support.namespace import run_in_namespace
from tests.support.probes import failure, values
from tests.support.servers import wait_for


def permitted(mode: Mode) -> bool:
    """Return whether this host lets us ping that way."""
    if mode == "ping command":
        return which("ping") is not None
    kind = socket.SOCK_RAW if mode == "raw socket" else socket.SOCK_DGRAM
    try:
        socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP).close()
    except OSError:
        return False
    return True


MODES: tuple[Mode, ...] = ("datagram socket", "raw socket", "ping command")
SOCKETS: tuple[Mode, ...] = ("datagram socket", "raw socket")


@pytest.fixture
def in_mode() -> Iterator[Callable[[Mode], Context]]:
    """Return contexts whose pings go a certain way; skips where the host does not permit it."""
    contexts: list[Context] = []

    def make(mode: Mode) -> Context:
        if not permitted(mode):
            pytest.skip(f"no {mode} is permitted here")
        context = Context()
        context.shared(Pinger, Pinger).mode = mode
        contexts.append(context)
        return context

    yield make
    for context in contexts:
        context.close()


Contexts = Callable[[Mode], Context]


def ping(target: str, context: Context, **settings: Any) -> dict[str, Sample]:
    """Ping a target in one run, with a single packet unless told otherwise."""
    return probes.run(probes.probe("ping", target, context, **({"count": 1} | settings)))


# -- hosts that answer ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("target", "family"),
    [
        ("127.0.0.1", "any"), ("::1", "any"), ("0:0:0:0:0:0:0:1", "any"), ("localhost", "ipv4"),
        ("127.0.0.9", "any"),
    ],
)  # fmt: skip
def test_this_host_answers(in_mode: Contexts, mode: Mode, target: str, family: str) -> None:
    """A success has rtt, loss and up; both IP versions, whatever way the address is written."""
    samples = ping(target, in_mode(mode), family=family)
    assert set(samples) == {"rtt", "loss", "up"}
    assert samples["up"].value == 1.0
    assert samples["loss"].value == 0.0
    assert 0.0 < samples["rtt"].value < 1000.0
    assert samples["rtt"].value == round(samples["rtt"].value, 3)
    assert {sample.symbol.rpartition(".")[0] for sample in samples.values()} == {"net.ping.t"}


@pytest.mark.parametrize("mode", MODES)
def test_the_packets_of_a_run_keep_their_distance(in_mode: Contexts, mode: Mode) -> None:
    """Several packets are sent one after another, and all of them count."""
    context = in_mode(mode)
    started = time.monotonic()
    samples = ping("127.0.0.1", context, count=3)
    assert time.monotonic() - started >= 2 * 0.2 * 0.95
    assert samples["loss"].value == 0.0
    assert 0.0 <= samples["jitter"].value < 1000.0
    assert samples["jitter"].value == round(samples["jitter"].value, 3)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 1472, 1473, 9001, 65_507])
@pytest.mark.parametrize("target", ["127.0.0.1", "::1"])
def test_packets_of_any_size_come_back(in_mode: Contexts, mode: Mode, size: int, target: str) -> None:
    """From an empty payload to the largest: odd ones, fragments, and longer ones than are read."""
    assert values(ping(target, in_mode(mode), size=size))["up"] == 1.0


def test_what_is_sent_has_its_size_and_ttl() -> None:
    """Another socket sees the bytes behind the header, the TTL and a right checksum, of fragments as well."""
    told = run_in_namespace(
        IN_NAMESPACE
        + """
from gevent import socket
from oculus.collectors.network.ping import checksum

def seen(size, ttl):
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sniffer:
        ping("127.0.0.1", count=1, size=size, ttl=ttl)
        packet = sniffer.recv(70_000)
    return [packet[20], len(packet) - 28, packet[8], checksum(packet[20:])]

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    fcntl.ioctl(sock, 0x8922, struct.pack("16si20x", b"lo", 1500))  # SIOCSIFMTU
context.shared(Pinger, Pinger).mode = "raw socket"
tell([seen(0, 1), seen(7, 255), seen(56, 0), seen(60_001, 9)])
"""
    )
    assert told == [[8, 0, 1, 0], [8, 7, 255, 0], [8, 56, 64, 0], [8, 60_001, 9, 0]]


@pytest.mark.parametrize("mode", SOCKETS)
@pytest.mark.parametrize("target", ["127.0.0.1", "::1"])
def test_fragments_of_many_targets_are_told_apart(mode: Mode, target: str) -> None:
    """Large packets over a link that takes small ones only, all at once with small ones."""
    told = run_in_namespace(
        IN_NAMESPACE
        + f"""
set_kernel("ipv4/ping_group_range", "0 0")
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    fcntl.ioctl(sock, 0x8922, struct.pack("16si20x", b"lo", 1500))  # SIOCSIFMTU
context.shared(Pinger, Pinger).mode = {mode!r}
sizes = [*(0, 1, 7, 8, 9, 56, 1473, 3000, 20_001) * 3, 65_507]
running = [gevent.spawn(ping, {target!r}, count=1, size=size) for size in sizes]
gevent.joinall(running, raise_error=True)
tell([greenlet.get()[-1][1] for greenlet in running])
"""
    )
    assert told == [1.0] * 28


def test_the_target_is_in_the_tags() -> None:
    """Every sample tells whom was pinged."""
    assert probes.probe("ping", "::1").tags == {"target": "::1"}


@pytest.mark.parametrize("mode", SOCKETS)
def test_many_pings_share_one_socket(in_mode: Contexts, mode: Mode) -> None:
    """A hundred concurrent pings take one socket, and each gets its own replies."""
    context = in_mode(mode)
    ping("127.0.0.1", context)
    before = probes.open_files()
    most = before
    collectors = [probes.probe("ping", f"127.0.1.{host}", context, count=2) for host in range(1, 101)]
    running = [gevent.spawn(probes.run, collector) for collector in collectors]
    while not all(greenlet.dead for greenlet in running):
        gevent.sleep(0.05)
        most = max(most, probes.open_files())
    assert [values(greenlet.get())["loss"] for greenlet in running] == [0.0] * 100
    assert most == before


def test_datagram_sockets_serve_many_pings() -> None:
    """Where the kernel permits them they do what raw sockets do, for both IP versions."""
    told = run_in_namespace(
        IN_NAMESPACE
        + """
set_kernel("ipv4/ping_group_range", "0 0")
targets = [f"127.0.1.{host}" for host in range(1, 41)] + ["::1"] * 10
running = [gevent.spawn(ping, target, count=1) for target in targets]
gevent.joinall(running, raise_error=True)
tell([context.shared(Pinger, Pinger).mode, [greenlet.get()[-1][1] for greenlet in running]])
"""
    )
    assert told == ["datagram socket", [1.0] * 50]


@pytest.mark.parametrize("mode", SOCKETS)
def test_two_daemons_do_not_take_each_others_replies(in_mode: Contexts, mode: Mode) -> None:
    """A raw socket sees all replies of the host; those of others are passed over."""
    mine, other = in_mode(mode), in_mode(mode)
    running = [
        gevent.spawn(ping, f"127.0.2.{host}", context, count=1)
        for host in range(1, 21)
        for context in (mine, other)
    ]
    gevent.joinall(running, raise_error=True)
    assert {values(greenlet.get())["up"] for greenlet in running} == {1.0}


@pytest.mark.parametrize("mode", SOCKETS)
def test_closing_ends_the_sockets(in_mode: Contexts, mode: Mode) -> None:
    """The sockets of both IP versions and their readers go with the context."""
    context = in_mode(mode)
    ping("127.0.0.1", context)
    ping("::1", context)
    opened = probes.open_files()
    context.close()
    wait_for(lambda: probes.open_files() <= opened - 2)


@pytest.mark.parametrize("mode", SOCKETS)
def test_sequence_numbers_begin_again(in_mode: Contexts, mode: Mode) -> None:
    """After 65,535 packets the numbers start over, and pings go on."""
    context = in_mode(mode)
    echo: EchoSocket = context.shared(Pinger, Pinger).socket(socket.AF_INET)
    echo._sequence = 0xFFFE
    assert [values(ping("127.0.0.1", context))["up"] for _ in range(4)] == [1.0] * 4


# -- hosts that do not ---------------------------------------------------------------------------------


def test_a_name_without_an_address_is_down(in_mode: Contexts) -> None:
    """A failed look-up is told as such; nothing is said about loss."""
    samples = ping("no-such-host.invalid", in_mode("raw socket"), timeout=25.0)
    phase, error = failure(samples)
    assert phase == "dns"
    assert error.startswith("name lookup failed: ")
    assert set(samples) == {"up"}


def test_an_address_of_the_other_family_is_refused(in_mode: Contexts) -> None:
    """The choice of the IP version is kept to."""
    assert failure(ping("127.0.0.1", in_mode("raw socket"), family="ipv6")) == (
        "dns",
        "127.0.0.1 is an IPv4 address, and family is ipv6",
    )


IN_NAMESPACE = """
import gevent
from oculus.collectors.base import Context
from oculus.collectors.network.ping import Pinger
from tests.support import probes

context = Context()

def ping(target, **settings):
    return [
        [sample.symbol, sample.value, dict(sample.tags)]
        for sample in probes.run(probes.probe("ping", target, context, **settings)).values()
    ]
"""

NO_REPLY = ["net.ping.t.up", 0.0, {"error": "no reply within 0.3 s", "phase": "reply"}]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("target", "setting"),
    [("127.0.0.1", "ipv4/icmp_echo_ignore_all"), ("::1", "ipv6/icmp/echo_ignore_all")],
)
def test_silence_is_total_loss(mode: Mode, target: str, setting: str) -> None:
    """No reply at all: loss is 100 percent, up is 0, and there is no rtt."""
    if mode == "ping command" and which("ping") is None:
        pytest.skip("there is no ping command here")
    told = run_in_namespace(
        IN_NAMESPACE
        + f"""
set_kernel("ipv4/ping_group_range", "0 0")
set_kernel({setting!r}, "1")
context.shared(Pinger, Pinger).mode = {mode!r}
tell(ping({target!r}, count=2, timeout=0.3))
"""
    )
    assert told == [["net.ping.t.loss", 100.0, {}], NO_REPLY]


@pytest.mark.parametrize("mode", SOCKETS)
def test_some_replies_are_partial_loss(mode: Mode) -> None:
    """One packet of two is answered: the target is up, with 50 percent loss."""
    told = run_in_namespace(
        IN_NAMESPACE
        + f"""
set_kernel("ipv4/ping_group_range", "0 0")
set_kernel("ipv4/icmp_echo_ignore_all", "1")
context.shared(Pinger, Pinger).mode = {mode!r}
gevent.spawn_later(0.1, set_kernel, "ipv4/icmp_echo_ignore_all", "0")
tell(ping("127.0.0.1", count=2, timeout=1.0))
"""
    )
    (loss, rtt, up) = told
    assert loss == ["net.ping.t.loss", 50.0, {}]
    assert rtt[0] == "net.ping.t.rtt"
    assert rtt[1] < 150.0
    assert up == ["net.ping.t.up", 1.0, {}]


def test_a_network_that_cannot_be_reached_is_told() -> None:
    """Sending itself fails: the reason is the system's, and no loss is made up."""
    told = run_in_namespace(
        IN_NAMESPACE + """tell(ping("127.0.0.1", count=2, timeout=0.3))\n""", loopback=False
    )
    assert told == [["net.ping.t.up", 0.0, {"error": "network is unreachable", "phase": "reply"}]]


def test_a_socket_goes_on_after_an_unreachable_target() -> None:
    """One target's error does not disturb the socket that all share."""
    told = run_in_namespace(
        IN_NAMESPACE
        + """
context.shared(Pinger, Pinger)
told = [ping("192.0.2.1", count=1, timeout=0.3), ping("127.0.0.1", count=1, timeout=1.0)]
tell([runs[-1][1] for runs in told])
"""
    )
    assert told == [0.0, 1.0]


def test_an_address_of_one_link_answers() -> None:
    """A link-local address is written with its link, and the replies come without it."""
    told = run_in_namespace(
        IN_NAMESPACE
        + """
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
    address = socket.inet_pton(socket.AF_INET6, "fe80::77")
    fcntl.ioctl(sock, 0x8916, struct.pack("=16sIi", address, 64, socket.if_nametoindex("lo")))  # SIOCSIFADDR
tell(ping("fe80::77%lo", count=1, timeout=1.0))
"""
    )
    assert told[-1] == ["net.ping.t.up", 1.0, {}]


def test_forged_and_stray_replies_are_passed_over() -> None:
    """A reply counts only with our secret, from the address that was asked, and for a packet under way."""
    told = run_in_namespace(
        IN_NAMESPACE
        + """
set_kernel("ipv4/icmp_echo_ignore_all", "1")
from oculus.collectors.network.ping import EchoSocket, checksum
from gevent import socket

echo = EchoSocket(socket.AF_INET, "raw socket")
seen = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
calls = []
number = echo.send(("127.0.0.1", 0), lambda: calls.append(number))
request = seen.recv(2048)[20:]

def reply(source="127.0.0.1", sequence=number, secret=request[8:16], kind=0, cut=None):
    packet = bytearray(request)
    packet[0] = kind
    packet[2:4] = b"\\0\\0"
    packet[6:8] = sequence.to_bytes(2, "big")
    packet[8:16] = secret
    packet[2:4] = checksum(bytes(packet)).to_bytes(2, "big")
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sender:
        sender.bind((source, 0))
        sender.sendto(bytes(packet[:cut]), ("127.0.0.1", 0))
    gevent.sleep(0.02)
    return len(calls)

told = [
    reply(source="127.0.0.2"), reply(sequence=number + 1), reply(secret=bytes(8)), reply(kind=3),
    reply(kind=8), reply(cut=12), reply(), reply(),
]
tell([told, echo.settle(number) is not None, reply()])
"""
    )
    assert told == [[0, 0, 0, 0, 0, 0, 1, 1], True, 1]


# -- choosing the mode ---------------------------------------------------------------------------------


def test_the_mode_is_the_best_that_is_permitted() -> None:
    """A datagram socket needs no rights and goes first; a raw socket is next."""
    told = run_in_namespace(
        IN_NAMESPACE
        + """
from oculus.collectors.network.ping import find_mode
modes = [find_mode()]  # nobody may open datagram sockets in a new namespace
set_kernel("ipv4/ping_group_range", "0 0")
tell([*modes, find_mode()])
"""
    )
    assert told == ["raw socket", "datagram socket"]


@pytest.mark.parametrize("there", [True, False])
def test_without_sockets_the_ping_command_is_used(tmp_path: Path, there: bool) -> None:
    """Where no socket is to be had it is the command, if there is one; else every run tells why not."""
    if there:
        write_ping(tmp_path, "exit 0")
    told = run_in_namespace(
        IN_NAMESPACE
        + f"""
import os, resource
os.environ["PATH"] = {str(tmp_path)!r}
from oculus.collectors.network import ping as module  # all is imported before files run out
free = os.dup(0)
os.close(free)
resource.setrlimit(resource.RLIMIT_NOFILE, (free, 4096))
pinger = context.shared(Pinger, Pinger)
tell([pinger.mode, ping("127.0.0.1") if pinger.mode is None else None])
"""
    )
    if there:
        assert told == ["ping command", None]
    else:
        why = "no ICMP socket is permitted and there is no ping command (see net.ipv4.ping_group_range)"
        assert told == [None, [["net.ping.t.up", 0.0, {"error": why, "phase": ""}]]]


# -- the command ---------------------------------------------------------------------------------------


def write_ping(folder: Path, script: str) -> None:
    """Put a `ping` into a folder that does what a shell script says."""
    program = folder / "ping"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.fixture
def fake_ping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., dict[str, Sample]]]:
    """Ping with a command that does what a shell script says."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    context = Context()

    def run(script: str, target: str = "192.0.2.1", **settings: Any) -> dict[str, Sample]:
        write_ping(tmp_path, script)
        context.shared(Pinger, Pinger).mode = "ping command"
        return ping(target, context, **settings)

    yield run
    context.close()


FakePing = Callable[..., dict[str, Sample]]


def test_the_command_gets_its_arguments(fake_ping: FakePing, tmp_path: Path) -> None:
    """IP version, packets, whole seconds to wait, and an address that needs no look-up.

    In less than 16 bytes the command has no place for the time, and tells none.
    """
    asked = tmp_path / "asked"
    fake_ping(f'echo "$@" >> {asked}; exit 1', count=4, timeout=2.6)
    fake_ping(
        f'echo "$@" >> {asked}; exit 1', target="2001:db8::1", timeout=0.2, size=0, ttl=3, packet_interval=0.5
    )
    assert asked.read_text().splitlines() == [
        "-4 -n -c 4 -i 0.2 -W 3 -s 56 192.0.2.1",
        "-6 -n -c 1 -i 0.5 -W 1 -s 16 -t 3 2001:db8::1",
    ]


def test_the_commands_times_are_read(fake_ping: FakePing) -> None:
    """The mean of the printed times; a packet without a line is lost, a duplicate is no further reply."""
    samples = fake_ping(
        """cat <<'END'
PING 192.0.2.1 (192.0.2.1) 56(84) bytes of data.
64 bytes from 192.0.2.1: icmp_seq=1 ttl=64 time=1.50 ms
64 bytes from 192.0.2.1: icmp_seq=1 ttl=64 time=9.00 ms (DUP!)
64 bytes from 192.0.2.1: icmp_seq=3 ttl=64 time=2 ms
64 bytes from 192.0.2.1: icmp_seq=4 ttl=64 time<1 ms
rtt min/avg/max/mdev = 1.0/1.5/2.0/0.1 ms
END""",
        count=4,
    )
    assert values(samples) == {"rtt": 1.5, "jitter": 0.75, "loss": 25.0, "up": 1.0}


def test_the_command_speaks_english(fake_ping: FakePing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its output is translated in other locales, and must not be."""
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("LANGUAGE", "de")
    samples = fake_ping('if [ "$LC_ALL" = C ]; then echo time=1 ms; else echo Zeit=1 ms; fi')
    assert samples["up"].value == 1.0


def test_no_reply_to_the_command_is_loss(fake_ping: FakePing) -> None:
    """Exit status 1 means that nothing came back."""
    samples = fake_ping("exit 1", count=2)
    assert samples["loss"].value == 100.0
    assert failure(samples) == ("reply", "no reply within 5 s")


def test_an_error_of_the_command_is_told(fake_ping: FakePing) -> None:
    """Other exit statuses are errors, told in the command's own last line."""
    samples = fake_ping("echo first; echo 'connect: Network is unreachable' >&2; exit 2")
    assert failure(samples) == ("reply", "ping: connect: Network is unreachable")
    assert set(samples) == {"up"}
    assert failure(fake_ping("exit 2")) == ("reply", "ping: exit status 2")


def test_a_command_that_hangs_is_ended(fake_ping: FakePing, tmp_path: Path) -> None:
    """It is killed after the time that it may take, and told."""
    samples = fake_ping(f"echo $$ > {tmp_path}/pid; exec sleep 60", timeout=0.1)
    assert failure(samples) == ("reply", "the ping command did not end")
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


# -- parts ---------------------------------------------------------------------------------------------


def test_the_checksum_is_that_of_the_standard() -> None:
    """The example of RFC 1071 §3, and that a packet with its checksum sums to zero."""
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D
    packet = bytes.fromhex("0800000012340001") + bytes(range(48))
    summed = packet[:2] + checksum(packet).to_bytes(2, "big") + packet[4:]
    assert checksum(summed) == 0
    assert checksum(b"\xff" * 2000) == 0


def test_the_jitter_is_the_mean_difference() -> None:
    """Of each round trip and the one before it, whichever took longer."""
    assert jitter([10.0, 13.0, 11.0]) == pytest.approx(2.5)
    assert jitter([7.0, 7.0]) == 0.0


def test_a_number_that_is_waited_for_is_not_used_again(in_mode: Contexts) -> None:
    """A run with a long time limit keeps its packets, however many others are sent meanwhile."""
    echo: EchoSocket = in_mode("raw socket").shared(Pinger, Pinger).socket(socket.AF_INET)
    first = echo.send(("127.0.0.1", 0), lambda: None)
    echo._sequence = first - 1 & 0xFFFF
    second = echo.send(("127.0.0.1", 0), lambda: None)
    assert second != first
    assert {echo.settle(number) for number in (first, second)} == {None}


def test_the_time_of_a_run_allows_for_all_packets() -> None:
    """Many packets take longer than one time limit, and the scheduler must not cut them off."""
    settings = PingSettings(target="x", count=100, timeout=Seconds(1.0), retries=1)
    assert settings.longest_run() >= 2 * (100 * 0.2 + 1.0)
    assert cast("float", PingSettings(target="x").timeout) == 5.0
