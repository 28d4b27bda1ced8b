"""Timelines as the pages draw them: when alerts fired, as bars in percent of the time shown.

Pure geometry. A lane is drawn as an SVG that is as wide as the page allows, whose places are percentages, so
that no text in it is stretched. All times shown are UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from oculus.clock import DAY, SECOND
from oculus.model import Micros
from oculus.web.figures import span_text

MOST_LANES = 30  # alerts with a lane of their own; more would be no picture any more

# In percent of the width: a firing of seconds must be seen on a line of weeks, and two that no eye tells
# apart are drawn as one.
LEAST_WIDTH = 0.35
LEAST_GAP = 0.15

# From one label of the axis to the next, by what fits below a line on a phone (some 45 pixels a label).
_STEPS = tuple(int(hours * 3_600 * SECOND) for hours in (0.25, 0.5, 1, 2, 4, 6, 12))
_DAY_STEPS = (1, 2, 5, 7, 10, 15, 30)
_MOST_TICKS = 8

# A label that begins later than this would not fit.
_LAST_TICK = 94.0  # percent

Kind = Literal["firing", "pending"]
Labels = Mapping[str, str]


class Span(NamedTuple):
    """A time in which an alert was pending or fired, and the id of the event that began it (0: none). Without
    an end it still does."""

    kind: Kind
    start: Micros
    end: Micros | None
    id: int = 0


class Step(NamedTuple):
    """A stored step of an alert, as far as a timeline needs it."""

    ts: Micros
    labels: Labels
    state: str
    previous: str
    id: int = 0


@dataclass(frozen=True, slots=True)
class Bar:
    """What is drawn of one span, with its event's id, or of several that lie too close (0); `x` and `width`
    are in percent."""

    kind: Kind
    x: float
    width: float
    title: str
    id: int = 0


@dataclass(frozen=True, slots=True)
class Lane:
    """One alert's line, or one rule's. `href` is where its name leads, `severity` its own, where lanes
    differ."""

    label: str
    bars: tuple[Bar, ...]
    href: str = ""
    severity: str = ""


@dataclass(frozen=True, slots=True)
class Tick:
    """A label of the axis, at `x` percent."""

    x: float
    text: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """The lanes of those alerts that fired longest, longest first, and how many `more` there are."""

    lanes: tuple[Lane, ...]
    more: int
    ticks: tuple[Tick, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """What is drawn of one day: `x`, `width` and `height` in percent, from the bottom."""

    x: float
    width: float
    height: float
    title: str


def timeline(
    spans: Iterable[tuple[Labels, Span]],
    start: Micros,
    end: Micros,
    most: int = MOST_LANES,
    name: Callable[[Labels], str] | None = None,
) -> Timeline:
    """Return what is drawn of some spans within [start, end]; `name` says what a lane is called."""
    by_labels: dict[tuple[tuple[str, str], ...], list[Span]] = {}
    for labels, span in spans:
        if span.start < end and (span.end is None or span.end > start):
            by_labels.setdefault(tuple(sorted(labels.items())), []).append(span)

    def fired(key: tuple[tuple[str, str], ...]) -> int:
        spans = (span for span in by_labels[key] if span.kind == "firing")
        return sum(min(span.end or end, end) - max(span.start, start) for span in spans)

    order = sorted(by_labels, key=lambda key: (-fired(key), key))
    name = name or namer([dict(key) for key in order])
    lanes = tuple(Lane(name(dict(key)), bars(by_labels[key], start, end)) for key in order[:most])
    return Timeline(lanes, max(0, len(order) - most), ticks(start, end))


def namer(found: Sequence[Labels]) -> Callable[[Labels], str]:
    """Return what gives an alert a name that tells it from the other ones in few words.

    That is its symbol where each has one of its own, else all labels in which they differ.
    """
    symbols = {labels.get("symbol", "") for labels in found}
    if "" not in symbols and len(symbols) == len(found):
        return lambda labels: labels.get("symbol", "")
    names = dict.fromkeys(name for labels in found for name in labels)
    differing = [name for name in names if len({labels.get(name) for labels in found}) > 1] or list(names)
    return lambda labels: ", ".join(f"{name} {labels[name]}" for name in differing if name in labels)


def bars(spans: Iterable[Span], start: Micros, end: Micros) -> tuple[Bar, ...]:
    """Return the bars of one lane, those of pending times first: what fires is drawn over them.

    What lies too close together is one bar.
    """
    ordered = sorted(spans, key=lambda span: span.start)
    found: list[Bar] = []
    for kind in ("pending", "firing"):
        group: list[Span] = []
        left = right = 0.0  # of the group, in percent
        for span in (span for span in ordered if span.kind == kind):
            x = min(_place(span.start, start, end), 100 - LEAST_WIDTH)
            if group and x - right > LEAST_GAP:
                found.append(_bar(group, left, right, end))
                group = []
            if not group:
                left = right = x
            group.append(span)
            right = max(right, x + LEAST_WIDTH, _place(end if span.end is None else span.end, start, end))
        if group:
            found.append(_bar(group, left, right, end))
    return tuple(found)


def _bar(group: Sequence[Span], left: float, right: float, end: Micros) -> Bar:
    title = f"{group[0].kind} {_told(group[0])}"
    if len(group) > 1:
        total = sum((end if span.end is None else span.end) - span.start for span in group)
        last = group[-1].end
        until = "now" if last is None else when(last)
        title = (
            f"{len(group)} times {group[0].kind}, {_length(total)} in all: {when(group[0].start)} – {until}"
        )
    id = group[0].id if len(group) == 1 else 0
    return Bar(group[0].kind, round(left, 3), round(right - left, 3), title, id)


def _place(ts: int, start: Micros, end: Micros) -> float:
    return min(100.0, max(0.0, 100 * (ts - start) / max(1, end - start)))


def _told(span: Span) -> str:
    """Return a span in words; how long one lasts that goes on would be wrong in a moment."""
    if span.end is None:
        return f"since {when(span.start)}"
    return f"{when(span.start)} – {when(span.end)} ({_length(span.end - span.start)})"


def _length(micros: int) -> str:
    return span_text(round(micros / SECOND)) if micros >= SECOND else "less than 1s"


# -- the axis -------------------------------------------------------------------------------------------


def ticks(start: Micros, end: Micros) -> tuple[Tick, ...]:
    """Return the labels of the axis: at full hours where a day or two are shown, else at days."""
    span = end - start
    step = next((step for step in _STEPS if span <= step * _MOST_TICKS), 0)
    if step:
        first = -(-start // step) * step
        times = range(first, end, step)
        return tuple(
            Tick(round(_place(ts, start, end), 3), _clock(ts))
            for ts in times
            if _place(ts, start, end) <= _LAST_TICK
        )
    days = next((days for days in _DAY_STEPS if span <= days * DAY * _MOST_TICKS), _DAY_STEPS[-1])
    first = -(-start // DAY) * DAY
    return tuple(
        Tick(round(_place(ts, start, end), 3), _date(ts))
        for ts in range(first, end, days * DAY)
        if _place(ts, start, end) <= _LAST_TICK
    )


def when(ts: int) -> str:
    """Return a time as it is read beside a timeline: `17 Nov 03:12`."""
    return f"{_date(ts)} {_moment(ts):%H:%M}"


def day(ts: int) -> str:
    """Return the day of a time: `17 Nov`."""
    return _date(ts)


def _clock(ts: int) -> str:
    """Return the time of day; at midnight the date says more."""
    return _date(ts) if ts % DAY == 0 else f"{_moment(ts):%H:%M}"


# Not strftime's, which speaks the language that the host is set to.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _date(ts: int) -> str:
    moment = _moment(ts)
    return f"{moment.day} {_MONTHS[moment.month - 1]}"


def _moment(ts: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ts)


# -- days -----------------------------------------------------------------------------------------------


def columns(
    counts: Mapping[str, tuple[int, str]], start: Micros, end: Micros, most: int = 0
) -> tuple[Column, ...]:
    """Return a column for each day (`2026-11-20`) that has a count, with what its title adds to it.

    The days stand where they are on the timeline's axis. `most` is the count of a full column, at least the
    largest one.
    """
    most = max(most, *(count for count, _ in counts.values()), 1) if counts else 1
    found = []
    for ts in range(start // DAY * DAY, end, DAY):
        count, told = counts.get(f"{_moment(ts):%Y-%m-%d}", (0, ""))
        if count:
            left, right = _place(ts, start, end), _place(ts + DAY, start, end)
            gap = min(0.4, (right - left) / 5)
            title = f"{_date(ts)}: {told}"
            x, width = round(left + gap / 2, 3), round(max(right - left - gap, LEAST_WIDTH), 3)
            found.append(Column(x, width, round(100 * count / most, 1), title))
    return tuple(found)


# -- stored steps ---------------------------------------------------------------------------------------


def spans_of(
    steps: Iterable[Step], active: Iterable[tuple[Labels, Kind, Micros]], start: Micros
) -> list[tuple[Labels, Span]]:
    """Return when alerts were pending and fired, by their steps from `start` on, oldest first.

    `active` are those that are so now, and since when: one whose beginning is older than the steps has
    none. What began before the first step of an alert began at `start`.
    """
    found: list[tuple[Labels, Span]] = []
    going: dict[tuple[tuple[str, str], ...], tuple[Kind, Micros, int] | None] = {}
    for step in steps:
        key = tuple(sorted(step.labels.items()))
        before, kind = kind_of(step.previous), kind_of(step.state)
        current = going.get(key, (before, start, 0) if before else None)
        if current is not None and current[0] == kind:  # it was told again
            going[key] = current
            continue
        if current is not None:
            found.append((step.labels, Span(current[0], current[1], step.ts, current[2])))
        going[key] = (kind, step.ts, step.id) if kind else None
    now = {tuple(sorted(labels.items())): (kind, max(since, start)) for labels, kind, since in active}
    for key, (kind, since) in now.items():
        known = going.get(key)
        begun, id = (known[1], known[2]) if known and known[0] == kind else (since, 0)
        found.append((dict(key), Span(kind, begun, None, id)))
    # Of one that is not active any more and has no end on record, nothing is known after its last step.
    found += [
        (dict(key), Span(last[0], last[1], last[1], last[2]))
        for key, last in going.items()
        if last and key not in now
    ]
    return found


def kind_of(state: str) -> Kind | None:
    """Return what a state is on a timeline, if anything."""
    return "firing" if state == "firing" else "pending" if state == "pending" else None
