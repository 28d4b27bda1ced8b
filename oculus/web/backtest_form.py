"""The form on a rule's page that asks what the rule would have done, as it is written there.

The text is replayed beside the configured rule, so that both are over the same history. Nothing is stored,
and the configuration file stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from oculus.clock import DAY, SECOND, iso, now
from oculus.config import rule_yaml
from oculus.config.settings import RuleSettings
from oculus.errors import ConfigError, OculusError
from oculus.model import Micros
from oculus.web import figures, inputs, timeline
from oculus.web.problems import Problem, problem_of
from oculus.web.services import Services

if TYPE_CHECKING:
    from oculus.hindsight.backtest import Backtest, Interval, RuleResult
    from oculus.storage.history import Part

# The times that the form offers, in days.
CHOICES = (1, 7, 30, 90)
DEFAULT = 7

INTERVALS_SHOWN = 100
MAX_TEXT = 16 * 1024  # bytes of a rule; long queries have 4,000, and reading YAML takes 10 ms for as many

# What a part of the history is made of.
_SOURCES = {"samples": "every sample", "1m": "1-minute rollups", "1h": "1-hour rollups"}


@dataclass(frozen=True, slots=True)
class Firing:
    """A line of the table of firings. `ended_at` is empty while it fires still."""

    at: str
    when: str
    lasted: str
    going: bool
    label: str
    explanation: str
    suppressed: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one rule would have done. `error` is why it could not be evaluated to the end, `note` in what the
    replay was coarser than the daemon."""

    title: str
    severity: str
    firings: int
    time: str
    messages: int
    error: str
    note: str
    lanes: timeline.Timeline
    columns: tuple[timeline.Column, ...]
    left: int  # firings that the timeline leaves out, the oldest ones


@dataclass(frozen=True, slots=True)
class Result:
    """What the backtest found: the rule of the text, and the configured one where that is another."""

    outcomes: tuple[Outcome, ...]
    ticks: tuple[timeline.Tick, ...]
    days: int
    most: int
    source: str
    cost: str
    firings: tuple[Firing, ...]
    left: int


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of the form: a result, or the mistakes of the text, or why it could not be run."""

    text: str
    days: int
    status: int = 200
    result: Result | None = None
    mistakes: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class TriedContext:
    """`fragments/tried.html`: what came of the form."""

    tried: Tried | None


class BacktestForm:
    """What the form shows and posts."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def text(self, name: str) -> str:
        """Return a configured rule's YAML; empty when there is none."""
        settings = self._configured(name)
        return "" if settings is None else rule_yaml(settings)

    def tried(self, name: str) -> Tried:
        """Replay the posted text; the configured rule of this name is what it is compared with."""
        fields = inputs.form()
        text = fields.get("rule", [""])[0].replace("\r\n", "\n")
        given = fields.get("days", [""])[0]
        days = int(given) if given in map(str, CHOICES) else DEFAULT
        try:
            if len(text.encode()) > MAX_TEXT:
                raise Problem(413, "too_large", f"the rule is longer than {MAX_TEXT} bytes")
            return Tried(text, days, result=self._run(name, self._read(text), days))
        except ConfigError as error:
            return Tried(text, days, 400, mistakes="\n".join(error.mistakes))
        except (Problem, OculusError) as error:
            problem = error if isinstance(error, Problem) else problem_of(error)
            return Tried(text, days, problem.status, error=problem.message)

    def _read(self, text: str) -> RuleSettings:
        rules = self._services.read_rules(text)
        if len(rules) != 1:
            raise ConfigError([f"these are {len(rules)} rules; one at a time is tried here"])
        return rules[0]

    def _configured(self, name: str) -> RuleSettings | None:
        return next((rule for rule in self._services.rule_settings() if rule.name == name), None)

    def _run(self, name: str, edited: RuleSettings, days: int) -> Result:
        configured = self._configured(name)
        others = [rule for rule in self._services.rule_settings() if rule.name not in (name, edited.name)]
        until = now()
        since = Micros(until - days * DAY)
        if configured is None or replace(configured, actions=()) == edited:  # no backtest acts
            asked = {"As configured" if configured else "As edited": edited}
        else:
            if edited.name == name:  # both are replayed at once, and then told apart by their names
                edited = replace(edited, name=_other_name(name, others))
            asked = {"As edited": edited, "As configured": configured}
        names = [rule.name for rule in asked.values()]
        found = self._services.backtest([*asked.values(), *others], names, since, until)
        by_name = {rule.name: rule for rule in found.rules}
        results = {title: by_name[rule.name] for title, rule in asked.items() if rule.name in by_name}
        return _result(found, results)


def _other_name(name: str, rules: Sequence[RuleSettings]) -> str:
    """Return a name that no rule has."""
    taken = {name, *(rule.name for rule in rules)}
    other = name
    while other in taken:
        other += "_"
    return other


def _result(found: Backtest, results: dict[str, RuleResult]) -> Result:
    start, end = found.since, found.until
    most = max((day.firings for rule in results.values() for day in rule.days), default=0)
    first = next(iter(results.values()))
    firings = first.intervals[-INTERVALS_SHOWN:][::-1]
    name = timeline.namer(
        [dict(key) for key in {tuple(sorted(one.labels.items())) for one in first.intervals}]
    )
    return Result(
        outcomes=tuple(_outcome(title, rule, start, end, most) for title, rule in results.items()),
        ticks=timeline.ticks(start, end),
        days=round((end - start) / DAY),
        most=most,
        source=source_text(found.parts, start),
        cost=f"{found.evaluations:,} evaluations in {figures.span_text(max(found.seconds, 0.001))}",
        firings=tuple(_firing(one, name(one.labels), end) for one in firings),
        left=first.firings - len(firings),
    )


def _outcome(title: str, rule: RuleResult, start: Micros, end: Micros, most: int) -> Outcome:
    counts = {
        day.date: (
            day.firings,
            f"{_count(day.firings, 'firing')}, {_span(day.seconds)}, {_count(day.messages, 'message')}",
        )
        for day in rule.days
    }
    spans = [(one.labels, span) for one in rule.intervals for span in _spans(one)]
    return Outcome(
        title=title,
        severity=rule.severity,
        firings=rule.firings,
        time=_span(rule.seconds),
        messages=rule.messages,
        error=rule.error,
        note=rule.note,
        lanes=timeline.timeline(spans, start, end),
        columns=timeline.columns(counts, start, end, most),
        left=rule.firings - len(rule.intervals),
    )


def _spans(interval: Interval) -> Iterator[timeline.Span]:
    if interval.pending_at < interval.started_at:
        yield timeline.Span("pending", interval.pending_at, interval.started_at)
    yield timeline.Span("firing", interval.started_at, interval.ended_at)


def _firing(interval: Interval, label: str, end: Micros) -> Firing:
    over = end if interval.ended_at is None else interval.ended_at
    return Firing(
        at=iso(interval.started_at),
        when=timeline.when(interval.started_at),
        lasted=_span((over - interval.started_at) / SECOND),
        going=interval.ended_at is None,
        label="" if label in interval.explanation else label,
        explanation=interval.explanation,
        suppressed=interval.suppressed,
    )


def _span(seconds: float) -> str:
    return figures.span_text(round(seconds)) if seconds >= 1 else "0s" if not seconds else "< 1s"


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}" + ("" if number == 1 else "s")


def source_text(parts: Sequence[Part], since: Micros) -> str:
    """Return in words what was replayed: finer rows are kept for less long than coarser ones."""
    joined = [(source, list(group)) for source, group in groupby(parts, key=lambda part: part.source)]
    if not joined:
        return "Nothing is stored of what the rule reads"
    texts = [
        f"before {timeline.day(group[-1].end)} from {_SOURCES.get(source, source)}"
        for source, group in joined[:-1]
    ]
    last = _SOURCES.get(joined[-1][0], joined[-1][0])
    texts.append(f"then from {last}" if texts else f"from {last}")
    told = ", ".join(texts)
    if parts[0].start > since:
        told += f" (nothing is stored before {timeline.when(parts[0].start)})"
    return told[0].upper() + told[1:]
