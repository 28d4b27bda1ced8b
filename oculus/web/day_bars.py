"""The bars of the status page: one for each day, drawn from how its time was shared. Pure geometry."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from oculus.clock import SECOND
from oculus.model import Micros
from oculus.notify.notice import duration
from oculus.storage.tiers import HOUR
from oculus.storage.uptime import Share
from oculus.web.figures import share_text

STEP, WIDTH, HEIGHT = 5, 4, 34  # of a bar, in the picture's own units; the page scales them

# A minute of a day would not be seen: what was down is drawn this high at least.
LEAST = 6

NOTHING = "no data"

# What lasted this long is told in whole minutes, to which it is known.
WHOLE_MINUTES = 120  # seconds

LINE_WIDTH, LINE_HEIGHT = 100, 28  # of the line of answers' times, likewise


@dataclass(frozen=True, slots=True)
class Bars:
    """Days as paths of an SVG, by what they show. `told` is JSON: what to say of each day that was not up all
    the time, by its place from 0 on; `start` is the date of the first, `last` what to say of the last."""

    up: str
    down: str
    unknown: str
    nothing: str
    told: str
    start: str
    last: str
    count: int

    @property
    def width(self) -> int:
        """The width of the picture."""
        return STEP * self.count - (STEP - WIDTH)


def bars(days: Sequence[Share], today: date) -> Bars:
    """Return what is drawn of days, the last of which is `today`."""
    paths: dict[str, list[str]] = {"up": [], "down": [], "unknown": [], "nothing": []}
    told: dict[int, str] = {}
    for place, share in enumerate(days):
        for kind, top, height in _parts(share):
            paths[kind].append(f"M{place * STEP} {top:g}h{WIDTH}v{height:g}h-{WIDTH}z")
        text = words(share)
        if text != words(Share(up=1.0)):
            told[place] = text
    start = today - timedelta(days=len(days) - 1)
    return Bars(
        **{kind: "".join(found) for kind, found in paths.items()},
        told=json.dumps(told, ensure_ascii=False),
        start=start.isoformat(),
        last=f"{today.isoformat()}: {words(days[-1])}",
        count=len(days),
    )


def words(share: Share) -> str:
    """Return how a day went: `99.79 % up, 3 min down, 10 min unknown`."""
    known = share.up + share.down
    if not known:
        return NOTHING
    told = [f"{share_text(share.up, known)} up"]
    for seconds, what in ((share.down, "down"), (share.unknown, "unknown")):
        text = lasting(seconds)
        if text:
            told.append(f"{text} {what}")
    return ", ".join(told)


def lasting(seconds: float) -> str:
    """Return how long something took, as exactly as that is known: in seconds if it is short."""
    unit = 1 if seconds < WHOLE_MINUTES else 60
    return duration(round(seconds / unit) * unit * SECOND)


def _parts(share: Share) -> list[tuple[str, float, float]]:
    """Return the kinds of a day with tops and heights: what was up at the foot, what was down on top."""
    known = share.up + share.down
    total = known + share.unknown
    if not known:
        return [("nothing", 0, HEIGHT)]
    down = max(LEAST, round(HEIGHT * share.down / total, 1)) if share.down else 0.0
    unknown = min(round(HEIGHT * share.unknown / total, 1), HEIGHT - down)
    up = HEIGHT - down - unknown
    found = (("down", 0.0, down), ("unknown", down, unknown), ("up", down + unknown, up))
    return [(kind, round(top, 1), round(height, 1)) for kind, top, height in found if height > 0]


def line(took: Sequence[tuple[Micros, float, int]], start: Micros, end: Micros) -> str:
    """Return the path of the mean times of hours, from 0 at the foot; hours that are missing are gaps."""
    most = max((mean for _, mean, _ in took), default=0.0)
    if not most:
        return ""
    found, before = [], None
    for hour, mean, _ in took:
        x = max(0.0, LINE_WIDTH * (hour - start) / (end - start))
        y = LINE_HEIGHT - 2 - mean / most * (LINE_HEIGHT - 4)
        found.append(f"{'L' if before == hour - HOUR else 'M'}{x:.1f} {y:.1f}")
        if before != hour - HOUR:
            found.append("h0")  # an hour between two gaps is a dot
        before = hour
    return "".join(found)
