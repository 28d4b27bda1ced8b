"""The page of a series: how it stands, its chart, figures and alerts of what is shown, and its rows.

The chart asks `/api/points` by itself; everything in words and figures is a fragment that is asked for again
when the shown window changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from oculus.clock import DAY, SECOND, iso, now
from oculus.model import Micros
from oculus.storage import queries
from oculus.storage import series as stored
from oculus.storage.latest import Series
from oculus.web import figures, inputs, points
from oculus.web.board import panel_of, panel_title
from oculus.web.series_head import HeadContext, head
from oculus.web.series_window import WindowContext, window
from oculus.web.services import Services
from oculus.web.templates import Templates

# The choices of the page, in seconds.
RANGES = {
    "1h": 3_600,
    "6h": 6 * 3_600,
    "1d": 86_400,
    "7d": 7 * 86_400,
    "30d": 30 * 86_400,
    "90d": 90 * 86_400,
    "1y": 365 * 86_400,
}
DEFAULT = "1d"

ROWS_SHOWN = 50  # samples to a page

# The phases of an HTTP probe as they follow one another; what is left of `rtt` is the transfer.
PHASES = ("dns", "connect", "tls", "ttfb")


@dataclass(frozen=True, slots=True)
class Choice:
    """A range of the page."""

    name: str
    chosen: bool


@dataclass(frozen=True)
class PageContext(HeadContext, WindowContext):
    """`pages/series.html`."""

    title: str
    kind: str
    choices: tuple[Choice, ...]
    chosen: str
    tags: tuple[tuple[str, str], ...]
    phases: tuple[str, ...]
    every: float  # seconds between two samples, 0 when nobody knows


@dataclass(frozen=True, slots=True)
class Sampled:
    """A row of the store. `tags` are those that differ from the row above."""

    at: str
    text: str
    candle: str
    tags: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class RowsContext:
    """`fragments/samples.html`: rows, newest first; `before` is where the next ones begin, if there are any
    more."""

    symbol: str
    rows: tuple[Sampled, ...]
    before: str


class SeriesPages:
    """Builds the contexts of series and renders them."""

    def __init__(self, services: Services, templates: Templates) -> None:
        self._services = services
        self._templates = templates

    def page(self, symbol: str) -> str:
        """GET /series/{symbol}"""
        series, gone = self._find(symbol)
        chosen, start, end = self._asked(series)
        standing, shown = head(self._services, series, gone), window(self._services, series, start, end)
        context = PageContext(
            **vars(standing) | vars(shown),
            title=f"{figures.full_text(series.value, series.unit)} · {symbol}",
            kind=panel_title(panel_of(series.category)),
            choices=tuple(Choice(name, name == chosen) for name in RANGES),
            chosen=chosen,
            tags=tuple(sorted(series.tags.items())),
            phases=_phases(series),
            every=self._services.every(symbol),
        )
        return self._templates.page("series", context)

    def head(self, symbol: str) -> str:
        """GET /partials/series/{symbol}"""
        return self._templates.fragment("series", head(self._services, *self._find(symbol)))

    def window(self, symbol: str) -> str:
        """GET /partials/series/{symbol}/window"""
        series, _ = self._find(symbol)
        return self._templates.fragment("window", window(self._services, series, *points.span()))

    def rows(self, symbol: str) -> str:
        """GET /partials/series/{symbol}/rows"""
        series, _ = self._find(symbol)
        before = inputs.time_parameter("before", Micros(now() + DAY))
        assert before is not None
        found = self._services.readers.run(stored.rows, symbol, before, ROWS_SHOWN + 1)
        shown = found[:ROWS_SHOWN]
        rest = iso(shown[-1].ts) if len(found) > ROWS_SHOWN else ""
        return self._templates.fragment(
            "samples", RowsContext(symbol, tuple(_sampled(shown, series.unit)), rest)
        )

    # -- contexts -------------------------------------------------------------------------------------------

    def _find(self, symbol: str) -> tuple[Series, bool]:
        """Return a series, and whether it is only in the store; raises Problem when there is none."""
        series = self._services.latest.get(symbol)
        return (points.gone(self._services, symbol), True) if series is None else (series, False)

    def _asked(self, series: Series) -> tuple[str, Micros, Micros]:
        """Return the range that the URL asks for: its name, if it has one, its start and its end."""
        if inputs.query("from"):
            return "", *points.span()
        chosen, at = inputs.query("range"), now()
        if chosen not in RANGES:
            chosen = self._fitting(series, at)
        return chosen, Micros(at - RANGES[chosen] * SECOND), at

    def _fitting(self, series: Series, at: Micros) -> str:
        """Return the range to begin with: a day, less while there is less, more where that would be empty."""
        if series.ts < at - RANGES[DEFAULT] * SECOND:
            return next((name for name, length in RANGES.items() if series.ts >= at - length * SECOND), "1y")
        day = self._services.readers.run(
            queries.points, series.symbol, Micros(at - RANGES[DEFAULT] * SECOND), at, 60 * SECOND
        )
        first = day[0].ts if day else at
        return next((name for name in ("1h", "6h") if first > at - RANGES[name] * SECOND), DEFAULT)


def _phases(series: Series) -> tuple[str, ...]:
    """Return the phases of the HTTP probe that a series is of, and its whole."""
    stem, _, part = series.symbol.rpartition(".")
    if series.category != "net.http" or part not in (*PHASES, "rtt"):
        return ()
    return tuple(f"{stem}.{name}" for name in (*PHASES, "rtt"))


def _sampled(rows: Sequence[stored.Row], unit: str) -> Iterator[Sampled]:
    above: dict[str, str] = {}
    for row in rows:
        text = "" if row.value is None else figures.full_text(row.value, unit)
        candle = ""
        if row.open is not None and row.high is not None and row.low is not None:
            bounds = zip(("open", "high", "low"), (row.open, row.high, row.low), strict=True)
            candle = ", ".join(f"{name} {figures.full_text(value, unit)}" for name, value in bounds)
        changed = tuple((name, value) for name, value in sorted(row.tags.items()) if above.get(name) != value)
        above = row.tags
        yield Sampled(iso(row.ts), text, candle, changed)
