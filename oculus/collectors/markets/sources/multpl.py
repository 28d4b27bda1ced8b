"""multpl.com: price-earnings ratio of the S&P 500, once a trading day after the close; a page for people."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone

from oculus.clock import SECOND
from oculus.collectors.manners import Rate
from oculus.collectors.markets.sources.base import Found, ItemError, Quote, Quotes, Source, number
from oculus.model import Micros

_PATHS = {"sp_pe": "/s-p-500-pe-ratio"}

# The element of the current value: its title ends with a colon, the number is the text that follows.
_CURRENT = re.compile(
    r"""id=["']?current\b["']?[^>]*>.{0,400}?:\s*(?:</span>)?\s*</b>([^<]{0,40})<""", re.DOTALL
)
_WHEN = re.compile(
    r"""id=["']?timestamp\b["']?[^>]*>\s*(\d{1,2}:\d\d [AP]M) (E[SD]T), (\w{3}) (\w{3}) (\d{1,2})\s*<"""
)
_OFFSETS = {"EST": -5, "EDT": -4}  # hours

# What the ratio can be, but for a year without profits: a number outside is another one of the page.
_LEAST, _MOST = 5.0, 100.0


class Multpl(Source):
    """The page of a ratio."""

    name = "multpl"
    url = "https://www.multpl.com"
    rates = (Rate(10, 3_600.0),)
    least = 3_000.0

    # Seconds until a page is worth another look: the value of the day appears in the evening.
    REST = 4 * 3_600.0

    def ask(self, items: Sequence[str]) -> Found:
        return {item: self._ask(item) for item in items}

    def _ask(self, item: str) -> Quotes | ItemError:
        answer = self.get(_PATHS[item], max_body=2**20)
        answer.expect_success()
        found = _CURRENT.search(answer.text)
        if found is None:
            return ItemError("the page shows no current value; its markup may have changed")
        try:
            value = number(re.sub(r"†|&dagger;|&#x2020;", "", found[1]).strip(), "the current value")
        except ItemError as error:
            return error
        if not _LEAST <= value <= _MOST:
            return ItemError(f"the current value is {value:g}, out of {_LEAST:g} to {_MOST:g}")
        ts = page_time(answer.text, self.now())
        if ts is None and "</html>" not in answer.text.lower():
            return ItemError("the page is cut off before the time of its value")
        return Quotes((Quote(value, ts),), self.REST)


def page_time(page: str, now: Micros) -> Micros | None:
    """Return the time that a page tells of its value, whose year it leaves out; None for none."""
    found = _WHEN.search(page)
    if found is None:
        return None
    clock, zone, weekday, month, day = found.groups()
    this = datetime.fromtimestamp(now / SECOND, UTC).year
    for year in (this, this - 1):
        try:
            moment = datetime.strptime(f"{year} {month} {day} {clock}", "%Y %b %d %I:%M %p").replace(
                tzinfo=timezone(timedelta(hours=_OFFSETS[zone]))
            )
        except ValueError:
            continue
        # The same date is another weekday in the year before, so that one of two fits at most.
        if moment.strftime("%a") == weekday:
            ts = int(moment.timestamp()) * SECOND
            return Micros(ts) if ts <= now else None
    return None
