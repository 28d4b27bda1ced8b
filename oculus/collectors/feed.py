"""One feed for each source and its options: gathers what collectors ask for at the same moment into the
fewest requests, keeps answers while they are good, and tells a failure once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import gevent
from gevent.event import AsyncResult
from gevent.pool import Pool

from oculus.clock import now
from oculus.collectors.base import Context, Count
from oculus.collectors.fetch import Backoff, Fetcher, SourceError, redact
from oculus.collectors.sources.base import Found, Item, ItemError, Options, Quotes, Source, UnknownItem
from oculus.model import Event, Micros

# Those who ask within this time share a request. Greenlets that are due at one moment start within a few
# milliseconds of each other, or of a busy hub.
GATHER = 0.05  # seconds

# A source that fails is left alone: about this long after the first failure, doubling to the last.
_FIRST, _LAST = 5.0, 300.0  # seconds

# An answer is as good as this part of its time: a collector whose interval is just as long comes a little
# early now and then.
_SLACK = 0.9

# Requests to one source that run at once.
_AT_ONCE = 4

# An item that a source does not know is not asked for again within this time: one such item makes some
# sources refuse all the others.
_UNKNOWN = 3_600.0  # seconds


@dataclass(slots=True)
class _Round:
    """What is asked for at one moment, in parts."""

    waiting: dict[Item, AsyncResult[Quotes]]
    failures: int  # of the feed when it began
    left: int  # parts that have not ended


class Feed:
    """Asks one source for many collectors; `get` blocks the greenlet that calls."""

    def __init__(
        self,
        source: Source,
        report: Callable[[Event], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.source = source
        self._report = report
        self._monotonic = monotonic
        self._waiting: dict[Item, AsyncResult[Quotes]] = {}
        self._kept: dict[Item, tuple[float, Quotes]] = {}
        self._unknown: dict[Item, tuple[float, str]] = {}  # until when, and what is told
        self._pool = Pool(_AT_ONCE)
        self._backoff = Backoff(_FIRST, _LAST)
        self._retry_at = 0.0  # monotonic
        self._failed_at: float | None = None  # monotonic
        self._failures = 0  # requests that failed
        self.error = ""
        self.requests = 0  # times that the source was asked

    @classmethod
    def of(cls, context: Context, make: type[Source], options: Options) -> Feed:
        """Return the one feed of a source with these options."""
        fetcher = Fetcher.of(context)
        return context.shared((cls, make, options), lambda: cls(make(options, fetcher, now), context.report))

    def get(self, item: Item) -> Quotes:
        """Return what the source has for an item; raises ItemError, or SourceError for all of them."""
        present = self._monotonic()
        kept = self._still_good(item, present)
        if kept is not None:
            return kept
        if item in self._unknown and present < self._unknown[item][0]:
            raise ItemError(self._unknown[item][1])  # anew: an error that is kept would gather tracebacks
        if present < self._retry_at:
            raise self._silent()
        if not self._waiting:
            # Not in the greenlet of who asks first: it may be ended while others wait.
            gevent.spawn_later(GATHER, self._serve)
        outcome = self._waiting.setdefault(item, AsyncResult())
        return cast("Quotes", outcome.get())

    def counts(self) -> Iterator[Count]:
        """Yield whether the source fails."""
        failing = self._failed_at is not None
        labels = {"source": self.source.name}
        yield Count("oculus_source_failing", "gauge", "Whether a source fails.", failing, labels)

    def _still_good(self, item: Item, present: float) -> Quotes | None:
        """Return the last answer unless there may be a newer one: after `least`, or when its rest ends."""
        if item not in self._kept:
            return None
        at, quotes = self._kept[item]
        age = present - at
        if age >= _SLACK * self.source.least or (quotes.rest is not None and age >= quotes.rest):
            return None
        return quotes if quotes.rest is None else replace(quotes, rest=quotes.rest - age)

    def _silent(self) -> SourceError:
        # Who asks together comes back together; where each asks alone, the next in turn finds out.
        wait = max(0.0, self._retry_at - self._monotonic()) if self.source.batch > 1 else None
        return SourceError(self.error, retry_in=wait, told=True)

    def _serve(self) -> None:
        gevent.sleep(0)  # a timer goes before greenlets that are due already; they may ask too
        waiting, self._waiting = self._waiting, {}
        items = list(waiting)
        size = max(1, self.source.batch)
        parts = [items[start : start + size] for start in range(0, len(items), size)]
        round_ = _Round(waiting, self._failures, len(parts))
        for part in parts:
            self._pool.spawn(self._serve_part, part, round_)

    def _serve_part(self, items: list[Item], round_: _Round) -> None:
        found: Found = {}
        failure: BaseException | None = None
        try:
            if self._monotonic() < self._retry_at:  # another part of the same round has failed
                raise self._silent()
            found = self._ask(items)
            _expect_some(found)
        except SourceError as error:
            failure = error if error.told else self._fail(error)
        except Exception as error:  # a bug: those who wait must hear of it
            failure = error
        round_.left -= 1
        if failure is not None:
            for item in items:
                round_.waiting[item].set_exception(failure)
            return
        # A part that succeeds beside one that fails is no recovery.
        if not round_.left and round_.failures == self._failures:
            self._succeed()
        for item in items:
            self._hand_over(item, found, round_.waiting[item])

    def _hand_over(self, item: Item, found: Found, outcome: AsyncResult[Quotes]) -> None:
        quotes = found.get(item)
        if isinstance(quotes, Quotes):
            self._kept[item] = (self._monotonic(), quotes)
            outcome.set(quotes)
        else:
            outcome.set_exception(quotes or ItemError(f"{self.source.name} does not know {item}"))

    def _ask(self, items: Sequence[Any]) -> Found:
        """Ask, in halves where one unknown item spoils the answer for the others."""
        self.requests += 1
        try:
            return self.source.ask(items)
        except UnknownItem as error:
            if len(items) > 1:  # each half is asked on its own
                middle = len(items) // 2
                return {**self._ask(items[:middle]), **self._ask(items[middle:])}
            self._unknown[items[0]] = (self._monotonic() + _UNKNOWN, str(error))
            return {items[0]: ItemError(str(error))}
        except ItemError as error:  # what concerns all of them, such as an answer without its list
            return dict.fromkeys(items, error)

    def _fail(self, error: SourceError) -> SourceError:
        self._failures += 1
        # Requests that were under way together fail together, which counts once.
        left = self._retry_at - self._monotonic()
        wait = left if left > 0 else self._backoff.fail()
        if error.retry_in is not None:
            wait = error.retry_in
        self._retry_at = self._monotonic() + wait
        reason = redact(str(error), (self.source.options.api_key,))  # some services repeat the key
        self.error = f"{self.source.name}: {reason}"
        if self._failed_at is None:
            self._failed_at = self._monotonic()
            self._tell("error", f"the source {self.source.name} fails: {reason}")
        return SourceError(self.error, retry_in=wait, told=True)

    def _succeed(self) -> None:
        self._backoff.succeed()
        self._retry_at, self.error = 0.0, ""
        if self._failed_at is not None:
            lasted = self._monotonic() - self._failed_at
            self._failed_at = None
            self._tell("info", f"the source {self.source.name} works again, after {lasted:.0f} s")

    def _tell(self, severity: Any, message: str) -> None:
        kind: Any = "error" if severity == "error" else "system"
        name = self.source.name
        self._report(Event(Micros(now()), f"source/{name}", kind, severity, message, {"source": name}))


def _expect_some(found: Found) -> None:
    """Raise SourceError when there is no value for any of several items: then it is the source's fault."""
    faults = [quotes for quotes in found.values() if not isinstance(quotes, Quotes)]
    if len(faults) > 2 and len(faults) == len(found):
        raise SourceError(f"no value for any of {len(faults)} items: {faults[0]}")
