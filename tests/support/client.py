"""A client that asks from an address of its own, so that tests don't use up each other's rate limit."""

from __future__ import annotations

from itertools import count
from typing import Any

import requests
from requests.adapters import HTTPAdapter

# All of 127.0.0.0/8 is this host.
_ADDRESSES = (f"127.{n >> 16 & 127 | 1}.{n >> 8 & 255}.{n % 254 + 1}" for n in count())


class _From(HTTPAdapter):
    """Connects from one address."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        options["source_address"] = (self._address, 0)
        super().init_poolmanager(*arguments, **options)


def fresh_address() -> str:
    """Return a loopback address that no request of this process came from yet."""
    return next(_ADDRESSES)


def ask(method: str, url: str, *, source: str | None = None, **options: Any) -> requests.Response:
    """Send one request over a connection of its own, from `source` or from a fresh address."""
    options.setdefault("timeout", 20)
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", _From(source or fresh_address()))
        return session.request(method, url, **options)
