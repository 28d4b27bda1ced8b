"""What sources speak over their WebSockets: a class for each, beside the source, and its messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from oculus.model import Micros


class StreamError(Exception):
    """A connection is of no use any more; the text says why. Before `retry_in` seconds there is no other."""

    def __init__(self, message: str, retry_in: float = 0.0) -> None:
        super().__init__(message)
        self.retry_in = retry_in


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
    # Whether one key that it does not serve makes it refuse all that were asked for in that frame.
    strict: ClassVar[bool] = False

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
