"""A stand-in of a public service: a real HTTP and WebSocket server on loopback, with faults to order.

A service is a subclass with `ROUTES`, one method for each, and for its feed `WS_PATHS`, `on_message` and
`messages`. All else (recording, faults, connections, the feed's rate) is here.
"""

from __future__ import annotations

import re
import ssl
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import gevent
from gevent import socket
from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer

from tests.standins import faults
from tests.standins.faults import Fault
from tests.standins.market import Market, no_such
from tests.standins.messages import Answer, Request, reason, request_of
from tests.standins.websocket import Client
from tests.support.servers import free_port

PAGE = "<!DOCTYPE html>\n<html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>\n"
LONGEST_HANG = 3600.0  # seconds; a fault that is cleared ends it at once
BEAT = 0.01  # seconds between two batches of a fast feed


def _routes(kind: type[StandIn]) -> list[tuple[str, re.Pattern[str], str]]:
    """Return `METHOD /path/{part}` → method's name of a class and its bases, ready to match."""
    found = []
    for owner in kind.__mro__:
        for route, name in owner.__dict__.get("ROUTES", {}).items():
            method, _, path = route.partition(" ")
            pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path.rstrip("/")))
            found.append((method, re.compile(pattern + "/?"), name))
    return found


class StandIn:
    """A service on 127.0.0.1. `url` and `ws_url` are what `base_url` and `ws_url` of a configuration take."""

    ROUTES: ClassVar[Mapping[str, str]] = {}
    WS_PATHS: ClassVar[tuple[str, ...]] = ()  # where, or below which, an upgrade is accepted
    PRICE_KEYS: ClassVar[frozenset[str]] = frozenset()  # of answers: what null, nan and renamed touch
    _routes: ClassVar[list[tuple[str, re.Pattern[str], str]]] = []

    def __init_subclass__(cls) -> None:
        cls._routes = _routes(cls)

    def __init__(
        self, market: Market | None = None, *, port: int = 0, context: ssl.SSLContext | None = None
    ) -> None:
        self.market = market or Market()
        self.port = port or free_port()
        secure = "s" if context else ""
        self.url = f"http{secure}://127.0.0.1:{self.port}"
        self.ws_url = f"ws{secure}://127.0.0.1:{self.port}"
        self.requests: list[Request] = []
        self.clients: list[Client] = []
        # (requests, seconds): more of them within that time are answered as too many.
        self.quota: tuple[int, float] | None = None
        # Whether answers carry an ETag, and 304 answers a request that names it.
        self.validators = False
        # Every tick that the feed made or was told to send: item, price, seconds since 1970.
        self.ticks: list[tuple[str, float, float]] | None = None
        self._options: dict[str, Any] = {"ssl_context": context} if context else {}
        self._fault: Fault | None = None
        self._silent = False
        self._rate = 0.0
        self._feed: gevent.Greenlet[[], None] | None = None
        self._server: WSGIServer | None = None
        self._listen()

    # --- what tests and people turn

    @property
    def fault(self) -> Fault | None:
        """What goes wrong now; stays until it is set to None."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault | None) -> None:
        self._fault = fault
        if fault is not None and fault.kind == "down":
            self._refuse()
        elif self._server is None:
            self._listen()
        if fault is not None and fault.kind == "reset" and fault.only == "ws":
            self.drop()

    @property
    def rate(self) -> float:
        """Messages a second that the feed sends by itself, over all subscribed items; 0 by default."""
        return self._rate

    @rate.setter
    def rate(self, rate: float) -> None:
        self._rate = rate
        if rate > 0 and self._feed is None:
            self._feed = gevent.spawn(self._run_feed)

    @property
    def silent(self) -> bool:
        """Whether feeds stay open and say nothing, not even a heartbeat."""
        return self._silent

    @silent.setter
    def silent(self, silent: bool) -> None:
        self._silent = silent
        for client in self.clients:
            client.silent = silent

    @property
    def connections(self) -> int:
        """How many WebSocket connections are open."""
        return len(self.clients)

    def send_tick(self, item: str, price: float, at: float | None = None) -> None:
        """Send one price of an item, its own name or Oculus's (`btc_usd`), to all who subscribed to it."""
        self._tick(self.native(item), price, self.market.now() if at is None else at)

    def send_text(self, text: str) -> None:
        """Send a text to every client: garbage, an unknown message, whatever a test has in mind."""
        for client in self.clients:
            client.send(text)

    def send_garbage(self) -> None:
        """Send a text that is no JSON to every client."""
        self.send_text('{"type": "ticker", "price": ')

    def drop(self) -> None:
        """Cut all WebSocket connections without a word."""
        for client in list(self.clients):
            client.drop()

    def stop(self) -> None:
        """Close the listening socket and all connections."""
        self._rate = 0.0
        if self._feed is not None:
            self._feed.kill()
        self._refuse()

    def paths(self) -> list[str]:
        """Return the paths asked for so far."""
        return [request.path for request in self.requests]

    # --- what services override

    def native(self, item: str) -> str:
        """Return the service's own name of `btc_usd`; its own names are returned as they are."""
        return item

    def is_price(self, key: str) -> bool:
        """Whether the answers' field of that name holds a price."""
        return key in self.PRICE_KEYS

    def limited(self, request: Request, retry_after: int | None) -> Answer:
        """Return what this service answers to too many requests."""
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        return Answer({"message": "Too many requests"}, 429, headers)

    def not_found(self, request: Request) -> Answer:
        """Return what this service answers at a path that it does not have."""
        return Answer({"error": "not found"}, 404)

    def spoiled(self, body: Any, fault: Fault) -> Any:
        """Return a right body with its prices spoiled."""
        return faults.spoil(body, fault, self.is_price)

    def extra_headers(self, request: Request) -> Mapping[str, str]:
        """Return headers that every answer carries."""
        return {}

    def on_open(self, client: Client) -> None:
        """A client has connected."""

    def on_message(self, client: Client, text: str) -> None:
        """A client has sent a text."""

    def messages(self, client: Client, item: str, price: float, at: float) -> list[str]:
        """Return what the feed sends to a client for one price."""
        raise NotImplementedError

    def count(self, item: str) -> None:
        """Give numbers to the next price of an item, which are the same for all who are told."""

    def feed_price(self, item: str) -> float:
        """Return what the feed sends of an item now."""
        raise NotImplementedError

    # --- HTTP

    def answer(self, request: Request) -> Answer:
        """Return the right answer to a request, without faults."""
        allowed = False
        for method, pattern, name in self._routes:
            if found := pattern.fullmatch(request.path):
                if method == request.method or (method == "GET" and request.method == "HEAD"):
                    handler: Callable[..., Answer] = getattr(self, name)
                    return handler(request, **found.groupdict())
                allowed = True
        return Answer({"error": "method not allowed"}, 405) if allowed else self.not_found(request)

    def fault_for(self, request: Request, upgrade: bool = False) -> Fault | None:
        """Return the fault that this request meets."""
        fault = self._fault
        if fault is None or not fault.only:
            return fault
        if fault.only in {"ws", "rest"}:
            return fault if upgrade == (fault.only == "ws") else None
        if fault.only.startswith("/"):
            return fault if request.path.startswith(fault.only) else None
        mentioned = (
            fault.only.lower() in f"{request.path} {request.target} {request.query} {request.body!r}".lower()
        )
        return fault if mentioned else None

    def over_quota(self) -> int | None:
        """Return the seconds until a request is allowed again when there were too many, the last one not
        counted; else None."""
        if self.quota is None:
            return None
        count, window = self.quota
        now = time.monotonic()
        recent = [request.at for request in self.requests[:-1] if now - request.at < window]
        return max(1, round(recent[-count] + window - now)) if len(recent) >= count else None

    def _application(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        upgrade = "standin.upgrade" in environ  # such a request has no body, and reading would wait for one
        request = request_of(environ, b"" if upgrade else environ["wsgi.input"].read())
        self.requests.append(request)
        fault = self.fault_for(request, upgrade)
        seconds = self.over_quota()
        if seconds is not None:
            return self._send(request, self.limited(request, seconds), start_response)
        if fault is None:
            return self._send(request, self.answer(request), start_response)
        return self._fail(request, fault, environ, start_response)

    def _fail(
        self, request: Request, fault: Fault, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer as the fault has it."""
        kind = fault.kind
        if kind == "hang":
            _hang(lambda: self._fault is fault)
        if kind in {"hang", "reset", "down"}:
            _reset(environ["standin.socket"])
            raise ConnectionResetError(104, "by order")
        if kind == "rate_limited":
            answer = self.limited(request, fault.retry_after)
        elif kind == "error":
            page = PAGE.format(f"{fault.status} {reason(fault.status)}")
            answer = Answer(page, fault.status, type="text/html")
        elif kind == "html":
            answer = Answer(PAGE.format("One moment please"), type="text/html; charset=UTF-8")
        elif kind == "redirect":
            where = fault.location or f"http://127.0.0.2:{self.port}{request.target}"
            answer = Answer("", 302, {"Location": where}, "text/html")
        elif kind == "bomb":
            answer = Answer(faults.gzip_bomb(), headers={"Content-Encoding": "gzip"})
        elif kind == "huge":
            start_response("200 OK", [("Content-Type", "application/json")])
            return faults.huge_body()
        else:
            answer = self.answer(request)
        if kind == "malformed":
            data = answer.data()
            answer = Answer(data[: len(data) // 2], answer.status, answer.headers, answer.type)
        elif kind in faults.SPOILS and answer.status == 200:
            answer = Answer(self.spoiled(answer.body, fault), answer.status, answer.headers, answer.type)
        sent = self._send(request, answer, start_response)
        return _dripping(sent) if kind == "drip" else sent

    def _send(self, request: Request, answer: Answer, start_response: Callable[..., Any]) -> list[bytes]:
        data = answer.data()
        headers = {"Content-Type": answer.type, **self.extra_headers(request), **answer.headers}
        if self.validators and answer.status == 200:
            headers["ETag"] = tag = f'W/"{zlib.crc32(data):08x}"'
            if request.headers.get("if-none-match") == tag:
                start_response("304 Not Modified", list(headers.items()))
                return []
        headers["Content-Length"] = str(len(data))
        start_response(f"{answer.status} {reason(answer.status)}", list(headers.items()))
        return [] if request.method == "HEAD" else [data]

    # --- connections

    def _listen(self) -> None:
        server = _Server(
            ("127.0.0.1", self.port),
            self._application,
            log=None,
            spawn=Pool(),  # so that stopping ends the open connections too
            handler_class=_Handler,
            **self._options,
        )
        server.standin = self
        server.start()
        # Head and body go out in two pieces; the second would wait for the first to be acknowledged.
        server.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server = server

    def _refuse(self) -> None:
        self.drop()
        if self._server is not None:
            self._server.stop(timeout=0)
            self._server = None

    def upgrades(self, request: Request) -> bool:
        """Whether an upgrade is accepted at that path."""
        return any(
            request.path == path or (path != "/" and request.path.startswith(path + "/"))
            for path in self.WS_PATHS
        )

    def _serve_socket(self, sock: Any, request: Request) -> None:
        headers = [(name.encode(), value.encode()) for name, value in request.headers.items()]
        client = Client(sock, request.target, headers)
        client.silent = self._silent
        self.clients.append(client)
        keeper = gevent.spawn(self.keep, client)
        try:
            client.serve(self.on_message)
        finally:
            keeper.kill()
            self.clients.remove(client)

    def keep(self, client: Client) -> None:
        """Run beside a connection: opening words, heartbeats, time limits."""
        self.on_open(client)

    # --- the feed

    def _tick(self, item: str, price: float, at: float) -> None:
        if self.ticks is not None:
            self.ticks.append((item, price, at))
        self.count(item)
        for client in list(self.clients):
            if item in client.items:
                for text in self.messages(client, item, price, at):
                    client.send(text)

    def _run_feed(self) -> None:
        due, turn, last = 0.0, 0, time.monotonic()
        while True:
            gevent.sleep(min(0.5, max(BEAT, 1 / self._rate)) if self._rate > 0 else 0.1)
            now = time.monotonic()
            due = min(due + (now - last) * self._rate, self._rate)  # after a stall, at most a second's worth
            last = now
            items = list(dict.fromkeys(item for client in self.clients for item in client.items))
            if not items:
                due = 0.0
            at = self.market.now()
            while due >= 1:
                self._tick(item := items[turn % len(items)], self.feed_price(item), at)
                turn += 1
                due -= 1


class _Server(WSGIServer):
    standin: StandIn


class _Handler(WSGIHandler):
    """Hands upgrades to the stand-in together with the socket; the rest is ordinary HTTP."""

    def get_environ(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environ()
        for name, value in self.headers.items():  # the server leaves out X-CMC_PRO_API_KEY and its like
            if "_" in name:
                environ[f"HTTP_{name.upper().replace('-', '_')}"] = value
        environ["standin.target"] = self.path
        environ["standin.socket"] = self.socket
        return environ

    def handle_one_response(self) -> None:
        assert isinstance(self.server, _Server)
        standin = self.server.standin
        environ: dict[str, Any] = self.environ or {}
        if environ.get("HTTP_UPGRADE", "").lower() == "websocket":
            environ["standin.upgrade"] = True
            request = request_of(environ, b"")
            fault = standin.fault_for(request, upgrade=True)
            if (fault is None or fault.kind in faults.SPOILS) and standin.upgrades(request):
                standin.requests.append(request)
                standin._serve_socket(self.socket, request)
                self.close_connection = True
                return
            self.close_connection = True
        super().handle_one_response()


def _hang(lasts: Callable[[], bool]) -> None:
    end = time.monotonic() + LONGEST_HANG
    while lasts() and time.monotonic() < end:
        gevent.sleep(0.05)


def _reset(sock: Any) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _dripping(data: Iterable[bytes]) -> Iterator[bytes]:
    for block in data:
        for index in range(len(block)):
            yield block[index : index + 1]
            gevent.sleep(faults.DRIP)


__all__ = ["Answer", "Client", "Fault", "Market", "Request", "StandIn", "no_such"]
