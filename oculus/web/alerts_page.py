"""The page of all alerts: when they fired, which are active now, and every step with what became of it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2s
from itertools import groupby

from oculus.clock import DAY, iso, now
from oculus.model import ALERT_STATES, SEVERITIES, AlertInstance, Micros, RuleState
from oculus.storage import queries
from oculus.storage.outbox import Delivery, of_events
from oculus.storage.queries import StoredEvent
from oculus.storage.steps import Brief, lately
from oculus.web import deliveries, inputs, silences, timeline
from oculus.web.filters import Filters
from oculus.web.services import Services
from oculus.web.steps import Past, labels_of, number, past
from oculus.web.templates import Templates

STEPS_SHOWN = 50  # on one page
ACTIVE_SHOWN = 30
SILENCES_SHOWN = 30
MOST_LANES = 12
MOST_STEPS = 5_000  # that the timeline is made of

# What the timeline can show, and the steps listed with it, in microseconds.
RANGES = {"6h": DAY // 4, "24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY}
RANGE = "24h"

# The timeline ends at the next of so many parts of its range. Until then a picture of what has not changed is
# the same, and the page that shows it is left alone.
_PARTS = 480


@dataclass(frozen=True, slots=True)
class AlertFilters(Filters):
    """What the page is asked for; `before` is the id of an event (0: none)."""

    rule: str = ""
    state: str = ""
    severity: str = ""
    q: str = ""
    range: str = RANGE
    before: int = 0

    @classmethod
    def of_request(cls) -> AlertFilters:
        """Return what the address says; raises Problem."""
        return cls(
            rule=inputs.query("rule"),
            state=inputs.choice_parameter("state", ALERT_STATES) or "",
            severity=inputs.choice_parameter("severity", SEVERITIES) or "",
            q=inputs.query("q").strip(),
            range=inputs.choice_parameter("range", tuple(RANGES)) or RANGE,
            before=inputs.id_parameter("before") or 0,
        )

    def link(self, **changes: str | int) -> str:
        """Any change leads to the newest steps."""
        return Filters.link(self, **{"before": 0, **changes})

    @property
    def narrow(self) -> bool:
        """Whether it asks for a part of the alerts."""
        return bool(self.rule or self.state or self.severity or self.q)


@dataclass(frozen=True, slots=True)
class Active:
    """An alert that is pending or fires. `id` is the event that began that (0: not known), `key` its own name
    on the page, `labels` all of them as JSON."""

    key: str
    id: int
    rule: str
    severity: str
    state: str
    label: str
    value: str
    why: str
    since: str
    labels: str
    silence: silences.Quiet | None
    suppressed: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A step of an alert with its deliveries; `untold` is why there is none. `ruled` tells that its rule is
    there still."""

    step: Past
    rule: str
    ruled: bool
    told: tuple[deliveries.Told, ...]
    untold: str


@dataclass(frozen=True, slots=True)
class AlertsContext:
    """`pages/alerts.html` and `fragments/alerts.html`: the filters, the timeline, what is active, silences,
    and steps, newest first. `older` is where the next of them are; `ever` tells that there was any alert at
    all."""

    filters: AlertFilters
    ranges: tuple[str, ...]
    ruled: bool
    lanes: timeline.Timeline
    partial: bool
    firing: int
    active: list[Active]
    more: int
    silences: list[silences.Quiet]
    silences_more: int
    entries: list[Entry]
    older: str
    ever: bool


class AlertsPages:
    """Builds the context of all alerts and renders it."""

    def __init__(self, services: Services, templates: Templates) -> None:
        self._services = services
        self._templates = templates

    def alerts(self) -> str:
        """GET /alerts"""
        return self._templates.page("alerts", self._context())

    def fragment(self) -> str:
        """GET /partials/alerts"""
        return self._templates.fragment("alerts", self._context())

    def _context(self) -> AlertsContext:
        services, filters, at = self._services, AlertFilters.of_request(), now()
        rules = [rule for rule in services.rules() if _about(rule, filters)]
        found = services.readers.run(_read, filters, rules, at)
        known = {rule.name for rule in services.rule_settings()}
        entries = [
            self._entry(event, found.told.get(event.id, []), known) for event in found.events[:STEPS_SHOWN]
        ]
        active = sorted(self._active(rules, filters, found.begun, at), key=_place)
        kept = [
            one for one in services.silences.silences.all(at) if one.state(at) != "expired" and not one.once
        ]
        last = entries[-1].step.id if len(found.events) > STEPS_SHOWN else 0
        return AlertsContext(
            filters=filters,
            ranges=tuple(RANGES),
            ruled=filters.rule in known,
            lanes=found.lanes,
            partial=found.partial,
            firing=sum(one.state == "firing" for one in active),
            active=active[:ACTIVE_SHOWN],
            more=max(0, len(active) - ACTIVE_SHOWN),
            silences=[silences.Quiet.of(one, at) for one in kept[:SILENCES_SHOWN]],
            silences_more=max(0, len(kept) - SILENCES_SHOWN),
            entries=entries,
            older=filters.link(before=last) if last else "",
            ever=found.ever,
        )

    def _entry(self, event: StoredEvent, found: list[Delivery], known: Collection[str]) -> Entry:
        rule = str(event.payload.get("rule", event.source))
        told = tuple(deliveries.told(event, tuple(found), self._services.progress))
        name = _name(labels_of(event))
        step = past(event, "" if name in event.message else name)
        return Entry(step, rule, rule in known, told, "" if told else deliveries.untold(event))

    def _active(
        self,
        rules: Sequence[RuleState],
        filters: AlertFilters,
        begun: Mapping[tuple[str, str], int],
        at: Micros,
    ) -> Iterator[Active]:
        """Yield what is pending and what fires, as the filters ask for it."""
        for rule in rules:
            several = len(rule.instances) > 1
            why = "" if several else rule.explain()
            for one in rule.instances:
                if filters.state not in ("", one.state) or not _mentions(filters.q, rule.name, one, why):
                    continue
                label = _name(one.labels)
                labels = json.dumps(dict(one.labels), sort_keys=True, ensure_ascii=False)
                yield Active(
                    key=blake2s(f"{rule.name}\0{labels}".encode(), digest_size=6).hexdigest(),
                    id=begun.get((rule.name, labels), 0),
                    rule=rule.name,
                    severity=rule.severity,
                    state=one.state,
                    label="" if label in why else label,
                    value="" if one.value is None or why else number(one.value),
                    why=why,
                    since=iso(one.active_at),
                    labels=labels,
                    silence=silences.holding(
                        self._services, rule.name, rule.severity, one.labels, at, one.active_at
                    ),
                    suppressed=one.suppressed,
                )


def _about(rule: RuleState, filters: AlertFilters) -> bool:
    return filters.rule in ("", rule.name) and filters.severity in ("", rule.severity)


def _mentions(text: str, rule: str, one: AlertInstance, why: str) -> bool:
    wanted = text.lower()
    return any(wanted in found.lower() for found in (rule, why, *one.labels.values()))


def _name(labels: Mapping[str, str]) -> str:
    """Return what an alert is called: its symbol, or all of its labels."""
    return labels.get("symbol") or ", ".join(f"{name} {text}" for name, text in labels.items())


def _place(one: Active) -> tuple[bool, bool, int, str]:
    """Return where an active alert stands: first what nobody has seen to, the worst and the newest of it
    first."""
    return (
        one.silence is not None,
        one.state != "firing",
        -SEVERITIES.index(one.severity),
        "".join(chr(0x10FFFF - ord(sign)) for sign in one.since),
    )


# -- what is read, in a thread of the store ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Found:
    """What the store knows: a step more than is shown, the deliveries by event, and the events by rule and
    labels that began what goes on. A `partial` timeline has only the newest steps."""

    events: list[StoredEvent]
    told: dict[int, list[Delivery]]
    lanes: timeline.Timeline
    partial: bool
    begun: dict[tuple[str, str], int]
    ever: bool


def _read(cursor: queries.Cursor, filters: AlertFilters, rules: Sequence[RuleState], at: Micros) -> _Found:
    span = RANGES[filters.range]
    part = span // _PARTS
    end = Micros(-(-at // part) * part)
    start = Micros(end - span)
    narrowed = {"rule": filters.rule or None, "severity": filters.severity or None, "text": filters.q or None}
    events = queries.events(
        cursor, type="alert", state=filters.state or None, since=start, before=filters.before or None,
        limit=STEPS_SHOWN + 1, **narrowed,
    )  # fmt: skip
    steps = lately(cursor, start, MOST_STEPS, **narrowed)
    partial = len(steps) == MOST_STEPS
    told = of_events(cursor, [event.id for event in events[:STEPS_SHOWN]])
    lanes = _lanes(steps, rules, filters, (steps[0].ts if partial else start, start, end))
    begun: dict[tuple[str, str], int] = {}
    for step in steps:
        key = step.rule, json.dumps(step.labels, sort_keys=True, ensure_ascii=False)
        if step.state != step.previous:
            begun[key] = step.id
    ever = bool(steps or events) or bool(queries.events(cursor, type="alert", limit=1))
    return _Found(events, told, lanes, partial, begun, ever)


def _lanes(
    steps: Sequence[Brief],
    rules: Sequence[RuleState],
    filters: AlertFilters,
    times: tuple[Micros, Micros, Micros],
) -> timeline.Timeline:
    """Return a lane for each rule, or for each alert of the one that is asked for. `times` are when the steps
    begin, and when the timeline does and ends."""
    known, start, end = times
    by_rule = {rule: list(found) for rule, found in groupby(sorted(steps, key=_rule), key=_rule)}
    severity = {step.rule: step.severity for step in steps} | {rule.name: rule.severity for rule in rules}
    spans: list[tuple[timeline.Labels, timeline.Span]] = []
    instances = {rule.name: rule.instances for rule in rules}
    for rule in by_rule.keys() | instances.keys():
        own = [
            timeline.Step(step.ts, step.labels, step.state, step.previous, step.id)
            for step in by_rule.get(rule, ())
        ]
        active = [
            (one.labels, timeline.kind_of(one.state), one.active_at)
            for one in instances.get(rule, ())
            if _mentions(filters.q, rule, one, "")
        ]
        going = [(labels, kind, since) for labels, kind, since in active if kind is not None]
        found = timeline.spans_of(own, going, known)
        spans += found if filters.rule else [({"rule": rule}, span) for _, span in found]
    if filters.rule:
        made = timeline.timeline(spans, start, end, MOST_LANES)
        lanes = tuple(replace(lane, severity=severity[filters.rule]) for lane in made.lanes)
    else:
        made = timeline.timeline(spans, start, end, MOST_LANES, name=lambda labels: labels["rule"])
        lanes = tuple(
            replace(lane, severity=severity[lane.label], href=f"/alerts{filters.link(rule=lane.label)}")
            for lane in made.lanes
        )
    return replace(made, lanes=lanes)


def _rule(step: Brief) -> str:
    return step.rule
