"""The view of the running daemon: last values from memory, figures over time as they were fetched."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from oculus.model import Micros
from oculus.rules.view import Point, View
from oculus.windowed import Window

# A symbol's newest sample and its collector's interval in seconds (0: not known).
Last = Callable[[str], tuple[Point, float] | None]


class Live(View):
    """What is known at `now`; a figure that was not fetched is unknown."""

    def __init__(
        self,
        now: Micros,
        last: Last,
        figures: Mapping[Window, float | None] = {},
        market_open: Callable[[str], bool | None] = lambda symbol: None,
        *,
        stored: Callable[[str], Micros | None] = lambda symbol: None,
        since: Micros = Micros(0),
    ) -> None:
        """`stored` gives the time of a series' newest sample from before the start, at `since`."""
        self._now = now
        self._last = last
        self._figures = figures
        self._market_open = market_open
        self._stored = stored
        self._since = since

    @property
    def now(self) -> Micros:
        """The moment."""
        return self._now

    def last(self, symbol: str) -> Point | None:
        """Return the newest sample, however old it is."""
        found = self._last(symbol)
        return None if found is None else found[0]

    @property
    def since(self) -> Micros:
        """When this run began to look."""
        return self._since

    def newest(self, symbol: str) -> Micros | None:
        """Return the time of the newest sample, also of one from before the start."""
        found = self._last(symbol)
        return self._stored(symbol) if found is None else found[0].ts

    def interval(self, symbol: str) -> float:
        """Return the seconds between two samples; 0 when that is not known."""
        found = self._last(symbol)
        return 0.0 if found is None else found[1]

    def window(self, window: Window) -> float | None:
        """Return a figure that was fetched."""
        return self._figures.get(window)

    def market_open(self, symbol: str) -> bool | None:
        """Tell whether the market of a series is open, or None when that is not known."""
        return self._market_open(symbol)
