"""One feed for each source and its options: gathers what collectors ask for at the same moment into the
fewest requests, keeps answers while they are good, and tells a failure once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import gevent
from gevent.event import AsyncResult
from gevent.pool import Pool

from oculus.clock import now
from oculus.collectors.base import Context, Count
from oculus.collectors.fetch import Fetcher, SourceError, redact, some
from oculus.collectors.manners import Backoff
from oculus.collectors.markets.sources.base import (
    Found,
    Item,
    ItemError,
    Options,
    Quotes,
    Source,
    UnknownItem,
)
from oculus.model import Event, Micros

# Those who ask within this time share a request. Greenlets that are due at one moment start within a few
# milliseconds of each other, or of a busy hub.
GATHER = 0.05  # seconds

# A source that fails is left alone: about this long after the first failure, doubling to the last.
_FIRST, _LAST = 5.0, 300.0  # seconds

# Who refuses and asks for less silence than this, or for none, is left alone as if it had named no time.
_LEAST = 1.0  # seconds

# An answer is as good as this part of its time: a collector whose interval is just as long comes a little
# early now and then.
_SLACK = 0.9

# An item that failed is part of its source's outage until it is served, or was not asked for this long.
_FORGOTTEN = 7_200.0  # seconds: twice the slowest usual interval

# Symbols that the event of a failure lists.
_TOLD = 100

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
        # Another host than the source's own is asked as often as the user says.
        self._least = 0.0 if source.options.base_url else source.least
        self._report = report
        self._monotonic = monotonic
        self._waiting: dict[Item, AsyncResult[Quotes]] = {}
        self._kept: dict[Item, tuple[float, Quotes]] = {}
        self._unknown: dict[Item, tuple[float, str]] = {}  # until when, and what is told
        self._known: set[Item] = set()  # that the source has served
        self._pool = Pool(_AT_ONCE)
        self._backoff = Backoff(_FIRST, _LAST)
        self._retry_at = 0.0  # monotonic
        self._failed_at: float | None = None  # monotonic
        self._failures = 0  # requests that failed
        self._symbols: dict[Item, str] = {}  # of the items that were asked for
        self._bad: dict[Item, float] = {}  # whose own request failed → when, monotonic
        self._worked_at = 0.0  # when a request went well, monotonic
        self.users = 0  # collectors that ask it
        self.error = ""
        self.requests = 0  # times that the source was asked

    @classmethod
    def of(cls, context: Context, make: type[Source], options: Options) -> Feed:
        """Return the one feed of a source with these options."""
        fetcher = Fetcher.of(context)
        return context.shared((cls, make, options), lambda: cls(make(options, fetcher, now), context.report))

    def get(self, item: Item, symbol: str = "") -> Quotes:
        """Return what the source has for an item; raises ItemError, or SourceError for all of them.

        `symbol` is what messages call it.
        """
        self._symbols[item] = symbol or str(item)
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
        """Yield whether the source fails; nothing once nobody asks it any more."""
        if not self.users:
            return
        failing = self._failed_at is not None
        labels = {"source": self.source.name}
        yield Count("oculus_source_failing", "gauge", "Whether a source fails.", failing, labels)

    def _still_good(self, item: Item, present: float) -> Quotes | None:
        """Return the last answer unless there may be a newer one: after `least`, or when its rest ends."""
        if item not in self._kept:
            return None
        at, quotes = self._kept[item]
        age = present - at
        if age >= _SLACK * self._least or (quotes.rest is not None and age >= quotes.rest):
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
            found = self._ask(items, round_)
            _expect_some(found)
        except SourceError as error:
            failure = error if error.told else self._fail(error, items)
        except Exception as error:  # a bug: those who wait must hear of it
            failure = error
        round_.left -= 1
        if failure is not None:
            for item in items:
                if not round_.waiting[item].ready():
                    round_.waiting[item].set_exception(failure)
            return
        self._worked_at = self._monotonic()
        for item in items:
            self._bad.pop(item, None)
        # A part that succeeds beside one that fails is no recovery.
        if not round_.left and round_.failures == self._failures:
            self._succeed()
        for item in items:
            self._hand_over(item, found, round_.waiting[item])

    def _hand_over(self, item: Item, found: Found, outcome: AsyncResult[Quotes]) -> None:
        if outcome.ready():  # handed over before the rest of its part
            return
        quotes = found.get(item)
        if isinstance(quotes, Quotes):
            if any(quote.ts is None for quote in quotes.quotes):
                # No answer is stamped anew when it is handed out again.
                stamp = Micros(now())
                stamped = (q if q.ts is not None else replace(q, ts=stamp) for q in quotes.quotes)
                quotes = replace(quotes, quotes=tuple(stamped))
            self._kept[item] = (self._monotonic(), quotes)
            outcome.set(quotes)
        else:
            outcome.set_exception(quotes or ItemError(f"{self.source.name} does not know {item}"))

    def _ask(self, items: Sequence[Any], round_: _Round) -> Found:
        """Ask, in halves where one unknown item spoils the answer for the others.

        What a half brings is handed over at once: to find all unknown ones may take a slow source a minute.
        """
        self.requests += 1
        try:
            found = self.source.ask(items)
            self._known.update(item for item in items if isinstance(found.get(item), Quotes))
            return found
        except UnknownItem as error:
            if len(items) > 1:
                # Those that were served before are one half: the fault is with the others.
                halves = [
                    [item for item in items if (item in self._known) is known] for known in (True, False)
                ]
                if not all(halves):
                    middle = len(items) // 2
                    halves = [list(items[:middle]), list(items[middle:])]
                both: dict[Item, Quotes | ItemError] = {}
                for half in halves:
                    part = self._ask(half, round_)
                    both.update(part)
                    for item in half:
                        self._hand_over(item, part, round_.waiting[item])
                return both
            self._unknown[items[0]] = (self._monotonic() + _UNKNOWN, str(error))
            return {items[0]: ItemError(str(error))}
        except ItemError as error:  # what concerns all of them, such as an answer without its list
            return dict.fromkeys(items, error)

    def _fail(self, error: SourceError, items: Sequence[Item]) -> SourceError:
        self._failures += 1
        if self._is_theirs(error, items):
            told = self._failed_at is not None
            return SourceError(f"{self.source.name}: {self._reason(error)}", told=told)
        # Requests that were under way together fail together, which counts once.
        left = self._retry_at - self._monotonic()
        wait = left if left > 0 else self._backoff.fail()
        if error.retry_in is not None and error.retry_in >= _LEAST:
            wait = error.retry_in
        self._retry_at = self._monotonic() + wait
        reason = self._reason(error)
        self.error = f"{self.source.name}: {reason}"
        if self._failed_at is None:
            self._failed_at = self._monotonic()
            symbols = [self._symbols[item] for item in items if item in self._symbols]
            text = f"the source {self.source.name} fails for {some(symbols)}: {reason}"
            self._tell("error", text, {"symbols": symbols[:_TOLD], "error": reason})
        return SourceError(self.error, retry_in=wait, told=True)

    def _is_theirs(self, error: SourceError, items: Sequence[Item]) -> bool:
        """Tell whether a failure is that of these items alone: the source has served others since their last.

        Such a failure has been told, and must neither silence the others nor be told again and again.
        """
        if self.source.batch > 1 or error.retry_in is not None:
            return False
        failed = [self._bad.get(item) for item in items]
        self._bad.update(dict.fromkeys(items, self._monotonic()))
        return all(at is not None and at < self._worked_at for at in failed)

    def _reason(self, error: SourceError) -> str:
        return redact(str(error), (self.source.options.api_key,))  # some services repeat the key

    def _succeed(self) -> None:
        self._backoff.succeed()
        self._retry_at, self.error = 0.0, ""
        # An item that still fails is part of the outage, unless nobody asks for it any more.
        oldest = self._monotonic() - _FORGOTTEN
        self._bad = {item: at for item, at in self._bad.items() if at > oldest}
        if self._bad:
            return
        if self._failed_at is not None:
            lasted = self._monotonic() - self._failed_at
            self._failed_at = None
            self._tell("info", f"the source {self.source.name} works again, after {lasted:.0f} s")

    def _tell(self, severity: Any, message: str, more: Mapping[str, Any] | None = None) -> None:
        kind: Any = "error" if severity == "error" else "system"
        name = self.source.name
        payload = {"source": name, **(more or {})}
        self._report(Event(Micros(now()), f"source/{name}", kind, severity, message, payload))


def _expect_some(found: Found) -> None:
    """Raise SourceError when there is no value for any of several items: then it is the source's fault."""
    faults = [quotes for quotes in found.values() if not isinstance(quotes, Quotes)]
    if len(faults) > 2 and len(faults) == len(found):
        raise SourceError(f"no value for any of {len(faults)} items: {faults[0]}")
