"""ICMP echo probe: `net.ping.<name>.rtt` (ms, mean of the run), `.loss` (percent) and `.up`.

One socket per IP version serves all targets, and replies are handed out by sequence number: a raw socket
sees every reply of the host, so a socket for each ping would cost the square of their number. Needs no
rights where the kernel allows datagram ICMP sockets; else a raw socket; else the system's `ping` command.
"""

from __future__ import annotations

import os
import re
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from shutil import which
from typing import Literal

import gevent
from gevent import socket
from gevent.event import Event
from loguru import logger

from oculus.collectors.base import Context
from oculus.collectors.network import (
    Outcome,
    Probe,
    ProbeError,
    ProbeSettings,
    SocketAddress,
    Trace,
    resolve,
)
from oculus.config.decode import between, setting
from oculus.config.settings import CollectorSpec

PACKET_GAP = 0.2  # seconds between the packets of a run: the least that ping allows without root
_SO_TIMESTAMPNS = 35  # Linux: the kernel stamps a packet's arrival; not named in the socket module
_TIMESPEC = struct.Struct("@qq")
_HEADER = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence
_REQUEST: dict[int, int] = {socket.AF_INET: 8, socket.AF_INET6: 128}
_REPLY: dict[int, int] = {socket.AF_INET: 0, socket.AF_INET6: 129}
_PADDING = bytes(40)  # with cookie and header a payload of 56 bytes, as ping sends

Mode = Literal["datagram socket", "raw socket", "ping command"]


def _check_target(target: str) -> None:
    if not target or not target.isprintable() or any(sign in target for sign in " /"):
        raise ValueError(f"{target!r} is not a host (such as db.local or 192.0.2.1)")


@dataclass(frozen=True, slots=True, kw_only=True)
class PingSettings(ProbeSettings):
    """Settings of `probe: ping`."""

    target: str = setting(help="host name or address", check=_check_target)
    count: int = setting(3, help="packets per run", check=between(1, 100))

    def longest_run(self) -> float:
        """The packets are sent one after another, whatever the time limit of the last."""
        return super(PingSettings, self).longest_run() + self.count * PACKET_GAP * (self.retries + 1)


class _Echo:
    """One packet under way. `rtt` is in milliseconds once it came back."""

    __slots__ = ("address", "done", "rtt", "sent", "sent_wall")

    def __init__(self, address: str, done: Callable[[], None]) -> None:
        self.address = address
        self.done = done
        self.rtt: float | None = None
        self.sent = time.monotonic()
        self.sent_wall = time.time_ns()


class EchoSocket:
    """An ICMP socket of one IP version, shared by all pings: sends requests and hands replies out."""

    def __init__(self, family: int, mode: Mode) -> None:
        self._family = family
        self._raw = mode == "raw socket"
        protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
        self._socket = socket.socket(family, socket.SOCK_RAW if self._raw else socket.SOCK_DGRAM, protocol)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._identifier = int.from_bytes(os.urandom(2), "big")
        self._cookie = os.urandom(8)  # tells our replies from another program's
        self._sequence = 0
        self._waiting: dict[int, _Echo] = {}
        self._reader = gevent.spawn(self._read)

    def send(self, address: SocketAddress, done: Callable[[], None]) -> int:
        """Send a request; return its sequence number. `done` is called when the reply came."""
        self._sequence = (self._sequence + 1) & 0xFFFF
        number = self._sequence
        head = _HEADER.pack(_REQUEST[self._family], 0, 0, self._identifier, number)
        packet = head + self._cookie + _PADDING
        if self._family == socket.AF_INET:  # the kernel sums for IPv6, and for datagram sockets
            head = _HEADER.pack(_REQUEST[self._family], 0, checksum(packet), self._identifier, number)
            packet = head + self._cookie + _PADDING
        self._waiting[number] = _Echo(address[0], done)
        try:
            self._socket.sendto(packet, address)
        except BaseException:
            del self._waiting[number]
            raise
        return number

    def settle(self, number: int) -> float | None:
        """Stop waiting for a reply; return its round-trip time in ms, or None when it did not come."""
        return self._waiting.pop(number).rtt

    def close(self) -> None:
        """End the reader and close the socket."""
        self._reader.kill(block=False)
        self._socket.close()

    def _read(self) -> None:
        while True:
            try:
                packet, ancillary, _, sender = self._socket.recvmsg(2048, 64)
            except OSError:
                if self._socket.fileno() < 0:
                    return
                continue  # an ICMP error about one target is no reason to stop listening
            arrived = time.monotonic()
            if self._raw and self._family == socket.AF_INET:
                packet = packet[(packet[0] & 0x0F) * 4 :]  # a raw IPv4 socket hands the IP header over
            if len(packet) < 16 or packet[0] != _REPLY[self._family] or packet[8:16] != self._cookie:
                continue
            echo = self._waiting.get(_HEADER.unpack_from(packet)[4])
            if echo is None or echo.rtt is not None or not _same_host(sender[0], echo.address):
                continue
            echo.rtt = _round_trip(echo, arrived, ancillary)
            echo.done()


def _same_host(sender: str, address: str) -> bool:
    # An address that is valid on one link only may carry the link's name behind a %.
    return sender.partition("%")[0] == address.partition("%")[0]


def _round_trip(echo: _Echo, arrived: float, ancillary: list[tuple[int, int, bytes]]) -> float:
    """Return milliseconds: by the kernel's stamp of the arrival, which no busy hub delays, if it is sane."""
    elapsed = (arrived - echo.sent) * 1000.0
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(data) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            stamped: float = (seconds * 10**9 + nanoseconds - echo.sent_wall) / 1e6
            if 0.0 < stamped <= elapsed:
                return stamped
    return elapsed


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def find_mode() -> Mode:
    """Return the best way to ping that this host permits; raises ProbeError when there is none."""
    for kind, mode in ((socket.SOCK_DGRAM, "datagram socket"), (socket.SOCK_RAW, "raw socket")):
        try:
            socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP).close()
        except OSError:
            continue
        return mode  # type: ignore[return-value]
    if which("ping"):
        return "ping command"
    raise ProbeError(
        "no ICMP socket is permitted and there is no ping command (see net.ipv4.ping_group_range)"
    )


class Pinger:
    """How this host pings: the mode, found once and named in the log, and a socket per IP version."""

    def __init__(self) -> None:
        self.mode: Mode | None = None
        self._error = ""
        self._sockets: dict[int, EchoSocket] = {}
        try:
            self.mode = find_mode()
            logger.info("ping uses a {}" if "socket" in self.mode else "ping uses the system's {}", self.mode)
        except ProbeError as error:
            self._error = str(error)
            logger.warning("ping cannot work: {}", error)

    def socket(self, family: int) -> EchoSocket:
        """Return the socket of an IP version, opened at the first use."""
        if family not in self._sockets:
            assert self.mode is not None
            self._sockets[family] = EchoSocket(family, self.mode)
        return self._sockets[family]

    def require(self) -> Mode:
        """Return the mode; raises ProbeError when this host permits none."""
        if self.mode is None:
            raise ProbeError(self._error)
        return self.mode

    def close(self) -> None:
        """Close the sockets."""
        for echo in self._sockets.values():
            echo.close()


class PingProbe(Probe):
    """Sends `count` echo requests a run; the target is up when any comes back."""

    prefix = "net.ping"
    Settings = PingSettings
    keeps_time = True

    def __init__(self, spec: CollectorSpec, context: Context) -> None:
        super().__init__(spec, context)
        assert isinstance(spec.settings, PingSettings)
        self._count = spec.settings.count
        self._pinger = context.shared(Pinger, Pinger)

    def attempt(self, trace: Trace) -> Outcome:
        """Send the packets and count what comes back within the time limit."""
        mode = self._pinger.require()
        limit = self.probe_settings.timeout
        trace.enter("dns")
        with gevent.Timeout(limit, ProbeError("name lookup timed out")):
            family, address = resolve(self.probe_settings.target, 0, self.probe_settings.family)[0]
        trace.enter("reply")
        if mode == "ping command":
            times = _ping_command(address[0], family, self._count, limit)
        else:
            times = self._echo(family, address, limit)
        values = {"loss": round(100.0 * (self._count - len(times)) / self._count, 3)}
        if not times:
            return Outcome(False, values, f"no reply within {limit:g} s", "reply")
        values["rtt"] = round(sum(times) / len(times), 3)
        return Outcome(True, values)

    def _echo(self, family: int, address: SocketAddress, limit: float) -> list[float]:
        echo = self._pinger.socket(family)
        missing = self._count
        all_here = Event()

        def count_down() -> None:
            nonlocal missing
            missing -= 1
            if not missing:
                all_here.set()

        numbers = []
        try:
            for index in range(self._count):
                if index:
                    gevent.sleep(PACKET_GAP)
                numbers.append(echo.send(address, count_down))
            all_here.wait(limit)
        finally:
            times = [echo.settle(number) for number in numbers]
        return [rtt for rtt in times if rtt is not None]


def _ping_command(address: str, family: int, count: int, limit: float) -> list[float]:
    """Run the system's ping; return the round-trip times that it prints, in ms."""
    from gevent import subprocess

    version = "-4" if family == socket.AF_INET else "-6"
    wait = max(1, round(limit))  # whole seconds: not every ping takes fractions
    command = f"ping {version} -n -c {count} -i {PACKET_GAP} -W {wait}".split()
    process = subprocess.Popen(
        [*command, address],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        env=os.environ | {"LC_ALL": "C"},  # its words are translated in other locales
    )
    with process:
        try:
            output, _ = process.communicate(timeout=limit + count * PACKET_GAP + 1.0)
        except subprocess.TimeoutExpired:
            raise ProbeError("the ping command did not end") from None
        finally:
            if process.poll() is None:
                process.kill()
    text: str = output.decode(errors="replace")
    if process.returncode not in (0, 1):  # 1: no reply
        told = text.strip().splitlines() or [f"exit status {process.returncode}"]
        raise ProbeError(f"ping: {told[-1].removeprefix('ping: ')}")
    # A duplicate (marked DUP!) answers a packet that was answered already.
    lines = [line for line in text.splitlines() if "DUP!" not in line]
    return [float(found) for line in lines for found in re.findall(r"time[=<]([\d.]+)", line)]
