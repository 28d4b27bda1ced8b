"""The serving end of one WebSocket connection.

wsproto does the handshake and reads; texts are framed here, and written in batches, since a feed sends
thousands of them a second.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import gevent
from gevent import socket
from gevent.event import Event
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    Request,
    TextMessage,
)
from wsproto.utilities import ProtocolError

MOST_WAITING = 16 * 1024 * 1024  # bytes: services cut off a client that reads too slowly; so do we


def frame(text: str) -> bytes:
    """Return a text as one unmasked frame."""
    data = text.encode()
    size = len(data)
    if size < 126:
        return bytes((0x81, size)) + data
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + data
    return b"\x81\x7f" + size.to_bytes(8, "big") + data


class Client:
    """One connected client: what it has subscribed to is in `items`, a service's own notes in `notes`."""

    def __init__(self, sock: Any, target: str, headers: list[tuple[bytes, bytes]]) -> None:
        self.target = target
        self.items: dict[str, Any] = {}
        self.notes: dict[str, Any] = {}
        self.received: list[str] = []
        self.pongs = 0
        self.silent = False
        self.open = True
        self._socket = sock
        self._waiting: list[bytes] = []
        self._size = 0
        self._wake = Event()
        self._protocol = WSConnection(ConnectionType.SERVER)
        self._protocol.initiate_upgrade_connection(headers, target)

    def serve(self, message: Callable[[Client, str], None]) -> None:
        """Accept, and hand each text to `message` until the connection ends."""
        writer = gevent.spawn(self._write)
        try:
            for event in self._protocol.events():
                if isinstance(event, Request):
                    self.send_frame(self._protocol.send(AcceptConnection()))
            self._read(message)
        except (OSError, ProtocolError):
            pass
        finally:
            self.open = False
            self._wake.set()
            writer.join(1.0)
            writer.kill()

    def send(self, text: str) -> None:
        """Send a text, unless the service is silent."""
        if not self.silent:
            self.send_frame(frame(text))

    def send_frame(self, data: bytes) -> None:
        """Send bytes as they are."""
        if not self.open:
            return
        self._waiting.append(data)
        self._size += len(data)
        self._wake.set()
        if self._size > MOST_WAITING:
            self.drop()

    def ping(self) -> None:
        """Send a ping frame."""
        self.send_frame(b"\x89\x00")

    def close(self, code: int = 1000, reason: str = "") -> None:
        """End the connection as the protocol has it."""
        with suppress(ProtocolError):
            self.send_frame(self._protocol.send(CloseConnection(code, reason)))

    def drop(self) -> None:
        """End the connection with a TCP reset."""
        self.open = False
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._socket.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            self._socket.close()
        self._wake.set()

    def _read(self, message: Callable[[Client, str], None]) -> None:
        text = ""
        while self.open and (data := self._socket.recv(65_536)):
            self._protocol.receive_data(data)
            for event in self._protocol.events():
                if isinstance(event, TextMessage):
                    text += event.data
                    if event.message_finished:
                        self.received.append(text)
                        message(self, text)
                        text = ""
                elif isinstance(event, Ping):
                    self.send_frame(self._protocol.send(event.response()))
                elif isinstance(event, Pong):
                    self.pongs += 1
                elif isinstance(event, CloseConnection):
                    with suppress(ProtocolError):  # the answer to our own close needs none
                        self.send_frame(self._protocol.send(event.response()))
                    return
                else:
                    assert isinstance(event, BytesMessage)

    def _write(self) -> None:
        while self.open or self._waiting:
            self._wake.wait()
            self._wake.clear()
            batch, self._waiting, self._size = self._waiting, [], 0
            try:
                self._socket.sendall(b"".join(batch))
            except OSError:
                self.open = False
                return
