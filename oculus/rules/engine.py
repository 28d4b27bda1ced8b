"""The rule engine: rules, the instances of their alerts, and what each evaluation makes of them.

A pure function of time and values: both come in with each call, so that a backtest runs the very same code
as the daemon. A condition with wildcards has an instance for each target that they match, a SQL rule one for
each row by its text columns, every other rule one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from oculus.clock import SECOND
from oculus.config.settings import RuleSettings
from oculus.model import NO_TAGS, Micros, RuleState, Severity, Transition
from oculus.rules import expression
from oculus.rules import rows as row_alerts
from oculus.rules.alert import Instance, Remembered, Step, advance, flaps, worth_remembering
from oculus.rules.evidence import Seen, transition
from oculus.rules.registry import Each, Registry
from oculus.rules.rows import Row
from oculus.rules.rule import Rule, Watched
from oculus.rules.standing import standing
from oculus.rules.view import View, fresh, lookback

_T = TypeVar("_T")

# Tells why an alert is not to be told, or nothing: its rule, severity and labels, the time, and when it began
# (None: it is over, which a silence of that one beginning does not hold back).
Silenced = Callable[[str, Severity, Mapping[str, str], Micros, Micros | None], str]

STORED = "alert/"  # what the keys of remembered instances begin with

# Tags of a series that tell of a sample, not of what is measured, and so are no labels of an alert.
_NO_LABELS = frozenset({"error", "phase", "unit"})

# Rows of a query's last result that are shown.
_ROWS_SHOWN = 3


class RuleEngine(Registry):
    """Evaluates rules and returns the transitions; keeps nothing but the instances' states.

    `tags` gives the tags of a series, which become labels. `started` is when values began to come: what was
    never seen is no missing value before a look-back has passed.
    """

    def __init__(
        self,
        rules: Iterable[RuleSettings],
        *,
        tags: Callable[[str], Mapping[str, str]] = lambda symbol: NO_TAGS,
        silenced: Silenced = lambda rule, severity, labels, now, since: "",
        started: Micros = Micros(0),
    ) -> None:
        super().__init__()
        self._tags = tags
        self._silenced = silenced
        self.started = started
        self._altered: dict[tuple[str, str], None] = {}  # rules and keys of what changed without a step
        self._expired: set[str] = set()  # keys under which what counts no more is remembered
        self.shifted = 0  # microseconds by which the wall clock was set, in all
        self.load(rules)

    # -- what there is ------------------------------------------------------------------------------------

    def replace(self, rules: Iterable[RuleSettings], now: Micros, each: Each = iter) -> list[Transition]:
        """Load other rules; return the end of each alert of a rule that is not there any more."""
        before = self._rules
        self.load(rules, each)
        ended = []
        for name, rule in before.items():
            kept = self._rules.get(name)
            if kept is not None and kept.instances is rule.instances:
                continue
            told = "the rule was removed, or its condition changed"
            for key in each(list(rule.instances)):
                ended += self._end(rule, key, now, told)
        for name in each(list(before)):  # to let go of a million targets takes a second
            del before[name]
        return ended

    # -- over a restart -----------------------------------------------------------------------------------

    def restore(self, stored: Mapping[str, str], now: Micros) -> list[Transition]:
        """Take in what was remembered, by its keys without STORED; return the ends of what is gone meanwhile.

        Until `settle`, an instance waits for its first verdict.
        """
        ended: list[Transition] = []
        for path, text in stored.items():
            name, _, key = path.partition("/")
            try:
                found = Remembered.of_json(text)
            except ValueError:  # of another version
                self._expired.add(STORED + path)
                continue
            rule, instance = self._rules.get(name), found.instance
            if rule is None or rule.expression != found.expression:
                gone = rule or Rule.of(
                    RuleSettings(name=name, sql="select 1", severity=found.severity, channels=found.channels)
                )
                ended += self._end(
                    replace(gone, instances={key: instance}), key, now, "the rule is gone or changed"
                )
                continue
            if not worth_remembering(rule.settings, instance, now):
                self._expired.add(STORED + path)
                continue
            instance.carried = Micros(2**62)
            rule.instances[key] = instance
            rule.turned()
            if rule.watch(key):
                self._index(rule, (key,))
        return ended

    def settle(self, last: Callable[[str], tuple[Micros, float] | None]) -> None:
        """Say when the newest sample of each series is from, and its interval in seconds: no gap longer than
        a value may be old counts as time in which the condition held."""
        for rule in self._rules.values():
            for key, instance in rule.instances.items():
                if instance.carried is None or key not in rule.watched:
                    continue
                stored = filter(None, map(last, rule.watched[key].symbols))
                limits = [ts + lookback(interval) for ts, interval in stored]
                instance.carried = Micros(min(limits, default=0))

    def expired(self) -> list[str]:
        """Return, once, the keys with STORED under which nothing need be remembered any more."""
        found, self._expired = self._expired, set()
        alive = {f"{STORED}{rule.settings.name}/{key}" for rule in self.rules for key in rule.instances}
        return sorted(found - alive)

    def altered(self) -> dict[str, str]:
        """Return, once, what is to be remembered of alerts that changed without a step, with its keys."""
        found, self._altered = self._altered, {}
        rules = ((self._rules.get(name), key) for name, key in found)
        return {
            f"{STORED}{rule.settings.name}/{key}": self._memory(rule, rule.instances[key])
            for rule, key in rules
            if rule is not None and key in rule.instances
        }

    def shift(self, seconds: float) -> None:
        """Move the instances' times by a step of the wall clock, so that it neither fires nor delays any."""
        step = int(seconds * SECOND)
        self.started = Micros(self.started + step)
        self.shifted += step
        for rule in self._rules.values():
            rule.instances.update({key: instance.shifted(step) for key, instance in rule.instances.items()})

    # -- evaluation ---------------------------------------------------------------------------------------

    def evaluate(self, view: View, rules: Iterable[Rule] | None = None) -> list[Transition]:
        """Evaluate these conditions, or all, at `view.now`; return what changed, in order."""
        ordered = sorted(self.rules if rules is None else rules, key=lambda rule: rule.rank)
        return [step for rule in ordered if rule.condition is not None for step in self.steps(view, rule)]

    def steps(self, view: View, rule: Rule, keys: Iterable[str] | None = None) -> Iterator[Transition]:
        """Evaluate a condition at `view.now`; yield what changes.

        With `keys` only these instances: the others would come to what they came to before.
        Whoever takes the steps may let others run between two. When these load other rules or move the clock,
        the instances that are left are for the next evaluation.
        """
        watched = dict(rule.watched) if keys is None else {key: rule.watched[key] for key in keys}
        now = view.now
        rule.last_evaluation = now
        rule.evaluations += 1
        verdicts = {key: about.bound.evaluate(view) for key, about in watched.items()}
        for key, holds in verdicts.items():
            if holds is None:
                symbols = watched[key].bound.symbols
                rule.unknown[key] = tuple(symbol for symbol in symbols if fresh(view, symbol) is None)
                if rule.settings.no_data != "keep":
                    verdicts[key] = self._judged(rule, watched[key], view)
            elif rule.unknown:
                rule.unknown.pop(key, None)
        rule.health, rule.error = "no data" if rule.unknown or not rule.watched else "ok", ""
        count = sum(map(bool, verdicts.values()))
        if count > rule.settings.limit:
            yield from self._too_many(rule, count, now)
            return
        for key, holds in self._while_current(rule, verdicts.items()):
            instance = rule.instances.get(key)
            if instance is None:
                if not holds:
                    continue
                instance = rule.instances[key] = Instance()
            if instance.carried is not None:
                if holds is None and now <= instance.carried:
                    continue
                instance.carried = None
            bound, until = watched[key].bound, watched[key].until
            if instance.state == "inactive" and holds:
                instance.labels = self._labels(bound)
            if holds is not None and (instance.state != "inactive" or holds):
                value = bound.value(view)
                instance.value = instance.value if value is None else value
            cleared = until is None or until.evaluate(view) is True
            yield from self._advance(rule, key, holds, Seen(now, view, bound), cleared)

    def evaluate_rows(self, rule: Rule, rows: Sequence[Row], now: Micros) -> list[Transition]:
        """Take the result of a rule's query at `now`: each row is an alert, known by its text columns."""
        return list(self.steps_of_rows(rule, rows, now))

    def steps_of_rows(self, rule: Rule, rows: Sequence[Row], now: Micros) -> Iterator[Transition]:
        """Do the same; yield what changes, as `steps` does."""
        try:
            found = row_alerts.keyed(rows)
        except ValueError as error:
            self.fail(rule, str(error), now)
            return
        rule.last_evaluation = now
        rule.evaluations += 1
        if len(found) > rule.settings.limit:
            yield from self._too_many(rule, len(found), now)
            return
        rule.health, rule.error = "ok", ""
        rule.shown = "; ".join(row_alerts.shown(row) for row in rows[:_ROWS_SHOWN])
        if len(rows) > _ROWS_SHOWN:
            rule.shown += f"; and {len(rows) - _ROWS_SHOWN} more rows"
        for key in self._while_current(rule, {**rule.instances, **found}):
            of_row, row = found.get(key, (NO_TAGS, {}))
            instance = rule.instances.setdefault(key, Instance(of_row))
            instance.carried = None
            if row:
                instance.value = next(iter(row_alerts.numbers(row).values()), None)
            yield from self._advance(rule, key, bool(row), Seen(now, row=row))

    def _while_current(self, rule: Rule, items: Iterable[_T]) -> Iterator[_T]:
        """Pass items through as long as a rule is in force and the clock has not been moved."""
        shifted = self.shifted
        for item in items:
            if self.shifted != shifted or self._rules.get(rule.settings.name) is not rule:
                return
            yield item

    def fail(self, rule: Rule, error: str, now: Micros) -> None:
        """Note that a rule could not be evaluated: its alerts stay as they are."""
        rule.last_evaluation = now
        rule.evaluations += 1
        rule.health, rule.error = "error", error

    def _judged(self, rule: Rule, watched: Watched, view: View) -> bool | None:
        """Return what `no_data` makes of a verdict that is unknown."""
        if rule.settings.no_data == "ok":
            return False
        patience = max((lookback(view.interval(symbol)) for symbol in watched.bound.symbols), default=0)
        return True if view.now - self.started > patience else None

    def _too_many(self, rule: Rule, count: int, now: Micros) -> Iterator[Transition]:
        """Drop all alerts of a rule that has more than it may: nobody reads a thousand."""
        told = f"{count} alerts, of which limit allows {rule.settings.limit}"
        rule.health, rule.error = "error", told
        for key in self._while_current(rule, list(rule.instances)):
            yield from self._end(rule, key, now, told)

    def _end(self, rule: Rule, key: str, now: Micros, told: str) -> list[Transition]:
        """End an alert for a reason that is not its condition's."""
        instance = rule.instances.pop(key)
        if instance.state == "inactive":
            self._expired.add(f"{STORED}{rule.settings.name}/{key}")
            return []
        step: Step = ("firing", "resolved") if instance.state == "firing" else ("pending", "inactive")
        instance.state = "inactive"
        ended = self._transition(rule, key, instance, step, Seen(now))
        return [replace(ended, message=told, memory=(f"{STORED}{rule.settings.name}/{key}", None))]

    # -- what is told -------------------------------------------------------------------------------------

    def _advance(
        self, rule: Rule, key: str, holds: bool | None, seen: Seen, cleared: bool = True
    ) -> list[Transition]:
        """Move an instance on by an evaluation; return its steps, or that a firing alert is told (again)."""
        instance, now = rule.instances[key], seen.now
        kept = instance.keep_since
        steps = advance(rule.settings, instance, holds, now, cleared)
        if instance.keep_since != kept and not steps:
            self._altered[rule.settings.name, key] = None
        transitions = [self._transition(rule, key, instance, step, seen) for step in steps]
        if not steps and instance.state == "firing":
            instance.suppressed = self._suppression(rule, instance, now)
            due = (
                instance.told_at is None or 0 < round(rule.settings.repeat * SECOND) <= now - instance.told_at
            )
            if due and not instance.suppressed:
                transitions.append(self._transition(rule, key, instance, ("firing", "firing"), seen))
        if instance.state == "inactive" and not worth_remembering(rule.settings, instance, now):
            del rule.instances[key]
            if instance.fired_at is not None:
                self._expired.add(f"{STORED}{rule.settings.name}/{key}")
        return transitions

    def _suppression(self, rule: Rule, instance: Instance, now: Micros) -> str:
        """Return why an alert is not to be told, or nothing."""
        settings = rule.settings
        silence = self._silenced(settings.name, settings.severity, instance.labels, now, instance.active_at)
        if silence:
            return silence
        for name in settings.depends_on:
            other = self._rules.get(name)
            if other is not None and other.fires_like(instance.labels, settings.equal):
                return f"depends on {name}, which fires"
        count = flaps(settings, instance, now)
        return f"flapping: it fired more than {settings.flap} times within an hour" if count else ""

    def _transition(self, rule: Rule, key: str, instance: Instance, step: Step, seen: Seen) -> Transition:
        settings, (before, after), now = rule.settings, step, seen.now
        if before != after and "firing" in step:
            rule.turned()
        suppressed = ""
        # What is told again was acted upon already, unless nobody was told before.
        acting = settings.acting(after) if before != after or instance.told_at is None else ()
        if after == "firing":
            instance.suppressed = suppressed = self._suppression(rule, instance, now)
            instance.told_at = None if suppressed else now
        elif after == "resolved":
            suppressed = self._silenced(settings.name, settings.severity, instance.labels, now, None)
            if instance.told_at is None:  # nobody heard that it fired
                suppressed = suppressed or instance.suppressed or "its firing was not told"
            instance.told_at, instance.suppressed = None, ""
        kept = worth_remembering(settings, instance, now)
        return transition(
            settings,
            instance,
            step,
            seen,
            suppressed=suppressed,
            channels=(*settings.channels, *acting),
            memory=(f"{STORED}{settings.name}/{key}", self._memory(rule, instance) if kept else None),
        )

    @staticmethod
    def _memory(rule: Rule, instance: Instance) -> str:
        return instance.to_json(rule.expression, rule.settings.severity, rule.settings.channels)

    def _labels(self, bound: expression.Bound) -> Mapping[str, str]:
        """Return the labels of a condition's alert: its first symbol, and that series' tags."""
        if not bound.symbols:
            return NO_TAGS
        symbol = bound.symbols[0]
        tags = {name: value for name, value in self._tags(symbol).items() if name not in _NO_LABELS}
        return tags | {"symbol": symbol}

    # -- how it stands ------------------------------------------------------------------------------------

    def states(self, view: View) -> list[RuleState]:
        """Return every rule as it stands at `view.now`."""
        return [standing(rule, view) for rule in self._rules.values()]
