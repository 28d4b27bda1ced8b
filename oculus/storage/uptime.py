"""For how long targets were up, and when they were down: told from their `.up` and `.unknown` series, for
many of them in a few queries. Blocking calls over a cursor.

Time is reckoned by the hour. The runs of an hour share it by their results; where there were fewer of them
than in the hours beside it, the rest of it is a gap, in which nothing is known. Hours with a failure and
something else in them are looked at minute by minute, so that failures that take long, and are few, count for
the time that they take. Where the minutes are gone (`database.retention_1m`) the hours tell alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from oculus.clock import SECOND
from oculus.model import Micros
from oculus.storage.ingest import read_marks
from oculus.storage.tiers import HOUR, MINUTE, TIERS, floor, parts
from oculus.storage.windows import among

Cursor = duckdb.DuckDBPyConnection

# Failures that lie closer together than this are one outage: a target that flaps would fill the page.
JOINED = 5 * MINUTE  # microseconds

# What is missing of a time is unknown if it is more than this, and more than from one result to the next,
# which is still to come.
LEAST_GAP = 60.0  # seconds

# Rows become Python's objects so many at a time: nothing else in the process runs for these 2 ms.
_FETCHED = 4_000


@dataclass(frozen=True, slots=True)
class Share:
    """A time in seconds: in how much of it a target was up, down, and neither for all that is known.

    What was before the first result is left out.
    """

    up: float = 0.0
    down: float = 0.0
    unknown: float = 0.0

    def __add__(self, other: Share) -> Share:
        return Share(self.up + other.up, self.down + other.down, self.unknown + other.unknown)


@dataclass(frozen=True, slots=True)
class Uptime:
    """What is known of one target: each of the days, the last hours as a whole, and for each of these that
    has an answer its beginning, the mean time that answers took (ms), and how many there were."""

    days: tuple[Share, ...]
    recent: Share
    took: tuple[tuple[Micros, float, int], ...]


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which a target was down, for `seconds` of it."""

    target: str
    start: Micros
    end: Micros
    seconds: float


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of some targets as of `at`; `outages` are the latest of all of them, newest first."""

    at: Micros
    targets: Mapping[str, Uptime]
    outages: tuple[Outage, ...]


def record(
    cursor: Cursor, every: Mapping[str, float], days: Sequence[Micros], recent: Micros, at: Micros, most: int
) -> Record:
    """Return what is known of targets, which are the keys of `every`; its values are the seconds from run to
    run (0: not known).

    `days` are the beginnings of the days, in order; the last one goes on. `recent` is since when the last
    hours count. These begin with the hour (UTC) that they fall in. There are `most` outages at most.
    """
    cursor.execute("begin transaction read only")  # all queries see the same; temporary tables go with it
    try:
        hours = [floor(day, HOUR) for day in days]
        return _Reckoning(cursor, every, at).record(hours, floor(recent, HOUR), most)
    finally:
        cursor.execute("rollback")


# Leaves the rows of hours that are worth a look minute by minute.
_CLOSE = f"""semi join (from hours where close) as hours
    on asked.number = hours.number and epoch_us(stored.ts) // {HOUR} = hours.hour"""


class _Reckoning:
    """One pass over the store. Targets are numbers in it, hours and minutes are counted since 1970."""

    def __init__(self, cursor: Cursor, every: Mapping[str, float], at: Micros) -> None:
        self._cursor = cursor
        self._names = sorted(every)
        self._every = [every[name] for name in self._names]
        self._at = at
        self._marks = read_marks(cursor)

    def record(self, days: Sequence[Micros], recent: Micros, most: int) -> Record:
        """Return everything."""
        self._ask()
        self._make_hours(floor(min(days[0], recent), HOUR))
        self._make_minutes()
        self._make_pieces()
        began, by_day = self._beginnings(), self._by_day(days)
        lately, took = self._lately(recent), self._took(recent)
        ends = (*days[1:], self._at)
        targets = {}
        for number, name in enumerate(self._names):
            first, spacing = began.get(number, (self._at, 0.0))
            slack = min(max(LEAST_GAP, spacing, self._every[number]), HOUR / SECOND)
            targets[name] = Uptime(
                tuple(
                    _share(by_day.get((number, day)), max(start, first), min(end, self._at), slack)
                    for day, (start, end) in enumerate(zip(days, ends, strict=True))
                ),
                _share(lately.get(number), max(recent, first), self._at, slack),
                tuple(took.get(number, ())),
            )
        return Record(self._at, targets, self._outages(most))

    # -- tables -----------------------------------------------------------------------------------------

    def _ask(self) -> None:
        """Make `asked`: the series of each target, and how many hours its results hold at most."""
        hold = [1 if every < 3600 else 1 - int(-every // 3600) for every in self._every]
        self._cursor.execute(
            """create temp table asked as
            select number, every, hold, kind, name || '.' || kind as symbol
            from (select unnest($names::varchar[]) as name, unnest($numbers::integer[]) as number,
                    unnest($every::double[]) as every, unnest($hold::integer[]) as hold)
                cross join (values ('up'), ('unknown'), ('rtt')) as kinds(kind)""",
            {
                "names": self._names,
                "numbers": list(range(len(self._names))),
                "every": self._every,
                "hold": hold,
            },
        )

    def _make_hours(self, start: Micros) -> None:
        """Make `hours`: how each hour with a result in it is shared.

        There were results for a part of it, `covered`: one run less than beside it is no gap, and a lone hour
        is held against the interval of today. `close` tells that its minutes are worth a look.
        """
        self._cursor.execute(
            f"""create temp table hours as
            with counted as ({self._counted(HOUR, start, self._names)}), beside as (
                select *, max(runs) over near as most, count(*) over near as near,
                    lead(bucket) over (partition by number order by bucket) as next
                from counted
                window near as (partition by number order by bucket range between 1 preceding and 1 following)
            )
            select number, bucket as hour, up, down, unknown,
                least($at - bucket * {HOUR}, {HOUR}) / {SECOND} as seconds,
                least(coalesce(next, $at // {HOUR} + 1) - bucket, hold) as hold,
                if(near = 1 and every > 0, greatest(most, 3600 / every), most) as usual,
                least(1, (runs + 1) / (usual * seconds / 3600)) as covered,
                up < 1 and (greatest(up, down, unknown) < 1 or covered < 1) as close
            from beside join (from asked where kind = 'up') as asked using (number)
            where bucket * {HOUR} < $at""",
            {"at": self._at},
        )

    def _make_minutes(self) -> None:
        """Make `minutes`: how each minute with a result in it is shared, of the hours that are worth it."""
        self._cursor.execute(
            """create temp table minutes (number integer, bucket bigint, runs double, up double, down double,
                unknown double, hour bigint)"""
        )
        rows = self._cursor.execute(
            "select number, min(hour) from hours where close group by number"
        ).fetchall()
        if rows:
            first = Micros(min(hour for _, hour in rows) * HOUR)
            names = [self._names[number] for number, _ in rows]
            counted = self._counted(MINUTE, first, names, _CLOSE)
            self._cursor.execute(f"insert into minutes select *, bucket // 60 from ({counted})")

    def _make_pieces(self) -> None:
        """Make `pieces`: stretches of time, each with the seconds that count and how they are shared."""
        self._cursor.execute(
            f"""create temp table pieces as
            select number, bucket * {MINUTE} as start, minutes.up, minutes.down,
                hours.seconds * greatest(covered, least(1, count(*) over within * 60 / hours.seconds))
                    / count(*) over within as seconds
            from minutes join hours using (number, hour)
            window within as (partition by number, hour)
            union all
            select number, hour * {HOUR}, up, down, seconds * covered
            from hours anti join minutes using (number, hour)
            union all
            select number, hour * {HOUR}, up, down, least($at - hour * {HOUR}, {HOUR}) / {SECOND}
            from (
                select number, hour + unnest(range(1, hold)) as hour, up, down from hours where hold > 1
            )""",
            {"at": self._at},
        )

    def _counted(self, width: int, start: Micros, names: Sequence[str], only: str = "") -> str:
        """Return a query for how the runs of each bucket of these targets went."""
        return f"""select number, bucket, known + doubtful as runs, least(good, known) / runs as up,
                (known - least(good, known)) / runs as down, doubtful / runs as unknown
            from (
                select number, bucket, coalesce(sum(runs) filter (kind = 'up'), 0) as known,
                    coalesce(sum(total) filter (kind = 'up'), 0) as good,
                    coalesce(sum(total) filter (kind = 'unknown'), 0) as doubtful
                from ({self._rows(width, start, names, ["up", "unknown"], only)})
                group by number, bucket
            ) where known + doubtful > 0"""

    def _rows(
        self, width: int, start: Micros, names: Sequence[str], kinds: Sequence[str], only: str = ""
    ) -> str:
        """Return a query for what was stored from `start` on, as far as it is in buckets of this width."""
        found = []
        within = among([f"{name}.{kind}" for name in names for kind in kinds])
        listed = ", ".join(f"'{kind}'" for kind in kinds)
        for part in parts(start, Micros(self._at + 1), width, self._marks):
            samples = part.relation == "metrics"
            if width < HOUR and part.relation == TIERS[-1].view:
                continue
            figures = "1 as runs, value as total" if samples else "count as runs, sum as total"
            numbers_only = "and value is not null and not isnan(value)" if samples else ""
            found.append(
                f"""select number, kind, epoch_us(ts) // {width} as bucket, {figures}
                from {part.relation} as stored join asked on stored.symbol = asked.symbol {only}
                where kind in ({listed}) and ts >= make_timestamptz({part.start})
                    and ts < make_timestamptz({part.end}) {within} {numbers_only}"""
            )
        return " union all ".join(found)

    # -- what comes of them -----------------------------------------------------------------------------

    def _beginnings(self) -> dict[int, tuple[Micros, float]]:
        """Return since when there are results of each target, and the seconds between two of the newest."""
        rows = self._cursor.execute(
            f"""select number,
                min(hour) * {HOUR} + (arg_min((1 - covered) * seconds, hour) * {SECOND})::bigint,
                arg_max(3600 / usual, hour)
            from hours group by number"""
        ).fetchall()
        return {number: (Micros(first), spacing) for number, first, spacing in rows}

    def _by_day(self, days: Sequence[Micros]) -> dict[tuple[int, int], tuple[float, float]]:
        """Return the seconds up and down of each target and day; an hour is of the day in which it begins."""
        hours = range(days[0] // HOUR, self._at // HOUR + 1)
        self._cursor.execute(
            f"""select number, day, sum(up * seconds), sum(down * seconds)
            from pieces join
                (select unnest($hours::bigint[]) as hour, unnest($days::integer[]) as day) as placed
                on pieces.start // {HOUR} = placed.hour
            group by number, day""",
            {
                "hours": list(hours),
                "days": [max(0, bisect_right(days, hour * HOUR) - 1) for hour in hours],
            },
        )
        return {(number, day): (up, down) for number, day, up, down in self._fetched()}

    def _lately(self, recent: Micros) -> dict[int, tuple[float, float]]:
        """Return the seconds up and down of each target since `recent`."""
        rows = self._cursor.execute(
            """select number, sum(up * seconds), sum(down * seconds) from pieces where start >= $1
            group by number""",
            [recent],
        ).fetchall()
        return {number: (up, down) for number, up, down in rows}

    def _took(self, recent: Micros) -> dict[int, list[tuple[Micros, float, int]]]:
        """Return the mean time of the answers of each target and hour since `recent`."""
        found: dict[int, list[tuple[Micros, float, int]]] = {}
        self._cursor.execute(
            f"""select number, bucket, sum(total) / sum(runs), sum(runs)::bigint
            from ({self._rows(HOUR, recent, self._names, ["rtt"])})
            group by number, bucket order by number, bucket"""
        )
        for number, bucket, mean, count in self._fetched():
            found.setdefault(number, []).append((Micros(bucket * HOUR), mean, count))
        return found

    def _fetched(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of the last query."""
        while rows := self._cursor.fetchmany(_FETCHED):
            yield from rows

    def _outages(self, most: int) -> tuple[Outage, ...]:
        """Return the latest outages of all targets, the one that ended last first."""
        rows = self._cursor.execute(
            f"""with failing as (
                select number, start, start + seconds * {SECOND} as until, down * seconds as down,
                    max(until) over (
                        partition by number order by start rows between unbounded preceding and 1 preceding
                    ) as before
                from pieces where down > 0
            ), counted as (
                select *, count(*) filter (before is null or start - before > {JOINED})
                    over (partition by number order by start) as outage
                from failing
            )
            select number, min(start), max(until)::bigint, sum(down) from counted
            group by number, outage order by max(until) desc, number limit $1""",
            [most],
        ).fetchall()
        found = []
        for number, start, until, seconds in rows:
            end = Micros(min(until, self._at))
            # What is shared out over an hour may be more than has passed of it.
            found.append(
                Outage(self._names[number], Micros(start), end, min(seconds, (end - start) / SECOND))
            )
        return tuple(found)


def _share(known: tuple[float, float] | None, start: Micros, end: Micros, slack: float) -> Share:
    """Return how a time is shared of which so many seconds were up and down; less than `slack` is no gap."""
    up, down = known or (0.0, 0.0)
    rest = (end - start) / SECOND - up - down
    return Share(up, down, rest if rest > slack else 0.0)
