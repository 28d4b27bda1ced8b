"""Looking names up at a chosen name server instead of the system's: what `resolver:` of a probe does.

Asks that server and nothing else: neither /etc/hosts nor search lists. Addresses are kept for as long as the
server allows, at most a minute, and for each server apart; failures are not kept.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import gevent
from gevent import socket

from oculus.collectors.network.dns_exchange import NameServer, Record, ascii_name, ask, question, read_answers
from oculus.collectors.network.probe import (
    Address,
    Family,
    ProbeError,
    explain,
    has_route,
    resolve,
)

# Longest time that an address is kept, whatever the server allows: a moved service is seen within a minute.
LONGEST_KEPT = 60.0  # seconds

# Names whose addresses are kept; the one that was used least recently goes first.
MAX_KEPT = 5_000

# After this long a question is sent again, then after twice as long and so on: packets are lost.
_REPEAT_AFTER = 1.0  # seconds

# Once one IP version has addresses, the other may take this much longer: some servers never answer for AAAA.
_GRACE = 0.5  # seconds

_RECORDS: dict[Family, tuple[Record, ...]] = {"any": ("AAAA", "A"), "ipv4": ("A",), "ipv6": ("AAAA",)}
_NO_ADDRESS = "no address"


@dataclass(frozen=True, slots=True)
class _Reply:
    """What came of one question: addresses that may be kept for `ttl` seconds, or why there are none."""

    addresses: tuple[str, ...] = ()
    ttl: int = 0
    why: str = ""


def check_server(text: str) -> None:
    """Raise ValueError unless `text` is a name server's address, with a port or without, or is empty."""
    if text and not NameServer.parse(text).is_address:
        raise ValueError(f"{text!r} is not an address (such as 9.9.9.9 or 192.0.2.1:5353)")


def prepare() -> None:
    """Load what look-ups need, which takes 40 ms: at the start, and not within a measurement."""
    question("localhost", "A")


class Resolver:
    """Looks names up and keeps what it found."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, most: int = MAX_KEPT) -> None:
        self._monotonic = monotonic
        self._most = most
        self._kept: OrderedDict[tuple[str, str, Family], tuple[float, list[tuple[int, str]]]] = OrderedDict()

    def lookup(self, host: str, family: Family, server: str, timeout: float = 5.0) -> list[tuple[int, str]]:
        """Return the addresses of a name, each with its family, in the order to try.

        IPv6 comes first unless this host has no route to it, as getaddrinfo has it. `server` is as
        `check_server` allows, `timeout` in seconds. Raises ProbeError.
        """
        key = server, host, family
        known = self._kept.get(key)
        if known is not None and self._monotonic() < known[0]:
            self._kept.move_to_end(key)
            return list(known[1])
        self._kept.pop(key, None)
        try:
            replies = _ask_all(ascii_name(host), _RECORDS[family], server, timeout)
        except ValueError as error:
            raise ProbeError(f"name lookup failed: {error}") from None
        found = [
            (int(socket.AF_INET6 if record == "AAAA" else socket.AF_INET), address)
            for record, reply in replies.items()
            for address in reply.addresses
        ]
        if not found:
            raise ProbeError(f"name lookup failed at {server}: {_reason(replies.values())}")
        found = _in_order(found)
        ttl = min(LONGEST_KEPT, *(reply.ttl for reply in replies.values() if reply.addresses))
        if ttl > 0:
            self._kept[key] = self._monotonic() + ttl, list(found)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return found


# One for all probes: they ask for the same names.
_shared = Resolver()
lookup = _shared.lookup


def _ask_all(name: str, records: Iterable[Record], server: str, timeout: float) -> dict[Record, _Reply]:
    """Ask for all types of records at once; what does not answer in time has that as its reason."""
    parsed = NameServer.parse(server)
    address = resolve(parsed.host, parsed.port, "any")[0]
    late = _Reply(why=f"no answer within {timeout:g} s")
    asking = {record: gevent.spawn(_ask, name, record, address) for record in records}
    until = time.monotonic() + timeout
    try:
        done = gevent.wait(list(asking.values()), timeout=timeout, count=1)
        left = until - time.monotonic()
        if any(greenlet.value is not None and greenlet.value.addresses for greenlet in done):
            left = min(left, _GRACE)
        gevent.joinall(list(asking.values()), timeout=max(0.0, left))
        return {record: greenlet.value or late for record, greenlet in asking.items()}
    finally:
        gevent.killall(list(asking.values()), block=False)


def _ask(name: str, record: Record, address: Address) -> _Reply:
    """Ask for one type of records; never raises for what the server did."""
    try:
        answers = read_answers(ask(question(name, record), address, _REPEAT_AFTER))
    except (OSError, ProbeError) as failure:
        return _Reply(why=explain(failure))
    if answers.rcode != "NOERROR":
        return _Reply(why=answers.rcode)
    return _Reply(answers.records, answers.ttl, "" if answers.records else _NO_ADDRESS)


def _reason(replies: Iterable[_Reply]) -> str:
    """Return why there is no address: what went wrong tells more than that there is none of one version."""
    reasons = [reply.why for reply in replies]
    return next((why for why in reasons if why != _NO_ADDRESS), _NO_ADDRESS)


def _in_order(found: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Return addresses with those last to whose IP version this host has no route."""
    reachable: dict[int, bool] = {}
    for family, address in found:
        if family not in reachable:
            reachable[family] = has_route((family, (address, 0)))
    return sorted(found, key=lambda entry: not reachable[entry[0]])
