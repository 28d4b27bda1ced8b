"""Who may ask: the token, the Host header, the origin of writes, and how often.

The check of the Host header stops DNS rebinding: a page elsewhere that points a name of its own at this
address gets no answer. With a token it is not needed, since such a page has no cookie for its own name.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import math
import socket
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

# Key of the WSGI environment: the request came over the local socket, whose permissions let it in.
LOCAL = "oculus.local"

# Likewise: whether it has the token, or none is needed.
KNOWN = "oculus.known"

COOKIE = "oculus"
COOKIE_AGE = 90 * 86_400  # seconds that a log-in lasts

RATE = 10.0  # requests a second that one address may make
BURST = 20.0  # requests that it may make at once
# Addresses that are remembered at most; the ones that rested longest go first.
_MOST_ADDRESSES = 10_000


def cookie_value(token: str) -> str:
    """Return what the log-in cookie holds: proof of the token, not the token."""
    return hmac.new(token.encode(), b"oculus log-in cookie", hashlib.sha256).hexdigest()


def cookie_in(header: str) -> str:
    """Return the log-in cookie of a Cookie header, or an empty text.

    A browser sends the cookies of every program on this host, whatever the port; one that is malformed
    must not be in the way, as it would be for `http.cookies`.
    """
    for part in header.split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE and value:
            return value
    return ""


def authorized(token: str, header: str, cookie: str) -> bool:
    """Tell whether a request with this Authorization header or cookie may pass; all may without a token."""
    if not token:
        return True
    scheme, _, given = header.partition(" ")
    if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode()):
        return True
    return hmac.compare_digest(cookie.encode(), cookie_value(token).encode())


def token_matches(token: str, given: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(given.encode(), token.encode())


def host_of(header: str) -> str:
    """Return the host of a Host header or authority, without its port and brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return (header.rpartition(":")[0] or header).lower() if header.count(":") == 1 else header.lower()


def inside(environ: Mapping[str, object]) -> bool:
    """Tell whether a request comes from who may see everything, as opposed to a visitor of a public page."""
    return LOCAL in environ or bool(environ.get(KNOWN))


class HostCheck:
    """Which Host headers are answered: addresses, localhost, this host's own name, and `extra` ones."""

    def __init__(self, bind: str, extra: tuple[str, ...]) -> None:
        own = socket.gethostname().lower()
        self._names = {"localhost", own, f"{own}.local", bind.lower(), *(name.lower() for name in extra)}

    def allows(self, header: str) -> bool:
        """Tell whether a request with this Host header is meant for this server."""
        host = host_of(header).rstrip(".")
        if not host or host in self._names or host.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False
        return True


def same_origin(origin: str, host: str) -> bool:
    """Tell whether a write comes from this server's own pages, or from no browser at all."""
    return not origin or urlsplit(origin).netloc.lower() == host.lower()


class RateLimit:
    """A token bucket per client address."""

    def __init__(
        self, rate: float = RATE, burst: float = BURST, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # address → tokens left, when

    def take(self, address: str) -> int:
        """Count a request; return 0 if it may pass, else the whole seconds to wait."""
        now = self._clock()
        tokens, then = self._buckets.pop(address, (self._burst, now))
        tokens = min(self._burst, tokens + (now - then) * self._rate)
        passes = tokens >= 1.0
        self._buckets[address] = (tokens - 1.0 if passes else tokens, now)
        if len(self._buckets) > _MOST_ADDRESSES:
            del self._buckets[next(iter(self._buckets))]
        return 0 if passes else max(1, math.ceil((1.0 - tokens) / self._rate))
