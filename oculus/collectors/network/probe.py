"""What the network probes share: settings, retries, phases, name resolution and connecting.

A probe reports what it saw as an `Outcome` and does not raise for a target that is down: that is a
measurement too. A failed probe writes `.up` = 0 with the reason in its tags, and no `.rtt`.
"""

from __future__ import annotations

import _socket
import errno
import ipaddress
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, cast
from urllib.parse import urlsplit

import gevent
from gevent import socket
from gevent.event import AsyncResult

from oculus.collectors.base import Collector, Context
from oculus.config.decode import Seconds, between, setting
from oculus.config.settings import LONGEST, SHORTEST, CollectorSettings, CollectorSpec
from oculus.model import Sample, Tags, slug

# Pause before an attempt is repeated: outlasts a dropped packet's neighbours, not a target's outage.
RETRY_DELAY = 0.2  # seconds

# Time for finding out whether a failure is the target's: two looks at the canaries (see `uplink`), and a
# second for a loaded machine.
EXCUSE = 6.0  # seconds

# Time that an address has to answer where there is another: three times a slow satellite link's round trip.
CONNECT_DELAY = 2.0  # seconds

# Names that are looked up at once. A name whose servers are silent holds its thread for half a minute, long
# after the probe has given up, and gevent's ten would soon all wait for such ones.
_LOOKUPS = 32

# What the kernel says of an address that cannot be tried from here.
_NOT_FROM_HERE = frozenset({errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})

Family = Literal["any", "ipv4", "ipv6"]
_FAMILIES = {"any": socket.AF_UNSPEC, "ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}

SocketAddress = tuple[str, int] | tuple[str, int, int, int]
Address = tuple[int, SocketAddress]  # with its family


def _check_resolver(text: str) -> None:
    if text:
        from oculus.collectors.network.resolver import check_server

        check_server(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSettings(CollectorSettings):
    """What every network probe can be told."""

    target: str = setting(help="host, host:port or URL")
    interval: Seconds = setting(
        Seconds(30.0), help="time from start to start", check=between(SHORTEST, LONGEST, "s")
    )
    timeout: Seconds = setting(
        Seconds(5.0), help="longest time of one attempt", check=between(SHORTEST, LONGEST, "s")
    )
    retries: int = setting(
        0, help="attempts that follow a failed one before the run counts as failed", check=between(0, 10)
    )
    family: Family = setting("any", help="IP version: any, ipv4 or ipv6")
    failures: int = setting(
        1, help="failed runs in a row until the target counts as down", check=between(1, 100)
    )
    successes: int = setting(1, help="good runs in a row until it counts as up again", check=between(1, 100))
    resolver: str = setting("", help="name server to ask instead of the system's", check=_check_resolver)

    def default_name(self) -> str:
        """The name is the target's slug."""
        return slug(self.target)

    def longest_run(self) -> float:
        """All attempts and pauses, and some seconds to find out whose failure it is."""
        return (self.timeout + RETRY_DELAY) * (self.retries + 1) + EXCUSE


class ProbeError(Exception):
    """An attempt failed for a reason that has a name; the text is told to the user.

    `values` are what it measured nevertheless, by the last parts of their symbols.
    """

    def __init__(self, text: str, values: Mapping[str, float] | None = None) -> None:
        super().__init__(text)
        self.values = values or {}


class Trace:
    """Adds up the seconds of each phase of an attempt, and remembers which phase it is in.

    A phase entered twice (redirects) is summed; the phase that a failure cut short is not counted.
    """

    __slots__ = ("_since", "current", "phases", "started")

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}
        self.current = ""
        self.started = self._since = time.perf_counter()

    def enter(self, name: str) -> None:
        """End the phase that runs, if any, and start `name`."""
        now = time.perf_counter()
        if self.current:
            self.phases[self.current] = self.phases.get(self.current, 0.0) + now - self._since
        self.current, self._since = name, now

    def end(self) -> float:
        """End the phase that runs; return the seconds since the attempt began."""
        self.enter("")
        return self._since - self.started


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run saw: last parts of symbols with their values, and why it failed if it did.

    `phase` names where it failed: dns, connect, tls, ttfb, transfer, expect …
    """

    up: bool
    values: Mapping[str, float]
    error: str = ""
    phase: str = ""


class Probe(Collector):
    """Base of the network probes: attempts, the time limit of each, and outcome → samples."""

    type = "network"
    prefix: ClassVar[str] = ""
    # Phases that are series of their own; a failed attempt leaves those that it completed.
    phases: ClassVar[tuple[str, ...]] = ()
    # A probe that ends its own attempts in time (ping counts what came until then) sets this.
    keeps_time: ClassVar[bool] = False

    def __init__(self, spec: CollectorSpec, context: Context) -> None:
        super().__init__(spec, context)
        assert isinstance(spec.settings, ProbeSettings)
        self.probe_settings = spec.settings
        self._stem = f"{self.prefix}.{spec.name}."
        self._symbols: dict[str, str] = {}
        self._on_this_host = is_loopback(spec.settings.target)
        if spec.settings.resolver:
            from oculus.collectors.network.resolver import prepare

            prepare()
        self._up: bool | None = None  # what the target counts as
        self._last_up = True
        self._in_a_row = 0  # runs that went like the last one
        self._unknown = False

    def describe(self) -> Mapping[str, str]:
        """Every sample tells its target."""
        assert isinstance(self.spec.settings, ProbeSettings)
        return {"target": self.spec.settings.target}

    def attempt(self, trace: Trace) -> Outcome:
        """Probe once. May raise OSError or ProbeError: the phase in `trace` then says where."""
        raise NotImplementedError

    def collect(self) -> Iterator[Sample]:
        """Probe, again if it fails and retries are left, and yield the last outcome's samples.

        A failure that is not the target's (the host has lost the network, or a maintenance window is open)
        makes the result unknown: it counts as neither up nor down.
        """
        outcome = self.look()
        for _ in range(self.probe_settings.retries):
            if outcome.up:
                break
            gevent.sleep(RETRY_DELAY)
            outcome = self.look()
        why = {} if outcome.up else {"error": outcome.error, "phase": outcome.phase}
        excuse = "" if outcome.up else self.context.excuse(self._stem.rstrip("."), self._on_this_host)
        if excuse:
            self._unknown = True
            yield Sample(self.symbol("unknown"), 1.0, None, Tags({"reason": excuse, **why}))
            return
        for part, value in outcome.values.items():
            yield Sample(self.symbol(part), value)
        if self._unknown:
            self._unknown = False
            yield Sample(self.symbol("unknown"), 0.0)
        self._count(outcome.up)
        if self._up is not None:
            yield Sample(self.symbol("up"), float(self._up), None, Tags(why))

    def _count(self, up: bool) -> None:
        """Count a run in a row of equal ones; enough of them, or the first one of all, decide."""
        self._in_a_row = self._in_a_row + 1 if up == self._last_up else 1
        self._last_up = up
        settings = self.probe_settings
        needed = settings.successes if up else settings.failures
        if self._in_a_row >= needed or (up and self._up is None):
            self._up = up

    def symbol(self, part: str) -> str:
        """Return the symbol that ends in `part`."""
        symbol = self._symbols.get(part)
        if symbol is None:
            symbol = self._symbols[part] = self._stem + part
        return symbol

    def look(self) -> Outcome:
        """Probe once, within the time of an attempt; raises nothing for a target that is down."""
        trace = Trace()
        seconds = None if self.keeps_time else self.probe_settings.timeout
        known: Mapping[str, float] = {}
        with gevent.Timeout(seconds) as limit:
            try:
                return self.attempt(trace)
            except gevent.Timeout as fired:
                if fired is not limit:
                    raise
                error = f"timed out after {self.probe_settings.timeout:g} s"
            except (OSError, ProbeError) as failure:
                error = explain(failure)
                known = failure.values if isinstance(failure, ProbeError) else known
        completed = {name: trace.phases[name] for name in self.phases if name in trace.phases}
        return Outcome(False, {**milliseconds(completed), **known}, error, trace.current)


def is_loopback(target: str) -> bool:
    """Tell whether a host, host:port or URL is on this host, which needs no network."""
    host = urlsplit(target if "://" in target else f"//{target}").hostname or target
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def milliseconds(phases: Mapping[str, float]) -> dict[str, float]:
    """Return seconds as milliseconds, rounded to the microsecond that clocks here can tell."""
    return {name: round(seconds * 1000.0, 3) for name, seconds in phases.items()}


def explain(failure: Exception) -> str:
    """Return a failed attempt's reason in a few words."""
    if isinstance(failure, socket.gaierror):
        return f"name lookup failed: {failure.strerror}"
    verify = getattr(failure, "verify_message", "")
    if verify:  # ssl.SSLCertVerificationError
        return f"certificate not trusted: {verify}"
    reason = getattr(failure, "reason", None)
    if isinstance(failure, OSError) and reason:  # ssl.SSLError
        return f"TLS failed: {str(reason).replace('_', ' ').lower()}"
    if isinstance(failure, OSError) and failure.errno:
        return os.strerror(failure.errno).lower()
    return str(failure) or type(failure).__name__


def resolve(host: str, port: int, family: Family, resolver: str = "") -> list[Address]:
    """Return the addresses of a host in the order to try; raises socket.gaierror.

    A literal address needs no look-up and stays off the resolver's threads.
    """
    wanted = _FAMILIES[family]
    for literal in (socket.AF_INET, socket.AF_INET6):
        try:
            packed = socket.inet_pton(literal, host)
        except OSError:
            continue
        if wanted not in (socket.AF_UNSPEC, literal):
            version = "IPv4" if literal == socket.AF_INET else "IPv6"
            raise ProbeError(f"{host} is an {version} address, and family is {family}")
        host = socket.inet_ntop(literal, packed)  # one spelling: replies to a ping are matched by it
        address: SocketAddress = (host, port) if literal == socket.AF_INET else (host, port, 0, 0)
        return [(int(literal), address)]
    if resolver:
        from oculus.collectors.network.resolver import lookup

        return [
            (kind, (text, port) if kind == socket.AF_INET else (text, port, 0, 0))
            for kind, text in lookup(host, family, resolver)
        ]
    found, failure = _look_up(host, int(wanted))
    if isinstance(failure, ValueError):  # an empty or overlong label
        raise ProbeError(f"name lookup failed: {host!r} is not a host name")
    if failure is not None:
        raise failure
    return [(kind, cast("SocketAddress", (address[0], port, *address[2:]))) for kind, address in found]


_Found = tuple[list[Address], OSError | ValueError | None]
_under_way: dict[tuple[str, int], AsyncResult[_Found]] = {}


def _look_up(host: str, wanted: int) -> _Found:
    """Ask the system for a name, or wait for who asks for it already: a slow name takes one thread only."""
    key = host, wanted
    going = _under_way.get(key)
    if going is None:
        threads = gevent.get_hub().threadpool
        threads.maxsize = _LOOKUPS
        going = _under_way[key] = threads.spawn(_ask_system, host, wanted)
        going.rawlink(lambda done: _under_way.pop(key))
    return cast("_Found", going.get())


def _ask_system(host: str, wanted: int) -> _Found:
    """Return the addresses of a name, or why there are none; runs in a native thread."""
    try:
        found = _socket.getaddrinfo(host, None, wanted, socket.SOCK_STREAM)
    except (OSError, ValueError) as failure:
        return [], failure.with_traceback(None)
    return [(entry[0], cast("SocketAddress", entry[4])) for entry in found], None


def connect(addresses: list[Address]) -> socket.socket:
    """Connect to the first address that answers; raises the last one's OSError, or ProbeError.

    An address that drops packets is given up for the next after a moment. Where a name has both versions and
    this host a route for one only, the other is left out: its failure would hide the reason that matters.
    """
    if len({family for family, _ in addresses}) > 1:
        addresses = [each for each in addresses if has_route(each)] or addresses
    failure: OSError = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    for index, (family, address) in enumerate(addresses):
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:  # a kernel without this version
            failure = error
            continue
        if index < len(addresses) - 1:
            sock.settimeout(CONNECT_DELAY)
        try:
            sock.connect(address)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:  # the attempt's time limit
            sock.close()
            raise
        else:
            sock.settimeout(None)
            return sock
    raise unreachable(failure, addresses)


def has_route(address: Address) -> bool:
    """Tell whether this host has a route to an address; asks the kernel, and sends nothing."""
    try:
        with socket.socket(address[0], socket.SOCK_DGRAM) as sock:
            sock.connect((address[1][0], 53, *address[1][2:]))  # of a datagram socket: any port will do
    except OSError:
        return False
    return True


def unreachable(failure: OSError, addresses: list[Address]) -> Exception:
    """Return a failure to reach addresses, in words of its own where this host has no IPv6 for them."""
    if failure.errno not in _NOT_FROM_HERE or any(family != socket.AF_INET6 for family, _ in addresses):
        return failure
    if not addresses or any(map(has_route, addresses)):
        return failure
    return ProbeError(
        f"this host has no IPv6 route to {addresses[0][1][0]}, and no IPv4 address is known "
        f"({explain(failure)})"
    )


def split_host_port(target: str) -> tuple[str, int]:
    """Return host and port of `host:port` or `[v6]:port`; raises ValueError."""
    host, colon, port = target.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{target!r} has no unambiguous port (an IPv6 address goes in brackets: [::1]:22)")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{target!r} is not host:port (such as db.local:5432)")
    return host, int(port)
