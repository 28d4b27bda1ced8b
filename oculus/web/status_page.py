"""The status page: how targets stand, how they stood in the last 90 days, and when they were down.

Who has no token (`server.public_status`) is told names and figures, but no addresses and not what went wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from bottle import request

from oculus.clock import DAY, SECOND, iso, now
from oculus.cooperate import slices
from oculus.model import Micros
from oculus.storage.uptime import JOINED, Outage, Record, Share
from oculus.web import auth, figures
from oculus.web.day_bars import Bars, bars, lasting, line
from oculus.web.records import WINDOWS, Records, over
from oculus.web.services import Services
from oculus.web.targets import Standing, Target, Targets
from oculus.web.templates import Templates
from oculus.zones import local_zone

WORDS: dict[Standing, str] = {
    "up": "Operational", "down": "Down", "unknown": "Unknown", "maintenance": "Maintenance",
}  # fmt: skip

# Uptime below which a figure is a warning, and bad.
GOOD, FAIR = 0.999, 0.98

# What of a window is unknown is told from this share on.
TOLD = 0.0005

# An outage that was down for less than this share of its time had moments in which it was not.
WHOLE = 0.9


@dataclass(frozen=True, slots=True)
class Figure:
    """The uptime of one window; `unknown` is the share of it in which nothing was known, empty for none."""

    window: str
    text: str
    unknown: str
    level: str


@dataclass(frozen=True, slots=True)
class Past:
    """How a target stood; `took` is the mean time of its answers, and `line` the path of those of hours."""

    bars: Bars
    uptime: tuple[Figure, ...]
    took: str
    line: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A target; `series` and `reason` are empty for who has no token, `past` is None while not known."""

    id: str
    name: str
    standing: Standing
    word: str
    series: str
    reason: str
    past: Past | None


@dataclass(frozen=True, slots=True)
class Section:
    """A group with its targets, of which so many are down."""

    name: str
    entries: tuple[Entry, ...]
    down: int


@dataclass(frozen=True, slots=True)
class Incident:
    """A time in which a target was down, or is."""

    name: str
    told: str
    times: str
    going: bool


@dataclass(frozen=True, slots=True)
class StatusContext:
    """`fragments/status.html`. `failing` counts what is down, `left` what did not fit; `read_at` is when the
    history was read, empty while it is being read for the first time."""

    title: str
    description: str
    announcement: str
    headline: str
    level: str
    failing: int
    sections: tuple[Section, ...]
    left: int
    incidents: tuple[Incident, ...]
    read_at: str
    zone: str


class StatusPage:
    """Builds the page's context and renders it."""

    def __init__(self, services: Services, templates: Templates) -> None:
        self._services = services
        self._templates = templates
        self.targets = Targets(services)
        self.records = Records(services)
        self._drawn: tuple[Record | None, dict[str, Past]] = (None, {})

    def page(self) -> str:
        """GET /status"""
        inside = auth.inside(request.environ)
        return self._templates.page("status" if inside else "public_status", self._context(inside=inside))

    def fragment(self) -> str:
        """GET /partials/status"""
        return self._templates.fragment("status", self._context(inside=auth.inside(request.environ)))

    def _context(self, *, inside: bool) -> StatusContext:
        settings = self._services.status()
        groups, left = self.targets.groups()
        found = {target.symbol: target for group in groups for target in group.targets}
        record, zone = self.records.of(found) if found else None, local_zone()
        pasts = {} if record is None else self._pasts(record, zone)
        level, headline = _headline(list(found.values()))
        sections = [
            Section(
                group.name,
                tuple(
                    Entry(
                        id=f"t{place}-{number}",
                        name=target.name,
                        standing=target.standing,
                        word=WORDS[target.standing],
                        series=self.targets.main(target.symbol) if inside else "",
                        reason=target.reason if inside else "",
                        past=pasts.get(target.symbol),
                    )
                    for number, target in enumerate(group.targets)
                ),
                sum(target.standing == "down" for target in group.targets),
            )
            for place, group in enumerate(groups)
        ]
        return StatusContext(
            title=settings.title,
            description=settings.description,
            announcement=settings.announcement,
            headline=headline,
            level=level,
            failing=sum(target.standing == "down" for target in found.values()),
            sections=tuple(sections),
            left=left,
            incidents=() if record is None else tuple(_incidents(record, found, zone)),
            read_at="" if record is None else iso(record.at),
            zone=_zone_text(_local(now(), zone)),
        )

    def _pasts(self, record: Record, zone: tzinfo) -> dict[str, Past]:
        """Return how targets stood, drawn once for each reading of the store."""
        if self._drawn[0] is not record:
            today, since = _local(record.at, zone).date(), Micros(record.at - DAY)
            pasts = {
                target: Past(
                    bars(known.days, today),
                    tuple(_figure(over(known, window), window) for window in WINDOWS),
                    _mean_text(known.took),
                    line(known.took, since, record.at),
                )
                for target, known in slices(record.targets.items())
            }
            self._drawn = record, pasts
        return self._drawn[1]


def _headline(targets: Sequence[Target]) -> tuple[str, str]:
    """Return how bad it is as a whole, and that in words."""
    if not targets:
        return "none", "Nothing to show yet"
    for standing, level, one, many in (
        ("down", "bad", "{} is down", "{} of {} systems are down"),
        ("unknown", "warn", "The state of {} is unknown", "The state of {} of {} systems is unknown"),
        ("maintenance", "info", "{} is under maintenance", "{} of {} systems are under maintenance"),
    ):
        found = [target.name for target in targets if target.standing == standing]
        if found:
            return level, one.format(found[0]) if len(found) == 1 else many.format(len(found), len(targets))
    return "good", "All systems operational"


def _figure(share: Share, window: str) -> Figure:
    known, text = share.up + share.down, f"{window[:-1]} {window[-1]}"
    if not known:
        return Figure(text, "–", "", "none")
    uptime, unknown = share.up / known, share.unknown / (known + share.unknown)
    level = "good" if uptime >= GOOD else "fair" if uptime >= FAIR else "bad"
    told = f"{min(100 * unknown, 99.9):.1f} %" if unknown >= TOLD else ""
    return Figure(text, figures.share_text(share.up, known), told, level)


def _incidents(record: Record, targets: dict[str, Target], zone: tzinfo) -> Iterator[Incident]:
    """Yield the latest outages in words; the last one of a target that is down still goes on."""
    met = set()
    for outage in record.outages:
        target = targets[outage.target]
        newest = outage.target not in met
        met.add(outage.target)
        going = newest and target.standing == "down" and record.at - outage.end <= 2 * JOINED
        times = _times(_local(outage.start, zone), None if going else _local(outage.end, zone))
        yield Incident(target.name, _told(outage, going=going), times, going)


def _told(outage: Outage, *, going: bool) -> str:
    length = lasting((outage.end - outage.start) / SECOND)
    down = lasting(outage.seconds) or "a moment"
    verb = "has been down for" if going else "was down for"
    whole = outage.seconds * SECOND >= WHOLE * (outage.end - outage.start)
    return f"{verb} {down}" if whole or down == length else f"{verb} {down} within {length}"


def _times(start: datetime, end: datetime | None) -> str:
    if end is None:
        return f"since {start:%Y-%m-%d %H:%M}"
    return f"{start:%Y-%m-%d %H:%M} – {end:{'%H:%M' if start.date() == end.date() else '%Y-%m-%d %H:%M'}}"


def _mean_text(took: Sequence[tuple[Micros, float, int]]) -> str:
    count = sum(runs for _, _, runs in took)
    if not count:
        return ""
    return f"{figures.value_text(sum(mean * runs for _, mean, runs in took) / count, 'ms')} ms"


def _local(at: Micros, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(at / SECOND, zone)


def _zone_text(moment: datetime) -> str:
    """Return what the time zone of a moment is called: `UTC`, `CET, UTC+01:00`."""
    offset, name = moment.isoformat()[-6:], moment.tzname() or ""
    return "UTC" if name == "UTC" else f"{name}, UTC{offset}" if name.isalpha() else f"UTC{offset}"
