"""Prices over WebSockets: one connection for all collectors of a source, down-sampled to their intervals.

A busy feed sends thousands of prices a second. They end in buckets of a collector's interval, by the
exchange's own time, of which open, high, low and close remain; the collector takes what is complete.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import urlsplit

import certifi
import gevent
import websocket
from gevent.event import Event as Signal
from loguru import logger

from oculus.clock import SECOND, now
from oculus.collectors.base import Context, Count
from oculus.collectors.fetch import USER_AGENT, Backoff
from oculus.cooperate import SLICE, pause
from oculus.model import Candle, Event, Micros

_CONNECT = 10.0  # seconds for connection and handshake
_LOOK = 1.0  # seconds between two looks at what is due: pings, silence, new subscriptions
_MAX_FRAME = 4 * 2**20  # bytes: the first dump of some hundred order books has 1 MB

# Pauses between tries to connect: about the first, doubling to the last (300 tries in 5 minutes is what the
# strictest of the exchanges allows).
_FIRST, _LAST = 1.0, 60.0  # seconds

# Frames in a row that are not understood until the connection is given up.
_GARBAGE = 20

# A subscription that has brought nothing counts as served for this long.
_PATIENCE = 10.0  # seconds

# Complete buckets that a collector has not taken; it takes them at every interval.
_KEPT = 120


class StreamError(Exception):
    """A connection is of no use any more; the text says why."""


@dataclass(slots=True)
class Tick:
    """A price as it came. `figures` are what came along: bid, ask …"""

    key: str
    price: float
    ts: Micros | None = None
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refused:
    """The source does not serve a key."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Missed:
    """Prices of a key were lost on the way."""

    key: str


Message = Tick | Refused | Missed


class Wire:
    """What a source speaks over its WebSocket; one instance for each connection."""

    name: ClassVar[str] = ""
    url: ClassVar[str] = ""
    capacity: ClassVar[int] = 200  # keys of one connection
    silence: ClassVar[float] = 30.0  # seconds without any frame after which a connection is dead
    ping: ClassVar[tuple[str, float] | None] = None  # a text to send, and every how many seconds

    @classmethod
    def keys(cls, item: Any) -> Mapping[str, str]:
        """Return the keys of an item, by part of the symbol; none where the source's answer tells them."""
        return {}

    def subscribe(self, keys: Sequence[str]) -> Iterable[str]:
        """Return the frames that ask for keys."""
        raise NotImplementedError

    def unsubscribe(self, keys: Sequence[str]) -> Iterable[str]:
        """Return the frames that end that."""
        raise NotImplementedError

    def read(self, text: str) -> Iterable[Message]:
        """Return what a frame says; nothing for what need not be known.

        Raises StreamError when the connection is to be given up, and any other error for garbage.
        """
        raise NotImplementedError


class Bucket:
    """The prices of one interval."""

    __slots__ = ("close", "count", "high", "low", "open", "start", "ts")

    def __init__(self, start: int, price: float, ts: Micros) -> None:
        self.start = start
        self.open = self.high = self.low = self.close = price
        self.ts = ts
        self.count = 1

    def add(self, price: float, ts: Micros) -> None:
        """Take a price in."""
        if price > self.high:
            self.high = price
        elif price < self.low:
            self.low = price
        if ts >= self.ts:
            self.close, self.ts = price, ts
        self.count += 1

    @property
    def candle(self) -> Candle | None:
        """Open, high and low; None where the close says it all."""
        if self.open == self.high == self.low == self.close:
            return None
        return Candle(self.open, self.high, self.low)


class Live:
    """What a stream brings for one key, in buckets of `interval` microseconds."""

    def __init__(self, key: str, interval: int, monotonic: Callable[[], float]) -> None:
        self.key = key
        self.interval = interval
        self.figures: dict[str, float] = {}
        self.last: tuple[float, Micros] | None = None  # price and time of the last tick
        self.missed = False
        self.refused = ""
        self.since = monotonic()  # of the subscription, or of the last tick
        self.ticked = False  # on this connection
        self._buckets: deque[Bucket] = deque(maxlen=_KEPT)

    def add(self, tick: Tick, ts: Micros) -> None:
        """Take a tick in."""
        start = ts // self.interval * self.interval
        buckets = self._buckets
        if not buckets or start > buckets[-1].start:
            buckets.append(Bucket(start, tick.price, ts))
        else:
            # Ticks that overtook each other; one of a bucket that was taken already counts for the next.
            next((found for found in buckets if found.start >= start), buckets[-1]).add(tick.price, ts)
        if self.last is None or ts >= self.last[1]:
            self.last = (tick.price, ts)
            self.figures = tick.figures or self.figures
        self.ticked = True

    def take(self, until: Micros) -> list[Bucket]:
        """Return and forget the buckets that end at `until` (the exchange's time) or before."""
        taken = []
        while self._buckets and self._buckets[0].start + self.interval <= until:
            taken.append(self._buckets.popleft())
        return taken


class Connection:
    """One WebSocket with its subscriptions; `run` keeps it up for ever."""

    def __init__(
        self,
        make: type[Wire],
        url: str,
        proxy: str,
        report: Callable[[Event], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.make = make
        self._url = url
        self._proxy = proxy
        self._report = report
        self._monotonic = monotonic
        self.lives: dict[str, list[Live]] = {}
        self._changed = Signal()
        self._backoff = Backoff(_FIRST, _LAST)
        self._down_since: float | None = None
        self._told = False
        self.connected = False
        self._last_frame = 0.0  # monotonic
        # The exchange's time less the monotonic one, of the tick that took least time to come, in µs.
        self._offset: float | None = None
        self.messages = self.connects = self.gaps = 0
        self.error = ""

    def alive(self, live: Live) -> bool:
        """Whether this brings every price of a key."""
        if not self.connected or live.refused:
            return False
        if self._monotonic() - self._last_frame > self.make.silence:
            return False
        return live.ticked or self._monotonic() - live.since < _PATIENCE

    def exchange_time(self) -> Micros:
        """Return what the exchange's clock shows, by its own ticks; ours when there were none."""
        if self._offset is None:
            return now()
        return Micros(int(self._monotonic() * SECOND + self._offset))

    def watch(self, live: Live) -> None:
        """Subscribe for a collector."""
        self.lives.setdefault(live.key, []).append(live)
        self._changed.set()

    def unwatch(self, live: Live) -> None:
        """End that; the subscription ends with the last collector."""
        lives = self.lives.get(live.key, [])
        if live in lives:
            lives.remove(live)
        if not lives:
            self.lives.pop(live.key, None)
        self._changed.set()

    def run(self) -> None:
        """Connect, and again whenever the connection is lost."""
        while True:
            while not self.lives:
                self._changed.clear()
                self._changed.wait()
            try:
                self._session()
                reason = "nobody needs it"
            except (websocket.WebSocketException, OSError, StreamError, ValueError) as error:
                reason = str(error).strip() or type(error).__name__
                self._fail(reason)
            finally:
                self.connected = False
            if self.lives:
                gevent.sleep(self._backoff.fail())

    # -- one session ----------------------------------------------------------------------------------

    def _session(self) -> None:
        wire = self.make()
        sock = self._connect()
        try:
            self.connects += 1
            self.connected = True
            self._offset = None
            self._last_frame = self._monotonic()
            subscribed: set[str] = set()
            next_look = next_ping = 0.0
            garbage = 0
            busy_since = time.perf_counter()
            while True:
                present = self._monotonic()
                if present >= next_look or self._changed.is_set():
                    self._changed.clear()
                    subscribed = self._subscribe(wire, sock, subscribed)
                    if not subscribed:
                        return
                    if wire.ping is not None and present >= next_ping:
                        sock.send(wire.ping[0])
                        next_ping = present + wire.ping[1]
                    if present - self._last_frame > wire.silence:
                        raise StreamError(f"silent for {wire.silence:g} s")
                    next_look = present + _LOOK
                try:
                    opcode, data = sock.recv_data(control_frame=True)
                except websocket.WebSocketTimeoutException:
                    busy_since = time.perf_counter()
                    continue
                self._last_frame = self._monotonic()
                if opcode == websocket.ABNF.OPCODE_CLOSE:
                    code = int.from_bytes(data[:2], "big") if len(data) > 1 else 0
                    why = data[2:].decode("utf-8", "replace")[:100]
                    raise StreamError(f"closed by the source ({code or 'no reason'}{why and ': ' + why})")
                if opcode == websocket.ABNF.OPCODE_TEXT:
                    garbage = 0 if self._take(wire, data) else garbage + 1
                    if garbage > _GARBAGE:
                        raise StreamError(f"sends what is not understood: {data[:80]!r}")
                if time.perf_counter() - busy_since > SLICE:
                    # A socket that always has data would let no other greenlet run.
                    pause()
                    busy_since = time.perf_counter()
        finally:
            self.connected = False
            sock.shutdown()  # type: ignore[no-untyped-call]

    def _connect(self) -> websocket.WebSocket:
        proxy = urlsplit(self._proxy)
        options = {"http_proxy_host": proxy.hostname, "http_proxy_port": proxy.port, "proxy_type": "http"}
        sock = websocket.WebSocket(
            sslopt={"ca_certs": certifi.where()}, skip_utf8_validation=True, enable_multithread=False
        )
        sock.frame_buffer = _Frames(sock._recv, skip_utf8_validation=True)
        with gevent.Timeout(_CONNECT, StreamError(f"no connection within {_CONNECT:g} s")):
            sock.settimeout(_CONNECT)
            sock.connect(  # type: ignore[no-untyped-call]
                self._url, header={"User-Agent": USER_AGENT}, suppress_origin=True,
                **(options if self._proxy else {}),
            )  # fmt: skip
        sock.settimeout(_LOOK)
        return sock

    def _subscribe(self, wire: Wire, sock: websocket.WebSocket, before: set[str]) -> set[str]:
        wanted = set(self.lives)
        new, gone = sorted(wanted - before), sorted(before - wanted)
        for key in new:
            for live in self.lives[key]:
                live.since, live.ticked, live.refused = self._monotonic(), False, ""
        if new:
            for frame in wire.subscribe(new):
                sock.send(frame)
        if gone and wanted:
            for frame in wire.unsubscribe(gone):
                sock.send(frame)
        return wanted

    def _take(self, wire: Wire, data: bytes) -> bool:
        """Take a frame in; return whether it was understood."""
        self.messages += 1
        try:
            for message in wire.read(data.decode()):
                if isinstance(message, Tick):
                    self._tick(message)
                elif isinstance(message, Missed):
                    self.gaps += 1
                    for live in self.lives.get(message.key, ()):
                        live.missed = True
                else:
                    for live in self.lives.get(message.key, ()):
                        live.refused = message.reason
        except StreamError:
            raise
        except Exception as error:
            logger.debug("a frame of {} was not understood: {!r}", self.make.name, error)
            return False
        return True

    def _tick(self, tick: Tick) -> None:
        lives = self.lives.get(tick.key)
        if not lives:
            return
        ts = tick.ts
        if ts is None:
            ts = now()
        else:
            ahead = ts - self._last_frame * SECOND
            if self._offset is None or ahead > self._offset:
                self._offset = ahead
        for live in lives:
            live.add(tick, ts)
        if self._down_since is not None or self._backoff.failures:
            self._succeed()

    # -- what is told ---------------------------------------------------------------------------------

    def _fail(self, reason: str) -> None:
        self.error = reason
        name = self.make.name
        if self._down_since is None:
            self._down_since = self._monotonic()
            # Connections end now and then, some once a day: told when it does not come back at once.
            if self.connects and not self._backoff.failures:
                logger.info("the stream of {} ended, it is opened again: {}", name, reason)
                return
        if not self._told:
            self._told = True
            told = f"the stream of {name} is down, prices are polled meanwhile: {reason}"
            self._report(Event(now(), f"stream/{name}", "error", "warn", told, {"source": name}))

    def _succeed(self) -> None:
        self._backoff.succeed()
        down, self._down_since, self.error = self._down_since, None, ""
        if self._told and down is not None:
            self._told = False
            name = self.make.name
            told = f"the stream of {name} is back, after {self._monotonic() - down:.0f} s"
            self._report(Event(now(), f"stream/{name}", "system", "info", told, {"source": name}))


class Streams:
    """The connections to one source; `of` returns the ones that a daemon shares."""

    def __init__(self, context: Context, make: type[Wire], url: str, proxy: str) -> None:
        self._context = context
        self._make = make
        self._url = url
        self._proxy = proxy
        self.connections: list[Connection] = []

    @classmethod
    def of(cls, context: Context, make: type[Wire], ws_url: str, proxy: str) -> Streams:
        """Return the connections to a source at an address."""
        url = make.url
        if ws_url:
            rest = make.url.partition("://")[2].partition("/")
            url = ws_url.rstrip("/") + rest[1] + rest[2]
        return context.shared((cls, make, url, proxy), lambda: cls(context, make, url, proxy))

    def counts(self) -> Iterator[Count]:
        """Yield how the connections fare."""
        for place, found in enumerate(self.connections, 1):
            labels = {"source": self._make.name, "connection": str(place)}
            for name, kind, help, value in (
                ("up", "gauge", "Whether a stream is connected.", found.connected),
                ("messages_total", "counter", "Messages that streams brought.", found.messages),
                ("connects_total", "counter", "Times that a stream was opened.", found.connects),
                ("gaps_total", "counter", "Gaps that a stream had.", found.gaps),
            ):
                yield Count(f"oculus_stream_{name}", kind, help, value, labels)  # type: ignore[arg-type]

    def watch(self, key: str, interval: float) -> Live:
        """Subscribe to a key; return where its prices gather in buckets of `interval` seconds."""
        live = Live(key, int(interval * SECOND), time.monotonic)
        self._connection_for(key).watch(live)
        return live

    def unwatch(self, *lives: Live) -> None:
        """End subscriptions."""
        for live in lives:
            connection = self._of(live)
            if connection is not None:
                connection.unwatch(live)

    def alive(self, live: Live) -> bool:
        """Whether every price of a key arrives."""
        connection = self._of(live)
        return connection is not None and connection.alive(live)

    def take(self, live: Live) -> list[Bucket]:
        """Return the buckets that are complete."""
        connection = self._of(live)
        return [] if connection is None else live.take(connection.exchange_time())

    def _of(self, live: Live) -> Connection | None:
        return next((found for found in self.connections if live in found.lives.get(live.key, ())), None)

    def _connection_for(self, key: str) -> Connection:
        for found in self.connections:
            if key in found.lives or len(found.lives) < self._make.capacity:
                return found
        made = Connection(self._make, self._url, self._proxy, self._context.report)
        self.connections.append(made)
        place = len(self.connections)
        name = f"stream {self._make.name} {urlsplit(self._url).netloc} {place}"
        if self._context.spawn is not None:
            self._context.spawn(name, made.run)
        return made


class _Frames(websocket.frame_buffer):
    """The library's frame buffer with a bound: it would take in a frame of any length."""

    def recv_strict(self, length: int) -> bytes:
        if length > _MAX_FRAME:
            raise StreamError(f"a frame of {length / 1e6:.0f} MB")
        data: bytes = super().recv_strict(length)
        return data
