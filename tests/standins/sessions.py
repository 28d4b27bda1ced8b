"""When exchanges trade: the regular, pre and post hours of a day, with holidays and daylight saving."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

# Weekdays on which the New York exchanges stay closed.
HOLIDAYS = frozenset(
    date.fromisoformat(day)
    for day in (
        "2026-01-01", "2026-01-19", "2026-02-16", "2026-04-03", "2026-05-25", "2026-06-19", "2026-07-03",
        "2026-09-07", "2026-11-26", "2026-12-25", "2027-01-01", "2027-01-18", "2027-02-15", "2027-03-26",
        "2027-05-31", "2027-06-18", "2027-07-05", "2027-09-06", "2027-11-25", "2027-12-24",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Exchange:
    """One exchange's hours, in its own time. Where there is no trade before or after, the times are equal."""

    code: str
    name: str
    zone: str
    currency: str
    opens: time = time(9, 30)
    closes: time = time(16)
    pre: time = time(9, 30)
    post: time = time(16)
    weekends: bool = False
    holidays: frozenset[date] = frozenset()

    def trades(self, day: date) -> bool:
        """Whether it opens on that day."""
        return self.weekends or (day.weekday() < 5 and day not in self.holidays)


NASDAQ = Exchange("NMS", "NasdaqGS", "America/New_York", "USD", pre=time(4), post=time(20), holidays=HOLIDAYS)
INDEX = Exchange("SNP", "SNP", "America/New_York", "USD", holidays=HOLIDAYS)
# By the end of a symbol; everything else trades in New York.
ELSEWHERE = {
    ".L": Exchange("LSE", "LSE", "Europe/London", "GBp", time(8), time(16, 30), time(8), time(16, 30)),
    ".DE": Exchange("GER", "XETRA", "Europe/Berlin", "EUR", time(9), time(17, 30), time(9), time(17, 30)),
    ".T": Exchange("JPX", "Tokyo", "Asia/Tokyo", "JPY", time(9), time(15, 30), time(9), time(15, 30)),
    "-USD": Exchange("CCC", "CCC", "UTC", "USD", time(0), time(23, 59), time(0), time(23, 59), weekends=True),
    "=X": Exchange("CCY", "CCY", "Europe/London", "USD", time(0), time(23, 59), time(0), time(23, 59)),
}


def exchange_of(symbol: str) -> Exchange:
    """Return the exchange of a symbol in Yahoo's notation."""
    for end, exchange in ELSEWHERE.items():
        if symbol.upper().endswith(end):
            return exchange
    return INDEX if symbol.startswith("^") else NASDAQ


@dataclass(frozen=True)
class Session:
    """One trading day; times in seconds since 1970."""

    pre: float
    start: float
    end: float
    post: float
    offset: int  # of the exchange's time from UTC, in seconds
    zone: str  # its abbreviation on that day: EST, EDT

    def traded(self, now: float, every: float = 5.0) -> float:
        """Return when the last regular trade was."""
        return now - now % every if now < self.end else self.end


def session(exchange: Exchange, now: float) -> Session:
    """Return the trading day of `now` if its regular hours have begun, else the one before it."""
    zone = ZoneInfo(exchange.zone)
    day = datetime.fromtimestamp(now, zone).date()
    while not exchange.trades(day) or _at(day, exchange.opens, zone).timestamp() > now:
        day -= timedelta(days=1)
    opens = _at(day, exchange.opens, zone)
    return Session(
        _at(day, exchange.pre, zone).timestamp(),
        opens.timestamp(),
        _at(day, exchange.closes, zone).timestamp(),
        _at(day, exchange.post, zone).timestamp(),
        int((opens.utcoffset() or timedelta()).total_seconds()),
        opens.tzname() or "",
    )


def coming(exchange: Exchange, now: float) -> Session:
    """Return the trading day of `now`, or the last one when there is no trade that day."""
    zone = ZoneInfo(exchange.zone)
    day = datetime.fromtimestamp(now, zone).date()
    while not exchange.trades(day):
        day -= timedelta(days=1)
    return session(exchange, _at(day, exchange.opens, zone).timestamp())


def _at(day: date, clock: time, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, clock, zone)
