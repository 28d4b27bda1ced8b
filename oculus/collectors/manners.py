"""Manners: limits, silences and pauses that whoever asks a host keeps to."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from tenacity import RetryCallState, Retrying, wait_exponential_jitter

# Silence after a refusal that does not say how long: doubles from the first to the last of these.
_REFUSED_FIRST, _REFUSED_LAST = 60.0, 900.0  # seconds
LONGEST_SILENCE = 3 * 86_400.0  # seconds: the longest ban that a service is known to give (Binance)
# 418 is what Binance answers to one that did not heed its 429.
REFUSALS = frozenset({418, 429})

# A rate that nobody has named for this long is no longer kept to.
_FORGOTTEN = 600.0  # seconds


@dataclass(frozen=True, slots=True)
class Rate:
    """`requests` in `seconds`, and as many at once: `10/s`, `30/m`, `500/h`, `25/d`."""

    requests: int
    seconds: float

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Return the rate that `text` describes; raises ValueError."""
        found = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{0,9})\s*(s|m|min|h|d)\s*", text)
        if found is None or not int(found[1]) or found[2] == "0":
            raise ValueError(f"{text!r} is not a rate (such as 10/s, 30/m or 25/d)")
        unit = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0}[found[3]]
        return cls(int(found[1]), unit * int(found[2] or 1))


class Backoff:
    """Pauses that double with each failure, with jitter so that many do not come back at once."""

    def __init__(self, first: float, last: float) -> None:
        """Take the first and the longest pause in seconds."""
        self._wait = wait_exponential_jitter(multiplier=first, max=last, jitter=first / 2)
        self.failures = 0

    def fail(self) -> float:
        """Count a failure; return the seconds to wait."""
        self.failures += 1
        state = RetryCallState(Retrying(), None, (), {})
        state.attempt_number = min(self.failures, 60)
        return self._wait(state)

    def succeed(self) -> None:
        """Begin anew at the next failure."""
        self.failures = 0


class Bucket:
    """A token bucket for each of several rates; all of them must have a token."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._tokens: dict[Rate, float] = {}
        self._named: dict[Rate, float] = {}  # when a rate was last named, monotonic
        self._at = monotonic()

    def take(self, rates: Sequence[Rate]) -> float:
        """Take a token and return 0, or return the seconds until there is one.

        A rate is obeyed by all once anyone has named it, until nobody has for a while: it may be reset.
        """
        present = self._monotonic()
        passed, self._at = present - self._at, present
        for rate in rates:
            self._tokens.setdefault(rate, float(rate.requests))
            self._named[rate] = present
        for rate, named in list(self._named.items()):
            if present - named > max(_FORGOTTEN, rate.seconds):
                del self._named[rate], self._tokens[rate]
        wait = 0.0
        for rate, tokens in self._tokens.items():
            grown = min(float(rate.requests), tokens + passed * rate.requests / rate.seconds)
            self._tokens[rate] = grown
            if grown < 1.0 - 1e-9:
                wait = max(wait, (1.0 - grown) * rate.seconds / rate.requests)
        if not wait:
            self._tokens = {rate: tokens - 1.0 for rate, tokens in self._tokens.items()}
        return wait


class Host:
    """What is known of a host: its bucket, and until when it wants no requests."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.bucket = Bucket(monotonic)
        self.silent_until = 0.0  # monotonic
        self.why = ""
        self.backoff = Backoff(_REFUSED_FIRST, _REFUSED_LAST)
        self.requests = 0
        self.refusals = 0
        self.throttled = 0  # requests that the bucket did not allow in time


def retry_after(status: int, headers: Mapping[str, str]) -> float | None:
    """Return the seconds for which a host wants silence, as its headers tell.

    Retry-After is seconds or a date (RFC 9110 §10.2.3), which is one of the host's own clock; Coin Metrics
    and Glassnode name the seconds until their window begins anew.
    """
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,6})?", text):
        return float(text)
    if text:
        try:
            sent = headers.get("date")
            present = parsedate_to_datetime(sent).timestamp() if sent else time.time()
            return max(0.0, parsedate_to_datetime(text).timestamp() - present)
        except (ValueError, OverflowError):
            pass
    if status in REFUSALS:
        for name in ("x-ratelimit-reset", "x-rate-limit-reset"):
            if re.fullmatch(r"\d{1,5}(\.\d{1,6})?", headers.get(name, "")):
                return float(headers[name])
    return None


def span_text(seconds: float) -> str:
    """Return a time to wait as people read it."""
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {name}"
    return f"{math.ceil(seconds)} s"
