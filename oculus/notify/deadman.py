"""The dead man's switch: calls a URL while all is well, so that somebody else notices when this host is gone.

While something is not well it is silent there, and tells the reason at another URL, where one is given.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import gevent
from gevent.event import Event as Signal
from loguru import logger

from oculus.clock import SECOND, now
from oculus.collectors.endpoint import check_endpoint
from oculus.collectors.fetch import redact
from oculus.config.decode import Seconds, between, setting
from oculus.errors import reason
from oculus.model import Event
from oculus.notify.base import Undelivered
from oculus.notify.http import HttpOptions, refused, url_parts

SOURCE = "heartbeat.url"  # of its events

LOOK = 1.0  # seconds between two looks whether all is well
# What lasts shorter than this is no outage: a commit that works at its second try would raise an alarm.
SURE = 3.0  # seconds

# Tries within an interval, and the wait after the first as a share of it: 5 s of a minute, then twice that.
TRIES, SHARE = 3, 1 / 12
LONGEST_WAIT = 30.0  # seconds

MAX_REASON = 1_000  # characters that are told at `fail_url`


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatSettings(HttpOptions):
    """`heartbeat:`: the URL that is called while all is well. URLs are secrets: who knows one can call it."""

    url: str = setting(help="URL that is called while all is well", check=check_endpoint, secret=True)
    interval: Seconds = setting(
        Seconds(60.0), help="time from one call to the next", check=between(1, 86_400, "s")
    )
    timeout: Seconds = setting(Seconds(10.0), help="limit of one try", check=between(0.1, 300, "s"))
    method: Literal["GET", "HEAD", "POST"] = setting("GET", help="GET, HEAD or POST")
    fail_url: str = setting(
        "", help="URL that is told the reason while something is not well", check=check_endpoint, secret=True
    )

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that no message may show, the longest first: one may be part of another."""
        found = {*url_parts(self.url), *url_parts(self.fail_url)} - {""}
        return tuple(sorted(found, key=len, reverse=True))


@dataclass(slots=True)
class _Line:
    """One of the two URLs: what events call it, and how its calls went."""

    name: str
    failing: bool = False
    calls: int = 0
    failures: int = 0
    worked_at: float = 0.0  # when a call was answered well last, seconds since 1970; 0: never


@dataclass(slots=True)
class _Seen:
    """What is not well, and since when it is just that, monotonic."""

    parts: frozenset[str] = frozenset()
    since: float = field(default_factory=time.monotonic)


class DeadMan:
    """Calls the URLs of `settings`; `unwell` gives what is not well by its part, `report` tells an event."""

    def __init__(
        self,
        settings: HeartbeatSettings,
        unwell: Callable[[], Mapping[str, str]],
        report: Callable[[Event], object],
        monotonic: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] = gevent.sleep,
    ) -> None:
        self.settings = settings
        self._unwell = unwell
        self._report = report
        self._monotonic = monotonic
        self._pause = pause
        self._changed = Signal()
        self._seen = _Seen(since=monotonic())
        self._told: frozenset[str] | None = None  # what was not well at the last call
        self._due = monotonic()
        self.ping = _Line("heartbeat.url")
        self.fail = _Line("heartbeat.fail_url")

    def use(self, settings: HeartbeatSettings) -> None:
        """Call by these settings from now on, at once."""
        self.settings, self._told = settings, None
        self._changed.set()

    @property
    def well(self) -> bool:
        """Whether all was well at the last look."""
        return not self._seen.parts

    def run(self) -> None:
        """Call for ever."""
        while True:
            self._changed.clear()
            self._changed.wait(self.step())

    def step(self) -> float:
        """Call if it is time to; return the seconds to the next look."""
        present, unwell = self._monotonic(), self._unwell()
        parts = frozenset(unwell)
        if parts != self._seen.parts:
            self._seen = _Seen(parts, present)
        if parts and present - self._seen.since < SURE:
            return LOOK
        if parts != self._told or present >= self._due:
            self._told, self._due = parts, present + self.settings.interval
            if not parts:
                self._call(self.ping, self.settings.url, self.settings.method)
            elif self.settings.fail_url:
                told = redact("; ".join(unwell.values()), self.settings.secrets)[:MAX_REASON]
                self._call(self.fail, self.settings.fail_url, "POST", told)
        return min(LOOK, max(0.0, self._due - self._monotonic()))

    def _call(self, line: _Line, url: str, method: str, text: str = "") -> None:
        """Call a URL, a few times within the interval until it works, while things are as they were."""
        told, failure = self._told, None
        wait = min(self.settings.interval * SHARE, LONGEST_WAIT)
        for number in range(TRIES):
            failure = self._try(line, url, method, text)
            if failure is None or failure.permanent or number == TRIES - 1:
                break
            wait = wait * (2 if number else 1) if failure.retry_after is None else failure.retry_after
            logger.debug("{} failed and is tried again: {}", line.name, failure)
            if self._monotonic() + wait >= self._due:
                break
            self._pause(wait)
            if frozenset(self._unwell()) != told or self._told != told:
                return  # there is something else to tell now
        self._note(line, failure)

    def _try(self, line: _Line, url: str, method: str, text: str) -> Undelivered | None:
        """Call a URL once; return why that failed, or None."""
        settings = self.settings
        line.calls += 1
        # A body says what it is; a ping has none.
        data = text.encode("utf-8", "replace") if text else None
        headers = {"Content-Type": "text/plain; charset=utf-8"} if text else None
        try:
            answer = settings.post(url, data=data, headers=headers, method=method, secrets=settings.secrets)
            failure = None if answer.ok else refused(answer)
        except Undelivered as error:
            failure = error
        except Exception as error:  # a mistake of the program, whose text may hold the URL
            failure = Undelivered(redact(reason(error), settings.secrets))
        if failure is None:
            line.worked_at = now() / SECOND
        else:
            line.failures += 1
        return failure

    def _note(self, line: _Line, failure: Undelivered | None) -> None:
        """Tell when calls begin to fail, and when they work again."""
        if (failure is not None) == line.failing:
            return
        line.failing = failure is not None
        if failure is None:
            self._report(Event(now(), SOURCE, "system", "info", f"{line.name} works again"))
        else:
            self._report(Event(now(), SOURCE, "error", "warn", f"{line.name} cannot be called: {failure}"))
