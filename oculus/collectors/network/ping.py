"""ICMP echo probe: `net.ping.<name>.rtt` (ms, mean of the run), `.jitter` (ms), `.loss` (percent) and `.up`.

The jitter is the mean of how much one round trip differs from the one before it, within a run. RFC 3550
§6.4.1 takes the same differences, but smooths them over all packets that ever came.

One socket per IP version serves all targets, and replies are handed out by sequence number: a raw socket
sees every reply of the host, so a socket for each ping would cost the square of their number. Needs no
rights where the kernel allows datagram ICMP sockets; else a raw socket; else the system's `ping` command.
"""

from __future__ import annotations

import os
import re
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from shutil import which
from typing import Literal

import gevent
from gevent import socket
from gevent.event import Event
from loguru import logger

from oculus.collectors.base import Context
from oculus.collectors.network.probe import (
    Outcome,
    Probe,
    ProbeError,
    ProbeSettings,
    SocketAddress,
    Trace,
    resolve,
    unreachable,
)
from oculus.config.decode import Seconds, between, setting
from oculus.config.settings import CollectorSpec

_SO_TIMESTAMPNS = 35  # Linux: the kernel stamps a packet's arrival; not named in the socket module
_SO_RCVBUFFORCE = 33  # Linux, likewise: beyond what is for everybody, where root says so
_RECEIVE_BUFFER = 2**21  # bytes: a dozen of the largest replies, some thousands of usual ones
_TIMESPEC = struct.Struct("@qq")
_HEADER = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence
_REQUEST: dict[int, int] = {socket.AF_INET: 8, socket.AF_INET6: 128}
_REPLY: dict[int, int] = {socket.AF_INET: 0, socket.AF_INET6: 129}
# A raw socket sees all ICMP of the host, our own requests on loopback included. The kernel is told to keep
# back all but replies: level, option, and a bit for each type that is blocked (in words of the host's order,
# which is this on all processors that Oculus runs on).
_FILTERS: dict[int, tuple[int, int, bytes]] = {
    socket.AF_INET: (255, 1, (2**32 - 1 ^ 1 << 0).to_bytes(4, "little")),  # SOL_RAW, ICMP_FILTER
    socket.AF_INET6: (socket.IPPROTO_ICMPV6, 1, (2**256 - 1 ^ 1 << 129).to_bytes(32, "little")),  # …6_FILTER
}
_COOKIE = 8  # bytes
_MOST_WAITING = 0xFFFF  # packets under way at once: as many as there are sequence numbers
_LEAST_TIMED = 16  # bytes of payload; in less the ping command has no place for the time, and tells none
_INT = struct.Struct("@i")
# How a packet is told its TTL, called hop limit in IPv6, on a socket that others share.
_TTL: dict[int, tuple[int, int]] = {
    socket.AF_INET: (socket.IPPROTO_IP, socket.IP_TTL),
    socket.AF_INET6: (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT),
}

Mode = Literal["datagram socket", "raw socket", "ping command"]


def _check_target(target: str) -> None:
    if not target or not target.isprintable() or any(sign in target for sign in " /"):
        raise ValueError(f"{target!r} is not a host (such as db.local or 192.0.2.1)")


@dataclass(frozen=True, slots=True, kw_only=True)
class PingSettings(ProbeSettings):
    """Settings of `probe: ping`."""

    target: str = setting(help="host name or address", check=_check_target)
    count: int = setting(3, help="packets per run", check=between(1, 100))
    # What ping(8) sends as well, and the least gap that it allows without root.
    size: int = setting(56, help="bytes of payload in a packet", check=between(0, 65_507))
    packet_interval: Seconds = setting(
        Seconds(0.2), help="time from packet to packet of a run", check=between(0.01, 60, "s")
    )
    ttl: int = setting(
        0, help="hops that a packet may take; 0 for the system's default", check=between(0, 255)
    )

    def longest_run(self) -> float:
        """The packets are sent one after another, whatever the time limit of the last."""
        sending = self.count * self.packet_interval
        return super(PingSettings, self).longest_run() + sending * (self.retries + 1)


class _Echo:
    """One packet under way. `rtt` is in milliseconds once it came back."""

    __slots__ = ("address", "cookie", "done", "rtt", "sent", "sent_wall")

    def __init__(self, address: str, cookie: bytes, done: Callable[[], None]) -> None:
        self.address = address
        self.cookie = cookie
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
        _widen(self._socket)
        if self._raw:
            level, option, blocked = _FILTERS[family]
            self._socket.setsockopt(level, option, blocked)
        self._identifier = int.from_bytes(os.urandom(2), "big")
        self._cookie = os.urandom(_COOKIE)  # tells our replies from another program's
        self._sequence = 0
        self._waiting: dict[int, _Echo] = {}
        self._reader = gevent.spawn(self._read)

    def send(self, address: SocketAddress, done: Callable[[], None], size: int = 56, ttl: int = 0) -> int:
        """Send a request with `size` bytes of payload; return its sequence number.

        `done` is called when the reply came. `ttl` 0 is the system's. Raises OSError, and ProbeError when
        too many are under way.
        """
        number = self._next_number()
        head = _HEADER.pack(_REQUEST[self._family], 0, 0, self._identifier, number)
        cookie = self._cookie[:size]
        if self._family == socket.AF_INET:  # the kernel sums for IPv6, and for datagram sockets
            total = checksum(head + cookie)  # the zeros behind them add nothing
            head = _HEADER.pack(_REQUEST[self._family], 0, total, self._identifier, number)
        self._waiting[number] = _Echo(address[0], cookie, done)
        options = [(*_TTL[self._family], _INT.pack(ttl))] if ttl else []
        try:
            self._socket.sendmsg([head, cookie, bytes(size - len(cookie))], options, 0, address)
        except BaseException:
            del self._waiting[number]
            raise
        return number

    def settle(self, number: int) -> float | None:
        """Stop waiting for a reply; return its round-trip time in ms, or None when it did not come."""
        return self._waiting.pop(number).rtt

    def _next_number(self) -> int:
        if len(self._waiting) >= _MOST_WAITING:
            raise ProbeError(f"{_MOST_WAITING} pings are under way already")
        while True:
            self._sequence = (self._sequence + 1) & 0xFFFF
            if self._sequence not in self._waiting:
                return self._sequence

    def close(self) -> None:
        """End the reader and close the socket."""
        self._reader.kill(block=False)
        self._socket.close()

    def _read(self) -> None:
        while True:
            try:
                # What a large packet has beyond this is zeros, and the kernel drops them.
                packet, ancillary, _, sender = self._socket.recvmsg(2048, 64)
            except OSError:
                if self._socket.fileno() < 0:
                    return
                continue  # an ICMP error about one target is no reason to stop listening
            arrived = time.monotonic()
            if self._raw and self._family == socket.AF_INET:
                packet = packet[(packet[0] & 0x0F) * 4 :]  # a raw IPv4 socket hands the IP header over
            if len(packet) < _HEADER.size or packet[0] != _REPLY[self._family]:
                continue
            _, _, _, identifier, number = _HEADER.unpack_from(packet)
            if self._raw and identifier != self._identifier:  # a datagram socket gets none but its own
                continue
            echo = self._waiting.get(number)
            if echo is None or echo.rtt is not None or not _same_host(sender[0], echo.address):
                continue
            if packet[_HEADER.size : _HEADER.size + _COOKIE][: len(echo.cookie)] != echo.cookie:
                continue
            echo.rtt = _round_trip(echo, arrived, ancillary)
            echo.done()


def _widen(sock: socket.socket) -> None:
    """Let the kernel keep as many replies as it may until they are read; large ones come in bursts."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
    except OSError:  # not permitted: as much as net.core.rmem_max has for everybody
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)


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
    """Return the Internet checksum (RFC 1071) of some bytes."""
    data += bytes(len(data) % 2)
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
        self._settings = spec.settings
        self._pinger = context.shared(Pinger, Pinger)

    def attempt(self, trace: Trace) -> Outcome:
        """Send the packets and count what comes back within the time limit."""
        mode = self._pinger.require()
        limit = self.probe_settings.timeout
        trace.enter("dns")
        with gevent.Timeout(limit, ProbeError("name lookup timed out")):
            family, address = resolve(
                self.probe_settings.target, 0, self.probe_settings.family, self.probe_settings.resolver
            )[0]
        trace.enter("reply")
        if mode == "ping command":
            times = _ping_command(address[0], family, self._settings)
        else:
            try:
                times = self._echo(family, address, limit)
            except OSError as failure:
                raise unreachable(failure, [(family, address)]) from None
        count = self._settings.count
        values = {"loss": round(100.0 * (count - len(times)) / count, 3)}
        if not times:
            return Outcome(False, values, f"no reply within {limit:g} s", "reply")
        values["rtt"] = round(sum(times) / len(times), 3)
        if len(times) > 1:
            values["jitter"] = round(jitter(times), 3)
        return Outcome(True, values)

    def _echo(self, family: int, address: SocketAddress, limit: float) -> list[float]:
        echo = self._pinger.socket(family)
        settings = self._settings
        missing = settings.count
        all_here = Event()

        def count_down() -> None:
            nonlocal missing
            missing -= 1
            if not missing:
                all_here.set()

        numbers = []
        try:
            for index in range(settings.count):
                if index:
                    gevent.sleep(settings.packet_interval)
                numbers.append(echo.send(address, count_down, settings.size, settings.ttl))
            all_here.wait(limit)
        finally:
            times = [echo.settle(number) for number in numbers]
        return [rtt for rtt in times if rtt is not None]


def jitter(times: Sequence[float]) -> float:
    """Return the mean difference of one number and the next, whichever is larger; of two at least."""
    return sum(abs(after - before) for before, after in pairwise(times)) / (len(times) - 1)


def _ping_command(address: str, family: int, settings: PingSettings) -> list[float]:
    """Run the system's ping; return the round-trip times that it prints, in ms, as the replies came."""
    from gevent import subprocess

    version = "-4" if family == socket.AF_INET else "-6"
    wait = max(1, round(settings.timeout))  # whole seconds: not every ping takes fractions
    gap, size = settings.packet_interval, max(settings.size, _LEAST_TIMED)
    command = f"ping {version} -n -c {settings.count} -i {gap:g} -W {wait} -s {size}".split()
    if settings.ttl:
        command += ["-t", str(settings.ttl)]
    process = subprocess.Popen(
        [*command, address],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        env=os.environ | {"LC_ALL": "C"},  # its words are translated in other locales
    )
    with process:
        try:
            output, _ = process.communicate(timeout=settings.timeout + settings.count * gap + 1.0)
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
