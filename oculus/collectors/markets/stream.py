"""Prices over WebSockets: one connection for all collectors of a source, down-sampled to their intervals.

A busy feed sends thousands of prices a second. They end in buckets of a collector's interval, by the
exchange's own time, of which open, high, low and close remain; the collector takes what is complete.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any
from urllib.parse import unquote, urlsplit

import gevent
import websocket
from gevent.event import Event as Signal
from loguru import logger

from oculus.clock import SECOND, now
from oculus.collectors.base import Context, Count
from oculus.collectors.fetch import USER_AGENT, rebased, snippet, tls_context
from oculus.collectors.manners import LONGEST_SILENCE, REFUSALS, Backoff, retry_after
from oculus.collectors.markets.candles import Bucket, Live
from oculus.collectors.markets.wire import Missed, StreamError, Tick, Wire
from oculus.cooperate import SLICE, pause
from oculus.model import Event, Micros

_CONNECT = 10.0  # seconds for connection and handshake
_LOOK = 1.0  # seconds between two looks at what is due: pings, silence, new subscriptions
_MAX_FRAME = 4 * 2**20  # bytes: the first dump of some hundred order books has 1 MB
_MAX_PIECES = 1_000  # frames that one message may come in

# Pauses between tries to connect: about the first, doubling to the last (300 tries in 5 minutes is what the
# strictest of the exchanges allows).
_FIRST, _LAST = 1.0, 60.0  # seconds

# The pause after a refusal that names no time.
_REFUSED = 60.0  # seconds

# A collector takes an interval this long after its end, for what is still on its way.
_GRACE = 0.25  # seconds

# Frames in a row that are not understood until the connection is given up.
_GARBAGE = 20

# A subscription that has brought nothing counts as served for this long.
_PATIENCE = 10.0  # seconds


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
        self._torn = False  # whether keys went under with one that was refused
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
                pause_for = 0.0
            except (websocket.WebSocketException, OSError, StreamError, ValueError) as error:
                self._fail(" ".join(str(error).split())[:200] or type(error).__name__)
                pause_for = error.retry_in if isinstance(error, StreamError) else 0.0
            finally:
                self.connected = False
            if self.lives:
                gevent.sleep(max(pause_for, self._backoff.fail()))

    # -- one session ----------------------------------------------------------------------------------

    def _session(self) -> None:
        wire = self.make()
        sock = self._connect()
        try:
            self.connects += 1
            self.connected = True
            self._offset = None
            self._torn = False
            self._last_frame = self._monotonic()
            subscribed: set[str] = set()
            next_look = next_ping = 0.0
            garbage = 0
            busy_since = time.perf_counter()
            while True:
                present = self._monotonic()
                if self._torn:
                    self._torn, next_look = False, present
                    subscribed = {key for key in subscribed if not self._went_under(key)}
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
        options: dict[str, Any] = {
            "http_proxy_host": proxy.hostname, "http_proxy_port": proxy.port or 80, "proxy_type": "http",
        }  # fmt: skip
        if proxy.username:
            options["http_proxy_auth"] = (unquote(proxy.username), unquote(proxy.password or ""))
        sslopt = {"context": tls_context(True)} if self._url.startswith("wss:") else {}
        sock = websocket.WebSocket(sslopt=sslopt, skip_utf8_validation=True, enable_multithread=False)
        sock.frame_buffer = _Frames(sock._recv, skip_utf8_validation=True)
        sock.cont_frame = _Pieces(False, True)
        with gevent.Timeout(_CONNECT, StreamError(f"no connection within {_CONNECT:g} s")):
            sock.settimeout(_CONNECT)
            try:
                sock.connect(  # type: ignore[no-untyped-call]
                    self._url, header={"User-Agent": USER_AGENT}, suppress_origin=True, redirect_limit=0,
                    **(options if self._proxy else {}),
                )  # fmt: skip
            except websocket.WebSocketBadStatusException as error:
                raise _refusal(error) from None
            except websocket.WebSocketException as error:
                if sock.handshake_response is not None:
                    raise StreamError("redirected to another address, which is not followed") from error
                raise
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

    def _went_under(self, key: str) -> bool:
        """Whether a key's subscription may have been refused along with another one."""
        return not any(live.ticked or live.refused for live in self.lives.get(key, ()))

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
                        self._torn = self._torn or (wire.strict and not live.refused)
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
        url = rebased(make.url, ws_url)
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

    def left(self, live: Live) -> float:
        """Return the seconds until the present interval is over by the exchange's clock, and taken."""
        connection = self._of(live)
        present = now() if connection is None else connection.exchange_time()
        return (live.interval - (present - int(_GRACE * SECOND)) % live.interval) / SECOND

    def _of(self, live: Live) -> Connection | None:
        return next((found for found in self.connections if live in found.lives.get(live.key, ())), None)

    def _connection_for(self, key: str) -> Connection:
        for found in self.connections:
            if key in found.lives or len(found.lives) < self._make.capacity:
                return found
        made = Connection(self._make, self._url, self._proxy, self._context.report)
        self.connections.append(made)
        stem = f"stream {self._make.name} {urlsplit(self._url).netloc.rpartition('@')[2]}"
        # Others may lead to the same host, through a proxy or at another path.
        name = f"{stem} {next(self._context.shared((Streams, stem), lambda: count(1)))}"
        if self._context.spawn is not None:
            self._context.spawn(name, made.run)
        return made


def _refusal(error: websocket.WebSocketBadStatusException) -> StreamError:
    """Return what an answer that is no WebSocket means: in few words, and when to come back."""
    headers = {str(name).lower(): str(value) for name, value in (error.resp_headers or {}).items()}
    after = retry_after(error.status_code, headers)
    if after is None and error.status_code in REFUSALS:
        after = _REFUSED
    told = f"status {error.status_code}: {snippet(error.resp_body or b'')}"
    return StreamError(told, min(after or 0.0, LONGEST_SILENCE))


class _Pieces(websocket.continuous_frame):
    """The library's gathering of a message that comes in pieces, with a bound."""

    def __init__(self, fire: bool, skip: bool) -> None:
        super().__init__(fire, skip)
        self._count = 0

    def add(self, frame: websocket.ABNF) -> None:
        super().add(frame)
        self._count = 0 if frame.fin else self._count + 1
        if self._count > _MAX_PIECES or len((self.cont_data or (0, b""))[1]) > _MAX_FRAME:
            raise StreamError("a message that does not end")


class _Frames(websocket.frame_buffer):
    """The library's frame buffer with a bound: it would take in a frame of any length."""

    def recv_strict(self, length: int) -> bytes:
        if length > _MAX_FRAME:
            raise StreamError(f"a frame of {length / 1e6:.0f} MB")
        data: bytes = super().recv_strict(length)
        return data
