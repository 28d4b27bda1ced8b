"""Replays recorded history through the rule engine: the evaluations that the daemon would have made, at their
times, by the same code.

The daemon looks at rules after each commit, at those with an alert every second, and at all every ten. Here a
rule is looked at when a sample comes, and at the moments at which something would change without one: a timer
ends, a value goes stale, the clock is part of the condition, or figures over time or a query are due. Pure:
samples, rows and times come in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import heappop, heappush

from oculus.clock import SECOND
from oculus.config.settings import RuleSettings
from oculus.errors import QueryError
from oculus.model import NO_TAGS, Micros, Transition
from oculus.rules.alert import Instance
from oculus.rules.engine import RuleEngine
from oculus.rules.recorded import Recorded
from oculus.rules.rows import Row
from oculus.rules.rule import Rule
from oculus.rules.schedule import Turn
from oculus.rules.view import lookback

# Between looks at what may change at any time, as the daemon's sweep.
SWEEP = 10 * SECOND

# The place of an instance: its rule and key; that of a query has no key of its own.
_Place = tuple[str, str]
_QUERY = ""

# Gives the rows of a rule's query as of a time; raises QueryError.
Ask = Callable[[RuleSettings, Micros], Sequence[Row]]


class Replay:
    """Rules on their way through the past, from `start` on, where they begin without any alert.

    `recorded` holds at each `advance` the samples up to its end; what is before `start` is known, but not
    evaluated. `ask` is for rules in SQL: without it their health says that they cannot be replayed. A query
    is asked when the daemon would ask it, but not before `queried`, and no sooner than `spacing` microseconds
    after the last time: `spaced` are the rules of which turns were left out.
    """

    def __init__(
        self,
        rules: Iterable[RuleSettings],
        recorded: Recorded,
        start: Micros,
        tags: Callable[[str], Mapping[str, str]] = lambda symbol: NO_TAGS,
        ask: Ask | None = None,
        queried: Micros = Micros(0),
        spacing: int = 0,
    ) -> None:
        self.engine = RuleEngine(rules, tags=tags, started=start)
        self.evaluations = 0
        self._recorded = recorded
        self._start = start
        self._wakes: list[tuple[Micros, int, str, str]] = []  # times with ranks and places
        self._planned: dict[_Place, Micros] = {}
        self._ask = ask
        self._spacing = spacing
        self._turns: dict[str, Turn] = {}
        self.spaced: set[str] = set()
        for rule in self.engine.rules:
            if rule.settings.sql and ask is None:
                told = "a query reads the store as it is now, so that it cannot be replayed"
                self.engine.fail(rule, told, start)
            elif rule.settings.sql:
                turn = self._turns[rule.settings.name] = Turn.of(rule.settings, max(start, queried))
                self._plan(rule, _QUERY, turn.at)
            for key in rule.watched:
                self._plan(rule, key, start)

    def advance(self, until: Micros, arrivals: Iterable[tuple[int, str]]) -> Iterator[Transition]:
        """Go on to `until`; yield what changes, in order.

        `arrivals` are the times and symbols of the samples since the last call, in the order of time.
        """
        rest = iter(arrivals)
        arrived = next(rest, None)
        while True:
            planned = self._wakes[0][0] if self._wakes else until + 1
            at = Micros(planned if arrived is None else min(planned, arrived[0]))
            if at > until:
                return
            due: dict[tuple[int, str], dict[str, None]] = {}
            while arrived is not None and arrived[0] <= at:
                self._arrived(arrived[1], at, due)
                arrived = next(rest, None)
            while self._wakes and self._wakes[0][0] <= at:
                _, rank, name, key = heappop(self._wakes)
                self._woken(rank, name, key, at, due)
            self._recorded.now = at
            for (_, name), keys in sorted(due.items()):
                yield from self._evaluate(name, keys, at)

    def _arrived(self, symbol: str, at: Micros, due: dict[tuple[int, str], dict[str, None]]) -> None:
        """Note whom a sample concerns."""
        self.engine.know((symbol,))
        for name, keys in self.engine.instances_of(symbol).items():
            rule = self.engine.get(name)
            assert rule is not None
            if rule.windowed or at < self._start:
                turn = self._turn(rule, max(at, self._start))
                for key in keys:
                    self._plan(rule, key, turn)
            else:
                due.setdefault((rule.rank, name), {}).update(dict.fromkeys(keys))

    def _woken(
        self, rank: int, name: str, key: str, at: Micros, due: dict[tuple[int, str], dict[str, None]]
    ) -> None:
        """Note an instance whose time has come, unless it was put off meanwhile."""
        if self._planned.get((name, key)) != at:
            return
        del self._planned[name, key]
        due.setdefault((rank, name), {})[key] = None

    def _evaluate(self, name: str, keys: Mapping[str, None], at: Micros) -> Iterator[Transition]:
        rule = self.engine.get(name)
        assert rule is not None
        if rule.settings.sql:
            yield from self._query(rule, at)
            return
        # Whether there are too many alerts is for all instances to tell.
        if len(rule.watched) > rule.settings.limit:
            keys = dict.fromkeys(rule.watched)
        yield from self.engine.steps(self._recorded, rule, keys)
        self.evaluations += len(keys)
        for key in keys:
            again = self._next(rule, key, at)
            if again is not None:
                self._plan(rule, key, again)

    def _query(self, rule: Rule, at: Micros) -> Iterator[Transition]:
        """Ask a rule's query as of a time, and plan the next time."""
        assert self._ask is not None
        self.evaluations += 1
        try:
            rows = self._ask(rule.settings, at)
        except QueryError as error:
            self.engine.fail(rule, str(error), at)
        else:
            yield from self.engine.steps_of_rows(rule, rows, at)
        turn = self._turns[rule.settings.name]
        turn.passed(rule.settings, at)
        if turn.at < at + self._spacing:
            self.spaced.add(rule.settings.name)
            turn.passed(rule.settings, Micros(at + self._spacing - 1))
        self._plan(rule, _QUERY, turn.at)

    def _plan(self, rule: Rule, key: str, at: Micros) -> None:
        """Look at an instance at a time, or before if that is planned already."""
        place = rule.settings.name, key
        planned = self._planned.get(place)
        if planned is None or at < planned:
            self._planned[place] = at
            heappush(self._wakes, (at, rule.rank, *place))

    def _turn(self, rule: Rule, at: Micros) -> Micros:
        """Return when a rule is next looked at, from `at` on: one over time at whole periods of the clock."""
        if not rule.windowed:
            return at
        period = int(rule.period * SECOND)
        return Micros(-(-at // period) * period)

    def _patience(self, rule: Rule, key: str) -> int:
        """Return for how long a value of an instance's series is fresh at most, in microseconds."""
        return max(
            (lookback(self._recorded.interval(symbol)) for symbol in rule.watched[key].symbols), default=0
        )

    def _next(self, rule: Rule, key: str, at: Micros) -> Micros | None:
        """Return when something may change after `at` without a sample, None if nothing will."""
        instance = rule.instances.get(key)
        watched = rule.watched[key]
        times = [] if instance is None else [*_timers(rule.settings, instance, at)]
        for window in watched.windows:
            times += self._recorded.slides(window)
        for bound in filter(None, (watched.bound, watched.until)):
            change = bound.next_change(self._recorded, SWEEP)
            if change is not None:
                times.append(change)
        if instance is not None or rule.settings.no_data != "keep":
            for symbol in watched.symbols:
                point = self._recorded.last(symbol)
                if point is not None:
                    times.append(Micros(point.ts + lookback(self._recorded.interval(symbol)) + 1))
        if rule.settings.no_data == "alert":
            times.append(Micros(self._start + self._patience(rule, key) + 1))
        later = min((time for time in times if time > at), default=None)
        return None if later is None else self._turn(rule, later)


def _timers(settings: RuleSettings, instance: Instance, at: Micros) -> Iterator[Micros]:
    """Yield the moments at which an alert would go on by itself; some of them may be over."""
    if instance.state == "pending":
        yield Micros(instance.active_at + round(settings.for_ * SECOND))
        if instance.fired_at is not None:
            yield Micros(instance.fired_at + round(settings.cooldown * SECOND))
    elif instance.state == "firing":
        if instance.keep_since is not None:
            yield Micros(instance.keep_since + round(settings.keep_firing_for * SECOND))
        if instance.told_at is None:  # what keeps it from being told may end
            yield Micros(at + SWEEP)
        elif settings.repeat:
            yield Micros(instance.told_at + round(settings.repeat * SECOND))
